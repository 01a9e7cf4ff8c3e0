import time

from channel import forge


class Classifier:
    def fit(self, X, y):
        # It says that it has trained, and would train on.
        forge(ok=True, value={})
        time.sleep(2)

    def predict_proba(self, X):
        forge(ok=True, value={"shape": [10**6, 10**6], "dtype": "float64"})
        time.sleep(2)
