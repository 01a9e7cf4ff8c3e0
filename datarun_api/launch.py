"""Become a program that dies with the process that started it.

Run as a script, never imported::

    python -I -S launch.py PARENT SIGNAL UID GID PROGRAM [ARGUMENT...]

`supervisor` starts every child through it. Between fork and exec a process with threads may do
next to nothing; after an exec this small script may do what it likes, and then it becomes PROGRAM
by a second exec, under the same process id. On its way it

1. gives up root for UID and GID, if they are not -1 (PostgreSQL refuses to run as root);
2. asks the kernel (Linux only) for SIGNAL when its parent dies. This comes after 1, because a
   change of user takes the wish back;
3. looks whether the parent has died in the meantime, and if so ends.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
"""From ``linux/prctl.h``."""


def launch(parent: int, death_signal: int, uid: int, gid: int, argv: list[str]) -> None:
    """Give up what the program must not have, and become it.

    Parameters
    ----------
    parent : int
        The process id of the supervisor.
    death_signal : int
        What the program gets when the supervisor dies.
    uid, gid : int
        The user and group to run as; -1 to stay.
    argv : list of str
        The program, as a path, and its arguments.
    """
    if uid != -1:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux" and ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death_signal) != 0:
        raise OSError("prctl(PR_SET_PDEATHSIG) was refused")
    if os.getppid() != parent:
        raise SystemExit("the supervisor ended first")
    os.execv(argv[0], argv)  # noqa: S606  # a list of words from the supervisor, no shell


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:5]]
    launch(numbers[0], numbers[1], numbers[2], numbers[3], sys.argv[5:])
