"""Data sets: from a CSV file to the parts that folds use."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import train_test_split

from datarun_client.states import FailureKind
from datarun_worker.errors import ProgramError

COMPRESSIONS = {
    ".bz2": "bz2",
    ".gz": "gzip",
    ".xz": "xz",
    ".zip": "zip",
}
"""What `pandas.read_csv` unpacks by itself, by the end of the file's name."""

_MAX_COLUMNS_TOLD = 20


@dataclass(frozen=True)
class SplitData:
    """A data set in train and test parts.

    Attributes
    ----------
    X_train, X_test : DataFrame of shape (n_samples, n_features), or what a reader gave
    y_train, y_test : ndarray of shape (n_samples,), or what a reader gave
    """

    X_train: Any
    y_train: Any
    X_test: Any
    y_test: Any


def read_csv(file: BinaryIO, name: str) -> pd.DataFrame:
    """Read a CSV file whole, with pandas's defaults.

    Parameters
    ----------
    file : binary file
    name : str
        Its name, which tells whether it is compressed.

    Raises
    ------
    ProgramError
        `data_error`, if it is no CSV.
    """
    compression = COMPRESSIONS.get(PurePosixPath(name).suffix.lower())
    try:
        return pd.read_csv(file, compression=compression)
    except (ValueError, OSError, EOFError) as error:
        # pandas's own errors and those of decoding are ValueErrors.
        raise _refuse(f"{name} can't be read as CSV: {error}") from error


def split_data(
    data: pd.DataFrame, target_column: str, held_out_test: float, random_state: int
) -> SplitData:
    """Split a data set into train and held-out test part.

    Parameters
    ----------
    data : DataFrame of shape (n_samples, n_columns)
    target_column : str
        The column that becomes y.
    held_out_test : float
        The share of the rows that are held out, between 0 and 1.
    random_state : int

    Returns
    -------
    SplitData
        Each column keeps the dtype that it has in the whole; the rows are numbered anew.

    Raises
    ------
    ProgramError
        `data_error`, if the target isn't there, nothing else is, or there are too few rows.
    """
    if target_column not in data.columns:
        names = ", ".join(map(str, data.columns[:_MAX_COLUMNS_TOLD]))
        more = ", …" if len(data.columns) > _MAX_COLUMNS_TOLD else ""
        raise _refuse(f"There is no column {target_column!r}; the columns are {names}{more}.")
    if len(data.columns) == 1:
        raise _refuse(f"There is no column but the target {target_column!r}.")
    try:
        train, test = train_test_split(data, test_size=held_out_test, random_state=random_state)
    except ValueError as error:
        raise _refuse(f"The {len(data)} rows can't be split: {error}") from error
    return SplitData(
        *_separate_target(train.reset_index(drop=True), target_column),
        *_separate_target(test.reset_index(drop=True), target_column),
    )


def _separate_target(
    data: pd.DataFrame, target_column: str
) -> tuple[pd.DataFrame, npt.NDArray[np.generic]]:
    # The copy joins the columns of one dtype into one block, which a fold then maps as a whole:
    # `read_csv` keeps each by itself, and `to_numpy` would have to put them together every time.
    return data.drop(columns=target_column).copy(), data[target_column].to_numpy()


def _refuse(message: str) -> ProgramError:
    return ProgramError(FailureKind.DATA_ERROR, message)
