import os
from pathlib import Path

from attempts import CANARIES, attempt, tell
from honest import HonestClassifier


class Classifier(HonestClassifier):
    def fit(self, X, y):
        cache = Path(CANARIES["folders"]["cache"])
        attempt("the cache", os.listdir, cache)
        attempt("the cache's files for folds", os.listdir, cache / "folds")
        attempt("the cache's files for data jobs", os.listdir, cache / "data-jobs")
        attempt("the size of a file in it", lambda: os.stat(CANARIES["cached_file"]).st_size)
        # A way in would be an input that is open: upwards from it, or through its folder.
        for name in os.listdir("/proc/self/fd"):
            for way in (f"/proc/self/fd/{name}/..", f"/proc/self/fd/{name}/folds"):
                try:
                    tell(False, f"the folder of descriptor {name}", os.listdir(way))
                except OSError:
                    continue
        super().fit(X, y)
