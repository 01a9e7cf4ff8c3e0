import time


class Classifier:
    def fit(self, X, y):
        time.sleep(1e9)
