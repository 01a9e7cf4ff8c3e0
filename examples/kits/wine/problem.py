"""Which of three cultivars a wine is made of."""

import os

import pandas as pd
import rampwf as rw
from sklearn.model_selection import StratifiedShuffleSplit

problem_title = "Wine cultivars"
_target_column_name = "cultivar"
_prediction_label_names = ["class_0", "class_1", "class_2"]
Predictions = rw.prediction_types.make_multiclass(label_names=_prediction_label_names)
workflow = rw.workflows.Estimator()
score_types = [
    rw.score_types.Accuracy(name="accuracy", precision=3),
    rw.score_types.NegativeLogLikelihood(name="nll", precision=3),
]


def get_cv(X, y):
    return StratifiedShuffleSplit(n_splits=3, test_size=0.2, random_state=57).split(X, y)


def get_train_data(path="."):
    return _read_data(path, "train.csv")


def get_test_data(path="."):
    return _read_data(path, "test.csv")


def _read_data(path, name):
    table = pd.read_csv(os.path.join(path, "data", name))
    return table.drop(columns=_target_column_name), table[_target_column_name].values
