"""Memory and process limits by the kernel's control groups, where this user may make some.

A group counts what a sandbox itself touches, its tmpfs included, and nothing that it shares with
the zygote; and it can't be outrun. The watcher of `datarun_worker.sandbox` looks in any case, and
is all that there is where no group can be made: an ordinary user without a delegated group.

Version 1 has a tree of groups for each resource. In version 2 there is one tree, and a group
whose groups are limited may have no process of its own, so the worker moves down into one.
"""

import contextlib
import errno
import itertools
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from datarun_worker.confine import Limits

logger = logging.getLogger(__name__)

_ROOT = Path("/sys/fs/cgroup")
_OWN_GROUP = "datarun-worker"
_REMOVE_TIMEOUT = 1.0
_REMOVE_INTERVAL = 0.01

# Of all groups of this process, whichever engine they are for.
_numbers = itertools.count(1)


@dataclass(frozen=True)
class _Version:
    """What a version calls its files; of those that aren't there, nothing is lost."""

    memory: str
    memory_and_swap: str
    out_of_memory: str


_VERSION_1 = _Version(
    memory="memory.limit_in_bytes",
    memory_and_swap="memory.memsw.limit_in_bytes",
    out_of_memory="memory.oom_control",
)
_VERSION_2 = _Version(
    memory="memory.max", memory_and_swap="memory.swap.max", out_of_memory="memory.events"
)


class Group:
    """The control group of one sandbox at a time.

    Parameters
    ----------
    memory, pids : pathlib.Path
        Its folders; in version 2 they are the same.
    version : _Version
    """

    def __init__(self, memory: Path, pids: Path, version: _Version) -> None:
        self._folders = list(dict.fromkeys((memory, pids)))
        self._memory = memory
        self._pids = pids
        self._version = version
        self._n_killed_before = 0
        self._limits: Limits | None = None

    def create(self) -> None:
        """Make the group.

        Raises
        ------
        OSError
            This user may not.
        """
        for folder in self._folders:
            folder.mkdir()

    def limit(self, limits: Limits) -> None:
        """Set the group's limits.

        Raises
        ------
        OSError
            This user may not, or it has more already.
        """
        if limits == self._limits:
            return
        self._limits = None
        # The tmpfs of the scratch folder has a limit of its own.
        memory = str(limits.memory + limits.scratch)
        self._limit_swap(memory)
        (self._memory / self._version.memory).write_text(memory)
        # Once more: in version 1 it may never be below that of memory, going up or down.
        self._limit_swap(memory)
        (self._pids / "pids.max").write_text(str(limits.processes))
        self._limits = limits

    def _limit_swap(self, memory: str) -> None:
        swap = self._memory / self._version.memory_and_swap
        with contextlib.suppress(OSError):
            swap.write_text("0" if self._version is _VERSION_2 else memory)

    def read_memory_limit(self) -> int:
        """Give the bytes that the kernel holds the group to."""
        return int((self._memory / self._version.memory).read_text())

    def begin(self) -> None:
        """Forget what happened to the sandbox before."""
        self._n_killed_before = self._count_killed()

    def add(self, pid: int) -> None:
        """Put a process, and what it will fork, into the group."""
        for folder in self._folders:
            (folder / "cgroup.procs").write_text(str(pid))

    def is_empty(self) -> bool:
        """Tell whether no process is in the group any more."""
        return not any((folder / "cgroup.procs").read_text() for folder in self._folders)

    def was_out_of_memory(self) -> bool:
        """Tell whether the kernel killed a process of the sandbox for its memory."""
        return self._count_killed() > self._n_killed_before

    def _count_killed(self) -> int:
        try:
            text = (self._memory / self._version.out_of_memory).read_text()
        except OSError:
            return 0
        counts = dict(line.split() for line in text.splitlines())
        return int(counts.get("oom_kill", "0"))

    def remove(self) -> None:
        """Remove the group, whose processes are dead or dying."""
        for folder in self._folders:
            deadline = time.monotonic() + _REMOVE_TIMEOUT
            while not _remove(folder):
                if time.monotonic() > deadline:
                    logger.warning("The control group %s is still in use", folder)
                    break
                time.sleep(_REMOVE_INTERVAL)


def _remove(folder: Path) -> bool:
    """Remove one folder; False while a process is in it."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno == errno.EBUSY:
            return False
        raise
    return True


class GroupMaker:
    """Makes groups below the worker's own, and keeps those that sandboxes have left for the next.

    To make a group takes the kernel longer than a quick fold its training.
    """

    def __init__(self, memory: Path, pids: Path, version: _Version) -> None:
        self._memory = memory
        self._pids = pids
        self._version = version
        self._idle: list[Group] = []

    @classmethod
    def find(cls) -> Self | None:
        """Find out, by making one, whether groups can be made; None if not."""
        try:
            maker = cls._look()
            if maker is not None:
                group = maker.make()
                group.limit(Limits())
                group.remove()
                maker.sweep()
        except OSError as error:
            logger.info("No control groups, so memory is watched only: %s", error)
            return None
        return maker

    @classmethod
    def _look(cls) -> Self | None:
        own = {}
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for controller in controllers.split(","):
                own[controller] = path.lstrip("/")
        if "memory" in own and "pids" in own:
            paths = [_ROOT / name / own[name] for name in ("memory", "pids")]
            return cls(paths[0], paths[1], _VERSION_1)
        if "" in own and (_ROOT / "cgroup.controllers").exists():
            folder = _ROOT / own[""]
            if folder.name == _OWN_GROUP:
                folder = folder.parent
            _hand_down_controllers(folder)
            return cls(folder, folder, _VERSION_2)
        return None

    def sweep(self) -> None:
        """Remove the groups of workers that were killed."""
        for folder in {*self._memory.glob("datarun-*-*"), *self._pids.glob("datarun-*-*")}:
            if not Path("/proc", folder.name.split("-")[1]).exists():
                _remove(folder)

    def make(self) -> Group:
        """Make a group, or take one that was left.

        Raises
        ------
        OSError
            This user may not.
        """
        while group := self._find_idle():
            # A process that the kernel is slow to bury would be charged to the next sandbox.
            if group.is_empty():
                group.begin()
                return group
            group.remove()
        name = f"datarun-{os.getpid()}-{next(_numbers)}"
        group = Group(self._memory / name, self._pids / name, self._version)
        try:
            group.create()
        except OSError:
            group.remove()
            raise
        return group

    def _find_idle(self) -> Group | None:
        # Several sandboxes may ask at once.
        with contextlib.suppress(IndexError):
            return self._idle.pop()
        return None

    def take_back(self, group: Group) -> None:
        """Take a group whose sandbox is dead."""
        self._idle.append(group)

    def close(self) -> None:
        """Remove the groups that are left."""
        while self._idle:
            self._idle.pop().remove()


def _hand_down_controllers(folder: Path) -> None:
    """Let the groups below a group of version 2 have limits."""
    control = folder / "cgroup.subtree_control"
    if {"memory", "pids"} <= set(control.read_text().split()):
        return
    own = folder / _OWN_GROUP
    own.mkdir(exist_ok=True)
    (own / "cgroup.procs").write_text(str(os.getpid()))
    control.write_text("+memory +pids")
