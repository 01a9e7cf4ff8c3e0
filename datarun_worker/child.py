"""The side of a sandbox that runs in it: takes commands, runs the author's code, answers.

Forked by the zygote. Until the first message, `enter`, only our own code has run. From then on
nothing here can be relied on: the author's code shares this process and may change any of it. So
whatever this module says of time, memory or success is only a claim, which the parent checks.

Messages from the parent, each with an ``id`` that the answer repeats:

=============  ===================================================================================
``enter``      limits and, as the open file ``source``, the submission's files; once
``command``    one of `datarun_worker.programs.COMMANDS`, its ``arguments``, and the names of the
               open files that came along: ``inputs`` first, then ``outputs``
=============  ===================================================================================

Answers: ``{"ok": true, "value": {...}}`` or ``{"ok": false, "kind": ..., "message": ...}``, where
`kind` is a `FailureKind`; ``platform_error`` says that the fault is ours.
"""

import base64
import errno
import importlib
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

from datarun_client.states import FailureKind
from datarun_worker import confine
from datarun_worker.channel import Channel, Message, close_files
from datarun_worker.errors import ProgramError

PACKAGE = "submissions.submission"
"""The package under which the submission's files can be imported: its `module_path`."""

SOURCE: Path | None = None
"""The folder of the submission's files, once entered."""

MAX_TRACEBACK = 32 * 1024
"""Characters of a traceback that are told."""

_PARENT_PACKAGE = """\
from datarun_worker import author_imports

author_imports.install({package!r})
"""


def run(channel: Channel, place: confine.Place, programs: str) -> NoReturn:
    """Serve one parent, by the `COMMANDS` of the module `programs`, until it hangs up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    try:
        _enter(channel, place)
        # The zygote has imported it; not above, because it imports this module.
        commands = importlib.import_module(programs).COMMANDS
        while (message := channel.receive()) is not None:
            answer = _carry_out(commands, message)
            _flush_output()
            channel.send({**answer, "id": message.body["id"]})
    except OSError:
        # The parent went away in the middle of something; nobody is left to tell.
        os._exit(1)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _enter(channel: Channel, place: confine.Place) -> None:
    """Take the first message: write the files, then give up what is left of our privileges."""
    global SOURCE
    message = channel.receive()
    if message is None:
        os._exit(0)
    try:
        limits = confine.Limits(**message.body["limits"])
        with os.fdopen(message.descriptors[0], "rb") as file:
            files = json.load(file)
        # A worker that confines nothing names the folder itself, so that it can remove it.
        folder = Path(message.body["folder"]) if message.body["folder"] else place.folder
        SOURCE = _write_source(folder / "source", files)
        confine.finish(place, folder, limits)
        sys.path.append(str(folder / "source"))
        answer: dict[str, Any] = {"ok": True, "value": {}}
    except Exception:
        message_text = traceback.format_exc()
        answer = {"ok": False, "kind": FailureKind.PLATFORM_ERROR, "message": message_text}
    channel.send({**answer, "id": message.body["id"]})


def _write_source(folder: Path, files: dict[str, str]) -> Path:
    """Write the submission's files as the package `PACKAGE` under `folder`.

    The names were checked when they were uploaded; this place has nothing to overwrite anyway.
    """
    package = folder.joinpath(*PACKAGE.split("."))
    package.mkdir(parents=True)
    parent = PACKAGE.partition(".")[0]
    (folder / parent / "__init__.py").write_text(_PARENT_PACKAGE.format(package=PACKAGE))
    for name, content in files.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(content))
    return package


def _carry_out(commands: dict[str, Any], message: Message) -> dict[str, Any]:
    body = message.body
    names = [*body["inputs"], *body["outputs"]]
    files = dict(zip(names, message.descriptors, strict=True))
    inputs = {name: files[name] for name in body["inputs"]}
    outputs = {name: files[name] for name in body["outputs"]}
    try:
        value = commands[body["command"]](body["arguments"], inputs, outputs)
        return {"ok": True, "value": value}
    except ProgramError as error:
        return {"ok": False, "kind": error.kind, "message": str(error)}
    except BaseException as error:
        # Theirs, ours, or a SystemExit: told apart by whose files it came through.
        return {"ok": False, **_describe(error)}
    finally:
        # A program may have closed some of its files.
        close_files(message.descriptors)


def _flush_output() -> None:
    """Write out what the author printed, so that it stands in the log before the answer."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # noqa: S112 -- the author may have put anything in its place
            continue


def _describe(error: BaseException) -> dict[str, Any]:
    """Say whose fault an exception is, with a traceback."""
    told = traceback.TracebackException.from_exception(error)
    # The file of a syntax error has no frame, as it never ran.
    is_authors = _keep_author_frames(told) or _is_author_file(getattr(error, "filename", None))
    kind = _classify(error, is_authors)
    if kind is FailureKind.PLATFORM_ERROR:
        told = traceback.TracebackException.from_exception(error)
    text = "".join(told.format())
    if isinstance(error, SystemExit | KeyboardInterrupt):
        text += "The submission ended its process: it ended without a result.\n"
    if len(text) > MAX_TRACEBACK:
        half = MAX_TRACEBACK // 2
        text = f"{text[:half]}\n[... {len(text) - MAX_TRACEBACK} characters ...]\n{text[-half:]}"
    return {"kind": kind, "message": text}


def _classify(error: BaseException, is_authors: bool) -> FailureKind:
    if isinstance(error, MemoryError):
        return FailureKind.MEMORY_LIMIT
    if not is_authors:
        return FailureKind.PLATFORM_ERROR
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return FailureKind.OUTPUT_LIMIT
        if error.errno in (errno.EPERM, errno.EACCES, errno.EROFS):
            return FailureKind.FORBIDDEN
    return FailureKind.SUBMISSION_ERROR


def _keep_author_frames(told: traceback.TracebackException) -> bool:
    """Drop the frames of other files from a traceback and from all that led to it.

    Returns
    -------
    bool
        Whether the traceback itself had a frame of the author's.
    """
    todo, seen, is_authors = [told], set(), False
    while todo:
        part = todo.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        authors = [frame for frame in part.stack if _is_author_file(frame.filename)]
        if part is told:
            is_authors = bool(authors)
        part.stack = traceback.StackSummary.from_list(
            [(_shorten(f.filename), f.lineno or 0, f.name, f.line) for f in authors]
        )
        if getattr(part, "filename", None) and _is_author_file(part.filename):
            part.filename = _shorten(part.filename)
        causes = [part.__cause__, part.__context__, *(getattr(part, "exceptions", None) or ())]
        todo += [cause for cause in causes if cause is not None]
    return is_authors


def _is_author_file(name: Any) -> bool:
    return SOURCE is not None and isinstance(name, str) and name.startswith(f"{SOURCE}/")


def _shorten(name: str) -> str:
    return name.removeprefix(f"{SOURCE}/")
