"""Folds in real sandboxes: what a submission gets, and what comes back, bit for bit."""

import io

import numpy as np
import pandas as pd
import pytest
from fold_runs import run_fold, split_csv, split_reader
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import StratifiedShuffleSplit, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from datarun_client.states import FailureKind
from datarun_worker.results import Phase
from datarun_worker.sandbox import Limits

FOREST = """
from sklearn.ensemble import RandomForestClassifier

class Classifier:
    def fit(self, X, y):
        self.model = RandomForestClassifier(n_estimators=10, random_state=0).fit(X, y)
    def predict_proba(self, X):
        return self.model.predict_proba(X)
"""
RIDGE = """
from sklearn.linear_model import Ridge

class Regressor(Ridge):
    pass
"""
FEATURE_EXTRACTOR = """
class FeatureExtractor:
    def fit(self, X_df, y):
        self.mean = X_df.mean()
    def transform(self, X_df):
        return (X_df - self.mean).to_numpy()
"""
CALIBRATOR = """
from sklearn.linear_model import LogisticRegression

class Calibrator:
    def fit(self, proba, y):
        self.model = LogisticRegression().fit(proba, y)
    def predict_proba(self, proba):
        return self.model.predict_proba(proba)
"""
ESTIMATOR = """
from sklearn.linear_model import {model}
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

def get_estimator():
    return make_pipeline(StandardScaler(), {model}())
"""


def write_csv(frame: pd.DataFrame) -> str:
    return frame.to_csv(index=False)


IRIS = write_csv(
    load_iris(as_frame=True).frame.assign(
        target=lambda frame: np.array(["setosa", "versicolor", "virginica"])[frame["target"]]
    )
)
DIABETES = write_csv(load_diabetes(as_frame=True).frame)


@pytest.fixture(scope="module")
def iris(program_engine, tmp_path_factory):
    return split_csv(program_engine, tmp_path_factory.mktemp("iris"), IRIS, "target")


@pytest.fixture(scope="module")
def diabetes(program_engine, tmp_path_factory):
    return split_csv(program_engine, tmp_path_factory.mktemp("diabetes"), DIABETES, "target")


def read_directly(content: str, held_out_test: float = 0.3):
    """What a data scientist would have without us."""
    data = pd.read_csv(io.StringIO(content))
    train, test = train_test_split(data, test_size=held_out_test, random_state=42)
    train, test = train.reset_index(drop=True), test.reset_index(drop=True)
    return (
        train.drop(columns="target"),
        train["target"].to_numpy(),
        test.drop(columns="target"),
        test["target"].to_numpy(),
    )


def assert_tested(result) -> None:
    assert result.failure_kind is None, result.log_messages


def assert_same(result, full_train, test) -> None:
    assert_tested(result)
    np.testing.assert_array_equal(result.full_train_predictions, full_train, strict=True)
    np.testing.assert_array_equal(result.test_predictions, test, strict=True)


BOOTSTRAP = np.random.default_rng(0).integers(0, 105, 80)


@pytest.mark.parametrize("train_is", [np.arange(0, 105, 2), BOOTSTRAP])
def test_a_classifier_predicts_what_it_predicts_without_us(program_engine, iris, train_is):
    X_train, y_train, X_test, _ = read_directly(IRIS)
    X_train, X_test = X_train.to_numpy(), X_test.to_numpy()
    model = RandomForestClassifier(n_estimators=10, random_state=0)
    model.fit(X_train[train_is], y_train[train_is])

    result = run_fold(program_engine, iris, {"classifier.py": FOREST}, ["classifier"], train_is)

    assert_same(result, model.predict_proba(X_train), model.predict_proba(X_test))


def test_a_regressor_predicts_what_it_predicts_without_us(program_engine, diabetes):
    train_is = np.arange(200)
    X_train, y_train, X_test, _ = read_directly(DIABETES)
    X_train, X_test = X_train.to_numpy(), X_test.to_numpy()
    model = Ridge().fit(X_train[train_is], y_train[train_is])

    result = run_fold(program_engine, diabetes, {"regressor.py": RIDGE}, ["regressor"], train_is)

    assert_same(result, model.predict(X_train), model.predict(X_test))


def test_features_are_extracted_from_the_frame(program_engine, iris):
    train_is = np.arange(0, 105, 3)
    X_train, y_train, X_test, _ = read_directly(IRIS)
    mean = X_train.iloc[train_is].mean()
    model = RandomForestClassifier(n_estimators=10, random_state=0)
    model.fit((X_train.iloc[train_is] - mean).to_numpy(), y_train[train_is])

    result = run_fold(
        program_engine,
        iris,
        {"feature_extractor.py": FEATURE_EXTRACTOR, "classifier.py": FOREST},
        ["feature_extractor", "classifier"],
        train_is,
    )

    assert_same(
        result,
        model.predict_proba((X_train - mean).to_numpy()),
        model.predict_proba((X_test - mean).to_numpy()),
    )


