"""How much memory processes take while something happens."""

import contextlib
import threading
from collections.abc import Iterator, Sequence

import psutil

INTERVAL = 0.005
"""Seconds between two looks."""


class Watch:
    """What was seen of some processes' resident memory.

    Attributes
    ----------
    growth : int
        Bytes that they had at most, less what they had at first.
    """

    def __init__(self, processes: Sequence[psutil.Process]) -> None:
        self._processes = processes
        self._first = self._read()
        self.growth = 0

    def look(self) -> None:
        """Look once more."""
        self.growth = max(self.growth, self._read() - self._first)

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
