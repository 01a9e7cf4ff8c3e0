def recurse(n):
    return recurse(n + 1)


class Classifier:
    def fit(self, X, y):
        recurse(0)
