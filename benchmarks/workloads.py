"""The workloads W0 to W4: their data, their submissions, and how fast datarun should be on them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_iris
from sklearn.model_selection import ShuffleSplit, train_test_split

from benchmarks.fold_work import SUBMISSION, TARGET, TEST_FILE, TRAIN_FILE, find_fold_file

HELD_OUT = 0.3
SPLIT_SEED = 42
"""The API's split, made here once more for the peers."""

FOLD_TRAIN = 0.75

NO_OP = """\
import numpy as np
from sklearn.base import BaseEstimator


class Classifier(BaseEstimator):
    def fit(self, X, y):
        return self

    def predict_proba(self, X):
        return np.full((len(X), {n_classes}), 1 / {n_classes})
"""

FOREST = """\
from sklearn.ensemble import RandomForestClassifier


class Classifier(RandomForestClassifier):
    def __init__(self):
        super().__init__(n_estimators={n_trees}, random_state=0)
"""

LINEAR = """\
from sklearn.linear_model import LogisticRegression


class Classifier(LogisticRegression):
    def __init__(self):
        super().__init__()
"""


@dataclass(frozen=True)
class Workload:
    """A data set, a submission and a number of folds.

    Attributes
    ----------
    name, title : str
    make_table : callable
        Makes the data set; the target's column is called ``y``.
    source : str
        The submission's ``classifier.py``.
    n_folds, n_quick_folds : int
        How many a run has; the shorter a fold, the more. How a run begins and how it ends
        shouldn't count for much, as it doesn't when a platform posts its folds by the hundred.
    target, moonshot : float
        What datarun should reach: a ratio to the limit, or milliseconds if `is_no_op`.
    is_no_op : bool
        Its folds do nothing, so that time itself is what counts.
    has_large_predictions : bool
        Packing them takes a good part of a fold.
    """

    name: str
    title: str
    make_table: Callable[[], pd.DataFrame]
    source: str
    n_folds: int
    n_quick_folds: int
    target: float
    moonshot: float
    is_no_op: bool = False
    has_large_predictions: bool = False


@dataclass(frozen=True)
class Kit:
    """A workload on disk.

    Attributes
    ----------
    folder : Path
        As `fold_work` and `ramp-test` want it.
    csv : bytes
        The whole data set.
    n_train, n_test, n_classes : int
    n_folds : int
        How many folds a run has.
    """

    workload: Workload
    folder: Path
    csv: bytes
    n_train: int
    n_test: int
    n_classes: int
    n_folds: int

    @cached_property
    def folds(self) -> list[np.ndarray]:
        """The train rows of each fold."""
        return [np.load(self.folder / find_fold_file(number)) for number in range(self.n_folds)]


def make_iris() -> pd.DataFrame:
    """Make the iris data set."""
    return load_iris(as_frame=True).frame.rename(columns={"target": TARGET})


def make_large_table() -> pd.DataFrame:
    """Make 100,000 rows of 50 numbers; the label depends on five of them, with noise."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100_000, 50)).round(4)
    table = pd.DataFrame(X, columns=[f"x{column}" for column in range(X.shape[1])])
    table[TARGET] = (X[:, :5].sum(axis=1) + rng.normal(size=len(X)) > 0).astype(int)
    return table


WORKLOADS = (
    Workload("W0", "no-op", make_iris, NO_OP.format(n_classes=3), 200, 40, 30, 15, is_no_op=True),
    Workload(
        "W1", "iris, forest of 10 (10 ms)", make_iris, FOREST.format(n_trees=10), 200, 40, 2.5, 1.8
    ),
    Workload(
        "W2",
        "iris, forest of 90 (65 ms)",
        make_iris,
        FOREST.format(n_trees=90),
        120,
        24,
        1.25,
        1.12,
    ),
    Workload(
        "W3",
        "iris, forest of 830 (600 ms)",
        make_iris,
        FOREST.format(n_trees=830),
        40,
        8,
        1.05,
        1.02,
    ),
    Workload(
        "W4",
        "100,000 x 50 CSV, linear model (100 ms)",
        make_large_table,
        LINEAR,
        40,
        12,
        1.25,
        1.1,
        has_large_predictions=True,
    ),
)


def write_kit(workload: Workload, folder: Path, n_folds: int) -> Kit:
    """Write a workload's files.

    Parameters
    ----------
    workload : Workload
    folder : Path
        Made by this.
    n_folds : int
        How many folds a run has.
    """
    table = workload.make_table()
    csv = table.to_csv(index=False).encode()
    header, *lines = csv.splitlines(keepends=True)
    # The rows of the text itself are split: numbers written anew might differ in their last bit.
    parts = train_test_split(np.arange(len(table)), test_size=HELD_OUT, random_state=SPLIT_SEED)
    for name, rows in zip((TRAIN_FILE, TEST_FILE), parts, strict=True):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(header + b"".join(lines[row] for row in rows))
    n_train, n_test = map(len, parts)
    splitter = ShuffleSplit(n_folds, train_size=FOLD_TRAIN, random_state=57)
    for number, (train_is, _) in enumerate(splitter.split(np.empty(n_train))):
        np.save(folder / find_fold_file(number), train_is.astype(np.int64))
    submission = folder / SUBMISSION
    submission.mkdir(parents=True)
    (submission / "classifier.py").write_text(workload.source)
    n_classes = table[TARGET].nunique()
    return Kit(workload, folder, csv, n_train, n_test, n_classes, n_folds)
