import os
from pathlib import Path

from attempts import attempt
from honest import HonestClassifier

HERE = Path(__file__).parent


class Classifier(HonestClassifier):
    def fit(self, X, y):
        attempt("a new module", (HERE / "new.py").write_text, "")
        attempt("another source", (HERE / "classifier.py").write_text, "")
        attempt("another mode", (HERE / "classifier.py").chmod, 0o777)
        attempt("a folder", os.mkdir, HERE / "__pycache__")
        attempt("the parent's folder", (HERE.parent / "new.py").write_text, "")
        attempt("a module's name", os.rename, HERE / "honest.py", HERE / "other.py")
        super().fit(X, y)
