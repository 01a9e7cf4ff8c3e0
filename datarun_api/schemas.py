"""What may come in and what goes out: the schemas that validate and that `/openapi.json` shows.

Input is strict: an unknown field, a number written as text or a true for a 1 is refused by name.
Every field that doesn't list its values has an example.
"""

import hashlib
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import marshmallow as ma
import numpy as np
from flask import current_app, g
from marshmallow import ValidationError, fields, validate

from datarun_client.codec import (
    MAX_INDICES_BYTES,
    PREDICTION_DTYPE,
    decode_base64,
    encode_bytes,
    encode_indices,
    encode_predictions,
    unpack_indices,
)
from datarun_client.errors import CodecError, FileNameError
from datarun_client.file_names import check_file_names
from datarun_client.metrics import MAX_SCORE_NAME, MAX_SCORE_TYPES, METRICS
from datarun_client.states import (
    FailureKind,
    Priority,
    Queue,
    Reader,
    ScorePart,
    ScoringState,
    Span,
    SplitState,
    State,
    WorkflowElement,
)

MAX_ID = 2**31 - 1
MAX_RANDOM_STATE = 2**32 - 1
MAX_BIG = 2**63 - 1
MAX_PAGE = 1000
MAX_WAIT = 60
MAX_STREAM = 600
MAX_METRICS = 10
MAX_CURSOR = 32 * MAX_PAGE
MAX_TIME_LIMIT = 30 * 24 * 3600.0

MAX_UNPACKED = 1 << 31
"""Bytes of row numbers that one request may make us unpack."""


BYTES_FORMAT = "base64-zlib"
INDICES_FORMAT = "base64-zlib-int64"
PREDICTIONS_FORMAT = "base64-zlib-float64"
CURSOR_FORMAT = "datarun-cursor"
URL_FORMAT = "public-url"
"""How the document names the wire texts; `datarun_client.codec` reads and writes them."""

EXAMPLE_ROWS = encode_indices(range(4))
EXAMPLE_URL = "https://platform.example.org/datarun"
EXAMPLE_CURSOR = encode_indices([10, 1])
EXAMPLE_PREDICTIONS = encode_predictions(np.array([[0.9, 0.1], [0.2, 0.8]]))
EXAMPLE_SHA256 = hashlib.sha256(b"datarun").hexdigest()
EXAMPLE_UPLOAD = "8c2f0ad2-3c0a-4a5d-9d0e-6a1f4f1f2b7e"
EXAMPLE_TIME = "2026-11-25T08:30:00+00:00"


def describe(text: str, example: Any = None, **keywords: Any) -> dict[str, Any]:
    """Put a sentence, an example and keywords of JSON Schema into the OpenAPI document."""
    examples = {} if example is None else {"examples": [example]}
    return {"description": text, **examples, **keywords}


ROWS = describe(
    "Row numbers, from 0: base64(zlib(int64, little-endian)).",
    EXAMPLE_ROWS,
    format=INDICES_FORMAT,
)
PREDICTIONS = describe(
    "base64(zlib(float64, little-endian, C order)); null unless the fold is `TESTED`.",
    EXAMPLE_PREDICTIONS,
    format=PREDICTIONS_FORMAT,
)
RAW_DATA = describe("The data set's number.", 3)
SUBMISSION = describe("The platform's number of the submission.", 1)
FOLD = describe("The platform's number of the fold.", 10)
ATTEMPT = describe("Which try it is, from 1.", 1)
OWNER = describe("The account's number.", 2)
WORKER = describe("The worker's name.", "node7-1")
SECONDS = describe("Seconds.", 1.5)
BYTES = describe("Bytes.", 1_000_000)
KILOBYTES = describe("kB of 1024 bytes.", 20480.0)
HASH_FILES = describe("One SHA-256 of all names and contents of the source.", EXAMPLE_SHA256)


def show_time(text: str) -> dict[str, Any]:
    """Describe a point in time."""
    return describe(text, EXAMPLE_TIME)


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
        kwargs.setdefault("metadata", {}).setdefault("format", "line")
        super().__init__(validate=[validate.Length(1, max_length), check_text], **kwargs)


class Flag(fields.Boolean):
    """True or false; no text and no number."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class LogText(fields.String):
    """Any text but NUL, which PostgreSQL can't keep."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(validate=self._check, **kwargs)

    @staticmethod
    def _check(value: str) -> None:
        if "\x00" in value:
            raise ValidationError("Must not hold NUL characters.")


class Whole(fields.Integer):
    """A whole number between two bounds; no text, no true. JSON's 3.0 is a 3."""

    def __init__(self, lowest: int, highest: int, **kwargs: Any) -> None:
        super().__init__(strict=True, validate=validate.Range(lowest, highest), **kwargs)

    def _validated(self, value: Any) -> Any:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return super()._validated(value)


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

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(metadata=ROWS, **kwargs)

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> Any:
        text = super()._deserialize(value, attr, data, **kwargs)
        # Counted also when they are refused: a list may hold thousands of zlib bombs.
        left = MAX_UNPACKED - g.get("unpacked", 0)
        if left <= 0:
            raise ValidationError(
                f"All row numbers of a request may have {MAX_UNPACKED} bytes; post fewer folds."
            )
        limit = min(MAX_INDICES_BYTES, left)
        g.unpacked = MAX_UNPACKED - left + limit
        try:
            packed = decode_base64(text)
            rows = unpack_indices(packed, limit)
        except CodecError as error:
            raise ValidationError(f"{self.name} {error}") from None
        g.unpacked -= limit - rows.nbytes
        if rows.size and rows.min() < 0:
            raise ValidationError("Row numbers count from 0; there is a negative one.")
        return Indices(packed, int(rows.max()) if rows.size else -1)


