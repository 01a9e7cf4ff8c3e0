"""What may come in and what goes out: the schemas that validate and that `/openapi.json` shows.

Input is strict: an unknown field, a number written as text or a true for a 1 is refused by name.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import marshmallow as ma
from flask import current_app
from marshmallow import ValidationError, fields, validate

from datarun_client.codec import decode_base64, unpack_indices
from datarun_client.errors import CodecError, FileNameError, WorkflowElementsError
from datarun_client.file_names import check_file_names
from datarun_client.states import (
    FailureKind,
    Priority,
    Queue,
    Reader,
    SplitState,
    State,
    WorkflowElement,
)
from datarun_client.workflow_elements import parse_workflow_elements

MAX_ID = 2**31 - 1
MAX_RANDOM_STATE = 2**32 - 1
MAX_BIG = 2**63 - 1
MAX_TIME_LIMIT = 30 * 24 * 3600.0


@dataclass(frozen=True)
class Indices:
    """Row numbers that were checked.

    Attributes
    ----------
    packed : bytes
        The zlib stream that was posted.
    largest : int
        The largest row number; -1 if there is none.
    """

    packed: bytes
    largest: int

    def equals(self, packed: bytes) -> bool:
        """Tell whether another zlib stream holds the same row numbers."""
        return packed == self.packed or bool(
            (unpack_indices(packed).tobytes()) == unpack_indices(self.packed).tobytes()
        )


def check_text(value: str) -> None:
    """Refuse what PostgreSQL can't keep or a terminal would obey.

    Raises
    ------
    ValidationError
        If the text holds control characters or lone surrogates.
    """
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
        raise ValidationError("Must not hold control characters.")


class Text(fields.String):
    """A line of text that isn't empty."""

    def __init__(self, max_length: int = 200, **kwargs: Any) -> None:
        super().__init__(validate=[validate.Length(1, max_length), check_text], **kwargs)


class LogText(fields.String):
    """Any text but NUL, which PostgreSQL can't keep."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(validate=self._check, **kwargs)

    @staticmethod
    def _check(value: str) -> None:
        if "\x00" in value:
            raise ValidationError("Must not hold NUL characters.")


class Whole(fields.Integer):
    """A whole number between two bounds; no text, no float, no true."""

    def __init__(self, lowest: int, highest: int, **kwargs: Any) -> None:
        super().__init__(strict=True, validate=validate.Range(lowest, highest), **kwargs)


class Id(Whole):
    """A platform's or the database's number."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(0, MAX_ID, **kwargs)


class Real(fields.Float):
    """A finite number that is a number in JSON too."""

    def _validated(self, value: Any) -> Any:
        if isinstance(value, str):
            raise self.make_error("invalid", input=value)
        return super()._validated(value)


class IndicesField(fields.String):
    """Row numbers as wire text; becomes `Indices`."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> Any:
        text = super()._deserialize(value, attr, data, **kwargs)
        try:
            packed = decode_base64(text)
            rows = unpack_indices(packed)
        except CodecError as error:
            raise ValidationError(f"{self.name} {error}") from None
        if rows.size and rows.min() < 0:
            raise ValidationError("Row numbers count from 0; there is a negative one.")
        return Indices(packed, int(rows.max()) if rows.size else -1)


class FilesField(fields.Dict):
    """File contents as wire text, by checked names; the contents are decoded later."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(keys=fields.String(), values=fields.String(), **kwargs)

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> Any:
        files = super()._deserialize(value, attr, data, **kwargs)
        limit = current_app.config["MAX_FILES"]
        if not files:
            raise ValidationError("Send at least one file.")
        if len(files) > limit:
            raise ValidationError(f"Holds {len(files)} files; at most {limit} are taken.")
        try:
            check_file_names(files)
        except FileNameError as error:
            raise ValidationError(str(error)) from None
        return files


def check_workflow_elements(text: str) -> None:
    """Refuse a list of elements that makes no workflow.

    Raises
    ------
    ValidationError
        With what to write instead.
    """
    try:
        parse_workflow_elements(text)
    except WorkflowElementsError as error:
        raise ValidationError(str(error)) from None