def test_a_calibrator_learns_from_a_tenth_that_the_classifier_never_saw(program_engine, iris):
    train_is = np.arange(100)
    X_train, y_train, X_test, _ = read_directly(IRIS)
    X_train, X_test = X_train.to_numpy(), X_test.to_numpy()
    X, y = X_train[train_is], y_train[train_is]
    split = StratifiedShuffleSplit(n_splits=1, test_size=0.1, random_state=57)
    fit_rows, calibration_rows = next(split.split(X, y))
    model = RandomForestClassifier(n_estimators=10, random_state=0).fit(X[fit_rows], y[fit_rows])
    calibrator = LogisticRegression()
    calibrator.fit(model.predict_proba(X[calibration_rows]), y[calibration_rows])

    result = run_fold(
        program_engine,
        iris,
        {"classifier.py": FOREST, "calibrator.py": CALIBRATOR},
        ["classifier", "calibrator"],
        train_is,
    )

    assert_same(
        result,
        calibrator.predict_proba(model.predict_proba(X_train)),
        calibrator.predict_proba(model.predict_proba(X_test)),
    )


def test_an_estimator_that_classifies_gives_probabilities(program_engine, iris):
    train_is = np.arange(0, 105, 2)
    X_train, y_train, X_test, _ = read_directly(IRIS)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(X_train.iloc[train_is], y_train[train_is])

    result = run_fold(
        program_engine,
        iris,
        {"estimator.py": ESTIMATOR.format(model="LogisticRegression")},
        ["estimator"],
        train_is,
    )

    assert_same(result, model.predict_proba(X_train), model.predict_proba(X_test))


def test_an_estimator_that_regresses_gives_values(program_engine, diabetes):
    train_is = np.arange(150)
    X_train, y_train, X_test, _ = read_directly(DIABETES)
    model = make_pipeline(StandardScaler(), Ridge())
    model.fit(X_train.iloc[train_is], y_train[train_is])

    result = run_fold(
        program_engine,
        diabetes,
        {"estimator.py": ESTIMATOR.format(model="Ridge")},
        ["estimator"],
        train_is,
    )

    assert_same(result, model.predict(X_train), model.predict(X_test))


def test_every_phase_is_measured(program_engine, iris):
    source = FOREST.replace("self.model =", "import time; time.sleep(0.05); self.model =")

    result = run_fold(program_engine, iris, {"classifier.py": source}, ["classifier"], range(50))

    assert_tested(result)
    wire = result.to_wire()
    assert wire["train_time"] >= 0.05
    assert min(wire["validation_time"], wire["test_time"], wire["train_cpu_time"]) > 0
    assert set(result.measures) == set(Phase)


def test_the_log_holds_what_was_printed(program_engine, iris):
    source = FOREST.replace("self.model =", "print('hello'); self.model =")

    result = run_fold(program_engine, iris, {"classifier.py": source}, ["classifier"], range(50))

    assert result.log_messages == "hello"


def test_the_submission_may_change_what_it_got(program_engine, iris):
    """What it gets is its own, whether all columns have one dtype or not."""
    source = FOREST.replace("return self", "X -= 0.0; return self")

    result = run_fold(program_engine, iris, {"classifier.py": source}, ["classifier"], range(50))

    assert_tested(result)


def test_labels_of_other_rows_are_not_there(program_engine, iris):
    """In the classic workflows y holds the train rows alone, and no other names of classes."""
    labels = iris.labels("y_train")
    rows = np.array([row for row, y in enumerate(labels.load()) if y != "virginica"])
    source = """
import gc

class Classifier:
    def fit(self, X, y):
        assert len(y) == {n}, len(y)
        name = "virgin" + "ica"
        assert name not in set(y)
        assert not [y for y in gc.get_objects() if isinstance(y, list) and name in map(str, y[:9])]
    def predict_proba(self, X):
        return [[0.5, 0.5, 0.0]] * len(X)
""".replace("{n}", str(len(rows)))

    result = run_fold(program_engine, iris, {"classifier.py": source}, ["classifier"], rows)

    assert_tested(result)
    assert len(labels.take(rows).pickles) == 2


