"""How far diabetes has gone a year later."""

import os

import pandas as pd
import rampwf as rw
from sklearn.model_selection import ShuffleSplit

problem_title = "Progression of diabetes"
_target_column_name = "progression"
Predictions = rw.prediction_types.make_regression()
workflow = rw.workflows.FeatureExtractorRegressor()
score_types = [
    rw.score_types.RMSE(name="rmse", precision=3),
    rw.score_types.RelativeRMSE(name="rel_rmse", precision=3),
]


def get_cv(X, y):
    return ShuffleSplit(n_splits=3, test_size=0.25, random_state=57).split(X)


def get_train_data(path="."):
    return _read_data(path, "train.csv")


def get_test_data(path="."):
    return _read_data(path, "test.csv")


def _read_data(path, name):
    table = pd.read_csv(os.path.join(path, "data", name))
    return table.drop(columns=_target_column_name), table[_target_column_name].values
