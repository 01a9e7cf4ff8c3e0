"""Folds of all kinds through everything: the predictions are scikit-learn's, bit for bit."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit, train_test_split

from datarun_client.codec import decode_predictions, encode_bytes
from tests.acceptance.conftest import ADMIN, Site, call

HELD_OUT = 0.3

CLASSIFIER = """
from sklearn.ensemble import RandomForestClassifier

class Classifier:
    def fit(self, X, y):
        assert type(X).__name__ == "ndarray" and type(y).__name__ == "ndarray"
        self.model = RandomForestClassifier(10, random_state=0).fit(X, y)
    def predict_proba(self, X):
        return self.model.predict_proba(X)
"""
FEATURE_EXTRACTOR = """
class FeatureExtractor:
    def fit(self, X_df, y):
        self.columns = [name for name in X_df.columns if "petal" in name]
    def transform(self, X_df):
        return X_df[self.columns].to_numpy() * 2
"""
CALIBRATOR = """
from sklearn.linear_model import LogisticRegression

class Calibrator:
    def fit(self, proba, y):
        self.model = LogisticRegression().fit(proba, y)
    def predict_proba(self, proba):
        return self.model.predict_proba(proba)
"""
REGRESSOR = """
from sklearn.ensemble import RandomForestRegressor

class Regressor:
    def fit(self, X, y):
        self.model = RandomForestRegressor(10, random_state=0).fit(X, y)
    def predict(self, X):
        return self.model.predict(X)
"""
ESTIMATOR = """
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline

def get_estimator():
    return make_pipeline(RandomForestClassifier(10, random_state=0))
"""


def load_species() -> pd.DataFrame:
    frame = load_iris(as_frame=True).frame
    return frame.assign(target=load_iris().target_names[frame["target"]])


class Experiment:
    """A data set on the stack, and the same split of it in this process."""

    def __init__(self, site: Site, frame: pd.DataFrame, elements: str, cut) -> None:
        self.site = site
        text = frame.to_csv(index=False)
        self.raw_data = site.post_data(elements, site.write("data.csv", text))
        row = site.split(self.raw_data, HELD_OUT)
        whole = pd.read_csv(site.folder / "data.csv")
        train, test = train_test_split(whole, test_size=HELD_OUT, random_state=42)
        assert (row["n_train"], row["n_test"]) == (len(train), len(test))
        self.X_train = train.drop(columns="target").reset_index(drop=True)
        self.y_train = train["target"].to_numpy()
        self.X_test = test.drop(columns="target").reset_index(drop=True)
        self.train_is, self.test_is = cut(len(train))

    def run(self, files):
        return self.site.run(self.raw_data, files, self.train_is, test_is=self.test_is)

    def check(self, fold, predict):
        """Hold a fold's predictions against those of a function of X."""
        assert fold["state"] == "TESTED", fold["log_messages"]
        for name, X in (("full_train", self.X_train), ("test", self.X_test)):
            expected = np.asarray(predict(X), dtype=float)
            found = decode_predictions(fold[f"{name}_predictions"], expected.shape)
            np.testing.assert_array_equal(found, expected)


@pytest.fixture
def make_experiment(site, folds):
    return lambda frame, elements: Experiment(site, frame, elements, folds)


def test_a_classifier(make_experiment):
    experiment = make_experiment(load_species(), "classifier")

    fold = experiment.run({"classifier.py": CLASSIFIER})

    train_is = experiment.train_is
    model = RandomForestClassifier(10, random_state=0)
    model.fit(experiment.X_train.to_numpy()[train_is], experiment.y_train[train_is])
    experiment.check(fold, lambda X: model.predict_proba(X.to_numpy()))


def test_a_feature_extractor_and_a_classifier(make_experiment):
    experiment = make_experiment(load_species(), "feature_extractor, classifier")

    files = {"feature_extractor.py": FEATURE_EXTRACTOR, "classifier.py": CLASSIFIER}
    fold = experiment.run(files)

    def extract(X):
        return X[["petal length (cm)", "petal width (cm)"]].to_numpy() * 2

    train_is = experiment.train_is
    model = RandomForestClassifier(10, random_state=0)
    model.fit(extract(experiment.X_train.iloc[train_is]), experiment.y_train[train_is])
    experiment.check(fold, lambda X: model.predict_proba(extract(X)))


