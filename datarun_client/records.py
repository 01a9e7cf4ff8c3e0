"""What the API answers, as typed records that don't change.

Their attributes have the wire's names (docs/api.md), so that one word stands for one thing. Times
are in seconds, moments are aware datetimes, and memory is in bytes: the wire's kB end here.
Records know how to show themselves in a notebook.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from datarun_client.codec import decode_indices, decode_predictions, hash_predictions
from datarun_client.errors import CodecError
from datarun_client.html import write_html_table
from datarun_client.splitters import Rows
from datarun_client.states import FailureKind, Priority, ScoringState, Span, SplitState, State

_KIB = 1024

PredictionArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RawData:
    """A data set.

    Attributes
    ----------
    id : int
    name : str
    files_path : str
        A logical path, such as ``rawdata/3``.
    workflow_elements : str
        What submissions consist of, separated by commas.
    target_column : str
    metrics : tuple of str
        What its folds are scored by: names of scikit-learn's scorers, or of a kit's score types.
    time_limit : float or None
        Seconds that a whole fold may take; None if the worker's own limit holds.
    memory_limit : int or None
        Bytes that a fold may use.
    split_state : SplitState
    split_error : str or None
        Why the split failed.
    n_train, n_test : int or None
        Rows of the train part and of the held-out test part, once it is split.
    created_at : datetime
    """

    id: int
    name: str
    files_path: str
    workflow_elements: str
    target_column: str
    metrics: tuple[str, ...]
    time_limit: float | None
    memory_limit: int | None
    split_state: SplitState
    split_error: str | None
    n_train: int | None
    n_test: int | None
    created_at: datetime

    @classmethod
    def from_wire(cls, answer: Mapping[str, Any]) -> Self:
        """Read an entry of ``rawdata/``."""
        return cls(
            id=answer["id"],
            name=answer["name"],
            files_path=answer["files_path"],
            workflow_elements=answer["workflow_elements"],
            target_column=answer["target_column"],
            metrics=tuple(answer["metrics"]),
            time_limit=answer["time_limit"],
            memory_limit=answer["memory_limit"],
            split_state=SplitState(answer["split_state"]),
            split_error=answer["split_error"],
            n_train=answer["n_train"],
            n_test=answer["n_test"],
            created_at=datetime.fromisoformat(answer["created_at"]),
        )

    def _repr_html_(self) -> str:
        rows = [
            ("name", self.name),
            ("target column", self.target_column),
            ("workflow elements", self.workflow_elements),
            ("split", self.split_error or self.split_state),
            ("train rows", self.n_train),
            ("test rows", self.n_test),
        ]
        return write_html_table((f"data set {self.id}", ""), rows)


@dataclass(frozen=True)
class Measures:
    """What a fold used, measured from outside its process.

    Attributes
    ----------
    train_time, validation_time, test_time : float
        Seconds of wall clock.
    train_cpu_time, test_cpu_time : float
        Seconds of all its processes.
    train_memory, test_memory : int
        Bytes: the peak of all its processes, less what an idle sandbox has.
    """

    train_time: float
    validation_time: float
    test_time: float
    train_cpu_time: float
    test_cpu_time: float
    train_memory: int
    test_memory: int

    @classmethod
    def from_wire(cls, answer: Mapping[str, Any]) -> Self:
        """Read the seven measures of a fold."""
        return cls(
            train_time=answer["train_time"],
            validation_time=answer["validation_time"],
            test_time=answer["test_time"],
            train_cpu_time=answer["train_cpu_time"],
            test_cpu_time=answer["test_cpu_time"],
            train_memory=round(answer["train_memory"] * _KIB),
            test_memory=round(answer["test_memory"] * _KIB),
        )


@dataclass(frozen=True)
class Progress:
    """How far a fold is, and what it waits for.

    Attributes
    ----------
    phase : str
        ``waiting``, ``training``, ``validating`` or ``testing``.
    attempt : int
    worker : str or None
    since : datetime
    queue : str
    position : int or None
        Folds that wait longer.
    estimated_wait : float or None
        Seconds.
    reason : str
        One word, see docs/api.md.
    message : str
        The same for a person.
    """

    phase: str
    attempt: int
    worker: str | None
    since: datetime
    queue: str
    position: int | None
    estimated_wait: float | None
    reason: str
    message: str

    @classmethod
    def from_wire(cls, answer: Mapping[str, Any]) -> Self:
        """Read a fold's ``progress``."""
        return cls(
            phase=answer["phase"],
            attempt=answer["attempt"],
            worker=answer["worker"],
            since=datetime.fromisoformat(answer["since"]),
            queue=answer["queue"],
            position=answer["position"],
            estimated_wait=answer["estimated_wait"],
            reason=answer["reason"],
            message=answer["message"],
        )


