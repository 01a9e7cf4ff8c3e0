import importlib.resources
import json
from pathlib import Path

import numpy as np
from honest import HonestClassifier

HERE = Path(__file__).parent
WEIGHTS = np.loadtxt(HERE / "weights.csv", delimiter=",")


class Classifier(HonestClassifier):
    def fit(self, X, y):
        settings = json.loads((HERE / "data" / "settings.json").read_text())
        text = importlib.resources.files(__package__).joinpath("weights.csv").read_text()
        print("READ", WEIGHTS.sum(), settings["name"], len(text.split()))
        super().fit(X, y)
