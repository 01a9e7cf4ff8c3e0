import os
from pathlib import Path

from attempts import CANARIES, tell
from honest import HonestClassifier

FOLDERS = ("~", "/tmp", "/var/tmp", "/dev/shm", "/run")


class Classifier(HonestClassifier):
    def fit(self, X, y):
        found = os.listdir(".")
        tell(not found, "files in its scratch folder", found)
        n_left = 0
        for folder in FOLDERS:
            path = Path(folder).expanduser() / CANARIES["name"]
            if path.exists():
                tell(False, "what the fold before left", path)
            try:
                path.write_text("left by a fold")
                n_left += 1
            except OSError:
                continue
        print(f"LEFT something in {'some' if n_left else 'no'} folder")
        super().fit(X, y)