@dataclass(frozen=True)
class FoldState:
    """A fold's state, and no more.

    Attributes
    ----------
    databoard_sf_id, databoard_s : int
        The fold and its submission.
    state : State
    new : bool
        Whether its result was not handed out yet.
    """

    databoard_sf_id: int
    databoard_s: int
    state: State
    new: bool

    @classmethod
    def from_wire(cls, answer: Mapping[str, Any]) -> Self:
        """Read an entry of ``submissionfold-light/``."""
        return cls(
            databoard_sf_id=answer["databoard_sf_id"],
            databoard_s=answer["databoard_s"],
            state=State(answer["state"]),
            new=answer["new"],
        )


@dataclass(frozen=True)
class Fold:
    """A submission on one cross-validation fold, without its predictions.

    Attributes
    ----------
    databoard_sf_id, databoard_s : int
        The fold and its submission.
    train_is, test_is : ndarray of int64 of shape (n_samples,)
        Row numbers in the data set's train part.
    priority : Priority
    state : State
    failure_kind : FailureKind or None
        Why it is in `ERROR`.
    log_messages : str
        What the submission printed, and why it failed.
    measures : Measures
    new : bool
        Whether its result was not handed out yet.
    attempt : int
        How often it was tried.
    hash_files : str or None
        The hash of the source that its result came from.
    created_at : datetime
    started_at, finished_at : datetime or None
    progress : Progress or None
        None if it is final, or was listed with others: `Client.get_fold` tells.
    timings : mapping of str to float
        Seconds of each of its steps in their order (docs/api.md), as far as it has come; empty if
        it was listed with others.
    scores : mapping of str to mapping of str to float or None
        By metric and part of the data (``train``, ``validation``, ``test``); empty until they are
        there, and without metrics.
    """

    databoard_sf_id: int
    databoard_s: int
    train_is: Rows = field(repr=False)
    test_is: Rows = field(repr=False)
    priority: Priority
    state: State
    failure_kind: FailureKind | None
    log_messages: str = field(repr=False)
    measures: Measures = field(repr=False)
    new: bool
    attempt: int
    hash_files: str | None = field(repr=False)
    created_at: datetime = field(repr=False)
    started_at: datetime | None = field(repr=False)
    finished_at: datetime | None = field(repr=False)
    progress: Progress | None = field(repr=False)
    timings: Mapping[str, float] = field(repr=False)
    scores: Mapping[str, Mapping[str, float | None]] = field(repr=False)

    @classmethod
    def from_wire(cls, answer: Mapping[str, Any]) -> Self:
        """Read a fold with all its fields."""
        progress = answer.get("progress")
        return cls(
            databoard_sf_id=answer["databoard_sf_id"],
            databoard_s=answer["databoard_s"],
            train_is=decode_indices(answer["train_is"]),
            test_is=decode_indices(answer["test_is"]),
            priority=Priority(answer["priority"]),
            state=State(answer["state"]),
            failure_kind=_read_failure_kind(answer["failure_kind"]),
            log_messages=answer["log_messages"],
            measures=Measures.from_wire(answer),
            new=answer["new"],
            attempt=answer["attempt"],
            hash_files=answer["hash_files"],
            created_at=datetime.fromisoformat(answer["created_at"]),
            started_at=_read_moment(answer["started_at"]),
            finished_at=_read_moment(answer["finished_at"]),
            progress=Progress.from_wire(progress) if progress else None,
            timings=_read_timings(answer.get("timings") or {}),
            scores=answer.get("scores") or {},
        )

    def _repr_html_(self) -> str:
        return write_html_table(FOLD_COLUMNS, [describe_fold(self)])


