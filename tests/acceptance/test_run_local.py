"""`datarun run-local` does what a worker does, to the last bit, and fails as a worker does."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris

from datarun_client import Client, SourceFilesError
from datarun_client.source_files import read_source_files
from datarun_client.states import WorkflowElement
from datarun_worker.config import load_local_settings
from datarun_worker.local import DataSet, LocalMachine, run_submission
from tests.acceptance.conftest import ADMIN
from tests.conftest import numbers

CLASSIFIER = (WorkflowElement.CLASSIFIER,)
DATARUN = Path(sys.executable).with_name("datarun")
FOREST = """
from sklearn.ensemble import RandomForestClassifier

class Classifier:
    def fit(self, X, y):
        self.model = RandomForestClassifier(10, random_state=0).fit(X, y)
    def predict_proba(self, X):
        return self.model.predict_proba(X)
"""
ESTIMATOR = """
from sklearn.ensemble import GradientBoostingRegressor

def get_estimator():
    return GradientBoostingRegressor(n_estimators=20, random_state=0)
"""
READER = """
import numpy as np

def prepare_data(path):
    pass

def get_train_data(path):
    table = np.loadtxt(f"{path}/table.txt")
    return table[:60, :2], table[:60, 2].astype(int)

def get_test_data(path):
    table = np.loadtxt(f"{path}/table.txt")
    return table[60:, :2], table[60:, 2].astype(int)
"""
FAILING = {
    "submission_error": "raise ValueError('the author knows')",
    "bad_predictions": """
class Classifier:
    def fit(self, X, y): pass
    def predict_proba(self, X): return [[0.5, 0.5]]
""",
    "time_limit": "while True: pass",
    "memory_limit": "x = bytearray(1 << 30); x[:] = b'1' * (1 << 30)",
    "forbidden": "import os; open('/etc/datarun-was-here', 'w')",
}


@pytest.fixture
def client(stack):
    with Client(stack.url, ADMIN) as client:
        yield client


@pytest.fixture(scope="module")
def machine():
    """This machine, with as many threads as a worker of the stack has."""
    with LocalMachine(load_local_settings({**os.environ, "DATARUN_THREADS": "1"})) as machine:
        yield machine


def run_local(*words):
    return subprocess.run(
        [DATARUN, "run-local", *map(str, words)], capture_output=True, text=True, timeout=100
    )


def write_submission(site, name, files):
    for file_name, text in files.items():
        path = site.write(f"{name}/{file_name}", text)
    return path.parent


def compare(client, machine, data, data_set, folder):
    """Run a submission here and there, and compare predictions bit for bit."""
    run = client.submit(data, folder, cv=2, priority="H")
    results = [
        result
        for _, result in run_submission(
            machine, data_set, machine.split(data_set), read_source_files(folder), cv=2
        )
    ]

    for result, entry in zip(results, run.wait(60).predictions(), strict=True):
        for name in ("full_train_predictions", "test_predictions"):
            expected, found = getattr(entry, name), getattr(result, name)
            assert expected is not None, entry.log_messages
            assert found.shape == expected.shape
            assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("load", "element", "source"),
    [(load_iris, "classifier", FOREST), (load_diabetes, "estimator", ESTIMATOR)],
    ids=["classifier", "regression by an estimator"],
)
def test_predictions_are_a_workers_bit_for_bit(client, machine, site, load, element, source):
    path = site.write("data.csv", load(as_frame=True).frame.to_csv(index=False))
    data = client.create_raw_data(f"local-{next(numbers)}", path, "target", element)
    client.split_raw_data(data, 0.3)
    folder = write_submission(site, "submission", {f"{element}.py": source})

    compare(
        client,
        machine,
        data,
        DataSet((path,), "target", (WorkflowElement(element),), held_out_test=0.3),
        folder,
    )


def test_a_data_set_with_a_reader_is_read_by_it(client, machine, site):
    rng = np.random.default_rng(0)
    lines = [f"{a} {b} {int(a > 0)}" for a, b in rng.normal(size=(100, 2))]
    files = site.write("table.txt", "\n".join(lines)), site.write("own.py", READER)
    data = client.create_raw_data(f"local-{next(numbers)}", files, "target", "classifier")
    client.split_raw_data(data)
    folder = write_submission(site, "submission", {"classifier.py": FOREST})

    compare(client, machine, data, DataSet(files, "target", CLASSIFIER), folder)


def test_failures_have_a_workers_kinds_and_words(client, machine, site):
    path = site.write("iris.csv", load_iris(as_frame=True).frame.to_csv(index=False))
    # Long enough for what uses its memory up, on a busy machine, too.
    limits = {"time_limit": 6, "memory_limit": 1 << 28}
    data = client.create_raw_data(f"local-{next(numbers)}", path, "target", "classifier", **limits)
    data_set = DataSet((path,), "target", CLASSIFIER, **limits)
    client.split_raw_data(data, 0.2)
    one_fold = [(np.arange(60), np.arange(60, 120))]
    sources = {kind: {"classifier.py": text} for kind, text in FAILING.items()}
    runs = {
        kind: client.submit(data, source, cv=one_fold, priority="H")
        for kind, source in sources.items()
    }

    split = machine.split(data_set)
    found = {
        kind: run_submission(machine, data_set, split, read_source_files(source), one_fold)
        for kind, source in sources.items()
    }

    for kind, outcomes in found.items():
        ((fold, _),) = outcomes
        (expected,) = runs[kind].wait(60).folds()
        assert fold.failure_kind == expected.failure_kind == kind
        if not kind.endswith("limit"):
            assert fold.log_messages == expected.log_messages


def test_the_command_shows_folds_and_score_and_writes_predictions(site):
    path = site.write("iris.csv", load_iris(as_frame=True).frame.to_csv(index=False))
    folder = write_submission(site, "submission", {"classifier.py": FOREST})
    output = site.folder / "predictions.npz"
    words = ("--data", path, "--target", "target", "--workflow", "classifier", "--cv", 2)

    good = run_local(folder, *words, "-o", output)
    write_submission(site, "submission", {"classifier.py": FAILING["submission_error"]})
    bad = run_local(folder, *words)

    assert good.returncode == 0, good.stderr
    assert good.stdout.count("TESTED") == 2
    assert "Mean of 2 folds on the held-out rows: accuracy 0.9" in good.stdout
    with np.load(output, allow_pickle=False) as arrays:
        assert arrays["full_train_predictions_2"].shape == (120, 3)
    assert bad.returncode == 1
    assert "ValueError: the author knows" in bad.stdout


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("--target", "nope", "--workflow", "classifier"), 1, "There is no column 'nope'"),
        (("--target", "y", "--workflow", "classifer"), 1, "is no workflow element"),
        (("--workflow", "classifier"), 2, "--target"),
    ],
)
def test_what_cannot_run_says_why(site, words, status, message):
    path = site.write("data.csv", "x,y\n" + "1,a\n2,b\n" * 10)
    folder = write_submission(site, "submission", {"classifier.py": FOREST})

    local = run_local(folder, "--data", path, *words)

    assert local.returncode == status
    assert message in local.stderr
    assert "Traceback" not in local.stderr


def test_a_data_set_of_several_files_needs_one_reader():
    several = DataSet((Path("a.csv"), Path("b.csv")), "y", CLASSIFIER)
    readers = DataSet((Path("a.py"), Path("b.py")), "y", CLASSIFIER)

    with pytest.raises(SourceFilesError, match="need a reader"):
        several.name_files()
    with pytest.raises(SourceFilesError, match="one reader"):
        readers.name_files()
