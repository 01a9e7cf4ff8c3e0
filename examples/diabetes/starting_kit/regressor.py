"""A ridge regression that chooses its own strength."""

import numpy as np
from sklearn.linear_model import RidgeCV


class Regressor:
    def __init__(self):
        self.model = RidgeCV(alphas=np.logspace(-3, 2, 11))

    def fit(self, X, y):
        self.model.fit(X, y)

    def predict(self, X):
        return self.model.predict(X)
