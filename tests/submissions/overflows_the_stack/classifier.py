import sys


class Deep:
    """Every look-up goes through C, so that C's stack ends first."""

    def __getattr__(self, name):
        return getattr(self, name + "x"[:0])


class Classifier:
    def fit(self, X, y):
        sys.setrecursionlimit(10**8)
        print(Deep().end)
