class Classifier:
    def fit(self, X, y):
        raise ValueError("half a pair: \ud83d")
