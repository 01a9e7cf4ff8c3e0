import io
import sys

from honest import HonestClassifier


class Broken(io.StringIO):
    def write(self, text):
        raise ValueError("never")

    def flush(self):
        raise SystemError("never")


class Classifier(HonestClassifier):
    def fit(self, X, y):
        print("BEFORE", flush=True)
        sys.stdout = sys.stderr = sys.__stdout__ = Broken()
        super().fit(X, y)

    def predict_proba(self, X):
        sys.stdout = None
        return super().predict_proba(X)
