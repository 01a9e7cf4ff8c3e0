"""RAMP kits in real sandboxes: any workflow, any files, scores, and whose fault an error is."""

import numpy as np
import pytest
from fold_runs import run_fold, score_kit, split_kit
from sklearn.linear_model import LogisticRegression, Ridge

from datarun_client.states import FailureKind
from datarun_worker.confine import MIB
from datarun_worker.isolation import Isolation
from datarun_worker.memory_files import memory_file
from datarun_worker.sandbox import Engine, Limits, SubmissionFailure

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
        parts, value = split_kit(program_engine, tmp_path, problem, files)
        assert value == {
            "n_train": 10,
            "n_test": 4,
            "metrics": [],
            "n_train_files": 0,
            "n_test_files": 0,
        }
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
    parts, _ = split_kit(program_engine, tmp_path, problem, files)

    result = run_fold(program_engine, parts, {"estimator.py": ""}, ["estimator"], ALL)

    assert result.failure_kind is FailureKind.DATA_ERROR
    assert "KeyError: 'model'" in result.log_messages


def test_a_worker_without_ramp_says_so(program_engine, tmp_path):
    problem = "raise ModuleNotFoundError('No RAMP', name='rampwf')"

    with pytest.raises(SubmissionFailure, match=r"pip install 'datarun\[ramp\]' on every worker"):
        split_kit(program_engine, tmp_path, problem, {})


def test_elements_that_nothing_trains_are_the_data_sets_fault(program_engine, tmp_path):
    """A reader may be called `problem.py`, and then its elements may have any names."""
    problem = PROBLEM.format(predictions=NUMBERS, workflow="Estimator()", form="")
    problem = problem.replace("workflow =", "other =")
    reader = problem + "\ndef prepare_data(path): pass\n"
    files = {"data/train.csv": write_csv(TRAIN), "data/test.csv": write_csv(TEST)}
    parts, _ = split_kit(program_engine, tmp_path, reader, files)

    result = run_fold(program_engine, parts, {"estimator.py": ""}, [], ALL)

    assert result.failure_kind is FailureKind.DATA_ERROR
    assert "has no workflow of its own" in result.log_messages


# Images, as RAMP's own image workflows have them: X is a folder and the names in it.
IMAGES = """
import os
import numpy as np
import pandas as pd
import rampwf as rw
from sizes import SIZE

SHIFT = np.loadtxt("shift.txt")
Predictions = rw.prediction_types.make_regression()
score_types = [rw.score_types.RMSE(name="the error")]

class Workflow:
    element_names = ["look"]
    def train_submission(self, module_path, X, y, train_is):
        look = rw.utils.importing.import_module_from_source(f"{{module_path}}/look.py", "look")
        look.train()
        return look
    def test_submission(self, look, X):
        folder, names = X
        return np.array([look.look(os.path.join(folder, f"{{name}}")) for name in names]) + SHIFT

workflow = Workflow()

def get_train_data(path="."):
    return _read(path, "train.csv")

def get_test_data(path="."):
    return _read(path, "test.csv")

def _read(path, name):
    table = pd.read_csv(os.path.join(path, "data", name))
    return ({X}), table["y"].to_numpy()
"""
FOLDER_AND_NAMES = 'os.path.join(path, "data", "imgs"), table["id"].to_numpy()'
IMAGE_FILES = {
    "external_imports/sizes.py": b"SIZE = 1",
    "shift.txt": b"0.5",
    "data/train.csv": b"id,y\n1,1.5\n2,2.5\n3,3.5",
    "data/test.csv": b"id,y\n3,3.5\n4,4.5",
    "data/imgs/1": b"1",
    "data/imgs/2": b"2",
    "data/imgs/3": b"3",
    "data/imgs/4": b"4",
    "data/imgs/5": b"5",
}
LOOKS = """
from pathlib import Path

def list_files():
    return sorted(str(path) for path in Path().rglob("*") if path.is_file())

def train():
    print("training:", *list_files())

def look(path):
    if path.endswith("4"):
        print("testing:", *list_files())
    return float(Path(path).read_text())
"""


@pytest.mark.parametrize(
    "X",
    [
        FOLDER_AND_NAMES,
        '"data/imgs", table["id"].astype(str).tolist()',
        '".", ("data/imgs/" + table["id"].astype(str))',
        '".", pd.DataFrame({"path": "./data/imgs/" + table["id"].astype(str)})["path"]',
    ],
)
def test_a_submission_gets_the_files_that_x_names_and_those_of_the_test_set_late(
    program_engine, tmp_path, X
):
    parts, value = split_kit(program_engine, tmp_path, IMAGES.format(X=X), IMAGE_FILES)
    assert (value["n_train_files"], value["n_test_files"]) == (3, 1)

    result = run_fold(program_engine, parts, {"look.py": LOOKS}, [], [0, 1])

    assert result.failure_kind is None, result.log_messages
    assert result.full_train_predictions.tolist() == [1.5, 2.5, 3.5]
    assert result.test_predictions.tolist() == [3.5, 4.5]
    early = "data/imgs/1 data/imgs/2 data/imgs/3 {}external_imports/sizes.py shift.txt specific.py"
    assert result.log_messages.splitlines() == [
        f"training: {early.format('')}",
        f"testing: {early.format('data/imgs/4 ')}",
    ]


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (
            IMAGES.format(X=FOLDER_AND_NAMES).replace("shift.txt", "data/imgs/5"),
            "problem.py reads data/imgs/5 when it is imported",
        ),
        (
            IMAGES.format(X=FOLDER_AND_NAMES).replace(
                "    table", "    np.loadtxt('shift.txt')\n    table"
            ),
            "problem.py reads shift.txt when it is imported",
        ),
        (IMAGES.format(X='"data", ["test.csv"] * len(table)'), "X names data/test.csv"),
    ],
)
def test_what_may_hold_labels_of_the_test_set_is_given_to_nobody(
    program_engine, tmp_path, problem, words
):
    with pytest.raises(SubmissionFailure, match=words) as caught:
        split_kit(program_engine, tmp_path, problem, IMAGE_FILES)

    assert caught.value.kind is FailureKind.DATA_ERROR


