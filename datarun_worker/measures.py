"""What a sandbox's process tree uses, read from outside, out of /proc.

Memory is what the tree holds beyond an idle sandbox: resident pages, less those of the first
process before it ran anything. Forked processes share pages, and adding up their resident sets
counts those again and again; so of several the proportional sets are added up instead
(`Pss`: a page that n processes share counts 1/n in each). That takes milliseconds, so it is done
at most every `_PROPORTIONAL_INTERVAL` seconds, or when the quick sum is past the limit.

CPU is that of every living process and of the ended ones that were waited for; the sum never goes
back.
"""

import contextlib
import os
import time
from dataclasses import dataclass

from datarun_worker.kernel import list_children, read_file

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK = 1 / os.sysconf("SC_CLK_TCK")
_PROPORTIONAL_INTERVAL = 0.25
_KIB = 1024


@dataclass(frozen=True)
class Usage:
    """What one call used.

    Attributes
    ----------
    wall_time : float
        Seconds from the request to the reply.
    cpu_time : float
        Seconds, of the whole process tree.
    peak_memory : int
        Bytes that the process tree held at its peak, beyond an idle sandbox.
    """

    wall_time: float = 0.0
    cpu_time: float = 0.0
    peak_memory: int = 0


def list_tree(pid: int) -> list[int]:
    """List a process and its living descendants, parents first."""
    tree = [pid]
    for parent in tree:
        tree += list_children(parent)
    return tree


class TreeMeter:
    """Follows one process tree.

    Parameters
    ----------
    pid : int
        The tree's first process, idle at this moment.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._idle = _read_resident(pid)
        self._cpu = 0.0
        self._peak = 0
        self._next_proportional = 0.0

    def sample(self, limit: int) -> int:
        """Read the tree's memory in bytes; `limit` says when the quick sum isn't good enough."""
        tree = list_tree(self._pid)
        memory = sum(map(_read_resident, tree)) - self._idle
        if len(tree) > 1 and (memory > limit or time.monotonic() >= self._next_proportional):
            self._next_proportional = time.monotonic() + _PROPORTIONAL_INTERVAL
            memory = sum(map(_read_proportional, tree)) - self._idle
            self._peak = max(self._peak, memory)
        elif len(tree) == 1:
            self._peak = max(self._peak, memory)
        self._cpu = max(self._cpu, sum(map(_read_cpu, tree)))
        return memory

    def start_phase(self) -> None:
        """Forget the peak, so that the next one is that of a new phase."""
        self._peak = 0
        # The first process's own high-water mark catches a peak between two samples.
        with contextlib.suppress(OSError):
            _write(f"/proc/{self._pid}/clear_refs", b"5")

    def read_peak(self) -> int:
        """Give the peak since `start_phase`, in bytes."""
        return max(0, self._peak, _read_high_water(self._pid) - self._idle)

    def read_cpu(self) -> float:
        """Give the seconds of CPU since the tree began."""
        self._cpu = max(self._cpu, sum(map(_read_cpu, list_tree(self._pid))))
        return self._cpu


def _read(pid: int, name: str) -> str:
    """Read a file of a process in /proc; the process's name in it is any bytes that it likes."""
    return read_file(f"/proc/{pid}/{name}").decode(errors="replace")


def _write(path: str, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, content)
    finally:
        os.close(descriptor)


def _read_resident(pid: int) -> int:
    try:
        return int(_read(pid, "statm").split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _read_proportional(pid: int) -> int:
    try:
        rollup = _read(pid, "smaps_rollup")
    except OSError:
        return _read_resident(pid)
    return _read_kib(rollup, "Pss:")


def _read_high_water(pid: int) -> int:
    try:
        return _read_kib(_read(pid, "status"), "VmHWM:")
    except OSError:
        return 0


def _read_kib(text: str, key: str) -> int:
    for line in text.splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * _KIB
    return 0


def _read_cpu(pid: int) -> float:
    """Read the CPU seconds of a process and of its children that it waited for."""
    try:
        # The number of a process's CPU clock, see clock_getcpuclockid(3): exact to the
        # nanosecond, where /proc counts in ticks of 10 ms.
        own = time.clock_gettime(~pid << 3 | 2)
        # The name, in brackets, may hold anything.
        fields = _read(pid, "stat").rpartition(")")[2].split()
    except (OSError, IndexError):
        return 0.0
    return own + (int(fields[13]) + int(fields[14])) * _TICK
