"""From a cross-validation to the rows of its folds, without scikit-learn."""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from datarun_client.errors import SplitterError

Rows = npt.NDArray[np.int64]


@runtime_checkable
class Splitter(Protocol):
    """What scikit-learn's cross-validators can do."""

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterable[tuple[Any, Any]]:
        """Give train and test rows, fold by fold."""


CrossValidation = int | Splitter | Iterable[tuple[npt.ArrayLike, npt.ArrayLike]]
"""A number of folds, a splitter of scikit-learn, or pairs of train and test rows."""


class ShuffledKFold:
    """Folds of equal size in a random order.

    Gives the same rows as scikit-learn's ``KFold(n_splits, shuffle=True, random_state=42)``.

    Parameters
    ----------
    n_splits : int
        From 2 to the number of rows.
    random_state : int, optional
    """

    def __init__(self, n_splits: int, random_state: int = 42) -> None:
        self.n_splits = n_splits
        self.random_state = random_state

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[Rows, Rows]]:
        """Give train and test rows, fold by fold.

        Raises
        ------
        SplitterError
            If there are fewer rows than folds, or less than two folds.
        """
        rows = np.arange(len(X))
        if not 2 <= self.n_splits <= len(rows):
            raise SplitterError(
                f"{self.n_splits} folds can't be made of {len(rows)} rows; choose 2 to {len(rows)}."
            )
        shuffled = rows.copy()
        np.random.RandomState(self.random_state).shuffle(shuffled)
        for test in np.array_split(shuffled, self.n_splits):
            is_test = np.zeros(len(rows), dtype=bool)
            is_test[test] = True
            yield rows[~is_test], rows[is_test]


def make_folds(
    cv: CrossValidation, n_samples: int, y: npt.ArrayLike | None = None, groups: Any = None
) -> list[tuple[Rows, Rows]]:
    """Make the folds of a cross-validation.

    Parameters
    ----------
    cv : int, splitter or iterable of pairs
        A number of folds (`ShuffledKFold`), anything with scikit-learn's ``split``, or pairs of
        train and test rows.
    n_samples : int
        Rows of the data set's train part.
    y, groups : array-like of shape (n_samples,), optional
        What some splitters need.

    Returns
    -------
    list of tuple of ndarray of int64

    Raises
    ------
    SplitterError
        If there is no fold, or a fold has no train rows or ones that there aren't.
    """
    if isinstance(cv, int):
        cv = ShuffledKFold(cv)
    try:
        # Splitters only look at the length of X.
        pairs = cv.split(np.zeros((n_samples, 1)), y, groups) if isinstance(cv, Splitter) else cv
        folds = [
            (_read_rows(train, n_samples), _read_rows(test, n_samples)) for train, test in pairs
        ]
    except (ValueError, TypeError) as error:
        raise SplitterError(f"{cv!r} gives no folds: {error}") from error
    if not folds:
        raise SplitterError(f"{cv!r} gives no folds.")
    for number, (train, test) in enumerate(folds):
        rows = np.concatenate([train, test])
        if not train.size:
            raise SplitterError(f"Fold {number} has no train rows.")
        if rows.min() < 0 or rows.max() >= n_samples:
            raise SplitterError(
                f"Fold {number} names rows {rows.min()} to {rows.max()}; "
                f"the train part has rows 0 to {n_samples - 1}."
            )
    return folds


def _read_rows(rows: npt.ArrayLike | slice, n_samples: int) -> Rows:
    if isinstance(rows, slice):
        return np.arange(n_samples)[rows]
    array = np.asarray(rows)
    if array.dtype == bool:
        array = np.flatnonzero(array)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise SplitterError(f"Rows are whole numbers, not {array.dtype} of shape {array.shape}.")
    return array.astype(np.int64)
