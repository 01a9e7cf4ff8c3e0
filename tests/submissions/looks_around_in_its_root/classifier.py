import os

from attempts import attempt
from honest import HonestClassifier


class Classifier(HonestClassifier):
    def fit(self, X, y):
        # Its root has nothing in it that matters; a second layer keeps even that from it.
        for folder in ("/", "/dev", "/etc", "/sandbox"):
            attempt(f"the names in {folder}", os.listdir, folder)
        super().fit(X, y)
