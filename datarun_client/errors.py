"""The errors that all parts share, and those of calls to the API.

::

    DatarunError
    ├── CodecError              bytes on the wire that are not what they should be
    ├── FileNameError           a file name that could leave its folder
    ├── AccountError            no account to call with, or a file of it that can't be used
    ├── SettingError            an environment variable that can't be read
    ├── WorkflowElementsError   a list of workflow elements that makes no workflow
    ├── SourceFilesError        a submission's or data set's files that can't be read
    ├── SplitterError           a cross-validation that gives no folds for this data set
    ├── KitError                a folder that is no RAMP kit, or whose code fails
    ├── SplitFailedError        a data set whose split ended in an error
    ├── EventsLostError         events that are gone before they were read
    ├── MissingExtraError       a package that isn't installed
    ├── WaitTimeoutError        something that hasn't ended in the time that was given
    └── CallError               a call to the API that didn't succeed
        ├── UnreachableError        no answer: no connection, or nothing came in time
        ├── AnswerError             an answer that isn't the API's
        └── RefusedError            an answer that says no; `status`, `errors` by field
            ├── BadInputError           400   a field is bad
            ├── UnauthorizedError       401   no such account
            ├── ForbiddenError          403   its role doesn't allow that
            ├── NotFoundError           404   no such thing in this account
            ├── ConflictError           409   what exists says otherwise
            ├── TooLargeError           413   more than the API takes at once
            ├── TooManyRequestsError    429   asked too often
            └── UnavailableError        5xx   the API, or a server behind it, is away
"""

from collections.abc import Iterator, Mapping
from typing import Any


class DatarunError(Exception):
    """The root of every error that datarun raises itself."""


class CodecError(DatarunError, ValueError):
    """Bytes on the wire are not what they should be."""


class FileNameError(DatarunError, ValueError):
    """A file name could leave its folder or collide with another."""


class AccountError(DatarunError):
    """The command line has no account to call with, or can't use the file of it."""


class SettingError(DatarunError, ValueError):
    """An environment variable can't be read."""


class WorkflowElementsError(DatarunError, ValueError):
    """A list of workflow elements makes no workflow."""


class SourceFilesError(DatarunError, ValueError):
    """A submission's or a data set's files can't be read."""


class SplitterError(DatarunError, ValueError):
    """A cross-validation gives no folds for this data set."""


class KitError(DatarunError):
    """A folder is no RAMP kit, or the kit's own code fails."""


class SplitFailedError(DatarunError):
    """A data set's split has ended in an error, so that nothing can run on it."""


class EventsLostError(DatarunError):
    """Events are gone before they were read; the folds themselves say how they are now."""


class MissingExtraError(DatarunError, ImportError):
    """A package is needed that isn't installed; the message names the extra that has it."""


class WaitTimeoutError(DatarunError, TimeoutError):
    """Something hasn't ended in the time that was given; it goes on."""


class CallError(DatarunError):
    """A call to the API didn't succeed."""


class UnreachableError(CallError):
    """The API gave no answer, however often it was asked."""


class AnswerError(CallError):
    """What answered isn't the API, or one of another release."""


class RefusedError(CallError):
    """The API said no.

    Parameters
    ----------
    status : int
        The HTTP status.
    error : str
        One sentence for a person.
    errors : mapping, optional
        What is wrong, by field; for a list of folds by place and field.

    Attributes
    ----------
    status, error, errors
        The parameters.
    was_repeated : bool
        Whether the call was made before and may have been carried out then, its answer lost.
    """

    was_repeated = False

    def __init__(self, status: int, error: str, errors: Mapping[str, Any] | None = None) -> None:
        self.status = status
        self.error = error
        self.errors = dict(errors or {})
        super().__init__(_write_message(error, self.errors))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.status, self.error, self.errors)


class BadInputError(RefusedError):
    """A field is bad; nothing was written (400)."""


class UnauthorizedError(RefusedError):
    """There is no account of that name and password, or that token (401)."""


class ForbiddenError(RefusedError):
    """The account's role doesn't allow that (403)."""


class NotFoundError(RefusedError):
    """There is no such thing in this account (404)."""


class ConflictError(RefusedError):
    """What exists says otherwise (409)."""


class TooLargeError(RefusedError):
    """The request is larger than the API takes at once (413)."""


class TooManyRequestsError(RefusedError):
    """The account asks too often (429)."""


class UnavailableError(RefusedError):
    """The API or a server behind it is away, however often it was asked (5xx)."""


REFUSALS: Mapping[int, type[RefusedError]] = {
    400: BadInputError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    413: TooLargeError,
    429: TooManyRequestsError,
}


def make_refusal(status: int, error: str, errors: Mapping[str, Any] | None = None) -> RefusedError:
    """Make the error of a status of 400 or more."""
    kind = UnavailableError if status >= 500 else REFUSALS.get(status, RefusedError)
    return kind(status, error, errors)


def _write_message(error: str, errors: Mapping[str, Any]) -> str:
    """Write a sentence and the fields that it is about."""
    lines = [f"{field}: {text}" for field, text in _flatten(errors)]
    if len(lines) == 1 and error in lines[0]:
        return lines[0]
    return "\n  ".join([error, *lines])


def _flatten(errors: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Give each message with the way to its field, such as ``3.train_is``."""
    if isinstance(errors, Mapping):
        for field, inner in errors.items():
            yield from _flatten(inner, (*path, str(field)))
    elif isinstance(errors, list):
        for inner in errors:
            yield from _flatten(inner, path)
    else:
        yield ".".join(path), str(errors)
