import os
import sys
from pathlib import Path

from attempts import CANARIES, attempt
from honest import HonestClassifier

PATHS = ("/etc/shadow", "/root", "/root/.ssh", "/home", "/etc/ssh", "/etc/hostname", "/proc/1/root")


def look(path):
    """Look without reading more than a byte."""
    if Path(path).is_dir():
        return len(os.listdir(path))
    with open(path, "rb") as file:
        return len(file.read(1))


class Classifier(HonestClassifier):
    def fit(self, X, y):
        for path in PATHS:
            # Python may be installed in a home; then the folders on the way to it are there.
            if not sys.base_prefix.startswith(path):
                attempt(path, look, path)
        attempt("the worker's home", look, CANARIES["folders"]["home"])
        attempt("the worker's secrets", look, CANARIES["folders"]["secrets"])
        attempt("the worker's working folder", os.stat, CANARIES["folders"]["home"])
        attempt("the canary", look, CANARIES["file"])
        super().fit(X, y)