class FilesField(fields.Dict):
    """File contents as wire text, by checked names; the contents are decoded later."""

    def __init__(self, **kwargs: Any) -> None:
        values = fields.String(metadata={"format": BYTES_FORMAT})
        super().__init__(keys=fields.String(), values=values, **kwargs)

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> Any:
        files = super()._deserialize(value, attr, data, **kwargs)
        check_names(files)
        return files


class UploadsField(fields.Dict):
    """Uploads, by the checked names that their files have in what is posted."""

    def __init__(self, **kwargs: Any) -> None:
        metadata = describe(
            "Files that were uploaded before: by name, each one's `upload_id`.",
            {"iris.csv": EXAMPLE_UPLOAD},
            minProperties=1,
        )
        super().__init__(
            keys=fields.String(),
            values=fields.UUID(),
            allow_none=True,
            load_default=None,
            metadata=metadata,
            **kwargs,
        )

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> Any:
        uploads = super()._deserialize(value, attr, data, **kwargs)
        check_names(uploads)
        return uploads


def check_names(names: Collection[str]) -> None:
    """Refuse names that the files of a data set or of a submission can't have.

    Raises
    ------
    ValidationError
        With what is wrong with them.
    """
    limit = current_app.config["MAX_FILES"]
    if not names:
        raise ValidationError("Send at least one file.")
    if len(names) > limit:
        raise ValidationError(
            f"Holds {len(names)} files; at most {limit} are taken (DATARUN_MAX_FILES)."
        )
    try:
        check_file_names(names)
    except FileNameError as error:
        raise ValidationError(str(error)) from None


def check_distinct(items: list[str]) -> None:
    """Refuse a list that names something twice.

    Raises
    ------
    ValidationError
        If it does.
    """
    if len(set(items)) < len(items):
        raise ValidationError("Name each once.")


SCORES = (
    "By metric of the data set and by part of the data; null without metrics, and until they are "
    "there. A score is null where its part has no rows or the metric failed."
)
SCORES_EXAMPLE = {"accuracy": {"train": 1.0, "validation": 0.9, "test": 0.93}}


def metric_field() -> fields.String:
    """Describe the name of a metric, which a kit's score type may have chosen."""
    return fields.String(validate=[validate.Length(1, MAX_SCORE_NAME), check_text])


class ErrorSchema(ma.Schema):
    """The one shape of a refusal."""

    error = fields.String(
        required=True,
        metadata=describe("One sentence for a person.", "The request has bad fields."),
    )
    errors = fields.Dict(
        required=True,
        metadata=describe(
            "What is wrong and what to do, by field; for a list, by place and field.",
            {"name": ["Missing data for required field."]},
        ),
    )


class RawDataInputSchema(ma.Schema):
    """A data set that is posted."""

    name = Text(required=True, metadata=describe("Unique in the account.", "iris"))
    target_column = Text(
        required=True, metadata=describe("The column that submissions predict.", "species")
    )
    workflow_elements = fields.String(
        required=True,
        validate=[validate.Length(1, 200), check_text],
        metadata=describe(
            f"Comma-separated; of {', '.join(WorkflowElement)}, or whatever a RAMP kit's workflow "
            "has.",
            "feature_extractor, classifier",
            format="workflow-elements",
        ),
    )
    files = FilesField(
        allow_none=True,
        load_default=None,
        metadata=describe(
            "A single CSV, or any files and one `.py` that reads them, or those of a RAMP kit; "
            "by name, as base64(zlib(bytes)). At most `DATARUN_MAX_FILES`.",
            {"iris.csv": encode_bytes(b"length,species\n1.4,setosa\n4.7,versicolor\n")},
            minProperties=1,
        ),
    )
    uploads = UploadsField()
    time_limit = Real(
        allow_none=True,
        validate=validate.Range(0, MAX_TIME_LIMIT, min_inclusive=False),
        metadata=describe("Seconds that a whole fold may take.", 600.0),
    )
    memory_limit = Whole(
        1,
        MAX_BIG,
        allow_none=True,
        metadata=describe("Bytes of memory that a fold may use.", 2_000_000_000),
    )
    metrics = fields.List(
        fields.String(validate=validate.OneOf(METRICS)),
        load_default=list,
        validate=[validate.Length(max=MAX_METRICS), check_distinct],
        metadata=describe(
            "Names of scikit-learn's scorers; nothing is scored without.",
            ["accuracy", "neg_log_loss"],
            uniqueItems=True,
        ),
    )


class RawDataSchema(ma.Schema):
    """A data set."""

    id = fields.Integer(required=True, metadata=RAW_DATA)
    name = fields.String(required=True, metadata=describe("Unique in the account.", "iris"))
    files_path = fields.String(required=True, metadata=describe("A logical path.", "rawdata/3"))
    workflow_elements = fields.String(
        required=True, metadata=describe("As it was posted.", "feature_extractor, classifier")
    )
    target_column = fields.String(
        required=True, metadata=describe("The column that submissions predict.", "species")
    )
    time_limit = fields.Float(
        required=True,
        allow_none=True,
        metadata=describe("Seconds that a whole fold may take.", 600.0),
    )
    memory_limit = fields.Integer(
        required=True,
        allow_none=True,
        metadata=describe("Bytes of memory that a fold may use.", 2_000_000_000),
    )
    metrics = fields.List(
        fields.String(),
        required=True,
        metadata=describe(
            "What its folds are scored by; of a RAMP kit, once it is split, its score types.",
            ["accuracy", "neg_log_loss"],
        ),
    )
    split_state = fields.Enum(SplitState, by_value=True, required=True)
    split_error = fields.String(
        required=True,
        allow_none=True,
        metadata=describe("Why the split failed.", "There is no column 'species'."),
    )
    n_train = fields.Integer(
        required=True, allow_none=True, metadata=describe("Rows of the train part.", 105)
    )
    n_test = fields.Integer(
        required=True, allow_none=True, metadata=describe("Rows of the held-out part.", 45)
    )
    created_at = fields.AwareDateTime(required=True, metadata=show_time("When it was posted."))