def describe(text: str) -> dict[str, str]:
    """Put a sentence into the OpenAPI document."""
    return {"description": text}


class ErrorSchema(ma.Schema):
    """The one shape of a refusal."""

    error = fields.String(required=True, metadata=describe("One sentence for a person."))
    errors = fields.Dict(required=True, metadata=describe("What is wrong, by field."))


class RawDataInputSchema(ma.Schema):
    """A data set that is posted."""

    name = Text(required=True)
    target_column = Text(required=True)
    workflow_elements = fields.String(
        required=True,
        validate=[validate.Length(1, 200), check_text, check_workflow_elements],
        metadata=describe(f"Comma-separated; of {', '.join(WorkflowElement)}."),
    )
    files = FilesField(required=True)
    time_limit = Real(
        allow_none=True,
        validate=validate.Range(0, MAX_TIME_LIMIT, min_inclusive=False),
        metadata=describe("Seconds that a whole fold may take."),
    )
    memory_limit = Whole(
        1, MAX_BIG, allow_none=True, metadata=describe("Bytes that a fold may use.")
    )


class RawDataSchema(ma.Schema):
    """A data set."""

    id = fields.Integer(required=True)
    name = fields.String(required=True)
    files_path = fields.String(required=True)
    workflow_elements = fields.String(required=True)
    target_column = fields.String(required=True)
    time_limit = fields.Float(required=True, allow_none=True)
    memory_limit = fields.Integer(required=True, allow_none=True)
    split_state = fields.Enum(SplitState, by_value=True, required=True)
    split_error = fields.String(required=True, allow_none=True)
    n_train = fields.Integer(required=True, allow_none=True)
    n_test = fields.Integer(required=True, allow_none=True)
    created_at = fields.AwareDateTime(required=True)


class SplitInputSchema(ma.Schema):
    """A split that is asked for."""

    raw_data_id = Id(required=True)
    held_out_test = Real(
        required=True,
        validate=validate.Range(0, 1, min_inclusive=False, max_inclusive=False),
        metadata=describe("The share of the rows that is held out."),
    )
    random_state = Whole(0, MAX_RANDOM_STATE, load_default=42)


class CustomSplitInputSchema(ma.Schema):
    """A split by the data set's own reader."""

    raw_data_id = Id(required=True)


class TaskSchema(ma.Schema):
    """A job that was asked for."""

    task_id = fields.String(required=True)


class SubmissionFoldInputSchema(ma.Schema):
    """A submission on one cross-validation fold, with its files if it is new."""

    databoard_sf_id = Id(required=True)
    databoard_s_id = Id(required=True)
    train_is = IndicesField(required=True)
    test_is = IndicesField(required=True)
    priority = fields.Enum(Priority, by_value=True, load_default=Priority.LOW)
    raw_data = Id(allow_none=True, load_default=None)
    files = FilesField(allow_none=True, load_default=None)
    force = fields.String(
        allow_none=True,
        load_default=None,
        metadata=describe("`submission_fold` or `submission, submission_fold`."),
    )

    @ma.validates("train_is")
    def _check_train_is(self, value: Indices, data_key: str) -> None:
        if value.largest < 0:
            raise ValidationError("Must hold at least one row number.")

    @ma.validates("force")
    def _check_force(self, value: str | None, data_key: str) -> None:
        if value is not None and parse_force(value) not in FORCES:
            raise ValidationError(
                "Must be 'submission_fold' or 'submission, submission_fold', or left out."
            )


FORCES = (frozenset({"submission_fold"}), frozenset({"submission", "submission_fold"}))


def parse_force(text: str | None) -> frozenset[str]:
    """Read what a post forces; nothing if there is no such text."""
    return frozenset(word.strip() for word in text.split(",")) if text else frozenset()


