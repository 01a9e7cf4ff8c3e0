"""RAMP kits as docs/kits.md shows it, against `ramp-test` on the same kits."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.acceptance import image_kit
from tests.acceptance.conftest import ADMIN

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/kits.md").read_text()
BIN = Path(sys.executable).parent
N_FOLDS = 3


@dataclass(frozen=True)
class Tried:
    """A kit's folder, and what `ramp-test` says of its submission."""

    folder: Path
    folds: list[dict[str, dict[str, float]]]
    bagged: dict[str, dict[str, float]]


@pytest.fixture(scope="module", params=["wine", "diabetes", "digits"])
def kit(request, tmp_path_factory):
    """Copy a kit, since `ramp-test` writes into it, and run that."""
    folder = tmp_path_factory.mktemp("kits") / request.param
    if request.param == "digits":
        image_kit.write_kit(folder)
    else:
        shutil.copytree(ROOT / "examples/kits" / request.param, folder)
    return Tried(folder, *run_ramp_test(folder))


def run_ramp_test(folder):
    """Run RAMP's own command, and read the scores that it saves, to all digits."""
    subprocess.run(
        [BIN / "ramp-test", "--submission", "starting_kit", "--save-output"],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=90,
    )
    output = folder / "submissions/starting_kit/training_output"
    folds = [read_scores(output / f"fold_{number}/scores.csv") for number in range(N_FOLDS)]
    return folds, read_scores(output / "bagged_scores.csv")


def read_scores(path):
    """Read a table of scores by step and score; of a learning curve the last point counts."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    scores = {row.pop("step"): row for row in rows}
    return {
        step: {name: float(text) for name, text in row.items() if name not in ("time", "n_bag")}
        for step, row in scores.items()
    }


def run(words, stack, folder):
    """Run a command in a folder, with an account in the environment."""
    name, password = ADMIN
    result = subprocess.run(
        words,
        cwd=folder,
        # As the stack and `ramp-test` have it: settings of BLAS count in the last digit.
        env={
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(folder),
            "DATARUN_URL": stack.url,
            "DATARUN_USERNAME": name,
            "DATARUN_PASSWORD": password,
        },
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_scores_of_a_kit_are_those_of_ramp_test(stack, kit):
    name, beside = kit.folder.name, kit.folder.parent
    lines = "".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)).splitlines()
    number = None

    for line in lines:
        line = line.replace("wine", name).replace("scores 1", f"scores {number}")
        output = run(["bash", "-c", line], stack, beside)
        if found := re.match(r"Submission (\d+)", output):
            number = found[1]

    scores = json.loads((beside / "scores.json").read_text())
    assert [by_step(found) for found in scores["folds"].values()] == kit.folds
    assert by_step(scores["scores"], "bagged") == kit.bagged


def by_step(scores, name=None):
    """Sort scores by RAMP's words for the parts of the data; those that are none are left out."""
    steps = {}
    for metric, parts in scores.items():
        for part, step in (("train", "train"), ("validation", "valid"), ("test", "test")):
            score = parts[part] if name is None else parts[part][name]
            if score is not None:
                steps.setdefault(step, {})[metric] = score
    return steps


@pytest.mark.parametrize("kit", ["diabetes"], indirect=True)
def test_a_kit_runs_without_a_server(stack, kit):
    name, beside = kit.folder.name, kit.folder.parent
    submission = f"{name}/submissions/starting_kit"

    output = run(["datarun", "run-local", submission, "-o", "local.npz"], stack, beside)

    for step, scores in kit.bagged.items():
        row = ["bagged", step.replace("valid", "validation")]
        assert [*row, *(f"{score:.4f}" for score in scores.values())] in map(
            str.split, output.splitlines()
        )
    saved = beside / submission / "training_output"
    with np.load(beside / "local.npz") as arrays:
        for number in range(N_FOLDS):
            for array, part in (("full_train", "train"), ("test", "test")):
                with np.load(saved / f"fold_{number}/y_pred_{part}.npz") as expected:
                    found = arrays[f"{array}_predictions_{number + 1}"]
                    np.testing.assert_array_equal(found, expected["y_pred"])


@pytest.mark.parametrize("kit", ["wine"], indirect=True)
def test_a_kit_can_be_run_from_python(stack, kit):
    name, beside = kit.folder.name, kit.folder.parent
    metric, score = next(iter(kit.bagged["test"].items()))
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    program = program.replace("wine", name).replace("accuracy", metric)
    run(["datarun", "data", "add-kit", name], stack, beside)

    output = run(
        [sys.executable, "-c", f"url, auth = {stack.url!r}, {ADMIN}\n{program}"], stack, beside
    )

    assert float(output) == score
