"""Predictions: what is accepted of a submission, and what is not.

A submission may return anything that holds numbers. In the sandbox it is converted to float64
in C order; outside, where nothing of the sandbox is believed, it is checked.
"""

import os
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from datarun_client.states import FailureKind
from datarun_worker.errors import ProgramError

Predictions = npt.NDArray[np.float64]

SUM_TOLERANCE = 1e-3
"""How far from one a row of probabilities may be without a warning; float32 is within it."""

MAX_DIMENSIONS = 8

_NUMERIC_KINDS = "biuf"


def convert_predictions(value: Any) -> Predictions:
    """Convert what a submission returned; in the sandbox.

    Parameters
    ----------
    value : array-like, sparse matrix, DataFrame or Series of numbers or booleans

    Returns
    -------
    ndarray of float64, C order

    Raises
    ------
    ProgramError
        `bad_predictions`, if it holds anything else.
    """
    if value is None:
        raise _refuse("They are None; does the method return them?")
    if hasattr(value, "toarray"):
        value = value.toarray()
    elif hasattr(value, "to_numpy"):
        value = value.to_numpy()
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise _refuse(f"They make no array ({error}); return rows of equal length.") from error
    if array.dtype.kind not in _NUMERIC_KINDS:
        raise _refuse(
            f"They are of dtype {array.dtype}, not numbers; return floats, such as "
            "probabilities and not names of classes."
        )
    return np.ascontiguousarray(array, dtype=np.float64).reshape(array.shape)


def write_predictions(descriptor: int, predictions: Predictions) -> dict[str, Any]:
    """Write predictions into an output file as raw bytes, and describe them; in the sandbox."""
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(predictions.reshape(-1).view(np.uint8).data)
    return {"shape": list(predictions.shape), "dtype": "float64"}


def read_predictions(
    descriptor: int, description: Mapping[str, Any], max_bytes: int
) -> Predictions:
    """Read predictions that a sandbox wrote, believing nothing; outside the sandbox.

    Parameters
    ----------
    descriptor : int
        The output file.
    description : mapping
        The sandbox's claim of their shape.
    max_bytes : int
        How many bytes they may have.

    Raises
    ------
    ProgramError
        `bad_predictions`, if claim and file don't agree; `output_limit`, if they are too large.
    """
    shape = description.get("shape")
    if (
        not isinstance(shape, list)
        or not all(type(n) is int and 0 <= n <= max_bytes for n in shape)
        or len(shape) > MAX_DIMENSIONS
        or description.get("dtype") != "float64"
    ):
        raise _refuse("They were not handed over in the agreed form.")
    # An empty array's other dimensions are bounded, too: NumPy makes none of any size.
    if 0 in shape and prod(n or 1 for n in shape) * 8 > max_bytes:
        raise _refuse("They were not handed over in the agreed form.")
    n_bytes = prod(shape) * 8
    if n_bytes > max_bytes:
        raise ProgramError(
            FailureKind.OUTPUT_LIMIT, f"Predictions of {n_bytes} bytes; the limit is {max_bytes}."
        )
    if os.fstat(descriptor).st_size != n_bytes:
        raise _refuse("They were not handed over in the agreed form.")
    values = np.empty(shape, dtype=np.float64)
    with os.fdopen(os.dup(descriptor), "rb", buffering=0) as file:
        file.seek(0)
        view = values.reshape(-1).view(np.uint8).data
        n_read = 0
        # One read gives at most two gigabytes.
        while n_read < n_bytes and (n := file.readinto(view[n_read:])):
            n_read += n
    if n_read != n_bytes:
        raise _refuse("They were not handed over in the agreed form.")
    return values


def check_predictions(
    predictions: Predictions, n_rows: int, is_classifier: bool, n_columns: int | None = None
) -> None:
    """Check predictions; outside the sandbox.

    Parameters
    ----------
    predictions : ndarray of float64
    n_rows : int
        How many rows there must be.
    is_classifier : bool
        Whether there must be a column per class.
    n_columns : int, optional
        How many columns the predictions of the train set have (1 if they have one dimension).

    Raises
    ------
    ProgramError
        `bad_predictions`, with a sentence that helps.
    """
    if predictions.ndim == 0:
        raise _refuse(f"They are a single value instead of {n_rows} rows.")
    if len(predictions) != n_rows:
        raise _refuse(f"{len(predictions)} rows instead of {n_rows}.")
    if is_classifier and predictions.ndim != 2:
        raise _refuse(
            f"They have {_count(predictions.ndim, 'dimension')}; a classifier's predictions have "
            "two: a row per sample and a column per class."
        )
    if predictions.ndim > 2:
        raise _refuse(f"They have {predictions.ndim} dimensions; return one or two.")
    if predictions.ndim == 2 and predictions.shape[1] == 0:
        raise _refuse("They have no columns.")
    if n_columns is not None and count_columns(predictions) != n_columns:
        raise _refuse(
            f"{_count(count_columns(predictions), 'column')} for the test set, but "
            f"{n_columns} for the train set."
        )
    n_bad = predictions.size - int(np.count_nonzero(np.isfinite(predictions)))
    if n_bad:
        raise _refuse(f"{_count(n_bad, 'value')} of them are NaN or infinite.")


def find_oddities(predictions: Predictions, n_classes: int | None) -> list[str]:
    """Find what is allowed but seldom meant in a classifier's predictions.

    Parameters
    ----------
    predictions : ndarray of float64 of shape (n_samples, n_columns)
    n_classes : int or None
        How many classes the data set has; None if that isn't known.

    Returns
    -------
    list of str
        A sentence each.
    """
    oddities = []
    if n_classes is not None and predictions.shape[1] != n_classes:
        oddities.append(
            f"the predictions have {_count(predictions.shape[1], 'column')}, "
            f"the data set has {n_classes} classes"
        )
    n_off = int(np.count_nonzero(np.abs(predictions.sum(axis=1) - 1) > SUM_TOLERANCE))
    if n_off:
        oddities.append(f"{_count(n_off, 'row')} of the predictions do not sum to one")
    return oddities


def count_columns(predictions: Predictions) -> int:
    """Count columns; one dimension is one column."""
    return 1 if predictions.ndim == 1 else predictions.shape[1]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _refuse(message: str) -> ProgramError:
    return ProgramError(FailureKind.BAD_PREDICTIONS, message)


def shape_of(predictions: Predictions | None) -> Sequence[int] | None:
    """Give the shape as the wire wants it."""
    return None if predictions is None else list(predictions.shape)
