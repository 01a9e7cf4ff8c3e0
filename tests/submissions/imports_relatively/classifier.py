from . import honest
from .parts.inner.deep import NAME


class Classifier(honest.HonestClassifier):
    def fit(self, X, y):
        print("USED", NAME)
        super().fit(X, y)
