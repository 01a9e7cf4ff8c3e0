"""What the exit status of the command `datarun` means; docs/cli.md has the same table."""

from enum import IntEnum

from datarun_client.errors import (
    AccountError,
    AnswerError,
    DatarunError,
    RefusedError,
    SplitFailedError,
    UnavailableError,
    UnreachableError,
    WaitTimeoutError,
)


class ExitCode(IntEnum):
    """The exit status of a command."""

    OK = 0
    """It did what it was asked for; of folds, all that were waited for are tested."""

    FAILED = 1
    """A fold or a split ended in an error, or what was given can't be sent."""

    USAGE = 2
    """The command line is wrong, or nobody is logged in."""

    UNREACHABLE = 3
    """The API gives no answer."""

    REFUSED = 4
    """The API said no."""

    TIMEOUT = 5
    """What was waited for hasn't ended in the time that was given; it goes on."""

    CONFIGURATION = 78
    """This machine can't run submissions as it was asked to: EX_CONFIG of sysexits.h."""


_CODES: tuple[tuple[type[DatarunError], ExitCode], ...] = (
    (AccountError, ExitCode.USAGE),
    (UnreachableError, ExitCode.UNREACHABLE),
    (UnavailableError, ExitCode.UNREACHABLE),
    (AnswerError, ExitCode.UNREACHABLE),
    (RefusedError, ExitCode.REFUSED),
    (WaitTimeoutError, ExitCode.TIMEOUT),
    (SplitFailedError, ExitCode.FAILED),
)


def find_exit_code(error: DatarunError) -> ExitCode:
    """Say with which status a command ends that met an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.FAILED)
