"""What this machine offers for confinement, found out by trying: `datarun worker check`.

Version numbers and settings tell little: a kernel may have a feature and forbid its use. So each
layer is tried in a process of its own, and then the escapes of `datarun_worker.escapes` run in a
real sandbox. A worker does the same before its first fold, and refuses to start if anything gets
through.
"""

import contextlib
import json
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from datarun_client.exit_codes import ExitCode
from datarun_worker import confine, escapes, kernel
from datarun_worker.errors import WorkerError
from datarun_worker.isolation import Isolation, Layer
from datarun_worker.sandbox import Engine, Limits, SandboxError, SubmissionFailure
from datarun_worker.system_calls import build_filter

logger = logging.getLogger(__name__)

_SYSCTLS = {
    "/proc/sys/user/max_user_namespaces": ("0", "sysctl user.max_user_namespaces=10000"),
    "/proc/sys/kernel/unprivileged_userns_clone": (
        "0",
        "sysctl kernel.unprivileged_userns_clone=1",
    ),
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": (
        "1",
        "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for "
        f"{sys.executable} that allows `userns`",
    ),
}
"""Settings that forbid user namespaces: the value that does, and what to do about it."""


class IsolationError(WorkerError):
    """Submitted code can't be confined on this machine as it was asked for."""


@dataclass(frozen=True)
class Finding:
    """One thing that was tried.

    Attributes
    ----------
    name : str
    is_good : bool
    detail : str
        What happened, and what would help.
    """

    name: str
    is_good: bool
    detail: str = ""


def start_engine(isolation: Isolation, **arguments: Any) -> Engine:
    """Start an engine at a level, and try to get out of one of its sandboxes.

    Parameters
    ----------
    isolation : Isolation
    **arguments
        For `Engine`.

    Raises
    ------
    IsolationError
        It can't start, or something got through; the message says what would help.
    """
    with contextlib.ExitStack() as started:
        engine = Engine(isolation, **arguments)
        started.callback(engine.stop)
        try:
            engine.start()
        except SandboxError as error:
            advice = [finding.detail for finding in check_layers() if not finding.is_good]
            lines = [
                f"Isolation {isolation.value!r} can't be had on this machine.",
                *advice,
                str(error),
            ]
            raise IsolationError("\n".join(lines)) from error
        if isolation is Isolation.NONE:
            logger.warning(
                "DATARUN_ISOLATION=none: SUBMITTED CODE RUNS UNCONFINED, as user %d, with that "
                "user's files and network. Use it for code that you would run yourself.",
                os.geteuid(),
            )
        else:
            _require_no_escape(engine)
        # The caller's from now on.
        started.pop_all()
    return engine


def _require_no_escape(engine: Engine) -> None:
    escaped = [finding.name for finding in check_escapes(engine) if not finding.is_good]
    if escaped:
        raise IsolationError(
            f"Isolation {engine.isolation.value!r} doesn't hold on this machine; this got through: "
            + ", ".join(escaped)
        )


def check_layers() -> list[Finding]:
    """Try each kernel feature in a process of its own."""
    return [
        _probe("namespaces", _try_namespaces, _advise_on_namespaces),
        _probe("landlock", _try_landlock, lambda: "boot with `landlock` in the parameter lsm="),
        _probe("seccomp", _try_seccomp, lambda: "a kernel with CONFIG_SECCOMP_FILTER"),
    ]


def check_escapes(engine: Engine) -> list[Finding]:
    """Run the escapes in a sandbox of a started engine.

    An attempt that none of the engine's layers is there to stop is left out.
    """
    with _lay_out_canaries() as canaries:
        files = {
            "escapes.py": Path(escapes.__file__).read_bytes(),
            "canaries.json": json.dumps(canaries).encode(),
        }
        with engine.open_sandbox(files, Limits(time=30)) as sandbox:
            try:
                reply = sandbox.call("call_function", {"module": "escapes", "function": "run"})
            except SubmissionFailure as failure:
                return [Finding("run the escapes", False, failure.message)]
    outcomes = reply.value.get("result")
    if not isinstance(outcomes, dict):
        return [Finding("run the escapes", False, "they gave no outcome")]
    return [
        Finding(name, bool(outcomes.get(name)), str(outcomes.get(name) or "got through"))
        for name, (_, layers) in escapes.ATTEMPTS.items()
        if engine.layers & {Layer(layer) for layer in layers}
    ]


@contextlib.contextmanager
def _lay_out_canaries() -> Iterator[dict[str, Any]]:
    """Make what the escapes try to reach: a file, a TCP server, an abstract Unix socket."""
    name = f"\0datarun-check-{os.getpid()}"
    with (
        tempfile.NamedTemporaryFile(prefix="datarun-check-") as file,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        # Open to all: it is the sandbox that keeps them out.
        os.chmod(file.name, 0o666)  # noqa: S103, PTH101
        abstract.bind(name)
        abstract.listen()
        yield {
            "file": file.name,
            "process": os.getpid(),
            "port": server.getsockname()[1],
            "abstract": name,
        }


def _probe(name: str, attempt: Callable[[], None], advise: Callable[[], str]) -> Finding:
    """Carry out an attempt in a forked process."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            attempt()
        except BaseException as error:
            os.write(writer, str(error).encode()[:1000] or b"failed")
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        trouble = file.read().decode(errors="replace")
    os.waitpid(pid, 0)
    if not trouble:
        return Finding(name, True)
    return Finding(name, False, f"{name}: {trouble}. What would help: {advise()}.")


def _try_namespaces() -> None:
    confine.enter(frozenset(Layer) - {Layer.PID}, (), None)


def _try_landlock() -> None:
    kernel.forbid_new_privileges()
    confine.FileRules.for_machine([]).enforce([], [])
    try:
        os.close(os.open("/", os.O_RDONLY))
    except PermissionError:
        return
    raise OSError("it lets everything through")


def _try_seccomp() -> None:
    kernel.forbid_new_privileges()
    kernel.filter_system_calls(build_filter(False))
    try:
        os.memfd_create("probe")
    except PermissionError:
        return
    raise OSError("it lets everything through")


def _advise_on_namespaces() -> str:
    for path, (value, advice) in _SYSCTLS.items():
        try:
            if Path(path).read_text().strip() == value:
                return advice
        except OSError:
            continue
    if Path("/.dockerenv").exists() or Path("/run/.containerenv").exists():
        return (
            "start the container with `--security-opt seccomp=unconfined --security-opt "
            "apparmor=unconfined --security-opt systempaths=unconfined`"
        )
    return "a kernel with CONFIG_USER_NS that lets this user make user namespaces"


@click.command()
@click.option(
    "--isolation",
    type=click.Choice([level.value for level in Isolation]),
    default=Isolation.FULL.value,
    show_default=True,
    help="The level to try.",
)
def check(isolation: str) -> None:
    """Try whether this machine can confine submitted code; status 78 if it can't."""
    findings = check_layers()
    _print_table("Kernel", findings)
    try:
        with Engine(Isolation(isolation)) as engine:
            findings = check_escapes(engine)
            _print_table(f"Escapes from a sandbox of level {isolation!r}", findings)
    except SandboxError as error:
        click.echo(f"\n{error}")
        sys.exit(ExitCode.CONFIGURATION)
    if not all(finding.is_good for finding in findings):
        sys.exit(ExitCode.CONFIGURATION)


def _print_table(title: str, findings: Sequence[Finding]) -> None:
    click.echo(f"\n{title}")
    for finding in findings:
        mark = "ok " if finding.is_good else "NO "
        click.echo(f"  {mark} {finding.name:32} {finding.detail}")
