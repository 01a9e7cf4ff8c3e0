import numpy as np
from honest import HonestClassifier


class Classifier(HonestClassifier):
    def predict_proba(self, X):
        predictions = super().predict_proba(X)
        predictions[0] = [np.nan, np.inf, -np.inf]
        return predictions
