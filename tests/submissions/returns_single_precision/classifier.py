import numpy as np
from honest import HonestClassifier


class Classifier(HonestClassifier):
    def predict_proba(self, X):
        return super().predict_proba(X).astype(np.float32)
