import pandas as pd
from honest import HonestClassifier


class Classifier(HonestClassifier):
    def predict_proba(self, X):
        return pd.DataFrame(
            super().predict_proba(X), columns=["a", "b", "c"], index=range(5, len(X) + 5)
        )
