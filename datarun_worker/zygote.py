"""The clean, warm process that forks sandboxes.

The worker starts it by exec with an environment built from nothing, before it reads any secret, and
speaks to it over one socket. It imports what submissions import, keeps to one thread, and keeps one
forked child in hand, the spare, so that a sandbox is there within a millisecond of being asked for.

For ``{"fork": true}`` it answers ``{"ok": true}`` with four open files: the child's socket, the
reading end of what the child prints, the reading end of how it ended, and its pidfd. How it ended
is one JSON object, written once its whole process tree is dead: ``status`` as of waitpid,
``cpu_time`` in seconds. When the worker hangs up the zygote ends, and every child with it.
"""

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from datarun_worker import child, confine, kernel
from datarun_worker.channel import Channel, close_files
from datarun_worker.isolation import Isolation

PRELOAD = (
    "numpy",
    "pandas",
    "scipy.sparse",
    "scipy.stats",
    "sklearn.calibration",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.feature_extraction.text",
    "sklearn.impute",
    "sklearn.linear_model",
    "sklearn.model_selection",
    "sklearn.naive_bayes",
    "sklearn.neighbors",
    "sklearn.pipeline",
    "sklearn.preprocessing",
    "sklearn.svm",
    "sklearn.tree",
    "sklearn.utils.parallel",
    "joblib",
)
"""The modules that most submissions import."""


@dataclass(frozen=True)
class _Child:
    """A forked child and the worker's ends of what joins it to the worker."""

    pid: int
    pidfd: int
    end_writer: int
    ends: tuple[int, int, int]

    @property
    def descriptors(self) -> tuple[int, ...]:
        return (*self.ends, self.pidfd)


class Zygote:
    """Forks children on request until the worker hangs up.

    Parameters
    ----------
    channel : Channel
        To the worker.
    level : Isolation
    programs : str
        The module whose `COMMANDS` the children carry out.
    """

    def __init__(self, channel: Channel, level: Isolation, programs: str) -> None:
        self._channel = channel
        self._level = level
        self._programs = programs
        self._children: dict[int, _Child] = {}
        self._spare: _Child | None = None
        self._poller = select.poll()
        # Children that end, and orphans of theirs, show as a readable descriptor.
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def serve(self) -> None:
        """Answer the worker and bury the dead."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        self._poller.register(self._channel, select.POLLIN)
        self._poller.register(self._wake_reader, select.POLLIN)
        self._spare = self._fork()
        while True:
            ready = {descriptor for descriptor, _ in self._poller.poll()}
            if self._wake_reader in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_reader, 4096)
                self._bury()
            if self._channel.fileno() in ready:
                if self._channel.receive() is None:
                    return
                self._hand_out()

    def _hand_out(self) -> None:
        given = self._spare or self._fork()
        self._channel.send({"ok": True}, given.descriptors)
        close_files(given.ends)
        self._spare = self._fork()

    def _fork(self) -> _Child:
        ours, theirs = Channel.pair()
        log_reader, log_writer = os.pipe()
        end_reader, end_writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            _become_child(theirs, log_writer, self._level, self._programs)
        theirs.close()
        os.close(log_writer)
        born = _Child(pid, os.pidfd_open(pid), end_writer, (ours.detach(), log_reader, end_reader))
        self._children[pid] = born
        return born

    def _bury(self) -> None:
        """Wait for every child that has ended, and tell whoever waits for its end."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                self._kill_orphans()
                return
            dead = self._children.pop(pid, None)
            if dead is None:
                continue
            self._kill_orphans()
            if dead is self._spare:
                close_files(dead.ends)
                self._spare = None
            end = {"status": status, "cpu_time": usage.ru_utime + usage.ru_stime}
            with contextlib.suppress(BrokenPipeError):
                os.write(dead.end_writer, json.dumps(end).encode())
            close_files((dead.end_writer, dead.pidfd))

    def _kill_orphans(self) -> None:
        """Kill what a dead child left behind; it was given to us, its nearest reaper."""
        for pid in kernel.list_children(os.getpid()):
            if pid not in self._children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _become_child(end: socket.socket, log_writer: int, level: Isolation, programs: str) -> NoReturn:
    """Go on as a child: keep the socket and the log, nothing else."""
    try:
        kernel.die_with_parent()
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123
            os.dup2(nothing.fileno(), 0)
        os.dup2(log_writer, 1)
        os.dup2(log_writer, 2)
        os.dup2(end.fileno(), 3)
        end.detach()
        os.closerange(4, os.sysconf("SC_OPEN_MAX"))
        channel = Channel(socket.socket(fileno=3), takes_files=True)
        place = confine.prepare(level)
    except BaseException as error:
        os.write(2, f"the sandbox can't be entered: {error!r}\n".encode())
        os._exit(1)
    child.run(channel, place, programs)


def preload(modules: Sequence[str]) -> None:
    """Import what children will need, and keep their collector away from it."""
    for module in modules:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()


def main(arguments: Sequence[str]) -> None:
    """Run a zygote; its arguments are DESCRIPTOR LEVEL PROGRAMS and more MODULEs to import."""
    descriptor, level, programs, *modules = arguments
    channel = Channel(socket.socket(fileno=int(descriptor)))
    kernel.die_with_parent()
    kernel.become_subreaper()
    preload([*PRELOAD, programs, *modules])
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads != 1:
        raise SystemExit(f"a preloaded module started {threads - 1} threads; fork needs one")
    channel.send({"ok": True})
    Zygote(channel, Isolation(level), programs).serve()


if __name__ == "__main__":
    # Not `child.main` of a second copy: `__main__` and `datarun_worker.zygote` would differ.
    from datarun_worker import zygote

    zygote.main(sys.argv[1:])
