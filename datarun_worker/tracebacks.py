"""What an author is told of an exception: whose fault, and a traceback of their own files only."""

import contextlib
import errno
import traceback
from collections.abc import Iterator
from pathlib import Path

from datarun_client.states import FailureKind
from datarun_worker.errors import ProgramError

MAX_LENGTH = 16_384
"""Characters of a traceback that are kept; an exception's message may be a whole array."""

_MAX_FRAMES = 50
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says where there is no room for a file."""

_REFUSED = (errno.EPERM, errno.EACCES, errno.EROFS)


@contextlib.contextmanager
def author_code(folder: Path) -> Iterator[None]:
    """Run an author's code: whatever it raises is the author's error.

    An exception's frames alone don't tell: a class that only inherits from a library's, or one
    that lacks a method, has no frame of its own in it.

    Parameters
    ----------
    folder : Path
        The folder that holds the author's files.

    Raises
    ------
    ProgramError
        `submission_error`, `forbidden` or `output_limit`.
    MemoryError
        Left to whoever keeps that limit.
    """
    try:
        yield
    except (ProgramError, MemoryError):
        raise
    except SystemExit as error:
        message = f"{format_error(error, folder)}\nIt ended its process without a result."
        raise ProgramError(FailureKind.SUBMISSION_ERROR, message) from error
    except Exception as error:
        raise ProgramError(classify_error(error), format_error(error, folder)) from error


def classify_error(error: Exception) -> FailureKind:
    """Tell the failure kind of an author's exception."""
    number = error.errno if isinstance(error, OSError) else None
    if number in NO_ROOM:
        return FailureKind.OUTPUT_LIMIT
    if number in _REFUSED:
        return FailureKind.FORBIDDEN
    return FailureKind.SUBMISSION_ERROR


def format_error(error: BaseException, folder: Path) -> str:
    """Write an exception as Python does, cut to the frames of the files in a folder.

    Parameters
    ----------
    error : BaseException
    folder : Path
        The author's folder; the file names in the text are relative to it.
    """
    prefix = f"{folder}/"
    report = traceback.TracebackException.from_exception(error, compact=True)
    _cut_frames(report, prefix, set())
    text = "".join(report.format()).replace(prefix, "").rstrip()
    if len(text) > MAX_LENGTH:
        half = MAX_LENGTH // 2
        text = f"{text[:half]}\n[… {len(text) - MAX_LENGTH} characters …]\n{text[-half:]}"
    return text


def comes_from(error: BaseException, folder: Path) -> bool:
    """Tell whether a file in a folder had a part in an exception."""
    prefix = f"{folder}/"
    if isinstance(error, SyntaxError) and (error.filename or "").startswith(prefix):
        return True
    return any(
        frame.f_code.co_filename.startswith(prefix)
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )


def _cut_frames(report: traceback.TracebackException | None, prefix: str, seen: set[int]) -> None:
    if report is None or id(report) in seen:
        return
    seen.add(id(report))
    frames = [frame for frame in report.stack if frame.filename.startswith(prefix)]
    # The frames keep their line but not the columns, which Python would underline.
    report.stack = traceback.StackSummary.from_list(
        [(f.filename, f.lineno or 0, f.name, f.line) for f in frames[-_MAX_FRAMES:]]
    )
    _cut_frames(report.__cause__, prefix, seen)
    _cut_frames(report.__context__, prefix, seen)
    for member in report.exceptions or ():
        _cut_frames(member, prefix, seen)
