from pathlib import Path

from attempts import CANARIES
from honest import HonestClassifier


class Bomb:
    """Would write to the canary if anybody unpickled it outside; in here that is refused."""

    def __reduce__(self):
        return (Path(CANARIES["folder"], "exploded").write_text, ("ESCAPED",))


class Classifier(HonestClassifier):
    def predict_proba(self, X):
        return Bomb()
