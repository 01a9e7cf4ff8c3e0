"""RAMP kits in real sandboxes: whichever workflow, whatever files, and whose fault an error is."""

import numpy as np
import pytest
from fold_runs import run_fold, split_reader
from sklearn.linear_model import LogisticRegression, Ridge

from datarun_client.states import FailureKind
from datarun_worker.sandbox import SubmissionFailure

PROBLEM = """
import os
import pandas as pd
import rampwf as rw

Predictions = rw.prediction_types.{predictions}
workflow = rw.workflows.{workflow}

def get_train_data(path="."):
    return _read(path, "train.csv")

def get_test_data(path="."):
    return _read(path, "test.csv")

def _read(path, name):
    table = pd.read_csv(os.path.join(path, "data", name))
    return table.drop(columns="y"){form}, table["y"].to_numpy()
"""
TRAIN = np.array([[x, x * x, x > 4] for x in range(10)])
TEST = np.array([[x, x * x, x > 4] for x in range(10, 14)])
CLASSES = "make_multiclass(label_names=[0, 1])"
NUMBERS = "make_regression()"

LOGISTIC = """
from sklearn.linear_model import LogisticRegression

class Classifier:
    def fit(self, X, y):
        self.model = LogisticRegression().fit(X, y)
    def predict_proba(self, X):
        return self.model.predict_proba(X)
"""
RIDGE = """
from sklearn.linear_model import Ridge

class Regressor(Ridge):
    pass
"""
EXTRACTOR = """
class FeatureExtractor:
    def fit(self, X_df, y):
        pass
    def transform(self, X_df):
        return X_df[["a"]].to_numpy()
"""
ESTIMATOR = """
from sklearn.linear_model import LogisticRegression

def get_estimator():
    return LogisticRegression()
"""
WITH_FILE = """
from pathlib import Path
import pandas as pd
from sklearn.linear_model import Ridge

def get_estimator():
    table = pd.read_csv(Path(__file__).with_name("external_data.csv"))
    return Ridge(alpha=table["alpha"][0])
"""

ALL = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]


def write_csv(rows):
    lines = ["a,b,y", *(",".join(str(int(value)) for value in row) for row in rows)]
    return "\n".join(lines).encode()


@pytest.fixture
def make_parts(program_engine, tmp_path):
    def make(predictions, workflow, form=""):
        problem = PROBLEM.format(predictions=predictions, workflow=workflow, form=form)
        files = {"data/train.csv": write_csv(TRAIN), "data/test.csv": write_csv(TEST)}
        parts, value = split_reader(program_engine, tmp_path, problem, files)
        assert value == {"n_train": 10, "n_test": 4, "n_prepared": 0}
        return parts

    return make