@pytest.fixture(scope="module")
def confining_engine():
    with Engine(Isolation.FULL) as engine:
        yield engine


def test_a_data_set_for_which_there_is_no_room_is_told_so(confining_engine):
    limits = Limits(time=60, scratch=MIB)

    with (
        memory_file("raw", b"x" * 2 * MIB) as large,
        confining_engine.open_sandbox({}, limits) as sandbox,
        pytest.raises(SubmissionFailure, match="DATARUN_SCRATCH_LIMIT") as caught,
    ):
        sandbox.call("add_files", {}, {"data/large": large})

    assert caught.value.kind is FailureKind.DATA_ERROR


def test_a_submission_that_leaves_no_room_for_the_files_of_the_test_set_is_at_fault(
    confining_engine, tmp_path
):
    fills = """
def train():
    try:
        with open("filler", "wb") as file:
            file.write(b"x" * (2 << 20))
    except OSError:
        pass
def look(path):
    return 1.0
"""
    problem = IMAGES.format(X=FOLDER_AND_NAMES)
    parts, _ = split_kit(confining_engine, tmp_path, problem, IMAGE_FILES)
    limits = Limits(time=60, scratch=MIB)

    result = run_fold(confining_engine, parts, {"look.py": fills}, [], [0, 1], limits)

    assert result.failure_kind is FailureKind.OUTPUT_LIMIT, result.log_messages
    assert "no room for the data set's files" in result.log_messages


NUMBERED = """
import numpy as np
import rampwf as rw

Predictions = rw.prediction_types.make_regression()
workflow = rw.workflows.Regressor()
score_types = [rw.score_types.RMSE(name="root error"), {more}]

def get_train_data(path="."):
    return np.zeros((4, 1)), np.zeros(4)

def get_test_data(path="."):
    return np.zeros((1, 1)), np.ones(1)

class Broken(rw.score_types.BaseScoreType):
    name = "broken"
    def __call__(self, y_true, y_pred):
        {body}
"""
TWO_FOLDS = {
    7: ([2, 3], [0, 1], [4.0, 4, 1, 1], [2.0]),
    8: ([0, 3], [1, 2], [2.0, -2, 0, 2], [0.0]),
}


def make_scored(body):
    """Write a kit with a score type of its own, which is defined first."""
    head, separator, score_type = NUMBERED.format(more="Broken()", body=body).partition("class ")
    before, after = head.split("score_types", 1)
    return f"{before}{separator}{score_type}\nscore_types{after}"


def test_a_kits_score_types_score_folds_and_what_they_predict_together(program_engine, tmp_path):
    problem = NUMBERED.format(more="", body="pass")
    parts, value = split_kit(program_engine, tmp_path, problem, {})
    assert value["metrics"] == ["root error"]

    result = score_kit(program_engine, parts, value["metrics"], TWO_FOLDS)

    assert result.error is None
    assert {name.databoard_sf_id: scores for name, scores in result.folds.items()} == {
        7: {"root error": {"train": 1.0, "validation": 4.0, "test": 1.0}},
        8: {"root error": {"train": 2.0, "validation": 2**0.5, "test": 1.0}},
    }
    # Row 0 has 4, row 1 the mean of 4 and -2, row 2 has 0, and row 3 is in no fold's `test_is`.
    assert result.bagged == {"root error": {"validation": (17 / 3) ** 0.5, "test": 0.0}}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("raise ValueError('too\\nmany')", "broken: ValueError: too"),
        ("return [1, 2]", "broken: TypeError: float() argument must be"),
        ("return float('nan')", None),
    ],
)
def test_a_score_that_is_none_leaves_the_others(program_engine, tmp_path, body, error):
    parts, value = split_kit(program_engine, tmp_path, make_scored(body), {})

    result = score_kit(program_engine, parts, value["metrics"], TWO_FOLDS)

    assert (result.error or "")[:40] == (error or "")[:40]
    for scores in (*result.folds.values(), result.bagged):
        assert set(scores["broken"].values()) == {None}
        assert scores["root error"]["test"] is not None


def test_a_kit_whose_scoring_fails_is_at_fault(program_engine, tmp_path):
    problem = NUMBERED.format(more="", body="pass")
    parts, value = split_kit(program_engine, tmp_path, problem, {})
    three_columns = {7: ([2, 3], [0, 1], np.zeros((4, 3)), np.zeros((1, 3)))}

    with pytest.raises(SubmissionFailure, match="y_pred should be 1D") as caught:
        score_kit(program_engine, parts, value["metrics"], three_columns)

    assert caught.value.kind is FailureKind.DATA_ERROR


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ('score_types = [rw.score_types.RMSE(name="")]', "needs a name of its own"),
        ("score_types = [rw.score_types.RMSE()] * 2", "'rmse' needs a name of its own"),
        ("score_types = [None]", "no attribute 'name'"),
        ("score_types = [rw.score_types.RMSE(name=str(n)) for n in range(51)]", "50 at most"),
        ("del Predictions", "defines no Predictions"),
    ],
)
def test_score_types_that_cannot_be_used_are_told_at_the_split(
    program_engine, tmp_path, change, words
):
    problem = f"{NUMBERED.format(more='', body='pass')}\n{change}\n"

    with pytest.raises(SubmissionFailure, match=words):
        split_kit(program_engine, tmp_path, problem, {})