class PredictionSchema(ma.Schema):
    """Predictions and measures of a fold."""

    databoard_sf_id = fields.Integer(required=True)
    databoard_s = fields.Integer(required=True)
    full_train_predictions = fields.String(required=True, allow_none=True)
    test_predictions = fields.String(required=True, allow_none=True)
    state = fields.Enum(State, by_value=True, required=True)
    log_messages = fields.String(required=True)
    train_time = fields.Float(required=True, metadata=describe("Seconds."))
    validation_time = fields.Float(required=True, metadata=describe("Seconds."))
    test_time = fields.Float(required=True, metadata=describe("Seconds."))
    train_cpu_time = fields.Float(required=True, metadata=describe("Seconds."))
    test_cpu_time = fields.Float(required=True, metadata=describe("Seconds."))
    train_memory = fields.Float(required=True, metadata=describe("kB of 1024 bytes."))
    test_memory = fields.Float(required=True, metadata=describe("kB of 1024 bytes."))


class SubmissionFoldSchema(PredictionSchema):
    """A fold with all its fields."""

    train_is = fields.String(required=True)
    test_is = fields.String(required=True)
    priority = fields.Enum(Priority, by_value=True, required=True)
    new = fields.Boolean(required=True)
    failure_kind = fields.Enum(FailureKind, by_value=True, required=True, allow_none=True)
    attempt = fields.Integer(required=True)
    hash_files = fields.String(required=True, allow_none=True)
    created_at = fields.AwareDateTime(required=True)
    started_at = fields.AwareDateTime(required=True, allow_none=True)
    finished_at = fields.AwareDateTime(required=True, allow_none=True)


class ProgressSchema(ma.Schema):
    """How far a fold is, and what it waits for."""

    phase = fields.String(required=True)
    attempt = fields.Integer(required=True)
    worker = fields.String(required=True, allow_none=True)
    since = fields.AwareDateTime(required=True)
    queue = fields.String(required=True)
    position = fields.Integer(
        required=True, allow_none=True, metadata=describe("Folds that wait longer.")
    )
    estimated_wait = fields.Float(required=True, allow_none=True, metadata=describe("Seconds."))
    reason = fields.String(required=True)
    message = fields.String(required=True)


class SubmissionFoldDetailSchema(SubmissionFoldSchema):
    """A fold with all its fields, and how far it is if it isn't final."""

    progress = fields.Nested(ProgressSchema, required=True, allow_none=True)


class AttemptSchema(ma.Schema):
    """One try at running a fold."""

    number = fields.Integer(required=True)
    worker = fields.String(required=True)
    started_at = fields.AwareDateTime(required=True)
    lease_until = fields.AwareDateTime(required=True, allow_none=True)
    ended_at = fields.AwareDateTime(required=True, allow_none=True)
    outcome = fields.String(required=True, allow_none=True)
    failure_kind = fields.String(required=True, allow_none=True)
    reason = fields.String(required=True, allow_none=True)
    log_messages = fields.String(required=True)
    hash_files = fields.String(required=True)
    measures = fields.Dict(required=True, allow_none=True)


class WorkerSchema(ma.Schema):
    """A compute machine's worker."""

    name = fields.String(required=True)
    host = fields.String(required=True)
    queues = fields.List(fields.String(), required=True)
    version = fields.String(required=True)
    isolation = fields.String(required=True)
    free_disk = fields.Integer(required=True, metadata=describe("Bytes."))
    free_memory = fields.Integer(required=True, metadata=describe("Bytes."))
    first_seen = fields.AwareDateTime(required=True)
    last_seen = fields.AwareDateTime(required=True)
    live = fields.Boolean(required=True, metadata=describe("Whether it was heard of lately."))
    n_done = fields.Integer(required=True)
    fold = fields.Dict(required=True, allow_none=True)


class QueueSchema(ma.Schema):
    """A queue of folds."""

    name = fields.String(required=True)
    depth = fields.Integer(required=True, metadata=describe("Folds that wait; 1000 means more."))
    oldest_wait = fields.Float(required=True, metadata=describe("Seconds."))
    done_last_hour = fields.Integer(required=True)
    live_workers = fields.Integer(required=True)