@pytest.mark.parametrize(
    ("predictions", "workflow", "form", "files", "columns"),
    [
        (CLASSES, "Estimator()", "", {"estimator.py": ESTIMATOR}, [0, 1]),
        (CLASSES, "Classifier()", ".to_numpy()", {"classifier.py": LOGISTIC}, [0, 1]),
        (
            CLASSES,
            "FeatureExtractorClassifier()",
            "",
            {"feature_extractor.py": EXTRACTOR, "classifier.py": LOGISTIC},
            [0],
        ),
        (NUMBERS, "Regressor()", ".to_numpy()", {"regressor.py": RIDGE}, [0, 1]),
        (
            NUMBERS,
            "FeatureExtractorRegressor()",
            "",
            {"feature_extractor.py": EXTRACTOR, "regressor.py": RIDGE},
            [0],
        ),
        (
            NUMBERS,
            "EstimatorExternalData()",
            "",
            {"estimator.py": WITH_FILE, "external_data.csv": "alpha\n1.0\n"},
            [0, 1],
        ),
        (
            NUMBERS,
            "SKLearnPipeline(filename='model.py')",
            "",
            {"model.py": WITH_FILE, "external_data.csv": "alpha\n1.0\n"},
            [0, 1],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and value.endswith(")") else "",
)
def test_any_workflow_runs_as_in_ramp(
    program_engine, make_parts, predictions, workflow, form, files, columns
):
    parts = make_parts(predictions, workflow, form)
    rows = [0, 2, 4, 5, 7, 9]

    result = run_fold(program_engine, parts, files, [], rows)

    X, y = TRAIN[:, columns], TRAIN[:, 2]
    if predictions == CLASSES:
        model = LogisticRegression().fit(X[rows], y[rows])
        expected = model.predict_proba(X), model.predict_proba(TEST[:, columns])
    else:
        model = Ridge().fit(X[rows], y[rows])
        expected = model.predict(X), model.predict(TEST[:, columns])
    assert result.failure_kind is None, result.log_messages
    np.testing.assert_array_equal(result.full_train_predictions, expected[0])
    np.testing.assert_array_equal(result.test_predictions, expected[1])


@pytest.mark.parametrize(
    ("files", "kind", "words"),
    [
        (
            {"estimator.py": "def get_estimator(): raise ValueError('mine')"},
            FailureKind.SUBMISSION_ERROR,
            ["mine", 'File "estimator.py", line 1'],
        ),
        ({"other.py": ""}, FailureKind.SUBMISSION_ERROR, ["No such file", "'estimator.py'"]),
        ({"estimator.py": ""}, FailureKind.SUBMISSION_ERROR, ["no attribute 'get_estimator'"]),
        ({"estimator.py": "def :"}, FailureKind.SUBMISSION_ERROR, ["SyntaxError"]),
        (
            {"estimator.py": "import subprocess"},
            FailureKind.SUBMISSION_ERROR,
            ["forbidden key word subprocess"],
        ),
        (
            {"estimator.py": ESTIMATOR.replace("()\n", "(C=-1)\n")},
            FailureKind.SUBMISSION_ERROR,
            ["'C' parameter"],
        ),
        (
            {"estimator.py": WITH_FILE, "external_data.csv": "alpha\n1.0\n"},
            FailureKind.BAD_PREDICTIONS,
            ["y_pred should be 2D with 2 columns"],
        ),
    ],
)
def test_what_a_submission_does_wrong_is_its_own_fault(
    program_engine, make_parts, files, kind, words
):
    parts = make_parts(CLASSES, "Estimator()")

    result = run_fold(program_engine, parts, files, ["estimator"], ALL)

    assert result.failure_kind is kind, result.log_messages
    for word in words:
        assert word in result.log_messages


def test_what_a_workflow_of_the_kit_does_wrong_is_the_data_sets_fault(program_engine, tmp_path):
    problem = (
        PROBLEM.format(predictions=NUMBERS, workflow="Estimator()", form="")
        + """
class Workflow:
    element_names = ["estimator"]
    def train_submission(self, module_path, X, y, train_is):
        return {}["model"]
    def test_submission(self, trained, X):
        return trained.predict(X)

workflow = Workflow()
"""
    )
    files = {"data/train.csv": write_csv(TRAIN), "data/test.csv": write_csv(TEST)}
    parts, _ = split_reader(program_engine, tmp_path, problem, files)

    result = run_fold(program_engine, parts, {"estimator.py": ""}, ["estimator"], ALL)

    assert result.failure_kind is FailureKind.DATA_ERROR
    assert "KeyError: 'model'" in result.log_messages


def test_a_worker_without_ramp_says_so(program_engine, tmp_path):
    problem = "raise ModuleNotFoundError('No RAMP', name='rampwf')"

    with pytest.raises(SubmissionFailure, match=r"pip install 'datarun\[ramp\]' on every worker"):
        split_reader(program_engine, tmp_path, problem, {})


def test_elements_that_nothing_trains_are_the_data_sets_fault(program_engine, tmp_path):
    """A reader may be called `problem.py`, and then its elements may have any names."""
    problem = PROBLEM.format(predictions=NUMBERS, workflow="Estimator()", form="")
    problem = problem.replace("workflow =", "other =")
    reader = problem + "\ndef prepare_data(path): pass\n"
    files = {"data/train.csv": write_csv(TRAIN), "data/test.csv": write_csv(TEST)}
    parts, _ = split_reader(program_engine, tmp_path, reader, files)

    result = run_fold(program_engine, parts, {"estimator.py": ""}, [], ALL)

    assert result.failure_kind is FailureKind.DATA_ERROR
    assert "has no workflow of its own" in result.log_messages
