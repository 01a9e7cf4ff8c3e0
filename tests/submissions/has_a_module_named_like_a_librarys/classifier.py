import importlib
import statistics

from honest import HonestClassifier


class Classifier(HonestClassifier):
    def fit(self, X, y):
        # A library that wants Python's own must get it, whenever it is imported.
        library = importlib.import_module("random")
        print("USED", statistics.SOURCE, library.Random(0).random() < 1)
        import sklearn.gaussian_process

        print("LIBRARIES work", sklearn.gaussian_process.__name__)
        super().fit(X, y)
