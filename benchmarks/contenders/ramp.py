"""RAMP's own ``ramp-test`` (PyPI: ramp-workflow) on a kit of the same files."""

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import numpy as np

from benchmarks.contenders.contender import Contender, Run
from benchmarks.fold_work import SUBMISSION, Predictions
from benchmarks.site import BIN, DEADLINE, N_WORKERS, BenchError
from benchmarks.workloads import Kit

PROBLEM = '''\
"""A kit whose folds are those that BENCH_FOLDS lists."""

import os

import numpy as np
import pandas as pd
import rampwf

problem_title = "benchmark"
Predictions = rampwf.prediction_types.make_multiclass(label_names=list(range({n_classes})))
workflow = rampwf.workflows.Classifier()
score_types = [rampwf.score_types.Accuracy(name="accuracy")]


def get_cv(X, y):
    for number in os.environ["BENCH_FOLDS"].split(","):
        train_is = np.load(os.path.join("data", f"fold_{{number}}.npy"))
        yield train_is, np.setdiff1d(np.arange(len(y)), train_is)


def get_train_data(path="."):
    return _read(path, "train.csv")


def get_test_data(path="."):
    return _read(path, "test.csv")


def _read(path, name):
    table = pd.read_csv(os.path.join(path, "data", name))
    return table.drop(columns="y").to_numpy(), table["y"].to_numpy()
'''


class RampFoldAProcess(Contender):
    """A ``ramp-test`` process for each fold, two at a time."""

    key = "ramp"
    title = "ramp-test, a process a fold"
    is_slow = True
    needs = "rampwf"
    folds_a_process: ClassVar[int] = 1

    def prepare(self, kit: Kit) -> None:
        """Warm nothing up: each process is new."""

    def run(self, kit: Kit, numbers: Sequence[int]) -> Run:
        """Run the processes and read what they saved."""
        size = self.folds_a_process
        parts = [numbers[first : first + size] for first in range(0, len(numbers), size)]
        lanes = [_make_lane(kit, place) for place in range(len(parts))]
        start = time.perf_counter()
        with ThreadPoolExecutor(N_WORKERS) as pool:
            list(pool.map(_test, lanes, parts))
        seconds = time.perf_counter() - start
        made = {
            number: self._read(lane / SUBMISSION / "training_output" / f"fold_{place}")
            for lane, part in zip(lanes, parts, strict=True)
            for place, number in enumerate(part)
        }
        return Run(seconds, made)

    def _read(self, output: Path) -> Predictions:
        full_train, test = (
            np.load(output / f"y_pred_{part}.npz")["y_pred"] for part in ("train", "test")
        )
        return Predictions(self.codec.pack(full_train.tobytes()), self.codec.pack(test.tobytes()))


class RampTenFolds(RampFoldAProcess):
    """A ``ramp-test`` process for ten folds, two at a time: as RAMP is used."""

    key = "ramp_ten"
    title = "ramp-test, ten folds a process"
    folds_a_process = 10


def _make_lane(kit: Kit, place: int) -> Path:
    """Give a process a kit of its own, since it writes beside the submission."""
    lane = kit.folder / "lanes" / str(place)
    shutil.rmtree(lane, ignore_errors=True)
    shutil.copytree(kit.folder / SUBMISSION, lane / SUBMISSION)
    (lane / "data").symlink_to(kit.folder / "data")
    (lane / "problem.py").write_text(PROBLEM.format(n_classes=kit.n_classes))
    return lane


def _test(lane: Path, numbers: Sequence[int]) -> None:
    """Run one process.

    Raises
    ------
    BenchError
        If it doesn't end well.
    """
    done = subprocess.run(
        [BIN / "ramp-test", "--submission", SUBMISSION.name, "--save-output", "--ignore-warning"],
        cwd=lane,
        env={**os.environ, "BENCH_FOLDS": ",".join(map(str, numbers))},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=DEADLINE,
    )
    if done.returncode:
        raise BenchError(f"ramp-test failed:\n{done.stderr}")