@pytest.mark.parametrize(
    ("files", "kind", "words"),
    [
        ({}, FailureKind.SUBMISSION_ERROR, ["no file classifier.py"]),
        ({"classifier.py": "x = 1"}, FailureKind.SUBMISSION_ERROR, ["defines no Classifier"]),
        (
            {"classifier.py": "class Classifier:\n    def fit(self, X, y): pass"},
            FailureKind.SUBMISSION_ERROR,
            ["predicting the train set", "no attribute 'predict_proba'"],
        ),
        (
            {"classifier.py": "class Classifier:\n    def fit(self): pass"},
            FailureKind.SUBMISSION_ERROR,
            ["training", "positional argument"],
        ),
        (
            {"classifier.py": "def oops(:"},
            FailureKind.SUBMISSION_ERROR,
            ["classifier.py", "SyntaxError"],
        ),
        (
            {"classifier.py": "import helper", "helper.py": "1 / 0"},
            FailureKind.SUBMISSION_ERROR,
            ['"classifier.py", line 1', '"helper.py", line 1', "ZeroDivisionError"],
        ),
        (
            {"classifier.py": "import not_there"},
            FailureKind.SUBMISSION_ERROR,
            ["No module named 'not_there'"],
        ),
        (
            {"classifier.py": "raise SystemExit(0)"},
            FailureKind.SUBMISSION_ERROR,
            ["without a result"],
        ),
        (
            {"classifier.py": "import os; os._exit(0)"},
            FailureKind.SUBMISSION_ERROR,
            ["without a result"],
        ),
        (
            {"classifier.py": "raise PermissionError(1, 'no')"},
            FailureKind.FORBIDDEN,
            ["no"],
        ),
        (
            {"classifier.py": "while True: pass"},
            FailureKind.TIME_LIMIT,
            ["time limit"],
        ),
    ],
)
def test_a_failing_submission_is_told_why(program_engine, iris, files, kind, words):
    limits = Limits(time=1 if kind is FailureKind.TIME_LIMIT else 30)

    result = run_fold(program_engine, iris, files, ["classifier"], range(50), limits)

    assert result.failure_kind is kind
    for word in ["Failed while", *words]:
        assert word in result.log_messages
    assert "datarun_worker" not in result.log_messages
    assert result.full_train_predictions is None


def test_an_error_inside_a_library_is_the_authors(program_engine, iris):
    source = """
from sklearn.linear_model import LogisticRegression

class Classifier(LogisticRegression):
    pass
"""
    result = run_fold(program_engine, iris, {"classifier.py": source}, ["classifier"], [0, 0])

    assert result.failure_kind is FailureKind.SUBMISSION_ERROR
    assert "at least 2 classes" in result.log_messages


def predict_with(expression: str) -> dict[str, str]:
    return {
        "classifier.py": f"""
import numpy as np, pandas as pd, scipy.sparse

class Classifier:
    def fit(self, X, y):
        pass
    def predict_proba(self, X):
        n = len(X)
        return {expression}
"""
    }


THIRDS = "np.full((n, 4), 0.25)"


@pytest.mark.parametrize(
    "expression",
    [
        f"{THIRDS}.tolist()",
        f"pd.DataFrame({THIRDS})",
        f"scipy.sparse.csr_matrix({THIRDS})",
        f"{THIRDS}.astype('float32')",
        f"{THIRDS}.astype('float16')",
        f"np.asfortranarray({THIRDS})",
        f"{THIRDS}.astype('>f8')",
        f"np.ma.masked_array({THIRDS})",
        "np.full((n, 8), 0.25)[:, ::2]",
    ],
)
def test_anything_numeric_is_accepted(program_engine, iris, expression):
    result = run_fold(program_engine, iris, predict_with(expression), ["classifier"], range(50))

    assert_same(result, np.full((105, 4), 0.25), np.full((45, 4), 0.25))


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64"])
def test_whole_numbers_and_booleans_become_floats(program_engine, iris, dtype):
    expression = f"np.ones((n, 1)).astype('{dtype}')"

    result = run_fold(program_engine, iris, predict_with(expression), ["classifier"], range(50))

    assert_same(result, np.ones((105, 1)), np.ones((45, 1)))


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("None", "None"),
        ("np.ones(n)", "two: a row per sample"),
        ("np.ones((n - 1, 3)) / 3", "104 rows instead of 105"),
        ("np.ones((n, 3, 1))", "3 dimensions"),
        ("np.full((n, 3), np.nan)", "315 values of them are NaN or infinite"),
        ("np.full((n, 3), np.inf)", "NaN or infinite"),
        ("np.array([['a']] * n)", "not numbers"),
        ("np.array([[object()]] * n)", "dtype object"),
        ("np.ones((n, 2)) * 1j", "complex"),
        ("[[1], [1, 2]]", "rows of equal length"),
        ("np.ones((n, 0))", "no columns"),
        ("1.0", "single value"),
        ("np.ones((n, 2 if n > 50 else 3)) / 2", "3 columns for the test set, but 2 for the"),
    ],
)
def test_bad_predictions_are_told_with_a_sentence_that_helps(
    program_engine, iris, expression, words
):
    result = run_fold(program_engine, iris, predict_with(expression), ["classifier"], range(50))

    assert result.failure_kind is FailureKind.BAD_PREDICTIONS
    assert words in result.log_messages


