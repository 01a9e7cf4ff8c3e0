import numpy as np
from honest import HonestClassifier

MIB = 1024 * 1024


class Classifier(HonestClassifier):
    def fit(self, X, y):
        super().fit(X, y)
        self.weights = np.random.default_rng(0).random(100 * MIB // 8)

    def predict_proba(self, X):
        print(f"KEPT {self.weights.nbytes // MIB} MiB")
        return super().predict_proba(X)
