"""Records of what a job has come to, as the API takes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from datarun_client.codec import encode_predictions
from datarun_client.states import FailureKind, ScoringState, SplitState, State
from datarun_worker.claims import FileEntry, FoldName
from datarun_worker.errors import WorkerError
from datarun_worker.predictions import Predictions, shape_of

_KIB = 1024


class Phase(Enum):
    """The phases of a fold, in their order; the values are for messages."""

    TRAIN = "training"
    VALIDATE = "predicting the train set"
    TEST = "predicting the test set"

    @property
    def state(self) -> State:
        """The wire state of a fold for which this phase has ended well."""
        return {
            Phase.TRAIN: State.TRAINED,
            Phase.VALIDATE: State.VALIDATED,
            Phase.TEST: State.TESTED,
        }[self]


@dataclass(frozen=True)
class Measures:
    """What one phase used, measured from outside its process.

    Attributes
    ----------
    wall_time, cpu_time : float
        Seconds.
    peak_memory : int
        Bytes.
    """

    wall_time: float = 0.0
    cpu_time: float = 0.0
    peak_memory: int = 0


@dataclass(frozen=True)
class FoldResult:
    """How an attempt at a fold ended.

    Attributes
    ----------
    failure_kind : FailureKind or None
        None if it went well.
    log_messages : str
        What the submission printed, warnings, and why it failed.
    full_train_predictions, test_predictions : ndarray of float64, or None
        Of shape ``(n_samples,)`` or ``(n_samples, n_columns)``; None if it failed.
    measures : dict
        Of the phases that were begun.
    """

    failure_kind: FailureKind | None
    log_messages: str
    full_train_predictions: Predictions | None = None
    test_predictions: Predictions | None = None
    measures: dict[Phase, Measures] = field(default_factory=dict)

    def to_wire(self) -> dict[str, Any]:
        """Write it as the API takes it: times in seconds, memory in kB."""
        train, validate, test = (self.measures.get(phase, Measures()) for phase in Phase)
        return {
            "state": State.TESTED if self.failure_kind is None else State.ERROR,
            "failure_kind": self.failure_kind,
            "log_messages": self.log_messages,
            "full_train_predictions": _encode(self.full_train_predictions),
            "full_train_shape": shape_of(self.full_train_predictions),
            "test_predictions": _encode(self.test_predictions),
            "test_shape": shape_of(self.test_predictions),
            "train_time": train.wall_time,
            "validation_time": validate.wall_time,
            "test_time": test.wall_time,
            "train_cpu_time": train.cpu_time,
            "test_cpu_time": test.cpu_time,
            "train_memory": train.peak_memory / _KIB,
            "test_memory": test.peak_memory / _KIB,
        }


@dataclass(frozen=True)
class SplitResult:
    """How an attempt at a split ended.

    Attributes
    ----------
    error : str or None
        None if it went well.
    n_train, n_test : int or None
        Rows of the parts.
    files : sequence of FileEntry
        The parts; the API has their content already.
    failure_kind : FailureKind or None
        `platform_error` if the error is ours; otherwise it is the data set's.
    metrics : sequence of str
        The names of a kit's score types.
    """

    error: str | None
    n_train: int | None = None
    n_test: int | None = None
    files: Sequence[FileEntry] = ()
    failure_kind: FailureKind | None = None
    metrics: Sequence[str] = ()

    def to_wire(self) -> dict[str, Any]:
        """Write it as the API takes it."""
        blame = {} if self.failure_kind is None else {"failure_kind": self.failure_kind}
        return {
            **blame,
            "state": SplitState.DONE if self.error is None else SplitState.ERROR,
            "error": self.error,
            "n_train": self.n_train,
            "n_test": self.n_test,
            "files": [
                {"name": file.name, "sha256": file.sha256, "size": file.size} for file in self.files
            ],
            "metrics": list(self.metrics),
        }


@dataclass(frozen=True)
class ScoringResult:
    """How an attempt at a submission's scores ended.

    Attributes
    ----------
    error : str or None
        None if it went well.
    failure_kind : FailureKind or None
        `platform_error` if the error is ours; otherwise it is the data set's.
    folds : mapping of FoldName to dict
        Scores by metric and part.
    bagged : dict
        Of the mean predictions, by metric and part.
    """

    error: str | None
    failure_kind: FailureKind | None = None
    folds: Mapping[FoldName, Any] = field(default_factory=dict)
    bagged: Mapping[str, Any] = field(default_factory=dict)

    def to_wire(self) -> dict[str, Any]:
        """Write it as the API takes it."""
        blame = {} if self.failure_kind is None else {"failure_kind": self.failure_kind}
        return {
            **blame,
            "state": ScoringState.DONE if self.error is None else ScoringState.ERROR,
            "error": self.error,
            "folds": [
                {
                    "databoard_sf_id": name.databoard_sf_id,
                    "attempt": name.attempt,
                    "scores": scores,
                }
                for name, scores in self.folds.items()
            ],
            "bagged": dict(self.bagged),
        }


def _encode(predictions: Predictions | None) -> str | None:
    return None if predictions is None else encode_predictions(predictions)


def read_metrics(value: Mapping[str, Any]) -> tuple[str, ...]:
    """Read what a kit is scored by, as a sandbox answered it, believing nothing.

    Raises
    ------
    WorkerError
        If these are no names.
    """
    metrics = value.get("metrics", [])
    if not isinstance(metrics, list) or not all(isinstance(name, str) for name in metrics):
        raise WorkerError("The sandbox answered no names of score types.")
    return tuple(metrics)


def read_scores(value: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """Read the scores that a sandbox answered, believing nothing.

    Raises
    ------
    WorkerError
        If they are none.
    """
    scores = value.get("scores")
    if not isinstance(scores, dict) or not all(
        isinstance(parts, dict)
        and all(part is None or isinstance(part, int | float) for part in parts.values())
        for parts in scores.values()
    ):
        raise WorkerError("The sandbox answered no scores.")
    return scores


def read_errors(value: Mapping[str, Any]) -> dict[str, str]:
    """Read what a sandbox says of metrics that failed; errors as of `read_scores`."""
    errors = value.get("errors")
    if not isinstance(errors, dict) or not all(isinstance(text, str) for text in errors.values()):
        raise WorkerError("The sandbox answered no errors.")
    return errors
