import os

from honest import HonestClassifier


class Classifier(HonestClassifier):
    def fit(self, X, y):
        # A tenth of a million and a bit is this case's own bound.
        for number in range(110_000):
            os.close(os.open(f"file{number}", os.O_WRONLY | os.O_CREAT))
        print("ESCAPED a tenth of a million files")
        super().fit(X, y)
