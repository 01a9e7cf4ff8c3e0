import time

from channel import forge
from honest import HonestClassifier


class Classifier(HonestClassifier):
    def predict_proba(self, X):
        # More than anybody has memory for, and nothing of it is there.
        forge(ok=True, value={"shape": [10**6, 10**6], "dtype": "float64"})
        time.sleep(2)