@dataclass(frozen=True)
class Submission:
    """A submission and its scores.

    Attributes
    ----------
    databoard_s_id : int
    raw_data : int
        Its data set.
    hash_files : str
        The hash of its source.
    created_at : datetime
    n_folds, n_tested : int
    scoring_state : ScoringState or None
        None if nothing is to be scored.
    scoring_error : str or None
    scores : mapping
        By metric and part of the data: ``mean`` and ``std`` over its tested folds, and ``bagged``,
        the score of their mean predictions.
    """

    databoard_s_id: int
    raw_data: int
    hash_files: str = field(repr=False)
    created_at: datetime = field(repr=False)
    n_folds: int
    n_tested: int
    scoring_state: ScoringState | None
    scoring_error: str | None
    scores: Mapping[str, Mapping[str, Mapping[str, float | None]]]

    @classmethod
    def from_wire(cls, answer: Mapping[str, Any]) -> Self:
        """Read ``submission/<id>/``."""
        state = answer["scoring_state"]
        return cls(
            databoard_s_id=answer["databoard_s_id"],
            raw_data=answer["raw_data"],
            hash_files=answer["hash_files"],
            created_at=datetime.fromisoformat(answer["created_at"]),
            n_folds=answer["n_folds"],
            n_tested=answer["n_tested"],
            scoring_state=None if state is None else ScoringState(state),
            scoring_error=answer["scoring_error"],
            scores=answer["scores"],
        )

    def _repr_html_(self) -> str:
        heads = (f"submission {self.databoard_s_id}", "rows", "mean", "std", "bagged")
        rows = [
            (metric, part, *(_round(found[name]) for name in heads[2:]))
            for metric, parts in self.scores.items()
            for part, found in parts.items()
        ]
        return write_html_table(
            heads, rows or [(f"{self.n_tested} of {self.n_folds} folds tested",)]
        )


FOLD_FIELDS = (
    "databoard_sf_id",
    "databoard_s",
    "train_is",
    "test_is",
    "priority",
    "state",
    "failure_kind",
    "log_messages",
    *(measure.name for measure in fields(Measures)),
    "new",
    "attempt",
    "hash_files",
    "created_at",
    "started_at",
    "finished_at",
    "scores",
)
"""What is asked for of each fold of a list: all that `Fold` has."""

FOLD_COLUMNS = ("fold", "state", "why", "train time", "test time", "memory")


def describe_fold(fold: Fold) -> tuple[str, ...]:
    """Describe a fold in `FOLD_COLUMNS`, for people."""
    measures = fold.measures
    memory = max(measures.train_memory, measures.test_memory)
    why = fold.failure_kind or (fold.progress.message if fold.progress else "")
    return (
        str(fold.databoard_sf_id),
        str(fold.state),
        str(why),
        f"{measures.train_time:.2f} s" if measures.train_time else "",
        f"{measures.test_time:.2f} s" if measures.test_time else "",
        f"{memory / 1e6:.0f} MB" if memory else "",
    )


@dataclass(frozen=True)
class FoldPredictions:
    """A fold's predictions.

    Attributes
    ----------
    databoard_sf_id, databoard_s : int
        The fold and its submission.
    state : State
    full_train_predictions : ndarray of float64 or None
        On the whole train part, of shape ``(n_train,)`` or ``(n_train, n_columns)``; None unless
        the fold is `TESTED`.
    test_predictions : ndarray of float64 or None
        On the held-out test part, of shape ``(n_test,)`` or ``(n_test, n_columns)``.
    log_messages : str
    measures : Measures
    """

    databoard_sf_id: int
    databoard_s: int
    state: State
    full_train_predictions: PredictionArray | None = field(repr=False)
    test_predictions: PredictionArray | None = field(repr=False)
    log_messages: str = field(repr=False)
    measures: Measures = field(repr=False)

    @classmethod
    def from_wire(cls, answer: Mapping[str, Any]) -> Self:
        """Read an entry of the predictions' lists.

        Raises
        ------
        CodecError
            If an array isn't what its shape and hash say.
        """
        return cls(
            databoard_sf_id=answer["databoard_sf_id"],
            databoard_s=answer["databoard_s"],
            state=State(answer["state"]),
            full_train_predictions=_read_predictions(answer, "full_train"),
            test_predictions=_read_predictions(answer, "test"),
            log_messages=answer["log_messages"],
            measures=Measures.from_wire(answer),
        )


