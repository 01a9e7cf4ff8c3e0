import os

from attempts import CANARIES, attempt
from honest import HonestClassifier


class Classifier(HonestClassifier):
    def fit(self, X, y):
        for name in ("storage", "postgresql", "valkey"):
            attempt(name, os.listdir, CANARIES["folders"][name])
        for path in CANARIES["data_files"]:
            attempt(f"a file of the data set: {path}", lambda p=path: open(p, "rb").read(16))
        super().fit(X, y)
