"""The enums that cross a process boundary: one word per thing, the same on the wire."""

from enum import StrEnum


class State(StrEnum):
    """What the wire shows of a fold; `TESTED` and `ERROR` are final."""

    TODO = "TODO"
    TRAINED = "TRAINED"
    VALIDATED = "VALIDATED"
    TESTED = "TESTED"
    ERROR = "ERROR"

    @property
    def is_final(self) -> bool:
        """Whether nothing but `force` changes a fold in this state."""
        return self in (State.TESTED, State.ERROR)


class SplitState(StrEnum):
    """How far a data set's split into train and test is."""

    NONE = "NONE"
    TODO = "TODO"
    DONE = "DONE"
    ERROR = "ERROR"


class ScoringState(StrEnum):
    """How far the scores of a submission are."""

    TODO = "TODO"
    DONE = "DONE"
    ERROR = "ERROR"


class ScorePart(StrEnum):
    """The rows that a score is of: a fold's train rows, its others, the held-out test set."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class Priority(StrEnum):
    """Which of the two queues a fold goes to."""

    HIGH = "H"
    LOW = "L"

    @property
    def queue(self) -> "Queue":
        """The queue that serves this priority."""
        return Queue.HIGH if self is Priority.HIGH else Queue.LOW


class Force(StrEnum):
    """What a post runs again, though it exists: the fold, or the fold with new source."""

    FOLD = "submission_fold"
    SOURCE = "submission, submission_fold"


class Queue(StrEnum):
    """The RQ queues that folds wait on; `high` is served first."""

    HIGH = "high"
    LOW = "low"

    @property
    def priority(self) -> Priority:
        """The priority whose folds wait on this queue."""
        return Priority.HIGH if self is Queue.HIGH else Priority.LOW


class FailureKind(StrEnum):
    """Why a fold is in `ERROR`; only `platform_error` is our fault and retried."""

    SUBMISSION_ERROR = "submission_error"
    BAD_PREDICTIONS = "bad_predictions"
    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    OUTPUT_LIMIT = "output_limit"
    FORBIDDEN = "forbidden"
    DATA_ERROR = "data_error"
    CANCELLED = "cancelled"
    PLATFORM_ERROR = "platform_error"


class Role(StrEnum):
    """What an account may do."""

    ADMIN = "admin"
    PLATFORM = "platform"
    VIEWER = "viewer"
    WORKER = "worker"


class Reader(StrEnum):
    """Who turns a data set's files into X and y."""

    CSV = "csv"
    SPECIFIC = "specific"
    KIT = "kit"

    @property
    def is_own(self) -> bool:
        """Whether it came with the data set: a reader of its own, or a RAMP kit's `problem.py`."""
        return self is not Reader.CSV


class WorkflowElement(StrEnum):
    """The parts that a submission may be asked for, each in a file of its name."""

    FEATURE_EXTRACTOR = "feature_extractor"
    CLASSIFIER = "classifier"
    CALIBRATOR = "calibrator"
    REGRESSOR = "regressor"
    ESTIMATOR = "estimator"

    @property
    def file_name(self) -> str:
        """The submission's file that defines this element."""
        return f"{self}.py"


class Span(StrEnum):
    """The parts of a fold's time from its POST to its result, in their order, without a gap."""

    ACCEPT = "accept"
    """From the request's arrival at the API until the fold is written."""
    PICK_UP = "pick_up"
    """Until a worker gets it: the commit, the job on Redis, the wait for a free worker."""
    AHEAD = "ahead"
    """Until the fold is over that this worker ran meanwhile; only of one claimed ahead."""
    INPUTS = "inputs"
    """Until the worker has all files at hand and the labels are cut to the train rows."""
    START = "start"
    """Until there is a confined sandbox."""
    LOAD = "load"
    """Until the sandbox has X and y."""
    TRAIN = "train"
    VALIDATE = "validate"
    TEST = "test"
    COLLECT = "collect"
    """Until log and predictions are checked and packed."""
    DELIVER = "deliver"
    """Until the API has checked and written the result, which it then commits."""

    @property
    def is_workers(self) -> bool:
        """Whether a worker measures it; the others are the API's."""
        return self not in (Span.ACCEPT, Span.PICK_UP, Span.DELIVER)
