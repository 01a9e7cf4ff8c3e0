"""What a worker tries, as a submission, before it takes a fold: none of it may work.

This file is handed to a sandbox as a submission's only code, beside `canaries.json`, which names
things that the check made for it. Each attempt ends in an exception, or has got through.
"""

import ctypes
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)


def _canaries() -> dict[str, Any]:
    canaries: dict[str, Any] = json.loads((Path(__file__).parent / "canaries.json").read_text())
    return canaries


def _check(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")


def read_a_file_of_the_worker() -> None:
    """Read a file that belongs to the worker."""
    Path(_canaries()["file"]).read_bytes()


def write_a_file_of_the_worker() -> None:
    """Write to a file that belongs to the worker."""
    # Not created if it isn't there: /tmp is the sandbox's own.
    os.close(os.open(_canaries()["file"], os.O_WRONLY | os.O_APPEND))


def see_that_a_file_is_there() -> None:
    """Ask for the size of a file that belongs to the worker."""
    Path(_canaries()["file"]).stat()


def change_its_own_source() -> None:
    """Write into the submission's own folder."""
    (Path(__file__).parent / "new.py").write_text("")


def see_the_worker() -> None:
    """Look at the worker's process."""
    Path(f"/proc/{_canaries()['process']}").stat()


def signal_the_worker() -> None:
    """Ask whether a signal could be sent to the worker; none is sent."""
    os.kill(_canaries()["process"], 0)


def connect_to_a_port() -> None:
    """Connect to a TCP port of this machine."""
    socket.create_connection(("127.0.0.1", _canaries()["port"]), timeout=1).close()


def connect_to_an_abstract_socket() -> None:
    """Connect to an abstract Unix socket of this machine."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(_canaries()["abstract"])


def list_sockets() -> None:
    """Find the machine's Unix sockets listed."""
    if _canaries()["abstract"][1:] not in Path("/proc/net/unix").read_text():
        raise PermissionError("not listed")


def make_a_namespace() -> None:
    """Make a user namespace, to be root in."""
    _check(_libc.unshare(0x10000000))


def hide_memory() -> None:
    """Make a file in memory, which no limit sees."""
    os.close(os.memfd_create("hidden"))


def keep_capabilities() -> None:
    """Have a capability left."""
    if "CapEff:\t0000000000000000" in Path("/proc/self/status").read_text():
        raise PermissionError("none is left")


def be_the_workers_user() -> None:
    """Run as root."""
    if os.geteuid() != 0:
        raise PermissionError("not root")


def open_many_files() -> None:
    """Hold five thousand files open."""
    files = []
    try:
        for _ in range(5000):
            files.append(os.open("/dev/null", os.O_RDONLY))
    finally:
        for file in files:
            os.close(file)


ATTEMPTS: dict[str, tuple[Callable[[], None], tuple[str, ...]]] = {
    "read a file of the worker's": (read_a_file_of_the_worker, ("mount", "landlock")),
    "write a file of the worker's": (write_a_file_of_the_worker, ("mount", "landlock")),
    "see that a file is there": (see_that_a_file_is_there, ("mount",)),
    "change its own source": (change_its_own_source, ("mount", "landlock")),
    "see the worker's process": (see_the_worker, ("pid",)),
    "signal the worker": (signal_the_worker, ("pid", "landlock")),
    "connect to a TCP port": (connect_to_a_port, ("network", "seccomp")),
    "connect to an abstract socket": (connect_to_an_abstract_socket, ("network", "landlock")),
    "list the machine's sockets": (list_sockets, ("network",)),
    "make a user namespace": (make_a_namespace, ("seccomp",)),
    "hide memory in a memfd": (hide_memory, ("seccomp",)),
    "keep a capability": (keep_capabilities, ("seccomp", "landlock", "rlimits")),
    "be root": (be_the_workers_user, ("mount", "landlock")),
    "open 5000 files": (open_many_files, ("rlimits",)),
}
"""Each attempt, and the layers any of which must stop it."""


def run() -> dict[str, str]:
    """Try everything; tell of each what stopped it, or nothing if it got through."""
    outcomes = {}
    for name, (attempt, _) in ATTEMPTS.items():
        try:
            attempt()
            outcomes[name] = ""
        except Exception as error:
            outcomes[name] = f"{type(error).__name__}: {error}"
    return outcomes
