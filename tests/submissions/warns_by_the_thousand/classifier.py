import warnings

from honest import HonestClassifier


class Classifier(HonestClassifier):
    def fit(self, X, y):
        warnings.simplefilter("always")
        for number in range(5000):
            warnings.warn(f"warning {number}", stacklevel=1)
        super().fit(X, y)