@dataclass(frozen=True)
class Attempt:
    """One try at running a fold.

    Attributes
    ----------
    number : int
        From 1.
    worker : str
    started_at : datetime
    ended_at, lease_until : datetime or None
    outcome : str or None
        How it ended.
    failure_kind : FailureKind or None
    reason : str or None
        Why it ended so, for a person.
    log_messages : str
        What the submission had printed.
    hash_files : str
        The hash of the source that it ran.
    """

    number: int
    worker: str
    started_at: datetime
    ended_at: datetime | None
    lease_until: datetime | None
    outcome: str | None
    failure_kind: FailureKind | None
    reason: str | None
    log_messages: str = field(repr=False)
    hash_files: str = field(repr=False)

    @classmethod
    def from_wire(cls, answer: Mapping[str, Any]) -> Self:
        """Read an entry of a fold's ``attempts/``."""
        return cls(
            number=answer["number"],
            worker=answer["worker"],
            started_at=datetime.fromisoformat(answer["started_at"]),
            ended_at=_read_moment(answer["ended_at"]),
            lease_until=_read_moment(answer["lease_until"]),
            outcome=answer["outcome"],
            failure_kind=_read_failure_kind(answer["failure_kind"]),
            reason=answer["reason"],
            log_messages=answer["log_messages"],
            hash_files=answer["hash_files"],
        )


@dataclass(frozen=True)
class FoldEvent:
    """A change of a fold's state.

    Attributes
    ----------
    id : int
        Its number, by which `Client.iter_events` goes on after it.
    databoard_sf_id, databoard_s : int
        The fold and its submission.
    state : State
        The new one.
    failure_kind : FailureKind or None
    attempt : int
    created_at : datetime
    """

    id: int
    databoard_sf_id: int
    databoard_s: int
    state: State
    failure_kind: FailureKind | None
    attempt: int
    created_at: datetime

    @classmethod
    def from_wire(cls, answer: Mapping[str, Any]) -> Self:
        """Read an event's number and data."""
        return cls(
            id=answer["id"],
            databoard_sf_id=answer["databoard_sf_id"],
            databoard_s=answer["databoard_s"],
            state=State(answer["state"]),
            failure_kind=_read_failure_kind(answer["failure_kind"]),
            attempt=answer["attempt"],
            created_at=datetime.fromisoformat(answer["created_at"]),
        )


@dataclass(frozen=True)
class Health:
    """Whether the servers behind the API answer.

    Attributes
    ----------
    status : str
        ``ok`` or ``unavailable``.
    postgresql, redis : str
        ``ok`` or ``no answer``.
    """

    status: str
    postgresql: str
    redis: str

    @property
    def is_ok(self) -> bool:
        """Whether all of them answer."""
        return self.status == "ok"

    @classmethod
    def from_wire(cls, answer: Mapping[str, Any]) -> Self:
        """Read ``/health``."""
        return cls(answer["status"], answer["postgresql"], answer["redis"])


@dataclass(frozen=True)
class UploadInfo:
    """A file that was sent, or is being sent, before what it belongs to.

    Attributes
    ----------
    upload_id : str
    size, received : int
        Bytes: how many it is to have, and how many have arrived.
    sha256 : str or None
        Its content's hash; None until it is whole.
    expires_at : datetime
        When it is forgotten.
    """

    upload_id: str
    size: int
    received: int
    sha256: str | None
    expires_at: datetime

    @classmethod
    def from_wire(cls, answer: Mapping[str, Any]) -> Self:
        """Read an entry of ``uploads/``."""
        return cls(
            upload_id=answer["upload_id"],
            size=answer["size"],
            received=answer["received"],
            sha256=answer["sha256"],
            expires_at=datetime.fromisoformat(answer["expires_at"]),
        )


@dataclass(frozen=True)
class FileInfo:
    """A file of a data set or of a submission.

    Attributes
    ----------
    name : str
        Its place in its folder.
    size : int
        Bytes.
    sha256 : str
        Its content's hash, in hexadecimal.
    """

    name: str
    size: int
    sha256: str

    @classmethod
    def from_wire(cls, answer: Mapping[str, Any]) -> Self:
        """Read an entry of ``files/``."""
        return cls(name=answer["name"], size=answer["size"], sha256=answer["sha256"])


@dataclass(frozen=True)
class Webhook:
    """An address that is called about a data set's folds.

    Attributes
    ----------
    id : int
    url : str
    states : tuple of State
        The states of a fold that it is called about.
    failing_since, disabled_at, created_at : datetime or None
    secret : str or None
        Signs its messages; only there when it was just added.
    """

    id: int
    url: str
    states: tuple[State, ...]
    failing_since: datetime | None
    disabled_at: datetime | None
    created_at: datetime
    secret: str | None = field(repr=False)

    @classmethod
    def from_wire(cls, answer: Mapping[str, Any]) -> Self:
        """Read an entry of ``webhooks/``."""
        return cls(
            id=answer["id"],
            url=answer["url"],
            states=tuple(map(State, answer["states"])),
            failing_since=_read_moment(answer["failing_since"]),
            disabled_at=_read_moment(answer["disabled_at"]),
            created_at=datetime.fromisoformat(answer["created_at"]),
            secret=answer.get("secret"),
        )


