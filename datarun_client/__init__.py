"""The client of datarun: `Client`, `post_api`, the command line, and what all parts share.

The leaf of the three packages: it imports neither of the others. The API and the workers import
its codec, enums and errors, so the public names below are imported when they are asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datarun_client.client import Client
    from datarun_client.errors import (
        AnswerError,
        BadInputError,
        CallError,
        CodecError,
        ConflictError,
        DatarunError,
        EventsLostError,
        FileNameError,
        ForbiddenError,
        KitError,
        MissingExtraError,
        NotFoundError,
        RefusedError,
        SourceFilesError,
        SplitFailedError,
        SplitterError,
        TooLargeError,
        TooManyRequestsError,
        UnauthorizedError,
        UnavailableError,
        UnreachableError,
        WaitTimeoutError,
        WorkflowElementsError,
    )
    from datarun_client.kits import Kit
    from datarun_client.records import (
        Attempt,
        Delivery,
        FileInfo,
        Fold,
        FoldEvent,
        FoldPredictions,
        FoldState,
        Health,
        Measures,
        Progress,
        QueueInfo,
        RawData,
        Submission,
        UploadInfo,
        Webhook,
        WorkerInfo,
    )
    from datarun_client.runs import Run, as_completed
    from datarun_client.states import FailureKind, Force, Priority, ScoringState, SplitState, State

__version__ = "0.1.0"

PROTOCOL = 2
"""The number of what workers and the API say to each other. It goes up with every change that the
other side, a release older, wouldn't understand; sides with different numbers don't work together,
and say which one to upgrade."""

PROTOCOL_HEADER = "Datarun-Protocol"
"""The header that names it, in the worker's requests and in the API's answers to them."""

__all__ = [
    "AnswerError",
    "Attempt",
    "BadInputError",
    "CallError",
    "Client",
    "CodecError",
    "ConflictError",
    "DatarunError",
    "Delivery",
    "EventsLostError",
    "FailureKind",
    "FileInfo",
    "FileNameError",
    "Fold",
    "FoldEvent",
    "FoldPredictions",
    "FoldState",
    "ForbiddenError",
    "Force",
    "Health",
    "Kit",
    "KitError",
    "Measures",
    "MissingExtraError",
    "NotFoundError",
    "Priority",
    "Progress",
    "QueueInfo",
    "RawData",
    "RefusedError",
    "Run",
    "ScoringState",
    "SourceFilesError",
    "SplitFailedError",
    "SplitState",
    "SplitterError",
    "State",
    "Submission",
    "TooLargeError",
    "TooManyRequestsError",
    "UnauthorizedError",
    "UnavailableError",
    "UnreachableError",
    "UploadInfo",
    "WaitTimeoutError",
    "Webhook",
    "WorkerInfo",
    "WorkflowElementsError",
    "as_completed",
]

_MODULES = ("client", "errors", "kits", "records", "runs", "states")


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for, so that the API and workers needn't."""
    if name in __all__:
        for module_name in _MODULES:
            module = import_module(f"{__name__}.{module_name}")
            if name in vars(module):
                return vars(module)[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