class SplitInputSchema(ma.Schema):
    """A split that is asked for."""

    raw_data_id = Id(required=True, metadata=RAW_DATA)
    held_out_test = Real(
        required=True,
        validate=validate.Range(0, 1, min_inclusive=False, max_inclusive=False),
        metadata=describe("The share of the rows that is held out.", 0.3),
    )
    random_state = Whole(
        0, MAX_RANDOM_STATE, load_default=42, metadata=describe("The seed of the split.", 42)
    )


class CustomSplitInputSchema(ma.Schema):
    """A split by the data set's own reader."""

    raw_data_id = Id(required=True, metadata=RAW_DATA)


class TaskSchema(ma.Schema):
    """A job that was asked for."""

    task_id = fields.String(required=True, metadata=describe("The job.", "split-3-1"))


class SubmissionFoldInputSchema(ma.Schema):
    """A submission on one cross-validation fold, with its files if it is new."""

    databoard_sf_id = Id(required=True, metadata=FOLD)
    databoard_s_id = Id(required=True, metadata=SUBMISSION)
    train_is = IndicesField(required=True)
    test_is = IndicesField(required=True)
    priority = fields.Enum(Priority, by_value=True, load_default=Priority.LOW)
    raw_data = Id(
        allow_none=True,
        load_default=None,
        metadata=describe("The data set's number; needed when the submission is new.", 3),
    )
    files = FilesField(
        allow_none=True,
        load_default=None,
        metadata=describe(
            "The source, by name, as base64(zlib(bytes)); needed when the submission is new. "
            "At most `DATARUN_MAX_FILES`.",
            {"classifier.py": encode_bytes(b"class Classifier:\n    ...\n")},
            minProperties=1,
        ),
    )
    uploads = UploadsField()
    force = fields.String(
        allow_none=True,
        load_default=None,
        metadata=describe(
            "`submission_fold` runs it again with the stored source, "
            "`submission, submission_fold` replaces the source too.",
            "submission_fold",
            format="force",
        ),
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


def dtype_field(**keywords: Any) -> fields.String:
    """Describe the type of an array."""
    metadata = describe("The array's type, as NumPy writes it.", PREDICTION_DTYPE.str)
    return fields.String(required=True, metadata=metadata, **keywords)


def array_shape_field(**keywords: Any) -> fields.List:
    """Describe the shape of an array."""
    metadata = describe("`[n_samples]` or `[n_samples, n_columns]`.", [2, 2])
    return fields.List(fields.Integer(), required=True, metadata=metadata, **keywords)


def array_sha256_field(**keywords: Any) -> fields.String:
    """Describe the hash of an array."""
    metadata = describe("SHA-256 of the array's raw bytes, in hexadecimal digits.", EXAMPLE_SHA256)
    return fields.String(required=True, metadata=metadata, **keywords)


class PredictionSchema(ma.Schema):
    """Predictions and measures of a fold."""

    databoard_sf_id = fields.Integer(required=True, metadata=FOLD)
    databoard_s = fields.Integer(required=True, metadata=SUBMISSION)
    full_train_predictions = fields.String(required=True, allow_none=True, metadata=PREDICTIONS)
    test_predictions = fields.String(required=True, allow_none=True, metadata=PREDICTIONS)
    full_train_dtype = dtype_field(allow_none=True)
    full_train_shape = array_shape_field(allow_none=True)
    full_train_sha256 = array_sha256_field(allow_none=True)
    test_dtype = dtype_field(allow_none=True)
    test_shape = array_shape_field(allow_none=True)
    test_sha256 = array_sha256_field(allow_none=True)
    state = fields.Enum(State, by_value=True, required=True)
    log_messages = fields.String(
        required=True, metadata=describe("What the fold printed, and why it failed.", "trained\n")
    )
    train_time = fields.Float(required=True, metadata=SECONDS)
    validation_time = fields.Float(required=True, metadata=SECONDS)
    test_time = fields.Float(required=True, metadata=SECONDS)
    train_cpu_time = fields.Float(required=True, metadata=SECONDS)
    test_cpu_time = fields.Float(required=True, metadata=SECONDS)
    train_memory = fields.Float(required=True, metadata=KILOBYTES)
    test_memory = fields.Float(required=True, metadata=KILOBYTES)


class SubmissionFoldSchema(PredictionSchema):
    """A fold with all its fields."""

    train_is = fields.String(required=True, metadata=ROWS)
    test_is = fields.String(required=True, metadata=ROWS)
    priority = fields.Enum(Priority, by_value=True, required=True)
    new = fields.Boolean(
        required=True, metadata=describe("Whether its result was not handed out yet.")
    )
    failure_kind = fields.Enum(FailureKind, by_value=True, required=True, allow_none=True)
    attempt = fields.Integer(required=True, metadata=ATTEMPT)
    hash_files = fields.String(required=True, allow_none=True, metadata=HASH_FILES)
    created_at = fields.AwareDateTime(required=True, metadata=show_time("When it was posted."))
    started_at = fields.AwareDateTime(
        required=True, allow_none=True, metadata=show_time("When its attempt began.")
    )
    finished_at = fields.AwareDateTime(
        required=True, allow_none=True, metadata=show_time("When it ended.")
    )


class ProgressSchema(ma.Schema):
    """How far a fold is, and what it waits for."""

    phase = fields.String(required=True, metadata=describe("What comes next.", "train"))
    attempt = fields.Integer(required=True, metadata=ATTEMPT)
    worker = fields.String(required=True, allow_none=True, metadata=WORKER)
    since = fields.AwareDateTime(
        required=True, metadata=show_time("Since when it is in this phase.")
    )
    queue = fields.String(required=True, metadata=describe("Its queue.", "low"))
    position = fields.Integer(
        required=True, allow_none=True, metadata=describe("Folds that wait longer.", 3)
    )
    estimated_wait = fields.Float(required=True, allow_none=True, metadata=SECONDS)
    reason = fields.String(required=True, metadata=describe("Why it waits.", "queued"))
    message = fields.String(
        required=True, metadata=describe("The same for a person.", "3 folds wait longer.")
    )


class SubmissionFoldDetailSchema(SubmissionFoldSchema):
    """A fold with all its fields, and how far it is if it isn't final."""

    progress = fields.Nested(ProgressSchema, required=True, allow_none=True)
    timings = fields.Dict(
        fields.String(),
        fields.Float(),
        required=True,
        metadata=describe(
            "Seconds by span, from the POST to the result.", {"accept": 0.004, "pick_up": 0.02}
        ),
    )
    scores = fields.Dict(
        required=True,
        allow_none=True,
        metadata=describe(SCORES, SCORES_EXAMPLE),
    )


class SubmissionSchema(ma.Schema):
    """A submission and its scores."""

    databoard_s_id = fields.Integer(required=True, metadata=SUBMISSION)
    raw_data = fields.Integer(required=True, metadata=RAW_DATA)
    hash_files = fields.String(required=True, metadata=HASH_FILES)
    created_at = fields.AwareDateTime(required=True, metadata=show_time("When it was posted."))
    n_folds = fields.Integer(required=True, metadata=describe("How many folds it has.", 5))
    n_tested = fields.Integer(required=True, metadata=describe("How many are `TESTED`.", 5))
    scoring_state = fields.Enum(
        ScoringState,
        by_value=True,
        required=True,
        allow_none=True,
        metadata=describe("Null if nothing is to be scored."),
    )
    scoring_error = fields.String(
        required=True,
        allow_none=True,
        metadata=describe("What failed.", "roc_auc: multi_class must be in ('ovo', 'ovr')"),
    )
    scores = fields.Dict(
        required=True,
        metadata=describe(
            "By metric and part: mean and standard deviation over the tested folds, and the "
            "score of their mean predictions.",
            {"accuracy": {"test": {"mean": 0.93, "std": 0.02, "bagged": 0.95}}},
        ),
    )


class AttemptSchema(ma.Schema):
    """One try at running a fold."""

    number = fields.Integer(required=True, metadata=ATTEMPT)
    worker = fields.String(required=True, metadata=WORKER)
    started_at = fields.AwareDateTime(required=True, metadata=show_time("When it began."))
    lease_until = fields.AwareDateTime(
        required=True, allow_none=True, metadata=show_time("When its worker counts as lost.")
    )
    ended_at = fields.AwareDateTime(
        required=True, allow_none=True, metadata=show_time("When it ended.")
    )
    outcome = fields.String(
        required=True, allow_none=True, metadata=describe("How it ended.", "tested")
    )
    failure_kind = fields.String(
        required=True,
        allow_none=True,
        metadata=describe("Whose fault it was.", "submission_error"),
    )
    reason = fields.String(
        required=True,
        allow_none=True,
        metadata=describe("Why it ended, if not by itself.", "its worker wasn't heard of"),
    )
    log_messages = fields.String(
        required=True,
        metadata=describe("What was logged, if it ended without a result.", ""),
    )
    hash_files = fields.String(required=True, metadata=HASH_FILES)
    measures = fields.Dict(
        required=True,
        allow_none=True,
        metadata=describe("What it used, by measure.", {"train_time": 1.5}),
    )


class WorkerSchema(ma.Schema):
    """A compute machine's worker."""

    name = fields.String(required=True, metadata=WORKER)
    host = fields.String(required=True, metadata=describe("Its machine.", "node7"))
    queues = fields.List(
        fields.String(), required=True, metadata=describe("What it serves.", ["high", "low"])
    )
    version = fields.String(required=True, metadata=describe("Its release.", "0.1.0"))
    isolation = fields.String(required=True, metadata=describe("How it confines folds.", "full"))
    free_disk = fields.Integer(required=True, metadata=BYTES)
    free_memory = fields.Integer(required=True, metadata=BYTES)
    first_seen = fields.AwareDateTime(
        required=True, metadata=show_time("When it was heard of first.")
    )
    last_seen = fields.AwareDateTime(
        required=True, metadata=show_time("When it was heard of last.")
    )
    live = fields.Boolean(required=True, metadata=describe("Whether it was heard of lately."))
    n_done = fields.Integer(required=True, metadata=describe("Folds that it finished.", 12))
    fold = fields.Dict(
        required=True,
        allow_none=True,
        metadata=describe("What it runs.", {"databoard_sf_id": 10}),
    )


class QueueSchema(ma.Schema):
    """A queue of folds."""

    name = fields.String(required=True, metadata=describe("The queue.", "low"))
    depth = fields.Integer(required=True, metadata=describe("Folds that wait; 1000 means more.", 3))
    oldest_wait = fields.Float(required=True, metadata=SECONDS)
    done_last_hour = fields.Integer(
        required=True, metadata=describe("Attempts that ended in the last hour.", 120)
    )
    live_workers = fields.Integer(
        required=True, metadata=describe("Workers that were heard of lately.", 2)
    )


class SubmissionFoldPostedSchema(SubmissionFoldSchema):
    """A fold that was accepted, with the job that runs it."""

    task_id = fields.String(required=True, metadata=describe("The job.", "fold-2-10-1"))


class SubmissionFoldLightSchema(ma.Schema):
    """A fold's state."""

    databoard_sf_id = fields.Integer(required=True, metadata=FOLD)
    databoard_s = fields.Integer(required=True, metadata=SUBMISSION)
    state = fields.Enum(State, by_value=True, required=True)
    new = fields.Boolean(
        required=True, metadata=describe("Whether its result was not handed out yet.")
    )


class PredictionListInputSchema(ma.Schema):
    """The folds whose predictions are asked for."""

    list_submission_fold = fields.List(
        Id(),
        required=True,
        validate=validate.Length(max=100_000),
        metadata=describe("The platform's numbers of the folds.", [10, 11]),
    )


class PredictionNewInputSchema(ma.Schema):
    """Which new predictions are asked for, and in which form."""

    raw_data_id = Id(
        allow_none=True,
        load_default=None,
        metadata=describe("Only this data set's; all if it is left out.", 3),
    )
    ack = fields.String(
        allow_none=True,
        load_default=None,
        validate=validate.Length(max=MAX_CURSOR),
        metadata=describe(
            "Asks for the acknowledging form: an empty text first, then the last answer's `ack`.",
            "",
            format=CURSOR_FORMAT,
        ),
    )
    limit = Whole(
        1,
        MAX_PAGE,
        load_default=100,
        metadata=describe("Folds of an answer in the acknowledging form.", 100),
    )


class PredictionPageSchema(ma.Schema):
    """New predictions, and what acknowledges them."""

    predictions = fields.List(fields.Nested(PredictionSchema), required=True)
    ack = fields.String(
        required=True,
        metadata=describe("Send it with the next request once you have these.", EXAMPLE_CURSOR),
    )


class WaitSchema(ma.Schema):
    """How long an answer may wait for something to happen."""

    wait = fields.Integer(
        load_default=0,
        validate=validate.Range(0, MAX_WAIT),
        metadata=describe("Seconds that the answer may wait for something to happen.", 30),
    )


class EventHeaderSchema(ma.Schema):
    """Where a reader of events goes on."""

    last_event_id = fields.Integer(
        data_key="Last-Event-ID",
        validate=validate.Range(0, MAX_BIG),
        metadata=describe(
            "The last event that is known; by default what happens from now on.", 1234
        ),
    )


class EventQuerySchema(ma.Schema):
    """How long a stream of events lasts."""

    wait = fields.Integer(
        load_default=MAX_STREAM,
        validate=validate.Range(1, MAX_STREAM),
        metadata=describe("Seconds after which the stream ends; its client may connect again.", 60),
    )


class FreeNumbersSchema(ma.Schema):
    """Numbers that nothing of the account has yet: those after the largest."""

    databoard_s_id = fields.Integer(required=True, metadata=SUBMISSION)
    databoard_sf_id = fields.Integer(required=True, metadata=FOLD)


class EventSchema(ma.Schema):
    """A Server-Sent Event, as a client reads it off the stream."""

    id = fields.String(metadata=describe("Where `Last-Event-ID` goes on.", "1234"))
    event = fields.String(metadata=describe("`fold`, or `reset` if events are gone.", "fold"))
    retry = fields.Integer(metadata=describe("Milliseconds until it connects again.", 2000))
    data = fields.String(
        metadata=describe(
            "JSON.", '{"databoard_sf_id": 10, "databoard_s": 1, "state": "TESTED", "attempt": 1}'
        ),
    )


class WebhookInputSchema(ma.Schema):
    """An address that wants to be called."""

    url = fields.String(
        required=True,
        validate=validate.Length(1, 2000),
        metadata=describe("It must be public.", EXAMPLE_URL, format=URL_FORMAT),
    )
    states = fields.List(
        fields.Enum(State, by_value=True),
        load_default=lambda: [State.TESTED, State.ERROR],
        validate=validate.Length(1, len(State)),
        metadata=describe("The states of a fold that it is called about."),
    )


class WebhookSchema(ma.Schema):
    """An address that is called about a data set's folds."""

    id = fields.Integer(required=True, metadata=describe("The webhook's number.", 7))
    url = fields.String(required=True, metadata=describe("Who is called.", EXAMPLE_URL))
    states = fields.List(fields.Enum(State, by_value=True), required=True)
    failing_since = fields.AwareDateTime(
        required=True,
        allow_none=True,
        metadata=show_time("Since when no call succeeded; null if the last one did."),
    )
    disabled_at = fields.AwareDateTime(
        required=True,
        allow_none=True,
        metadata=show_time("When it was given up; null if it is called."),
    )
    created_at = fields.AwareDateTime(required=True, metadata=show_time("When it was added."))


class WebhookCreatedSchema(WebhookSchema):
    """A new webhook with the secret of its signatures."""

    secret = fields.String(
        required=True,
        metadata=describe(
            "Signs its messages; shown only now.",
            "whsec_VGhpcyBpcyBhbiBleGFtcGxlIGFuZCBubyBzZWNyZXQ=",
        ),
    )


class DeliverySchema(ma.Schema):
    """What a webhook was called about, and how that went."""

    webhook_id = fields.String(
        required=True, metadata=describe("The header of this name.", "fold_event_1234")
    )
    databoard_sf_id = fields.Integer(required=True, metadata=FOLD)
    state = fields.Enum(State, by_value=True, required=True)
    n_tries = fields.Integer(required=True, metadata=describe("How often it was tried.", 1))
    tried_at = fields.AwareDateTime(
        required=True, allow_none=True, metadata=show_time("When it was tried last.")
    )
    delivered_at = fields.AwareDateTime(
        required=True, allow_none=True, metadata=show_time("When it arrived.")
    )
    next_try_at = fields.AwareDateTime(
        required=True,
        allow_none=True,
        metadata=show_time("When it is tried again; null once it arrived or was given up."),
    )
    status = fields.Integer(
        required=True, allow_none=True, metadata=describe("Of the last answer.", 204)
    )
    error = fields.String(
        required=True,
        allow_none=True,
        metadata=describe(
            "Why there was no answer.", "ConnectionRefusedError: [Errno 111] Connection refused"
        ),
    )


class DoneSchema(ma.Schema):
    """Done; there is nothing more to say."""


class HealthSchema(ma.Schema):
    """Whether the servers behind the API answer."""

    status = fields.String(required=True, metadata=describe("`ok` or `unavailable`.", "ok"))
    postgresql = fields.String(required=True, metadata=describe("`ok` or `no answer`.", "ok"))
    redis = fields.String(required=True, metadata=describe("`ok` or `no answer`.", "ok"))


# What compute machines send and get.


AHEAD = describe("The worker runs another fold until then; none is given that was lost.", False)


class FoldClaimInputSchema(ma.Schema):
    """A worker asks for the fold that its job names."""

    owner = Id(required=True, metadata=OWNER)
    databoard_sf_id = Id(required=True, metadata=FOLD)
    queue = fields.Enum(Queue, by_value=True, required=True)
    worker = Text(required=True, metadata=dict(WORKER))
    resumes = Flag(
        load_default=False,
        metadata=describe("Give what was given before, as the answer may have been lost.", False),
    )
    ahead = Flag(load_default=False, metadata=dict(AHEAD))


class HeartbeatInputSchema(ma.Schema):
    """What a worker tells of itself."""

    worker = Text(required=True, metadata=dict(WORKER))
    host = Text(required=True, metadata=describe("Its machine.", "node7"))
    queues = fields.List(
        Text(50),
        required=True,
        validate=validate.Length(1, 20),
        metadata=describe("What it serves.", ["high", "low"]),
    )
    version = Text(50, required=True, metadata=describe("Its release.", "0.1.0"))
    isolation = Text(50, required=True, metadata=describe("How it confines folds.", "full"))
    free_disk = Whole(0, MAX_BIG, required=True, metadata=BYTES)
    free_memory = Whole(0, MAX_BIG, required=True, metadata=BYTES)


class LeaseSchema(ma.Schema):
    """A lease that was given or renewed."""

    lease = fields.Float(required=True, metadata=describe("Seconds.", 30.0))


class ReleaseInputSchema(ma.Schema):
    """Why a worker gives something back."""

    reason = LogText(required=True, metadata=describe("For a person.", "The worker stops."))


class StoredFileSchema(ma.Schema):
    """A file of a manifest."""

    name = Text(required=True, metadata=describe("Its name.", "X_train"))
    sha256 = fields.String(
        required=True,
        validate=[validate.Length(equal=64), validate.Regexp(r"^[0-9a-f]+$")],
        metadata=describe("The SHA-256 of its bytes.", EXAMPLE_SHA256),
    )
    size = Whole(0, MAX_BIG, required=True, metadata=BYTES)


class FoldClaimRawDataSchema(ma.Schema):
    """What a fold must know of its data set."""

    id = fields.Integer(required=True, metadata=RAW_DATA)
    workflow_elements = fields.List(fields.Enum(WorkflowElement, by_value=True), required=True)
    target_column = fields.String(
        required=True, metadata=describe("The column that submissions predict.", "species")
    )
    reader = fields.Enum(Reader, by_value=True, required=True)
    time_limit = fields.Float(required=True, allow_none=True, metadata=SECONDS)
    memory_limit = fields.Integer(required=True, allow_none=True, metadata=BYTES)
    n_train = fields.Integer(required=True, metadata=describe("Rows of the train part.", 105))
    n_test = fields.Integer(required=True, metadata=describe("Rows of the held-out part.", 45))


class FoldClaimSubmissionSchema(ma.Schema):
    """A fold's source files."""

    databoard_s_id = fields.Integer(required=True, metadata=SUBMISSION)
    hash_files = fields.String(required=True, metadata=HASH_FILES)
    files = fields.List(fields.Nested(StoredFileSchema), required=True)


class FoldClaimSchema(ma.Schema):
    """A fold that was given to a worker: its attempt, lease and inputs."""

    owner = fields.Integer(required=True, metadata=OWNER)
    databoard_sf_id = fields.Integer(required=True, metadata=FOLD)
    attempt = fields.Integer(required=True, metadata=ATTEMPT)
    lease = fields.Float(required=True, metadata=describe("Seconds.", 30.0))
    train_is = fields.String(required=True, metadata=ROWS)
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

    offset = Whole(0, MAX_BIG, required=True, metadata=describe("Bytes that were sent before.", 0))
    text = LogText(required=True, metadata=describe("What comes next.", "epoch 1\n"))


class LogSchema(ma.Schema):
    """How much of a log has arrived."""

    length = fields.Integer(required=True, metadata=BYTES)


def shape_field() -> fields.List:
    """Describe the shape of predictions."""
    return fields.List(
        Whole(0, MAX_ID),
        allow_none=True,
        load_default=None,
        validate=validate.Length(1, 2),
        metadata=describe("Rows, and columns if there are any.", [2, 2]),
    )


def measure_field() -> Real:
    """Describe a measure."""
    return Real(
        load_default=0.0,
        validate=validate.Range(0),
        metadata=describe("Seconds, or kB of 1024 bytes.", 1.5),
    )


class ClaimWishSchema(ma.Schema):
    """Which fold a worker that delivers a result would run next; nothing if none."""

    queue = fields.Enum(
        Queue, by_value=True, metadata=describe("The queue of the job that the worker holds.")
    )
    worker = Text(metadata=describe("The worker's name.", "worker-1"))
    ahead = fields.Boolean(truthy={"true"}, falsy={"false"}, metadata=dict(AHEAD))

    @ma.validates_schema
    def _check_both(self, data: dict[str, Any], **kwargs: Any) -> None:
        if data and not {"queue", "worker"} <= data.keys():
            raise ValidationError("Give both queue and worker, or neither.", next(iter(data)))


class FoldResultAnswerSchema(ma.Schema):
    """What a worker gets for a result."""

    claim = fields.Nested(
        FoldClaimSchema,
        required=True,
        allow_none=True,
        metadata=describe("The next fold, if one was asked for and there is one."),
    )


class FoldResultInputSchema(ma.Schema):
    """What became of an attempt."""

    state = fields.Enum(
        State, by_value=True, required=True, validate=validate.OneOf([State.TESTED, State.ERROR])
    )
    failure_kind = fields.Enum(FailureKind, by_value=True, allow_none=True, load_default=None)
    log_messages = LogText(
        required=True, metadata=describe("What the fold printed, and why it failed.", "trained\n")
    )
    full_train_predictions = fields.String(allow_none=True, load_default=None, metadata=PREDICTIONS)
    full_train_shape = shape_field()
    test_predictions = fields.String(allow_none=True, load_default=None, metadata=PREDICTIONS)
    test_shape = shape_field()
    train_time = measure_field()
    validation_time = measure_field()
    test_time = measure_field()
    train_cpu_time = measure_field()
    test_cpu_time = measure_field()
    train_memory = measure_field()
    test_memory = measure_field()
    timings = fields.Dict(
        fields.Enum(
            Span,
            by_value=True,
            validate=validate.OneOf([span for span in Span if span.is_workers]),
        ),
        Real(validate=validate.Range(0)),
        load_default=dict,
        metadata=describe("Seconds by span.", {"start": 0.002, "train": 1.5}),
    )

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

    raw_data = Id(required=True, metadata=RAW_DATA)
    attempt = Id(required=True, metadata=ATTEMPT)
    worker = Text(required=True, metadata=dict(WORKER))


class SplitClaimSchema(ma.Schema):
    """A split that was given to a worker."""

    raw_data = fields.Integer(required=True, metadata=RAW_DATA)
    attempt = fields.Integer(required=True, metadata=ATTEMPT)
    lease = fields.Float(required=True, metadata=describe("Seconds.", 30.0))
    reader = fields.Enum(Reader, by_value=True, required=True)
    target_column = fields.String(
        required=True, metadata=describe("The column that submissions predict.", "species")
    )
    workflow_elements = fields.List(fields.Enum(WorkflowElement, by_value=True), required=True)
    held_out_test = fields.Float(
        required=True,
        allow_none=True,
        metadata=describe("The share of the rows that is held out.", 0.3),
    )
    random_state = fields.Integer(
        required=True, allow_none=True, metadata=describe("The seed of the split.", 42)
    )
    time_limit = fields.Float(required=True, allow_none=True, metadata=SECONDS)
    memory_limit = fields.Integer(required=True, allow_none=True, metadata=BYTES)
    files = fields.List(fields.Nested(StoredFileSchema), required=True)


class DataJobResultInputSchema(ma.Schema):
    """What became of a data job."""

    error = LogText(
        allow_none=True,
        load_default=None,
        metadata=describe("Why it failed.", "There is no column 'species'."),
    )
    failure_kind = fields.Enum(
        FailureKind,
        by_value=True,
        load_default=FailureKind.DATA_ERROR,
        validate=validate.OneOf([FailureKind.DATA_ERROR, FailureKind.PLATFORM_ERROR]),
        metadata=describe("Whose fault an error was; the platform's is tried again."),
    )


class SplitResultInputSchema(DataJobResultInputSchema):
    """What became of a split."""

    state = fields.Enum(
        SplitState,
        by_value=True,
        required=True,
        validate=validate.OneOf([SplitState.DONE, SplitState.ERROR]),
    )
    n_train = Whole(
        0,
        MAX_ID,
        allow_none=True,
        load_default=None,
        metadata=describe("Rows of the train part.", 105),
    )
    n_test = Whole(
        0,
        MAX_ID,
        allow_none=True,
        load_default=None,
        metadata=describe("Rows of the held-out part.", 45),
    )
    files = fields.List(fields.Nested(StoredFileSchema), load_default=list)
    metrics = fields.List(
        metric_field(),
        load_default=list,
        validate=[validate.Length(max=MAX_SCORE_TYPES), check_distinct],
        metadata=describe("The names of a kit's score types.", ["acc", "nll"]),
    )

    @ma.validates_schema
    def _check_parts(self, data: dict[str, Any], **kwargs: Any) -> None:
        needed = {
            SplitState.ERROR: ["error"],
            SplitState.DONE: ["n_train", "n_test", "files"],
        }[data["state"]]
        missing = {name: ["Missing."] for name in needed if data[name] in (None, [])}
        if missing:
            raise ValidationError(missing)


class ArraySchema(ma.Schema):
    """Predictions of one set."""

    dtype = dtype_field()
    shape = array_shape_field()
    sha256 = array_sha256_field()
    predictions = fields.String(required=True, metadata=PREDICTIONS)


class UploadInputSchema(ma.Schema):
    """A file that will come in parts."""

    size = Whole(1, MAX_BIG, required=True, metadata=describe("Bytes.", 1_000_000_000))
    sha256 = fields.String(
        allow_none=True,
        load_default=None,
        validate=[validate.Length(equal=64), validate.Regexp(r"^[0-9a-f]+$")],
        metadata=describe("What the SHA-256 of the whole file is to be.", EXAMPLE_SHA256),
    )


class UploadSchema(ma.Schema):
    """A file that comes before what it belongs to."""

    upload_id = fields.UUID(required=True, metadata=describe("Its number.", EXAMPLE_UPLOAD))
    size = fields.Integer(required=True, metadata=BYTES)
    received = fields.Integer(
        required=True, metadata=describe("Bytes that have arrived; the next part begins here.", 0)
    )
    sha256 = fields.String(
        required=True,
        allow_none=True,
        metadata=describe("Of the whole file; null until it is whole.", EXAMPLE_SHA256),
    )
    expires_at = fields.AwareDateTime(
        required=True, metadata=describe("When it is forgotten.", EXAMPLE_TIME)
    )


class ScoringClaimInputSchema(ma.Schema):
    """A worker asks for the scoring that its job names."""

    owner = Id(required=True, metadata=OWNER)
    databoard_s = Id(required=True, metadata=SUBMISSION)
    attempt = Id(required=True, metadata=ATTEMPT)
    worker = Text(required=True, metadata=dict(WORKER))


class ScoredFoldNameSchema(ma.Schema):
    """A tested fold, and which try at it has its predictions."""

    databoard_sf_id = Id(required=True, metadata=FOLD)
    attempt = Id(required=True, metadata=ATTEMPT)


class ScoringClaimSchema(ma.Schema):
    """A submission that a worker is to score."""

    owner = fields.Integer(required=True, metadata=OWNER)
    databoard_s = fields.Integer(required=True, metadata=SUBMISSION)
    attempt = fields.Integer(required=True, metadata=ATTEMPT)
    lease = fields.Float(required=True, metadata=describe("Seconds.", 30.0))
    reader = fields.Enum(Reader, by_value=True, required=True)
    metrics = fields.List(
        fields.String(),
        required=True,
        metadata=describe("Names of scorers, or of a kit's score types.", ["accuracy"]),
    )
    workflow_elements = fields.List(fields.Enum(WorkflowElement, by_value=True), required=True)
    time_limit = fields.Float(required=True, allow_none=True, metadata=SECONDS)
    memory_limit = fields.Integer(required=True, allow_none=True, metadata=BYTES)
    files = fields.List(fields.Nested(StoredFileSchema), required=True)
    folds = fields.List(fields.Nested(ScoredFoldNameSchema), required=True)


class ScoredFoldSchema(ma.Schema):
    """The rows and predictions of a fold that is scored."""

    databoard_sf_id = fields.Integer(required=True, metadata=FOLD)
    attempt = fields.Integer(required=True, metadata=ATTEMPT)
    train_is = fields.String(required=True, metadata=ROWS)
    test_is = fields.String(required=True, metadata=ROWS)
    full_train_predictions = fields.String(required=True, metadata=PREDICTIONS)
    full_train_shape = fields.List(
        fields.Integer(), required=True, metadata=describe("Rows and columns.", [105, 3])
    )
    test_predictions = fields.String(required=True, metadata=PREDICTIONS)
    test_shape = fields.List(
        fields.Integer(), required=True, metadata=describe("Rows and columns.", [45, 3])
    )


def scores_field(**kwargs: Any) -> fields.Dict:
    """Describe scores by metric and part."""
    return fields.Dict(
        keys=metric_field(),
        validate=validate.Length(max=MAX_SCORE_TYPES),
        values=fields.Dict(
            keys=fields.String(validate=validate.OneOf(list(ScorePart))),
            values=Real(allow_none=True),
        ),
        metadata=describe("By metric and part.", SCORES_EXAMPLE),
        **kwargs,
    )


class FoldScoresSchema(ScoredFoldNameSchema):
    """The scores of a fold."""

    scores = scores_field(required=True)


class ScoringResultInputSchema(DataJobResultInputSchema):
    """What became of a scoring; scores may be there although a metric failed."""

    state = fields.Enum(
        ScoringState,
        by_value=True,
        required=True,
        validate=validate.OneOf([ScoringState.DONE, ScoringState.ERROR]),
    )
    folds = fields.List(fields.Nested(FoldScoresSchema), load_default=list)
    bagged = scores_field(allow_none=True, load_default=None)