def test_a_calibrator_is_trained_on_a_stratified_tenth(make_experiment):
    experiment = make_experiment(load_species(), "classifier, calibrator")

    fold = experiment.run({"classifier.py": CLASSIFIER, "calibrator.py": CALIBRATOR})

    X = experiment.X_train.to_numpy()[experiment.train_is]
    y = experiment.y_train[experiment.train_is]
    splitter = StratifiedShuffleSplit(n_splits=1, test_size=0.1, random_state=57)
    ((fit_is, calibrate_is),) = splitter.split(X, y)
    model = RandomForestClassifier(10, random_state=0).fit(X[fit_is], y[fit_is])
    calibrator = LogisticRegression().fit(model.predict_proba(X[calibrate_is]), y[calibrate_is])
    experiment.check(fold, lambda X: calibrator.predict_proba(model.predict_proba(X.to_numpy())))


def test_a_regressor(make_experiment):
    experiment = make_experiment(load_diabetes(as_frame=True).frame, "regressor")

    fold = experiment.run({"regressor.py": REGRESSOR})

    train_is = experiment.train_is
    model = RandomForestRegressor(10, random_state=0)
    model.fit(experiment.X_train.to_numpy()[train_is], experiment.y_train[train_is])
    experiment.check(fold, lambda X: model.predict(X.to_numpy()))


def test_an_estimator_gets_a_data_frame(make_experiment):
    experiment = make_experiment(load_species(), "estimator")

    fold = experiment.run({"estimator.py": ESTIMATOR})

    train_is = experiment.train_is
    model = RandomForestClassifier(10, random_state=0)
    model.fit(experiment.X_train.iloc[train_is], experiment.y_train[train_is])
    experiment.check(fold, model.predict_proba)


def test_a_bootstrap_fold_repeats_rows(make_experiment):
    experiment = make_experiment(load_species(), "classifier")
    experiment.train_is = np.random.default_rng(1).integers(0, 105, 105)

    fold = experiment.run({"classifier.py": CLASSIFIER})

    model = RandomForestClassifier(10, random_state=0)
    model.fit(
        experiment.X_train.to_numpy()[experiment.train_is],
        experiment.y_train[experiment.train_is],
    )
    experiment.check(fold, lambda X: model.predict_proba(X.to_numpy()))


READER = """
import csv
import random

def prepare_data(path):
    with open(f"{path}/numbers.txt") as file:
        rows = [line.split() for line in file]
    random.Random(3).shuffle(rows)
    for name, part in (("train", rows[:30]), ("test", rows[30:])):
        with open(f"{path}/{name}.csv", "w", newline="") as file:
            csv.writer(file).writerows(part)

def read(path):
    with open(path) as file:
        rows = [[float(cell) for cell in row] for row in csv.reader(file)]
    return [row[:-1] for row in rows], [row[-1] for row in rows]

def get_train_data(path):
    return read(f"{path}/train.csv")

def get_test_data(path):
    return read(f"{path}/test.csv")
"""
OWN_TRAINING = """
def train_submission(module_path, X, y, train_is):
    import importlib
    model = importlib.import_module(module_path + ".model")
    return model.fit([X[i] for i in train_is], [y[i] for i in train_is])

def test_submission(trained, X, test_is):
    return [trained * sum(X[i]) for i in test_is]
"""
MODEL = """
def fit(X, y):
    return sum(y) / sum(map(sum, X))
"""


def test_a_data_set_with_its_own_reader_and_training(site):
    lines = "".join(f"{i} {i * i} {i + i * i}\n" for i in range(1, 41))
    data = site.write("numbers.txt", lines)
    reader = site.write("my_reader.py", READER + OWN_TRAINING)
    raw_data = site.post_data("regressor", data, reader)

    row = site.split_custom(raw_data)
    fold = site.run(raw_data, {"model.py": MODEL}, np.arange(20), test_is=np.arange(20, 30))

    assert (row["split_state"], row["n_train"], row["n_test"]) == ("DONE", 30, 10)
    assert fold["state"] == "TESTED", fold["log_messages"]
    # The model is exact: y is the sum of x, so the factor is 1 and all 40 sums come back.
    found = np.concatenate(
        [
            decode_predictions(fold["full_train_predictions"], (30,)),
            decode_predictions(fold["test_predictions"], (10,)),
        ]
    )
    np.testing.assert_array_equal(np.sort(found), [i + i * i for i in range(1, 41)])


