"""How much memory processes take while something happens.

Their growth is looked at now and then; what a single process had at most is the kernel's own count.
"""

import contextlib
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

INTERVAL = 0.005
"""Seconds between two looks."""

_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)
_RESET_PEAK = "5"
"""What forgets a process's peak, written to its `clear_refs`."""


class Watch:
    """What was seen of some processes' resident memory.

    Attributes
    ----------
    growth : int
        Bytes that they had together at most, less what they had at first.
    peak : int
        Bytes that the largest of them had at most.
    """

    def __init__(self, processes: Sequence[psutil.Process]) -> None:
        self._processes = processes
        for process in processes:
            Path(f"/proc/{process.pid}/clear_refs").write_text(_RESET_PEAK)
        self._first = self._read()
        self.growth = 0
        self.peak = 0

    def look(self) -> None:
        """Look once more."""
        self.growth = max(self.growth, self._read() - self._first)

    def finish(self) -> None:
        """Look for the last time."""
        self.look()
        self.peak = max(map(read_peak, self._processes))

    def _read(self) -> int:
        return sum(process.memory_info().rss for process in self._processes)


@contextlib.contextmanager
def watch_memory(processes: Sequence[psutil.Process]) -> Iterator[Watch]:
    """Watch the memory of processes for as long as the context lasts."""
    watch = Watch(processes)
    is_over = threading.Event()

    def keep_looking() -> None:
        while not is_over.wait(INTERVAL):
            watch.look()

    thread = threading.Thread(target=keep_looking, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        is_over.set()
        thread.join()
        watch.finish()


def read_peak(process: psutil.Process) -> int:
    """Read how many bytes a process had at most, since it began or since that was forgotten.

    Raises
    ------
    ProcessLookupError, FileNotFoundError
        If it has ended.
    """
    found = _PEAK.search(Path(f"/proc/{process.pid}/status").read_text())
    if found is None:
        raise ProcessLookupError(f"process {process.pid} has no memory any more")
    return int(found[1]) << 10
