import ctypes


class Classifier:
    def fit(self, X, y):
        ctypes.string_at(0)
