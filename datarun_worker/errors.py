"""The worker's errors: theirs and ours, never one for both.

::

    DatarunError
    ├── ProgramError            a submission's or a data set's fault; a result, told to its author
    └── WorkerError             our fault; the fold is tried again
        ├── ApiError            the API can't be reached, or refuses what we ask
        │   ├── ApiAwayError        it gives no answer, or says that it can't now
        │   ├── ApiRefusalError     it refuses what we send, and always will
        │   ├── ProtocolError       it is of another release, and refuses until the upgrade
        │   ├── ApiNotFoundError    it has no such thing, or no longer
        │   └── AttemptLostError    another attempt is the newest one, or the fold is final
        ├── AttemptReleasedError    the worker stops, and gives the attempt back
        ├── CacheError          a file can't be had as it was promised
        └── PartError           a data set's part isn't in the form that we write
"""

from datarun_client.errors import DatarunError
from datarun_client.states import FailureKind


class ProgramError(DatarunError):
    """A submission or a data set did what it mustn't; raised inside a sandbox.

    Parameters
    ----------
    kind : FailureKind
        Whose fault it is.
    message : str
        What went wrong and what to do, for the author.
    """

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message

    def __str__(self) -> str:
        return self.message


class WorkerError(DatarunError):
    """The worker, its machine or the API is at fault."""


class ApiError(WorkerError):
    """The API can't be reached, or refuses what the worker asks."""


class ApiAwayError(ApiError):
    """The API gives no answer, or says that it can't now.

    Parameters
    ----------
    message : str
    may_have_happened : bool
        Whether the API may have done what it was asked for.
    retry_after : float
        Seconds for which it wants to be left alone.
    """

    def __init__(
        self, message: str, *, may_have_happened: bool = True, retry_after: float = 0.0
    ) -> None:
        super().__init__(message)
        self.may_have_happened = may_have_happened
        self.retry_after = retry_after


class ApiRefusalError(ApiError):
    """The API refuses what the worker sends, and always will."""


class ApiTooLargeError(ApiRefusalError):
    """The API itself, and no proxy before it, takes fewer bytes than the worker sends."""


class ProtocolError(ApiError):
    """The API speaks another protocol: until one side is upgraded it refuses all that is sent."""


class ApiNotFoundError(ApiError):
    """The API has no such thing, or no longer."""


class AttemptLostError(ApiError):
    """The attempt is no longer the newest one, or its fold is final: stop, drop everything."""


class AttemptReleasedError(WorkerError):
    """The worker stops before the attempt has ended, and gives it back."""


class CacheError(WorkerError):
    """A file can't be had as it was promised."""


class PartError(WorkerError):
    """A data set's part isn't in the form that the split writes."""
