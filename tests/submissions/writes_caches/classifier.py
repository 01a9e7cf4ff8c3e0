import os
from pathlib import Path

import joblib
from honest import HonestClassifier


def find_cache_folder():
    """Find a folder as libraries that compile do: beside the source, else in the user's cache."""
    for folder in (
        Path(__file__).parent / "__pycache__",
        Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")),
    ):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "trial").write_text("")
        except OSError:
            continue
        return folder
    raise RuntimeError("no folder for a cache")


class Classifier(HonestClassifier):
    def fit(self, X, y):
        folder = find_cache_folder()
        (folder / "compiled.nbi").write_bytes(b"\0" * 1000)
        memory = joblib.Memory(folder, verbose=0)
        total = memory.cache(sum)([1, 2, 3])
        print("CACHED", total, memory.cache(sum)([1, 2, 3]))
        super().fit(X, y)
