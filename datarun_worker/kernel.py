"""The few calls of the Linux kernel that Python doesn't have."""

import ctypes
import os
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_SIGKILL = 9


def prctl(option: int, value: int) -> None:
    """Change something about this process, see prctl(2)."""
    words = [ctypes.c_ulong(word) for word in (value, 0, 0, 0)]
    if _libc.prctl(ctypes.c_int(option), *words) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


def die_with_parent() -> None:
    """Be killed when the thread that made this process ends, however it ends."""
    prctl(_PR_SET_PDEATHSIG, _SIGKILL)


def become_subreaper() -> None:
    """Become the parent of every orphan among this process's descendants."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)


def list_children(pid: int) -> list[int]:
    """List the living children of a process, those of all its threads."""
    children: list[int] = []
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            children += map(int, (thread / "children").read_text().split())
    except OSError:
        # It, or one of its threads, ended meanwhile.
        pass
    return children
