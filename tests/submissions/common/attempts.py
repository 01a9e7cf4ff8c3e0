"""How a case says what came of what it tried; posted along with every case.

The harness reads the lines: `REFUSED` is what a sandbox is for, `ESCAPED` fails the test. Only an
OSError counts as refused, so that a mistake in a case can't pass for a success of the sandbox.

`canaries.json` names what a case may write, delete, signal and connect to. The harness made all of
it for this purpose, and looks at it afterwards.
"""

import ctypes
import errno
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

CANARIES: dict[str, Any] = json.loads((Path(__file__).parent / "canaries.json").read_text())

LIBC = ctypes.CDLL(None, use_errno=True)
_IS_ARM = platform.machine() == "aarch64"
_REFUSALS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ESRCH, errno.ENOENT)


def tell(is_refused: bool, what: str, how: Any = "") -> None:
    """Say what came of an attempt."""
    print("REFUSED" if is_refused else "ESCAPED", f"{what}: {how!r:.200}", flush=True)


def attempt(what: str, function: Callable[..., Any], *args: Any, **options: Any) -> None:
    """Try something that mustn't work."""
    try:
        answer = function(*args, **options)
    except TimeoutError as error:
        # Somebody, or nobody, was reached.
        tell(False, what, error)
    except OSError as error:
        tell(True, what, error)
    else:
        tell(False, what, answer)


def attempt_call(what: str, numbers: tuple[int, int], *args: Any) -> None:
    """Try a system call by its numbers on x86_64 and aarch64.

    The arguments make no sense, so that nothing happens even where it is allowed: any error but
    a refusal says that the kernel went on to look at them.
    """
    words = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    tell_result(what, LIBC.syscall(ctypes.c_long(numbers[_IS_ARM]), *words))


def tell_result(what: str, result: int) -> None:
    """Say what came of a call of the C library."""
    number = ctypes.get_errno()
    tell(result < 0 and number in _REFUSALS, what, errno.errorcode[number] if result < 0 else "ok")


def in_child(function: Callable[[], Any]) -> None:
    """Do what would change this process in a child instead."""
    pid = os.fork()
    if pid == 0:
        try:
            function()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
