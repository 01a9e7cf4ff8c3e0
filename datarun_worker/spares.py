"""Children of the zygote that are ready before anybody asks for one.

What a sandbox needs before its submission is known takes as long as a quick fold: the fork, the
namespaces and mounts. So when a fold has run, a thread of the worker has the child for the next one
made, while the result is delivered: then there is time, as the worker waits for the API, and that
for its disk. While a fold runs no child is kept in memory, and none is made, which would hold up
the folds of other workers. A child runs nothing until it is told what for.
"""

import contextlib
import os
import select
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from datarun_worker.channel import close_files
from datarun_worker.errors import WorkerError
from datarun_worker.kernel import read_file


@dataclass(frozen=True)
class Spare:
    """A child that nobody uses yet.

    Attributes
    ----------
    end, log, end_reader, pidfd : int
        Open files: its socket, what it prints, how it ended, and itself.
    pid : int
        Its number as the worker sees it.
    """

    end: int
    log: int
    end_reader: int
    pidfd: int
    pid: int

    @classmethod
    def from_descriptors(cls, descriptors: Sequence[int]) -> "Spare":
        """Take what the zygote gave.

        Raises
        ------
        OSError
            If it is dead.
        """
        pid = _read_pid(descriptors[-1])
        end, log, end_reader, pidfd = descriptors
        return cls(end, log, end_reader, pidfd, pid)

    def is_alive(self) -> bool:
        """Tell whether it lives."""
        return not select.select([self.pidfd], [], [], 0)[0]

    def discard(self) -> None:
        """Kill it."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        close_files((self.end, self.log, self.end_reader, self.pidfd))


class SpareKeeper:
    """Has one spare made before it is asked for; several threads may take some.

    Parameters
    ----------
    make : callable
        Makes one; raises `WorkerError`.
    """

    def __init__(self, make: Callable[[], Spare]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None
        self._next: Future[Spare] | None = None

    def prepare(self) -> None:
        """Have the next one made, unless it is being made already."""
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(1, thread_name_prefix="spares")
            if self._next is None:
                self._next = self._executor.submit(self._make)

    def take(self) -> Spare:
        """Give one that lives.

        Raises
        ------
        WorkerError
            If none can be made.
        """
        following = self._take_next()
        if following is not None:
            # Whatever it failed of is seen again below, if it is still so.
            with contextlib.suppress(WorkerError):
                spare = following.result()
                if spare.is_alive():
                    return spare
                spare.discard()
        return self._make()

    def close(self) -> None:
        """Discard what nobody has taken."""
        following = self._take_next()
        if following is not None:
            with contextlib.suppress(WorkerError):
                following.result().discard()
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None

    def _take_next(self) -> Future[Spare] | None:
        with self._lock:
            following, self._next = self._next, None
        return following


def _read_pid(pidfd: int) -> int:
    """Give the number, in our own namespace, of the process that a pidfd stands for.

    Raises
    ------
    OSError
        If it is dead, or if this kernel doesn't tell.
    """
    for line in read_file(f"/proc/self/fdinfo/{pidfd}").splitlines():
        if line.startswith(b"Pid:"):
            return int(line.split()[1])
    raise OSError(f"this kernel doesn't tell the process of a pidfd, {os.uname().release}")