class SubmissionFoldPostedSchema(SubmissionFoldSchema):
    """A fold that was accepted, with the job that runs it."""

    task_id = fields.String(required=True)


class SubmissionFoldLightSchema(ma.Schema):
    """A fold's state."""

    databoard_sf_id = fields.Integer(required=True)
    databoard_s = fields.Integer(required=True)
    state = fields.Enum(State, by_value=True, required=True)
    new = fields.Boolean(required=True)


class PredictionListInputSchema(ma.Schema):
    """The folds whose predictions are asked for."""

    list_submission_fold = fields.List(Id(), required=True, validate=validate.Length(max=100_000))


class PredictionNewInputSchema(ma.Schema):
    """The data set whose new predictions are asked for."""

    raw_data_id = Id(allow_none=True, load_default=None)


class HealthSchema(ma.Schema):
    """Whether the servers behind the API answer."""

    status = fields.String(required=True)
    postgresql = fields.String(required=True)
    redis = fields.String(required=True)


# What compute machines send and get.


class FoldClaimInputSchema(ma.Schema):
    """A worker asks for the fold that its job names."""

    owner = Id(required=True)
    databoard_sf_id = Id(required=True)
    queue = fields.Enum(Queue, by_value=True, required=True)
    worker = Text(required=True)


class HeartbeatInputSchema(ma.Schema):
    """What a worker tells of itself."""

    worker = Text(required=True)
    host = Text(required=True)
    queues = fields.List(Text(50), required=True, validate=validate.Length(1, 20))
    version = Text(50, required=True)
    isolation = Text(50, required=True)
    free_disk = Whole(0, MAX_BIG, required=True)
    free_memory = Whole(0, MAX_BIG, required=True)


class LeaseSchema(ma.Schema):
    """A lease that was given or renewed."""

    lease = fields.Float(required=True, metadata=describe("Seconds."))


class ReleaseInputSchema(ma.Schema):
    """Why a worker gives something back."""

    reason = LogText(required=True)


class StoredFileSchema(ma.Schema):
    """A file of a manifest."""

    name = Text(required=True)
    sha256 = fields.String(required=True, validate=validate.Regexp(r"[0-9a-f]{64}\Z"))
    size = Whole(0, MAX_BIG, required=True)


class FoldClaimRawDataSchema(ma.Schema):
    """What a fold must know of its data set."""

    id = fields.Integer(required=True)
    workflow_elements = fields.List(fields.Enum(WorkflowElement, by_value=True), required=True)
    target_column = fields.String(required=True)
    reader = fields.Enum(Reader, by_value=True, required=True)
    time_limit = fields.Float(required=True, allow_none=True)
    memory_limit = fields.Integer(required=True, allow_none=True)
    n_train = fields.Integer(required=True)
    n_test = fields.Integer(required=True)


class FoldClaimSubmissionSchema(ma.Schema):
    """A fold's source files."""

    databoard_s_id = fields.Integer(required=True)
    hash_files = fields.String(required=True)
    files = fields.List(fields.Nested(StoredFileSchema), required=True)


class FoldClaimSchema(ma.Schema):
    """A fold that was given to a worker: its attempt, lease and inputs."""

    owner = fields.Integer(required=True)
    databoard_sf_id = fields.Integer(required=True)
    attempt = fields.Integer(required=True)
    lease = fields.Float(required=True, metadata=describe("Seconds."))
    train_is = fields.String(required=True)
    raw_data = fields.Nested(FoldClaimRawDataSchema, required=True)
    submission = fields.Nested(FoldClaimSubmissionSchema, required=True)
    data = fields.List(fields.Nested(StoredFileSchema), required=True)


class PhaseInputSchema(ma.Schema):
    """The end of a phase."""

    state = fields.Enum(
        State,
        by_value=True,
        required=True,
        validate=validate.OneOf([State.TRAINED, State.VALIDATED]),
    )