def test_odd_probabilities_are_a_warning(program_engine, iris):
    result = run_fold(
        program_engine, iris, predict_with("np.ones((n, 2))"), ["classifier"], range(50)
    )

    assert_tested(result)
    assert "have 2 columns, the data set has 3 classes" in result.log_messages
    assert "105 rows of the predictions do not sum to one" in result.log_messages


@pytest.mark.parametrize("shape", ["(n,)", "(n, 2)"])
def test_a_regressor_may_predict_one_or_more_values_a_row(program_engine, diabetes, shape):
    source = f"""
import numpy as np

class Regressor:
    def fit(self, X, y): pass
    def predict(self, X):
        n = len(X)
        return np.zeros({shape})
"""
    result = run_fold(program_engine, diabetes, {"regressor.py": source}, ["regressor"], [0, 1])

    assert_tested(result)
    assert result.test_predictions.shape == eval(shape, {"n": 133})
    assert result.log_messages == ""


def test_too_few_rows_to_calibrate_is_the_folds_fault(program_engine, iris):
    result = run_fold(
        program_engine,
        iris,
        {"classifier.py": FOREST, "calibrator.py": CALIBRATOR},
        ["classifier", "calibrator"],
        [0, 1, 2],
    )

    assert result.failure_kind is FailureKind.DATA_ERROR


READER = """
from pathlib import Path
import numpy as np

def prepare_data(path):
    lines = (Path(path) / "numbers.txt").read_text().split()
    np.save(Path(path) / "numbers.npy", np.array(lines, dtype=float))

def _get(path, part):
    values = np.load(Path(path) / "numbers.npy")[part]
    return [{"value": value} for value in values], [bool(value > 5) for value in values]

def get_train_data(path):
    return _get(path, slice(0, 8))

def get_test_data(path):
    return _get(path, slice(8, None))
"""
OWN_TRAINING = """
import importlib
import numpy as np

def train_submission(module_path, X, y, train_is):
    assert type(X) is list and type(y) is list and len(y) == 8
    module = importlib.import_module(f"{module_path}.classifier")
    return module.train([X[row]["value"] for row in train_is])

def test_submission(trained, X, test_is):
    return np.array([[trained, X[row]["value"]] for row in test_is])
"""
NUMBERS = {"numbers.txt": b"1 2 3 4 5 6 7 8 9 10"}


def test_a_reader_prepares_and_reads_its_own_data(program_engine, tmp_path):
    parts, value = split_reader(program_engine, tmp_path, READER, NUMBERS)

    assert value == {"n_train": 8, "n_test": 2, "n_prepared": 1}
    assert parts.labels("y_train").load() == [False] * 5 + [True] * 3
    assert parts.labels("y_test").load() == [True, True]


def test_what_a_reader_returns_is_passed_on_unchanged(program_engine, tmp_path):
    parts, _ = split_reader(program_engine, tmp_path, READER, NUMBERS)
    source = """
class Classifier:
    def fit(self, X, y):
        assert X == [{"value": 1.0}, {"value": 8.0}] and y == [False, True], (X, y)
    def predict_proba(self, X):
        return [[0, 1]] * len(X)
"""
    result = run_fold(program_engine, parts, {"classifier.py": source}, ["classifier"], [0, 7])

    assert_same(result, np.array([[0.0, 1.0]] * 8), np.array([[0.0, 1.0]] * 2))


def test_a_reader_may_train_by_itself(program_engine, tmp_path):
    parts, _ = split_reader(program_engine, tmp_path, READER + OWN_TRAINING, NUMBERS)

    result = run_fold(
        program_engine, parts, {"classifier.py": "train = sum"}, ["classifier"], [0, 0, 1]
    )

    assert_tested(result)
    np.testing.assert_array_equal(result.test_predictions, [[4.0, 9.0], [4.0, 10.0]])


@pytest.mark.parametrize(
    ("source", "kind", "words"),
    [
        (
            "def train(values): raise ValueError('mine')",
            "submission_error",
            ["mine", "classifier.py"],
        ),
        ("", "data_error", ["has no attribute 'train'", "specific.py"]),
    ],
)
def test_a_readers_error_is_told_from_the_submissions(
    program_engine, tmp_path, source, kind, words
):
    parts, _ = split_reader(program_engine, tmp_path, READER + OWN_TRAINING, NUMBERS)

    result = run_fold(program_engine, parts, {"classifier.py": source}, ["classifier"], [0])

    assert result.failure_kind == kind
    for word in words:
        assert word in result.log_messages
