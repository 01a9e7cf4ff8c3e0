"""One fold, as every peer carries it out.

pandas and scikit-learn are imported where they are used: a cold worker must find this module cheap.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from datarun_client.codec import pack

TRAIN_FILE = Path("data", "train.csv")
TEST_FILE = Path("data", "test.csv")
SUBMISSION = Path("submissions", "starting_kit")
TARGET = "y"
"""A workload's folder is a kit for `ramp-test` too, so its names are RAMP's."""

PRELOAD = ("pandas", "sklearn.ensemble", "sklearn.linear_model")
"""What a warm process has imported before its first fold."""


class Codec(StrEnum):
    """How predictions are packed; both make zlib streams."""

    ZLIB = "zlib"
    DATARUN = "datarun"

    @property
    def pack(self) -> Callable[[bytes], bytes]:
        """The function that does it."""
        return zlib.compress if self is Codec.ZLIB else pack


@dataclass(frozen=True)
class Inputs:
    """A data set in memory.

    Attributes
    ----------
    X_train : ndarray of shape (n_train, n_features)
    y_train : ndarray of shape (n_train,)
    X_test : ndarray of shape (n_test, n_features)
    """

    X_train: npt.NDArray[Any]
    y_train: npt.NDArray[Any]
    X_test: npt.NDArray[Any]


@dataclass(frozen=True)
class Predictions:
    """What a fold makes: packed float64 of shape (n_samples, n_classes)."""

    full_train: bytes
    test: bytes


def find_fold_file(number: int) -> Path:
    """Name the file, inside a workload's folder, with a fold's train rows."""
    return Path("data", f"fold_{number}.npy")


def load_inputs(folder: Path) -> Inputs:
    """Read a workload's CSV files."""
    import pandas as pd

    train, test = (pd.read_csv(folder / name) for name in (TRAIN_FILE, TEST_FILE))
    X_train, X_test = (part.drop(columns=TARGET).to_numpy() for part in (train, test))
    return Inputs(X_train, train[TARGET].to_numpy(), X_test)


def run_fold(folder: Path, inputs: Inputs, number: int, codec: Codec) -> Predictions:
    """Train and predict one fold.

    Parameters
    ----------
    folder : Path
        The workload's.
    inputs : Inputs
        Its data.
    number : int
        The fold.
    codec : Codec
    """
    train_is = np.load(folder / find_fold_file(number))
    submission = ModuleType("submission")
    path = folder / SUBMISSION / "classifier.py"
    exec(compile(path.read_bytes(), str(path), "exec"), submission.__dict__)
    model = submission.Classifier()
    model.fit(inputs.X_train[train_is], inputs.y_train[train_is])
    full_train, test = (
        np.ascontiguousarray(model.predict_proba(X), np.float64)
        for X in (inputs.X_train, inputs.X_test)
    )
    return Predictions(codec.pack(full_train.tobytes()), codec.pack(test.tobytes()))


def run_job(folder: str, number: int, codec: str) -> tuple[bytes, bytes]:
    """Run one fold that has nothing but the file system, as a task queue's job."""
    path = Path(folder)
    made = run_fold(path, load_inputs(path), number, Codec(codec))
    return made.full_train, made.test


def run_loaded_fold(folder: Path, number: int, codec: Codec) -> Predictions:
    """Run one fold in a process that keeps the data of its last workload."""
    return run_fold(folder, _load_once(folder), number, codec)


@lru_cache(maxsize=1)
def _load_once(folder: Path) -> Inputs:
    return load_inputs(folder)
