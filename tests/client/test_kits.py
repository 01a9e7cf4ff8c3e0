"""Kits as whoever has their folder uses them."""

import sys

import numpy as np
import pytest
from click.testing import CliRunner

from datarun_client import Kit, KitError, MissingExtraError, SplitterError
from datarun_client.cli import datarun
from datarun_client.exit_codes import ExitCode

PROBLEM = """
from pathlib import Path

class workflow:
    element_names = ["estimator", "external_data.csv"]

def get_cv(X, y):
    yield [0, 1], [2]
    yield [True, False, True], [False, True, False]

def get_train_data(path="."):
    return Path(path, "data/train.txt").read_text().split(), [1, 2, 3]
"""


@pytest.fixture
def make_kit(tmp_path):
    def make(problem=PROBLEM):
        submission = tmp_path / "numbers/submissions/first"
        (submission / "training_output").mkdir(parents=True)
        (submission / "training_output/state.txt").write_text("trained")
        (submission / "estimator.py").write_text("")
        (tmp_path / "numbers/data").mkdir()
        (tmp_path / "numbers/data/train.txt").write_text("a b c")
        (tmp_path / "numbers/problem.py").write_text(problem)
        (tmp_path / "numbers/tools.py").write_text("LABELS = [1, 2, 3]")
        (tmp_path / "numbers/external_imports/more").mkdir(parents=True)
        (tmp_path / "numbers/external_imports/more/sizes.py").write_text("SIZE = 3")
        (tmp_path / "numbers/notebook.ipynb").write_text("{}")
        return Kit(tmp_path / "numbers")

    return make


def test_a_kit_says_what_the_server_needs_of_it(make_kit):
    kit = make_kit()

    assert (kit.name, kit.target_column) == ("numbers", "y")
    assert kit.workflow_elements == "estimator, external_data.csv"
    assert kit.list_files() == {
        "problem.py": kit.folder / "problem.py",
        "data/train.txt": kit.folder / "data/train.txt",
        "external_imports/more/sizes.py": kit.folder / "external_imports/more/sizes.py",
        "tools.py": kit.folder / "tools.py",
    }


def test_the_target_is_called_as_the_kit_calls_it(make_kit):
    assert make_kit("_target_column_name = 'price'").target_column == "price"


def test_folds_are_those_of_the_kit(make_kit):
    folds = make_kit().make_folds()

    expected = [([0, 1], [2]), ([0, 2], [1])]
    for fold, rows in zip(folds, expected, strict=True):
        for found, wanted in zip(fold, rows, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_the_data_may_come_from_another_folder(make_kit, tmp_path):
    (tmp_path / "hidden/data").mkdir(parents=True)
    (tmp_path / "hidden/data/train.txt").write_text("a b c d")
    folder = make_kit().folder

    kit = Kit(folder, tmp_path / "hidden")

    assert kit.list_files()["data/train.txt"] == tmp_path / "hidden/data/train.txt"
    assert kit.call(lambda problem: problem.get_train_data(kit.data_folder))[0] == list("abcd")
    assert len(kit.make_folds()) == 2
    with pytest.raises(KitError, match="has no data"):
        Kit(folder, tmp_path)


def test_a_kit_runs_in_its_own_folder_with_what_it_imports_from_there(make_kit, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    head = """
from pathlib import Path
from more.sizes import SIZE

assert SIZE == len(Path("data/train.txt").read_text().split())
"""

    folds = make_kit(head + PROBLEM.replace("yield [0, 1], [2]", "yield slice(2), slice(2, None)"))

    assert [rows.tolist() for rows in folds.make_folds()[0]] == [[0, 1], [2]]


def test_a_submission_is_found_in_its_kit_without_what_ramp_left_in_it(make_kit, tmp_path):
    kit = make_kit()
    folder = kit.folder / "submissions/first"

    assert Kit.find(folder).folder == kit.folder
    assert kit.read_submission(folder) == {"estimator.py": b""}
    assert Kit.find(tmp_path / "submissions/first") is None
    assert Kit.find(tmp_path) is None


def test_a_folder_that_is_no_kit_is_refused(tmp_path):
    with pytest.raises(KitError, match=r"no problem\.py"):
        Kit(tmp_path)


@pytest.mark.parametrize(
    ("problem", "error", "message"),
    [
        ("import rampwf_that_is_not_there", KitError, "No module named 'rampwf_that"),
        ("1 / 0", KitError, "ZeroDivisionError"),
        ("", KitError, "no attribute 'get_train_data'"),
        (PROBLEM.replace("[2]", "[3]"), SplitterError, "rows 0 to 3"),
        (
            "raise ModuleNotFoundError('No RAMP', name='rampwf')",
            MissingExtraError,
            r"datarun\[ramp\]",
        ),
    ],
)
def test_what_is_wrong_with_a_kit_is_told(make_kit, problem, error, message):
    kit = make_kit(problem)

    with pytest.raises(error, match=message):
        kit.make_folds()


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["data", "add-kit", "."], ExitCode.FAILED, "no RAMP kit: it has no problem.py"),
        (["score", "1"], ExitCode.USAGE, "Missing option '--data'"),
        (["score", "1", "--data", "wine"], ExitCode.USAGE, "Missing option '--file'"),
    ],
)
def test_a_wrong_command_line_is_told_before_anything_is_asked(
    tmp_path, monkeypatch, words, status, message
):
    monkeypatch.chdir(tmp_path)

    result = CliRunner().invoke(datarun, words)

    assert result.exit_code == status
    assert message in " ".join(result.output.split())
