"""What the API gives a worker that claims: frozen records of the worker endpoints' answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from datarun_client.codec import decode_indices, decode_predictions
from datarun_client.errors import CodecError
from datarun_client.states import Reader, WorkflowElement
from datarun_worker.errors import ApiError


@dataclass(frozen=True)
class FileEntry:
    """One file of a manifest.

    Attributes
    ----------
    name : str
        Its name in its folder.
    sha256 : str
        Its content's hash, in hexadecimal.
    size : int
        Bytes.
    """

    name: str
    sha256: str
    size: int


@dataclass(frozen=True)
class FoldClaim:
    """A fold that this worker is to run, as one attempt.

    Attributes
    ----------
    owner, databoard_sf_id, attempt : int
        Which fold, and which try at it.
    lease : float
        Seconds of silence after which the attempt is given up for lost.
    train_is : ndarray of int64 of shape (n_samples,)
        The train rows; a row may be repeated.
    workflow_elements : tuple of WorkflowElement
    reader : Reader
    time_limit : float or None
        Seconds for the whole fold; None if the worker's own limit holds.
    memory_limit : int or None
        Bytes; None if the worker's own limit holds.
    n_train, n_test : int
        Rows of the train set and of the held-out test set.
    source, data : tuple of FileEntry
        The submission's files and the data set's parts.
    """

    owner: int
    databoard_sf_id: int
    attempt: int
    lease: float
    train_is: npt.NDArray[np.int64]
    workflow_elements: tuple[WorkflowElement, ...]
    reader: Reader
    time_limit: float | None
    memory_limit: int | None
    n_train: int
    n_test: int
    source: tuple[FileEntry, ...]
    data: tuple[FileEntry, ...]

    @property
    def path(self) -> str:
        """Where this attempt's endpoints are, below the worker endpoints."""
        return f"folds/{self.owner}/{self.databoard_sf_id}/{self.attempt}"

    @classmethod
    def from_wire(cls, answer: Mapping[str, Any]) -> Self:
        """Read the API's answer.

        Raises
        ------
        ApiError
            If it isn't what this worker's release knows.
        """
        try:
            raw_data = answer["raw_data"]
            return cls(
                owner=answer["owner"],
                databoard_sf_id=answer["databoard_sf_id"],
                attempt=answer["attempt"],
                lease=float(answer["lease"]),
                train_is=decode_indices(answer["train_is"]),
                workflow_elements=_read_elements(raw_data),
                reader=Reader(raw_data["reader"]),
                time_limit=raw_data["time_limit"],
                memory_limit=raw_data["memory_limit"],
                n_train=raw_data["n_train"],
                n_test=raw_data["n_test"],
                source=_read_entries(answer["submission"]["files"]),
                data=_read_entries(answer["data"]),
            )
        except (KeyError, TypeError, ValueError, CodecError) as error:
            raise _explain(error) from error


