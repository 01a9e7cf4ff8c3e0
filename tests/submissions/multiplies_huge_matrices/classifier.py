import numpy as np


class Classifier:
    def fit(self, X, y):
        matrix = np.ones((1500, 1500))
        while True:
            matrix = matrix @ matrix * 1e-4