class LogInputSchema(ma.Schema):
    """A piece of a running fold's log."""

    offset = Whole(0, MAX_BIG, required=True, metadata=describe("Bytes that were sent before."))
    text = LogText(required=True)


class LogSchema(ma.Schema):
    """How much of a log has arrived."""

    length = fields.Integer(required=True, metadata=describe("Bytes."))


def shape_field() -> fields.List:
    """Describe the shape of predictions."""
    return fields.List(
        Whole(0, MAX_ID), allow_none=True, load_default=None, validate=validate.Length(1, 2)
    )


def measure_field() -> Real:
    """Describe a measure."""
    return Real(load_default=0.0, validate=validate.Range(0))


class FoldResultInputSchema(ma.Schema):
    """What became of an attempt."""

    state = fields.Enum(
        State, by_value=True, required=True, validate=validate.OneOf([State.TESTED, State.ERROR])
    )
    failure_kind = fields.Enum(FailureKind, by_value=True, allow_none=True, load_default=None)
    log_messages = LogText(required=True)
    full_train_predictions = fields.String(allow_none=True, load_default=None)
    full_train_shape = shape_field()
    test_predictions = fields.String(allow_none=True, load_default=None)
    test_shape = shape_field()
    train_time = measure_field()
    validation_time = measure_field()
    test_time = measure_field()
    train_cpu_time = measure_field()
    test_cpu_time = measure_field()
    train_memory = measure_field()
    test_memory = measure_field()

    @ma.validates_schema
    def _check_parts(self, data: dict[str, Any], **kwargs: Any) -> None:
        needed = {
            State.TESTED: (
                "full_train_predictions",
                "full_train_shape",
                "test_predictions",
                "test_shape",
            ),
            State.ERROR: ("failure_kind",),
        }[data["state"]]
        missing = {name: ["Missing."] for name in needed if data[name] is None}
        if missing:
            raise ValidationError(missing)


class SplitClaimInputSchema(ma.Schema):
    """A worker asks for the split that its job names."""

    raw_data = Id(required=True)
    attempt = Id(required=True)
    worker = Text(required=True)


class SplitClaimSchema(ma.Schema):
    """A split that was given to a worker."""

    raw_data = fields.Integer(required=True)
    attempt = fields.Integer(required=True)
    lease = fields.Float(required=True)
    reader = fields.Enum(Reader, by_value=True, required=True)
    target_column = fields.String(required=True)
    workflow_elements = fields.List(fields.Enum(WorkflowElement, by_value=True), required=True)
    held_out_test = fields.Float(required=True, allow_none=True)
    random_state = fields.Integer(required=True, allow_none=True)
    time_limit = fields.Float(required=True, allow_none=True)
    memory_limit = fields.Integer(required=True, allow_none=True)
    files = fields.List(fields.Nested(StoredFileSchema), required=True)


class SplitResultInputSchema(ma.Schema):
    """What became of a split."""

    state = fields.Enum(
        SplitState,
        by_value=True,
        required=True,
        validate=validate.OneOf([SplitState.DONE, SplitState.ERROR]),
    )
    error = LogText(allow_none=True, load_default=None)
    failure_kind = fields.Enum(
        FailureKind,
        by_value=True,
        load_default=FailureKind.DATA_ERROR,
        validate=validate.OneOf([FailureKind.DATA_ERROR, FailureKind.PLATFORM_ERROR]),
        metadata=describe("Whose fault an error was; the platform's is tried again."),
    )
    n_train = Whole(0, MAX_ID, allow_none=True, load_default=None)
    n_test = Whole(0, MAX_ID, allow_none=True, load_default=None)
    files = fields.List(fields.Nested(StoredFileSchema), load_default=list)

    @ma.validates_schema
    def _check_parts(self, data: dict[str, Any], **kwargs: Any) -> None:
        needed = {
            SplitState.ERROR: ["error"],
            SplitState.DONE: ["n_train", "n_test", "files"],
        }[data["state"]]
        missing = {name: ["Missing."] for name in needed if data[name] in (None, [])}
        if missing:
            raise ValidationError(missing)