@dataclass(frozen=True)
class SplitClaim:
    """A data set that this worker is to split.

    Attributes
    ----------
    raw_data, attempt : int
        Which data set, and which try at its split.
    lease : float
        Seconds of silence after which the attempt is given up for lost.
    reader : Reader
    target_column : str
    held_out_test : float or None
        The part of the rows that is held out; None for a data set with its own reader.
    random_state : int or None
    time_limit : float or None
        Seconds.
    memory_limit : int or None
        Bytes.
    files : tuple of FileEntry
        The data set's raw files, its reader among them.
    """

    raw_data: int
    attempt: int
    lease: float
    reader: Reader
    target_column: str
    held_out_test: float | None
    random_state: int | None
    time_limit: float | None
    memory_limit: int | None
    files: tuple[FileEntry, ...]

    @property
    def path(self) -> str:
        """Where this attempt's endpoints are, below the worker endpoints."""
        return f"splits/{self.raw_data}/{self.attempt}"

    @classmethod
    def from_wire(cls, answer: Mapping[str, Any]) -> Self:
        """Read the API's answer; errors as in `FoldClaim.from_wire`."""
        try:
            return cls(
                raw_data=answer["raw_data"],
                attempt=answer["attempt"],
                lease=float(answer["lease"]),
                reader=Reader(answer["reader"]),
                target_column=answer["target_column"],
                held_out_test=answer["held_out_test"],
                random_state=answer["random_state"],
                time_limit=answer["time_limit"],
                memory_limit=answer["memory_limit"],
                files=_read_entries(answer["files"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _explain(error) from error


@dataclass(frozen=True)
class FoldName:
    """A tested fold, and which attempt at it has its predictions."""

    databoard_sf_id: int
    attempt: int


@dataclass(frozen=True)
class ScoringClaim:
    """A submission that this worker is to score.

    Attributes
    ----------
    owner, databoard_s, attempt : int
        Which submission, and which try at its scores.
    lease : float
        Seconds of silence after which the attempt is given up for lost.
    reader : Reader
    metrics : tuple of str
        Names of scorers, or of a kit's score types.
    workflow_elements : tuple of WorkflowElement
    time_limit : float or None
        Seconds.
    memory_limit : int or None
        Bytes.
    files : tuple of FileEntry
        The labels, and what a kit's score types need.
    folds : tuple of FoldName
    """

    owner: int
    databoard_s: int
    attempt: int
    lease: float
    reader: Reader
    metrics: tuple[str, ...]
    workflow_elements: tuple[WorkflowElement, ...]
    time_limit: float | None
    memory_limit: int | None
    files: tuple[FileEntry, ...]
    folds: tuple[FoldName, ...]

    @property
    def path(self) -> str:
        """Where this attempt's endpoints are, below the worker endpoints."""
        return f"scorings/{self.owner}/{self.databoard_s}/{self.attempt}"

    @classmethod
    def from_wire(cls, answer: Mapping[str, Any]) -> Self:
        """Read the API's answer; errors as in `FoldClaim.from_wire`."""
        try:
            return cls(
                owner=answer["owner"],
                databoard_s=answer["databoard_s"],
                attempt=answer["attempt"],
                lease=float(answer["lease"]),
                reader=Reader(answer["reader"]),
                metrics=tuple(answer["metrics"]),
                workflow_elements=_read_elements(answer),
                time_limit=answer["time_limit"],
                memory_limit=answer["memory_limit"],
                files=_read_entries(answer["files"]),
                folds=tuple(
                    FoldName(fold["databoard_sf_id"], fold["attempt"]) for fold in answer["folds"]
                ),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _explain(error) from error


@dataclass(frozen=True)
class ScoredFold:
    """The rows and predictions of a fold that is scored.

    Attributes
    ----------
    name : FoldName
    train_is, test_is : ndarray of int64 of shape (n_samples,)
    full_train, test : ndarray of float64
    """

    name: FoldName
    train_is: npt.NDArray[np.int64]
    test_is: npt.NDArray[np.int64]
    full_train: npt.NDArray[np.float64]
    test: npt.NDArray[np.float64]

    @classmethod
    def from_wire(cls, answer: Mapping[str, Any]) -> Self:
        """Read the API's answer; errors as in `FoldClaim.from_wire`."""
        try:
            return cls(
                FoldName(answer["databoard_sf_id"], answer["attempt"]),
                decode_indices(answer["train_is"]),
                decode_indices(answer["test_is"]),
                decode_predictions(answer["full_train_predictions"], answer["full_train_shape"]),
                decode_predictions(answer["test_predictions"], answer["test_shape"]),
            )
        except (KeyError, TypeError, ValueError, CodecError) as error:
            raise _explain(error) from error


Claim = FoldClaim | SplitClaim | ScoringClaim


def _read_elements(raw_data: Mapping[str, Any]) -> tuple[WorkflowElement, ...]:
    return tuple(WorkflowElement(word) for word in raw_data["workflow_elements"])


def _read_entries(files: Any) -> tuple[FileEntry, ...]:
    return tuple(FileEntry(file["name"], file["sha256"], file["size"]) for file in files)


def _explain(error: Exception) -> ApiError:
    return ApiError(
        f"The API's answer to a claim can't be read ({type(error).__name__}: {error}); "
        "let API and workers be of the same release."
    )
