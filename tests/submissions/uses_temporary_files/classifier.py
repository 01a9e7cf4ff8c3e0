import os
import tempfile
from pathlib import Path

import joblib
from honest import HonestClassifier


class Classifier(HonestClassifier):
    def fit(self, X, y):
        super().fit(X, y)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.joblib"
            joblib.dump(self.model, path)
            self.model = joblib.load(path)
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"some bytes")
            file.flush()
            print("WROTE", os.path.getsize(file.name))
        with tempfile.TemporaryFile() as file:
            file.truncate(1 << 20)
        Path("notes.txt").write_text("in the working folder")
        Path.home().joinpath("notes.txt").write_text("at home")

    def predict_proba(self, X):
        assert Path("notes.txt").exists()
        return super().predict_proba(X)
