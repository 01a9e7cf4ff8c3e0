"""The clean, warm process that forks sandboxes.

The worker starts it by exec with an environment built from nothing, before it reads any secret, and
speaks to it over one socket. It imports what submissions import, and keeps to one thread. So that a
sandbox is there when it is needed, the worker asks for each child before that (`spares`).

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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from datarun_worker import child, confine, heap, kernel
from datarun_worker.channel import Channel, close_files
from datarun_worker.isolation import Layer
from datarun_worker.kernel import Clone

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

_RESERVED = 56 * 1024 * 1024
"""Bytes; a little less than what Python's small objects take after the imports."""


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


@dataclass(frozen=True)
class Orders:
    """What the worker tells a zygote at its start, as JSON.

    Attributes
    ----------
    layers : tuple of str
        The `Layer` values of its sandboxes.
    programs : str
        The module whose `COMMANDS` the children carry out.
    preload : tuple of str
        Modules to import besides `PRELOAD`.
    cache : str
        The folder to give a read-only way into; empty for none.
    """

    layers: tuple[str, ...]
    programs: str
    preload: tuple[str, ...] = ()
    cache: str = ""


class Zygote:
    """Forks children on request until the worker hangs up.

    Parameters
    ----------
    channel : Channel
        To the worker.
    setting : child.Setting
        What is the same for all children.
    """

    def __init__(self, channel: Channel, setting: child.Setting) -> None:
        self._channel = channel
        self._setting = setting
        self._children: dict[int, _Child] = {}
        self._poller = select.poll()
        # Children that end, and orphans of theirs, show as a readable descriptor.
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)

    def serve(self) -> None:
        """Answer the worker and bury the dead."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        self._poller.register(self._channel, select.POLLIN)
        self._poller.register(self._wake_reader, select.POLLIN)
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
        given = self._fork()
        self._channel.send({"ok": True}, given.descriptors)
        close_files(given.ends)

    def _fork(self) -> _Child:
        ours, theirs = Channel.pair()
        log_reader, log_writer = os.pipe()
        end_reader, end_writer = os.pipe()
        pid = self._fork_process()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            _become_child(theirs, log_writer, self._setting)
        theirs.close()
        os.close(log_writer)
        born = _Child(pid, os.pidfd_open(pid), end_writer, (ours.detach(), log_reader, end_reader))
        self._children[pid] = born
        return born

    def _fork_process(self) -> int:
        """Fork; the child is the first of a PID namespace of its own."""
        if Layer.PID not in self._setting.plan.layers:
            return os.fork()
        kernel.unshare(Clone.PID)
        pid = -1
        try:
            pid = os.fork()
        finally:
            if pid:
                # Back, or the next unshare would be refused. So no second fork is needed.
                kernel.enter_namespace(self._namespace, Clone.PID)
        return pid

    def _bury(self) -> None:
        """Wait for every child that has ended, and tell whoever waits for its end."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            dead = self._children.pop(pid, None)
            if dead is None:
                continue
            self._kill_orphans()
            end = {"status": status, "cpu_time": usage.ru_utime + usage.ru_stime}
            with contextlib.suppress(BrokenPipeError):
                os.write(dead.end_writer, json.dumps(end).encode())
            close_files((dead.end_writer, dead.pidfd))

    def _kill_orphans(self) -> None:
        """Kill what a dead child left behind; it was given to us, its nearest reaper."""
        while orphans := set(kernel.list_children(os.getpid())) - self._children.keys():
            _kill_and_wait(orphans)

    def kill_everything(self) -> None:
        """Kill every descendant; one that dies leaves its children to us, and so on."""
        while children := kernel.list_children(os.getpid()):
            _kill_and_wait(children)


def _kill_and_wait(children: Iterable[int]) -> None:
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for pid in children:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def _become_child(end: socket.socket, log_writer: int, setting: child.Setting) -> NoReturn:
    """Go on as a child: keep the socket and the log, nothing else."""
    try:
        kernel.die_with_parent()
        # Daemons of a child stay in its tree, where they are measured and killed.
        kernel.become_subreaper()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log_writer, 1)
        os.dup2(log_writer, 2)
        os.dup2(end.fileno(), 3)
        end.detach()
        os.closerange(4, os.sysconf("SC_OPEN_MAX"))
        channel = Channel(socket.socket(fileno=3), takes_files=True)
        child.prepare(setting)
    except BaseException as error:
        os.write(2, f"the sandbox can't be entered: {error!r}\n".encode())
        os._exit(1)
    child.run(channel, setting)


def preload(modules: Sequence[str]) -> None:
    """Import what children will need, and keep their collector away from it."""
    heap.reserve_memory(_RESERVED)
    for module in modules:
        importlib.import_module(module)
    warm_up()
    gc.collect()
    gc.freeze()
    heap.fill_gaps()
    kernel.join_mappings()
    kernel.collapse_memory()
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads != 1:
        raise SystemExit(f"a preloaded module started {threads - 1} threads; fork needs one")


def warm_up() -> None:
    """Fit and predict once, small: what a first call looks up or sets up is there in all children.

    One thread does it (`_THREAD_SETTINGS`), so that no thread is lost in the forks.
    """
    # Imported here, as the zygote must be confined before it imports anything big.
    import numpy as np
    import pandas as pd
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X = np.arange(60.0).reshape(20, 3) % 7
    y = np.arange(20) % 2
    frame = pd.DataFrame(X, columns=list("abc"))
    for model in (
        RandomForestClassifier(n_estimators=2),
        make_pipeline(StandardScaler(), LogisticRegression()),
    ):
        for features in (frame, X):
            # Nothing here may warn: a warning is shown once, and that must be in a child.
            model.fit(features, y).predict_proba(features)
    for model in (RandomForestRegressor(n_estimators=2), LinearRegression()):
        model.fit(X, y).predict(X)
    frame.iloc[y].to_numpy()


def main(descriptor: int, orders: Orders) -> None:
    """Be a zygote until the worker hangs up."""
    # Ctrl-C, and a service manager's stop, come to all processes of a worker; it alone decides.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    layers = frozenset(Layer(name) for name in orders.layers)
    modules = [*PRELOAD, orders.programs, *orders.preload]
    cache = confine.enter(layers, modules, Path(orders.cache) if orders.cache else None)
    channel = Channel(socket.socket(fileno=descriptor))
    kernel.become_subreaper()
    setting = child.Setting(confine.make_plan(layers, modules), orders.programs)
    preload(modules)
    if setting.plan.has_own_root:
        child.import_parent_package(str(confine.FOLDER))
    channel.send({"ok": True}, [] if cache is None else [cache])
    if cache is not None:
        os.close(cache)
    zygote = Zygote(channel, setting)
    zygote.serve()
    zygote.kill_everything()


if __name__ == "__main__":
    # As an import, so that the classes here aren't there twice.
    from datarun_worker.zygote import Orders, main

    main(int(sys.argv[1]), Orders(**json.loads(sys.argv[2])))
