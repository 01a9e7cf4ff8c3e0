"""A RAMP kit whose X names files, as those with images do."""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

PROBLEM = '''
"""Which digit an image shows."""

import os

import numpy as np
import pandas as pd
import rampwf as rw
from sklearn.model_selection import ShuffleSplit

problem_title = "Digits"
_prediction_label_names = np.loadtxt("labels.txt", dtype=int).tolist()
Predictions = rw.prediction_types.make_multiclass(label_names=_prediction_label_names)
workflow = rw.workflows.SimplifiedImageClassifier(n_classes=10)
score_types = [
    rw.score_types.Accuracy(name="accuracy"),
    rw.score_types.NegativeLogLikelihood(name="log likelihood"),
]


def get_cv(X, y):
    return ShuffleSplit(n_splits=3, test_size=0.25, random_state=57).split(y)


def get_train_data(path="."):
    return _read_data(path, "train.csv")


def get_test_data(path="."):
    return _read_data(path, "test.csv")


def _read_data(path, name):
    table = pd.read_csv(os.path.join(path, "data", name))
    return (os.path.join(path, "data", "imgs"), table["id"].values), table["class"].values
'''

CLASSIFIER = """
import os

import numpy as np
from sklearn.tree import DecisionTreeClassifier


class ImageClassifier:
    def fit(self, images):
        self.model = DecisionTreeClassifier(random_state=0)
        self.model.fit(read_pixels(images), images.y_array)

    def predict_proba(self, images):
        probabilities = np.zeros((len(images.X_array), images.n_classes))
        probabilities[:, self.model.classes_] = self.model.predict_proba(read_pixels(images))
        return probabilities


def read_pixels(images):
    names = [os.path.join(images.folder, str(name)) for name in images.X_array]
    return np.array([np.loadtxt(name).ravel() for name in names])
"""

N_TRAIN, N_TEST = 60, 20


def write_kit(folder: Path) -> None:
    """Write the kit into a folder that isn't there yet."""
    pixels, classes = load_digits(return_X_y=True)
    submission = folder / "submissions/starting_kit"
    for path in (submission, folder / "data/imgs"):
        path.mkdir(parents=True)
    (folder / "problem.py").write_text(PROBLEM)
    (submission / "image_classifier.py").write_text(CLASSIFIER)
    np.savetxt(folder / "labels.txt", np.arange(10), fmt="%d")
    for name, rows in (("train", range(N_TRAIN)), ("test", range(N_TRAIN, N_TRAIN + N_TEST))):
        lines = [f"{row},{classes[row]}" for row in rows]
        (folder / f"data/{name}.csv").write_text("\n".join(["id,class", *lines]))
        for row in rows:
            np.savetxt(folder / f"data/imgs/{row}", pixels[row].reshape(8, 8), fmt="%d")