def test_a_reader_that_fails_is_the_data_sets_fault(site):
    data = site.write("numbers.txt", "1 2 3\n")
    reader = site.write("reader.py", "def prepare_data(path):\n    raise ValueError('no luck')\n")
    raw_data = site.post_data("regressor", data, reader)

    row = site.split_custom(raw_data)
    fold = site.run(raw_data, {"regressor.py": REGRESSOR}, np.arange(5))

    assert row["split_state"] == "ERROR"
    assert "no luck" in row["split_error"]
    assert (fold["state"], fold["failure_kind"]) == ("ERROR", "data_error")


def test_a_csv_without_its_target_is_the_data_sets_fault(site):
    raw_data = site.post_data("classifier", site.write("d.csv", "a,b\n1,2\n3,4\n5,6\n"))

    row = site.split(raw_data)

    assert row["split_state"] == "ERROR"
    assert "target" in row["split_error"]


@pytest.fixture(scope="module")
def small(stack, tmp_path_factory):
    """One small data set for submissions that fail."""
    site = Site(stack.url, ADMIN, tmp_path_factory.mktemp("small"))
    text = load_species().to_csv(index=False)
    raw_data = site.post_data("classifier", site.write("iris.csv", text))
    site.split(raw_data)
    return raw_data


def make_classifier(fit="pass", predict="return np.full((len(X), 3), 1 / 3)"):
    return (
        "import numpy as np\n"
        "class Classifier:\n"
        f"    def fit(self, X, y):\n        {fit}\n"
        f"    def predict_proba(self, X):\n        {predict}\n"
    )


@pytest.mark.parametrize(
    ("files", "kind", "words"),
    [
        ({"classifier.py": make_classifier("1 / 0")}, "submission_error", ["ZeroDivisionError"]),
        ({"classifier.py": "import nothing_like_it"}, "submission_error", ["nothing_like_it"]),
        ({"classifier.py": "def broken(:"}, "submission_error", ["SyntaxError"]),
        ({"other.py": ""}, "submission_error", ["classifier"]),
        (
            {"classifier.py": make_classifier("import os; os._exit(0)")},
            "submission_error",
            ["without a result"],
        ),
        (
            {"classifier.py": make_classifier(predict="return np.zeros((len(X) + 1, 3))")},
            "bad_predictions",
            ["106 rows instead of 105"],
        ),
        (
            {"classifier.py": make_classifier(predict="return np.full((len(X), 3), np.nan)")},
            "bad_predictions",
            ["finite"],
        ),
        (
            {"classifier.py": make_classifier(predict="return ['a'] * len(X)")},
            "bad_predictions",
            [],
        ),
    ],
)
def test_a_submission_that_fails_is_told_why(site, small, files, kind, words):
    fold = site.run(small, files, np.arange(60), test_is=np.arange(60, 105))

    assert (fold["state"], fold["failure_kind"]) == ("ERROR", kind), fold["log_messages"]
    for word in words:
        assert word in fold["log_messages"]
    assert "site-packages" not in fold["log_messages"]
    assert "datarun_worker" not in fold["log_messages"]


def test_what_a_submission_prints_is_its_log(site, small):
    source = make_classifier(
        "print('fitting', len(X))", "print('é'); return np.ones((len(X), 3)) / 3"
    )

    fold = site.run(small, {"classifier.py": source}, np.arange(60))

    assert fold["state"] == "TESTED"
    assert fold["log_messages"].splitlines() == ["fitting 60", "é", "é"]


def test_a_time_limit_of_the_data_set_ends_a_fold(site):
    text = load_species().to_csv(index=False)
    payload = {
        "name": "hasty",
        "target_column": "target",
        "workflow_elements": "classifier",
        "time_limit": 2,
    }
    payload["files"] = {"iris.csv": encode_bytes(text.encode())}
    raw_data = call(site, "POST", "rawdata/", json=payload).json()["id"]
    site.split(raw_data)

    fold = site.run(raw_data, {"classifier.py": make_classifier("while True: pass")}, np.arange(60))

    assert (fold["state"], fold["failure_kind"]) == ("ERROR", "time_limit")
    assert "2" in fold["log_messages"]
