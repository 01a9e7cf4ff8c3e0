from pathlib import Path

from attempts import CANARIES
from honest import HonestClassifier

MIB = 1024 * 1024


class Classifier(HonestClassifier):
    def fit(self, X, y):
        # Scratch, /tmp and /dev/shm have one bound together.
        for folder in (".", "/tmp", "/dev/shm"):
            path = Path(folder, CANARIES["name"])
            with path.open("wb", buffering=0) as file:
                for _ in range(16):
                    file.write(b"x" * MIB)
        print("ESCAPED 48 MiB in three folders")
        super().fit(X, y)
