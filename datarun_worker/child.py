"""The side of a sandbox that runs in it: takes commands, runs the author's code, answers.

Forked by the zygote. Until the first message, `enter`, only our own code has run. From then on
nothing here can be relied on: the author's code shares this process and may change any of it. So
whatever this module says of time, memory or success is only a claim, which the parent checks.

Messages from the parent, each with an ``id`` that the answer repeats:

- ``enter``, once and first: the limits, the sandbox's folder, and the submission's files as JSON
  in an open file;
- ``command``: one of the `COMMANDS` of `Setting.programs`, or ``call_function``; its
  ``arguments``, and the names of the open files that came along: ``inputs`` first, then
  ``outputs``.

Answers: ``{"ok": true, "value": {...}}`` or ``{"ok": false, "kind": ..., "message": ...}``, where
`kind` is a `FailureKind`; ``platform_error`` says that the fault is ours.
"""

import base64
import importlib
import importlib.util
import json
import os
import signal
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from datarun_client.states import FailureKind
from datarun_worker import author_imports, confine
from datarun_worker.channel import Channel, Message, close_files
from datarun_worker.errors import ProgramError
from datarun_worker.tracebacks import MAX_LENGTH, classify_error, comes_from, format_error

PACKAGE = "submissions.submission"
"""The package under which the submission's files can be imported: its `module_path`."""

OUT_OF_TIME = signal.SIGXCPU
"""What the parent sends when the time is over; in a moment it will kill."""

SOURCE: Path | None = None
"""The folder of the submission's files, once entered."""

_PARENT, _, _NAME = PACKAGE.partition(".")
_PARENT_MODULE = f"""\
from datarun_worker import author_imports

author_imports.install({PACKAGE!r})
""".encode()


class OutOfTimeError(BaseException):
    """Raised in the middle of the author's code, so that its traceback tells where it was.

    Not an `Exception`, so that a model that goes on after errors doesn't go on after this one. Who
    catches it all the same is killed.
    """

    # The author is shown its name, and where it comes from is not theirs to know.
    __module__ = "builtins"

    def __init__(self) -> None:
        super().__init__("the time limit is reached")


@dataclass(frozen=True)
class Setting:
    """What is the same for all children of a zygote.

    Attributes
    ----------
    plan : confine.Plan
    programs : str
        The module whose `COMMANDS` are carried out.
    """

    plan: confine.Plan
    programs: str


def run(channel: Channel, setting: Setting) -> NoReturn:
    """Serve one parent until it hangs up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(OUT_OF_TIME, _stop_in_time)
    try:
        _enter(channel, setting)
        # The zygote has imported it; not above, because it imports this module.
        programs = importlib.import_module(setting.programs).COMMANDS
        commands = {"call_function": _call_function, **programs}
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


def _enter(channel: Channel, setting: Setting) -> None:
    """Take the first message: write the files, then give up what is left of our privileges."""
    global SOURCE
    message = channel.receive()
    if message is None:
        os._exit(0)
    try:
        limits = confine.Limits(**message.body["limits"])
        with os.fdopen(message.descriptors[0], "rb") as file:
            files = json.load(file)
        folder = message.body["folder"]
        if not setting.plan.has_own_root:
            import_parent_package(folder)
            _write_parent_package(folder)
        SOURCE = _write_source(folder, files)
        confine.finish(setting.plan, folder, limits)
        answer: dict[str, Any] = {"ok": True, "value": {}}
    except Exception:
        message_text = traceback.format_exc()
        answer = {"ok": False, "kind": FailureKind.PLATFORM_ERROR, "message": message_text}
    channel.send({**answer, "id": message.body["id"]})


def prepare(setting: Setting) -> None:
    """Do what can be done before it is known for whom."""
    confine.prepare(setting.plan)
    if setting.plan.has_own_root:
        _write_parent_package(str(confine.FOLDER))


def import_parent_package(folder: str) -> None:
    """Import the package that `PACKAGE` lies in, though its file may not be there yet.

    Where each child has a root of its own the zygote does it once for all.
    """
    package = f"{folder}/source/{_PARENT}"
    spec = importlib.util.spec_from_file_location(
        _PARENT, f"{package}/__init__.py", submodule_search_locations=[package]
    )
    if spec is None:
        raise RuntimeError(f"{package} can't be imported")
    sys.modules[_PARENT] = importlib.util.module_from_spec(spec)
    author_imports.install(PACKAGE)


def _write_parent_package(folder: str) -> None:
    """Write that package's file, for processes that the author starts."""
    source = f"{folder}/source"
    package = f"{source}/{_PARENT}"
    # Without a file object: all that is executed here costs copies of pages (`confine`).
    os.mkdir(source)
    os.mkdir(package)
    file = os.open(f"{package}/__init__.py", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    os.write(file, _PARENT_MODULE)
    os.close(file)
    sys.path.append(source)


def _write_source(folder: str, files: dict[str, str]) -> Path:
    """Write the submission's files as the package `PACKAGE`.

    The names were checked when they were uploaded; this place has nothing to overwrite anyway.
    """
    package = Path(folder) / "source" / _PARENT / _NAME
    package.mkdir()
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


def _call_function(
    arguments: dict[str, Any], inputs: dict[str, int], outputs: dict[str, int]
) -> dict[str, Any]:
    """Call a function of one of the author's modules; for the worker's check of itself."""
    module = importlib.import_module(f"{PACKAGE}.{arguments['module']}")
    return {"result": getattr(module, arguments["function"])()}


def _flush_output() -> None:
    """Write out what the author printed, so that it stands in the log before the answer."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # noqa: S112 -- the author may have put anything in its place
            continue


def _stop_in_time(*_: object) -> NoReturn:
    raise OutOfTimeError


def _describe(error: BaseException) -> dict[str, Any]:
    """Say whose fault an exception is that a program left to us, with a traceback."""
    folder = SOURCE or Path("/nowhere")
    if isinstance(error, OutOfTimeError):
        return {"kind": FailureKind.TIME_LIMIT, "message": format_error(error, folder)}
    if isinstance(error, MemoryError):
        return {"kind": FailureKind.MEMORY_LIMIT, "message": format_error(error, folder)}
    if not comes_from(error, folder):
        return {"kind": FailureKind.PLATFORM_ERROR, "message": traceback.format_exc()[-MAX_LENGTH:]}
    text = format_error(error, folder)
    if not isinstance(error, Exception):
        # SystemExit and its like.
        text += "\nThe submission ended its process: it ended without a result."
        return {"kind": FailureKind.SUBMISSION_ERROR, "message": text}
    return {"kind": classify_error(error), "message": text}