@dataclass(frozen=True)
class Delivery:
    """What a webhook was called about, and how that went.

    Attributes
    ----------
    webhook_id : str
        The message's header of that name.
    databoard_sf_id : int
    state : State
    n_tries : int
    tried_at, delivered_at, next_try_at : datetime or None
    status : int or None
        Of the last answer.
    error : str or None
        Why there was no answer.
    """

    webhook_id: str
    databoard_sf_id: int
    state: State
    n_tries: int
    tried_at: datetime | None
    delivered_at: datetime | None
    next_try_at: datetime | None
    status: int | None
    error: str | None

    @classmethod
    def from_wire(cls, answer: Mapping[str, Any]) -> Self:
        """Read an entry of ``deliveries/``."""
        return cls(
            webhook_id=answer["webhook_id"],
            databoard_sf_id=answer["databoard_sf_id"],
            state=State(answer["state"]),
            n_tries=answer["n_tries"],
            tried_at=_read_moment(answer["tried_at"]),
            delivered_at=_read_moment(answer["delivered_at"]),
            next_try_at=_read_moment(answer["next_try_at"]),
            status=answer["status"],
            error=answer["error"],
        )


@dataclass(frozen=True)
class WorkerInfo:
    """A compute machine's worker.

    Attributes
    ----------
    name, host : str
    queues : tuple of str
    version, isolation : str
    free_disk, free_memory : int
        Bytes.
    first_seen, last_seen : datetime
    live : bool
        Whether it was heard of lately.
    n_done : int
        Attempts that it has ended.
    databoard_sf_id : int or None
        The fold that it runs, if that is one of this account's.
    """

    name: str
    host: str
    queues: tuple[str, ...]
    version: str
    isolation: str
    free_disk: int
    free_memory: int
    first_seen: datetime
    last_seen: datetime
    live: bool
    n_done: int
    databoard_sf_id: int | None

    @classmethod
    def from_wire(cls, answer: Mapping[str, Any]) -> Self:
        """Read an entry of ``workers/``."""
        fold = answer["fold"] or {}
        return cls(
            name=answer["name"],
            host=answer["host"],
            queues=tuple(answer["queues"]),
            version=answer["version"],
            isolation=answer["isolation"],
            free_disk=answer["free_disk"],
            free_memory=answer["free_memory"],
            first_seen=datetime.fromisoformat(answer["first_seen"]),
            last_seen=datetime.fromisoformat(answer["last_seen"]),
            live=answer["live"],
            n_done=answer["n_done"],
            databoard_sf_id=fold.get("databoard_sf_id"),
        )


@dataclass(frozen=True)
class QueueInfo:
    """A queue of folds.

    Attributes
    ----------
    name : str
    depth : int
        Folds that wait, counted up to a thousand.
    oldest_wait : float
        Seconds.
    done_last_hour, live_workers : int
    """

    name: str
    depth: int
    oldest_wait: float
    done_last_hour: int
    live_workers: int

    @classmethod
    def from_wire(cls, answer: Mapping[str, Any]) -> Self:
        """Read an entry of ``queues/``."""
        return cls(
            name=answer["name"],
            depth=answer["depth"],
            oldest_wait=answer["oldest_wait"],
            done_last_hour=answer["done_last_hour"],
            live_workers=answer["live_workers"],
        )


def _round(score: float | None) -> str:
    return "" if score is None else f"{score:.4f}"


def _read_moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _read_timings(timings: Mapping[str, float]) -> dict[str, float]:
    """Put the steps in their order, which PostgreSQL doesn't keep; a newer API's others follow."""
    known = {span.value: timings[span] for span in Span if span in timings}
    return known | dict(timings)


def _read_failure_kind(text: str | None) -> FailureKind | None:
    return None if text is None else FailureKind(text)


def _read_predictions(answer: Mapping[str, Any], part: str) -> PredictionArray | None:
    text = answer[f"{part}_predictions"]
    if text is None:
        return None
    values = decode_predictions(text, answer[f"{part}_shape"])
    if hash_predictions(values) != answer[f"{part}_sha256"]:
        raise CodecError(f"{part}_predictions aren't those that {part}_sha256 names.")
    return values
