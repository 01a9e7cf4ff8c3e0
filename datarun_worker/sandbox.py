"""The worker's side of the execution engine: starts, measures, limits and kills sandboxes.

Theory of operation
-------------------
::

    worker ──exec──► zygote ──fork──► child (one a sandbox)
       │ ▲              │               │ │
       │ └── socket ────┘               │ │   "fork": gives the worker the child's ends
       ├──── socket ────────────────────┘ │   commands with open files; answers as JSON
       └◄─── pipe ────────────────────────┘   what the child prints

The worker holds all secrets and is the only one that decides: how long, how much, how it ended.
The zygote (`datarun_worker.zygote`) is clean and warm: started before a secret is read, with an
environment made from nothing. A child is asked for before it is needed (`datarun_worker.spares`).
It is first our code (`datarun_worker.child`), which gives up what it has (`datarun_worker.confine`
tells what and in which order), and then a stranger's; nothing that it says is believed without a
check.

A thread a sandbox, the watcher, reads what the child prints, follows its process tree in /proc
(`datarun_worker.measures`), and kills at a limit; so limits hold between calls too, and against
code that catches everything. At the time limit the child is first sent a signal, and a moment to
tell where it was. Where control groups can be made (`datarun_worker.cgroups`) the kernel
holds a tree to its memory and number of processes as well, from the watcher's first look on, which
comes the sooner the less memory it may use. Sandboxes end with the first of: their `close` or
`end`, the zygote's end, the worker's end.

Three things can end a call otherwise than well. The submission did it: `SubmissionFailure`, a
result. We, or the machine, did it: `SandboxError`. Or the worker's other threads called `kill`:
`SandboxError` too.
"""

import collections
import contextlib
import json
import logging
import math
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Self

from datarun_client.codec import encode_base64
from datarun_client.errors import DatarunError
from datarun_client.states import FailureKind
from datarun_worker import child, confine
from datarun_worker.cgroups import Group, GroupMaker
from datarun_worker.channel import Channel, ChannelError, close_files
from datarun_worker.config import read_arithmetic
from datarun_worker.confine import Limits
from datarun_worker.errors import WorkerError
from datarun_worker.isolation import Isolation, Layer
from datarun_worker.logs import LogBuffer, clean_text
from datarun_worker.measures import TreeMeter, Usage, list_tree
from datarun_worker.memory_files import memory_file
from datarun_worker.spares import Spare, SpareKeeper
from datarun_worker.zygote import Orders

__all__ = ["Engine", "Limits", "Reply", "Sandbox", "SandboxError", "SubmissionFailure", "Usage"]

logger = logging.getLogger(__name__)

WATCH_INTERVAL = 0.02
"""Seconds between two looks at a process tree that is near a limit; at 4 GB/s of new memory an
overrun of 80 MB."""

LONGEST_INTERVAL = 0.25
"""Seconds between two looks at one that is far from its limits."""

FASTEST_GROWTH = 16e9
"""Bytes a second that no tree's memory grows faster by."""

START_TIMEOUT = 60.0
"""Seconds that a zygote may take to import its modules."""

END_TIMEOUT = 10.0
"""Seconds until a killed process tree must be gone."""

LAST_WORDS = 0.3
"""Seconds from the time limit, when a child is asked to stop, until it is killed."""

_BRIEFLY = 0.2
"""Seconds to see whether a process that hung up has ended."""

DYING_TIME = 0.1
"""Seconds from a process's last sign until the kernel calls it dead."""

_PIPE_READ = 64 * 1024
_MAX_PIPE = 1024 * 1024

_THREAD_SETTINGS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)

CHILDS_KINDS = frozenset(FailureKind) - {FailureKind.CANCELLED}
"""The kinds that a child may claim."""


class SandboxError(WorkerError):
    """The engine or the machine is at fault, or the call was stopped from our side."""


class SubmissionFailure(DatarunError):  # noqa: N818 -- a result, not an error of ours
    """The code in a sandbox failed, or was stopped at a limit.

    Parameters
    ----------
    kind : FailureKind
    message : str
        For the author: a traceback, or which limit it was and how much was used.
    usage : Usage
        Of the call that ended this way.
    """

    def __init__(self, kind: FailureKind, message: str, usage: Usage) -> None:
        super().__init__(kind, message, usage)
        self.kind = kind
        self.message = message
        self.usage = usage

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


@dataclass(frozen=True)
class Reply:
    """What a command answered, and what it used.

    Attributes
    ----------
    value : dict
        JSON of a stranger: check it before use.
    usage : Usage
        Measured from outside.
    """

    value: dict[str, Any]
    usage: Usage


class Sandbox:
    """One confined child: one fold, or one data job.

    Made by `Engine.open_sandbox`; a context manager that closes itself.

    Attributes
    ----------
    pid : int
        The child's number as the worker sees it.
    """

    def __init__(
        self,
        spare: Spare,
        limits: Limits,
        folder: Path | None,
        ends_whole: bool,
        groups: GroupMaker | None,
        close_later: Callable[["Sandbox"], None],
    ) -> None:
        self.pid = spare.pid
        self._log, self._end_reader, self._pidfd = spare.log, spare.end_reader, spare.pidfd
        self._limits = limits
        self._folder = folder
        self._close_later = close_later
        # The end of a PID namespace's first process is the end of all of them.
        self._ends_whole = ends_whole
        # Two threads read it: the watcher, and whoever asks for what was printed.
        os.set_blocking(self._log, False)
        self._log_buffer = LogBuffer(limits.log)
        self._meter = TreeMeter(self.pid)
        self._groups = groups
        self._group: Group | None = None
        self._has_looked = False
        self._lock = threading.Lock()
        self._verdict: tuple[FailureKind, str] | None = None
        self._is_out_of_time = False
        self._stopped = False
        self._end: dict[str, Any] | None = None
        self._ended = threading.Event()
        self._deadline, self._time_limit = math.inf, limits.time
        self._time_left = limits.time
        self._cpu_time = 0.0
        self._calls = 0
        self._believed: Collection[FailureKind] = CHILDS_KINDS
        self._hangup_reader, self._hangup = os.pipe()
        # From here on the child's socket is closed here, and no more with the spare.
        self._channel = Channel(socket.socket(fileno=spare.end))
        self._watcher = threading.Thread(target=self._watch, name="sandbox-watcher", daemon=True)
        self._watcher.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def call(
        self,
        command: str,
        arguments: Mapping[str, Any],
        inputs: Mapping[str, int] | None = None,
        outputs: Mapping[str, int] | None = None,
        time_limit: float | None = None,
        believed: Collection[FailureKind] = CHILDS_KINDS,
    ) -> Reply:
        """Have the child carry out one command.

        Parameters
        ----------
        command : str
            A name in the `COMMANDS` of the engine's programs.
        arguments : mapping
            What fits into JSON and a short message.
        inputs, outputs : mapping of str to int
            Open files that the child gets; they stay open here.
        time_limit : float, optional
            Seconds for this call; what is left of `Limits.time` bounds it in any case.
        believed : collection of FailureKind, optional
            The kinds that the child is believed when it tells of a failure. Once a stranger's code
            has run in it, it could blame anybody.

        Raises
        ------
        SubmissionFailure
            The code failed or was stopped at a limit.
        SandboxError
            The engine is at fault, or `kill` was called.
        """
        inputs, outputs = inputs or {}, outputs or {}
        body = {
            "command": command,
            "arguments": dict(arguments),
            "inputs": list(inputs),
            "outputs": list(outputs),
        }
        limit = self._time_left if time_limit is None else min(time_limit, self._time_left)
        self._believed = believed
        return self._ask(body, [*inputs.values(), *outputs.values()], limit)

    def read_log(self) -> str:
        """Give what was printed so far, cleaned; of too much the first and the last part.

        What was printed before a call's reply is in it once the call has returned.
        """
        if not self._ended.is_set() and self._hangup >= 0:
            self._drain_log()
        with self._lock:
            return self._log_buffer.read()

    def kill(self) -> None:
        """Kill the process tree; a running `call` raises SandboxError. Any thread may call it."""
        self._stopped = True
        self._kill_tree()

    def end(self) -> None:
        """Kill what is left; `Engine.open_sandbox` waits for its death, before there is another."""
        if self._hangup < 0:
            return
        self._kill_tree()
        self._close_later(self)

    def close(self) -> None:
        """Kill what is left; afterwards the process tree is dead and its scratch folder gone."""
        if self._hangup < 0:
            return
        self._kill_tree()
        if self._ends_whole:
            select.select([self._pidfd], [], [], END_TIMEOUT)
        else:
            self._ended.wait(END_TIMEOUT)
        os.close(self._hangup)
        self._hangup = -1
        self._watcher.join()
        self._channel.close()
        close_files((self._log, self._end_reader, self._pidfd, self._hangup_reader))
        if self._group is not None and self._groups is not None:
            self._groups.take_back(self._group)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _enter(self, source: Mapping[str, bytes]) -> None:
        """Give the child its files and limits; from then on it is confined."""
        files = {name: encode_base64(content) for name, content in source.items()}
        with memory_file("source", json.dumps(files).encode()) as file:
            folder = self._folder or confine.FOLDER
            body = {"limits": asdict(self._limits), "folder": str(folder)}
            self._ask(body, [file], START_TIMEOUT)
        self._time_left = self._limits.time

    def _ask(self, body: dict[str, Any], descriptors: Sequence[int], limit: float) -> Reply:
        self._calls += 1
        started = time.monotonic()
        self._meter.start_phase()
        # Of a whole that earlier calls have used some of, the author knows the whole.
        self._time_limit = self._limits.time if limit == self._time_left else limit
        self._deadline = started + limit
        answer = None
        with contextlib.suppress(OSError):
            # A child that is dead already is told below.
            self._channel.send({**body, "id": self._calls}, descriptors)
            answer = self._wait_for_answer()
        self._deadline = math.inf
        # What it uses between two calls, if its code leaves a thread behind, is the next one's.
        cpu_before, self._cpu_time = self._cpu_time, self._read_cpu()
        usage = Usage(
            wall_time=time.monotonic() - started,
            cpu_time=max(0.0, self._cpu_time - cpu_before),
            peak_memory=self._meter.read_peak(),
        )
        self._time_left = max(0.0, self._time_left - usage.wall_time)
        if self._stopped:
            raise SandboxError("the call was stopped by the worker")
        if self._is_out_of_time:
            raise self._tell_time(answer, usage)
        if self._verdict is not None or answer is None:
            raise self._explain_end(usage)
        return self._check_answer(answer, usage)

    def _wait_for_answer(self) -> dict[str, Any] | None:
        """Wait for the answer to the last message; None when there will be none."""
        poller = select.poll()
        poller.register(self._channel, select.POLLIN)
        poller.register(self._end_reader, select.POLLIN)
        ready = {descriptor for descriptor, _ in poller.poll()}
        if self._channel.fileno() not in ready:
            return None
        try:
            message = self._channel.receive()
        except ChannelError:
            # Our own code sends none like it.
            return {}
        return None if message is None else message.body

    def _check_answer(self, answer: dict[str, Any], usage: Usage) -> Reply:
        """Tell what the child claims; anything out of form was the author's doing."""
        value, kind, text = answer.get("value"), answer.get("kind"), answer.get("message")
        if answer.get("id") == self._calls:
            if answer.get("ok") is True and isinstance(value, dict):
                return Reply(value, usage)
            is_refusal = answer.get("ok") is False and isinstance(kind, str)
            if is_refusal and kind in CHILDS_KINDS and isinstance(text, str):
                kind, text = FailureKind(kind), clean_text(text)
                if kind not in self._believed:
                    logger.warning("a sandbox blames %s, which isn't believed: %s", kind, text)
                    raise SubmissionFailure(FailureKind.SUBMISSION_ERROR, text, usage)
                if kind is FailureKind.PLATFORM_ERROR:
                    raise SandboxError(text)
                if kind is FailureKind.MEMORY_LIMIT:
                    text += self._tell_memory(usage.peak_memory)
                raise SubmissionFailure(kind, text, usage)
        raise SubmissionFailure(
            FailureKind.SUBMISSION_ERROR,
            "The submission wrote to the channel that carries its results.",
            usage,
        )

    def _explain_end(self, usage: Usage) -> DatarunError:
        """Say why the child is dead."""
        if self._verdict is not None:
            return SubmissionFailure(*self._verdict, usage)
        # It may only have hung up; what we kill then was not killed by others.
        died_before = bool(select.select([self._pidfd], [], [], DYING_TIME)[0])
        self._kill_tree()
        self._ended.wait(END_TIMEOUT)
        if self._end is None:
            return SandboxError("the zygote ended, and its sandboxes with it")
        if self._group is not None and self._group.was_out_of_memory():
            text = "Stopped at the memory limit." + self._tell_memory(usage.peak_memory)
            return SubmissionFailure(FailureKind.MEMORY_LIMIT, text, usage)
        code = os.waitstatus_to_exitcode(self._end["status"])
        if code >= 0:
            text = f"The submission ended without a result (exit status {code})."
            return SubmissionFailure(FailureKind.SUBMISSION_ERROR, text, usage)
        name = _name_signal(-code)
        if -code == signal.SIGSYS:
            text = "The submission made a system call that a sandbox forbids (SIGSYS)."
            return SubmissionFailure(FailureKind.FORBIDDEN, text, usage)
        if -code == signal.SIGKILL and died_before and self._ends_whole:
            # The first process of a PID namespace can't be killed from within.
            return SandboxError("the sandbox was killed from outside")
        text = f"The submission ended without a result: it was killed by {name}."
        return SubmissionFailure(FailureKind.SUBMISSION_ERROR, text, usage)

    def _read_cpu(self) -> float:
        if self._end is not None:
            return max(float(self._end["cpu_time"]), self._meter.read_cpu())
        return self._meter.read_cpu()

    def _watch(self) -> None:
        """Follow the child until it is dead; should that fail, it dies, as nothing limits it."""
        try:
            self._follow()
        except Exception:
            logger.exception("a sandbox can't be watched any more, and is killed")
            self.kill()

    def _follow(self) -> None:
        """Read what the child prints and hold it to its limits until it is dead."""
        poller = select.poll()
        for descriptor in (self._log, self._end_reader, self._hangup_reader):
            poller.register(descriptor, select.POLLIN)
        # Its first memory is that of an idle sandbox.
        next_look = time.monotonic() + self._find_rest(0)
        while True:
            rest = max(0.0, next_look - time.monotonic())
            ready = {descriptor for descriptor, _ in poller.poll(1000 * rest)}
            # One read a turn: a child that prints without end mustn't keep us from looking.
            if self._log in ready and not self._read_log_pipe():
                poller.unregister(self._log)
            if self._hangup_reader in ready:
                return
            if self._end_reader in ready:
                self._take_end()
                return
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + self._look()

    def _read_log_pipe(self) -> bool:
        """Take some of what was printed; False once nothing more can come."""
        with self._lock:
            try:
                data = os.read(self._log, _PIPE_READ)
            except BlockingIOError:
                # Another thread was faster.
                return True
            self._log_buffer.write(data)
        return bool(data)

    def _take_end(self) -> None:
        """Take the zygote's word that the tree is dead, and what it printed last."""
        data = os.read(self._end_reader, 4096)
        self._end = json.loads(data) if data else None
        self._drain_log()
        self._ended.set()

    def _drain_log(self) -> None:
        """Take all that lies in the pipe."""
        for _ in range(_MAX_PIPE // _PIPE_READ):
            if not select.select([self._log], [], [], 0)[0] or not self._read_log_pipe():
                break

    def _look(self) -> float:
        """Compare the tree with its limits; say for how many seconds that will do.

        Each look takes time from the submission, most of all by what it drives out of the caches.
        So while much memory is left the next one is as late as that can't be used up before.
        """
        if self._verdict is not None:
            # Something may have been forked while the tree was being killed.
            self._kill_tree()
            return WATCH_INTERVAL
        if time.monotonic() > self._deadline and not self._is_out_of_time:
            self._is_out_of_time = True
            # Code that listens tells where it was; the rest is killed in a moment.
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, child.OUT_OF_TIME)
        if time.monotonic() > self._deadline + LAST_WORDS:
            self._stop(FailureKind.TIME_LIMIT, self._name_time_limit())
            return WATCH_INTERVAL
        if not self._has_looked and self._groups is not None:
            self._enter_group(self._groups)
        self._has_looked = True
        memory = self._meter.sample(self._limits.memory)
        if self._group is not None and self._group.was_out_of_memory():
            # It may have killed another process of the tree than the first.
            memory = max(memory, self._limits.memory + 1)
        if memory > self._limits.memory:
            text = "Stopped at the memory limit." + self._tell_memory(memory)
            self._stop(FailureKind.MEMORY_LIMIT, text)
        return self._find_rest(memory)

    def _find_rest(self, memory: int) -> float:
        """Say for how many seconds a tree that has so much memory needn't be looked at."""
        rest = min((self._limits.memory - memory) / FASTEST_GROWTH, LONGEST_INTERVAL)
        if self._is_out_of_time:
            rest = 0.0
        return max(WATCH_INTERVAL, min(rest, self._deadline - time.monotonic()))

    def _enter_group(self, groups: GroupMaker) -> None:
        """Put the tree into a control group.

        Not before the first look: for each such move the kernel holds up all that is born and
        dies on the machine, for longer than a quick fold takes.
        """
        try:
            self._group = groups.make()
            self._group.limit(self._limits)
            # Once more, for what was born outside meanwhile.
            for _ in range(2):
                for pid in list_tree(self.pid):
                    # It may be dead by now.
                    with contextlib.suppress(ProcessLookupError):
                        self._group.add(pid)
        except OSError as error:
            # As where there are no groups at all.
            logger.error("a sandbox can't go into a control group, and is only watched: %s", error)

    def _name_time_limit(self) -> str:
        return f"Stopped at the time limit of {self._time_limit:g} s."

    def _tell_time(self, answer: dict[str, Any] | None, usage: Usage) -> SubmissionFailure:
        """Say that the time is over, and where it was, if the child has told."""
        text = self._name_time_limit()
        place = (answer or {}).get("message")
        if isinstance(place, str) and (answer or {}).get("kind") == FailureKind.TIME_LIMIT:
            text = f"{text} It was here:\n{clean_text(place)}"
        return SubmissionFailure(FailureKind.TIME_LIMIT, text, usage)

    def _tell_memory(self, used: int) -> str:
        peak, limit = used / 2**20, self._limits.memory / 2**20
        return f"\nMemory: {peak:.0f} MiB at the peak, the limit is {limit:.0f} MiB."

    def _stop(self, kind: FailureKind, text: str) -> None:
        self._verdict = (kind, text)
        self._kill_tree()

    def _kill_tree(self) -> None:
        """Kill the child, and with it all in its PID namespace.

        Without one its descendants too; what escapes this look, the zygote finds.
        """
        if self._ended.is_set():
            return
        if not self._ends_whole:
            for pid in reversed(list_tree(self.pid)[1:]):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)


class Engine:
    """Keeps a zygote and opens sandboxes.

    Start it before the worker reads any secret, from the thread that lives longest: the zygote
    dies with the thread that started it.

    Parameters
    ----------
    isolation : Isolation
        How sandboxes are confined.
    preload : sequence of str
        Modules that the zygote imports besides its own list.
    programs : str
        The module whose `COMMANDS` the sandboxes carry out.
    cache_folder : pathlib.Path, optional
        Where the files lie that `open_input` opens.
    without : iterable of Layer
        Layers to leave out, for tests that show that each is needed.
    uses_groups : bool
        Whether control groups are used where they can be had.

    Attributes
    ----------
    isolation : Isolation
    layers : frozenset of Layer
    """

    def __init__(
        self,
        isolation: Isolation,
        preload: Sequence[str] = (),
        programs: str = "datarun_worker.programs",
        cache_folder: Path | None = None,
        without: Iterable[Layer] = (),
        uses_groups: bool = True,
    ) -> None:
        self.isolation = isolation
        self.layers = isolation.layers - frozenset(without)
        self._cache_folder = cache_folder
        self._orders = Orders(
            layers=tuple(sorted(self.layers)),
            programs=programs,
            preload=tuple(preload),
            cache=str(cache_folder) if cache_folder else "",
        )
        self._cache: int | None = None
        self._uses_groups = uses_groups
        self._groups: GroupMaker | None = None
        self._ending: collections.deque[Sandbox] = collections.deque()
        self._spares = SpareKeeper(self._make_spare)
        self._lock = threading.Lock()
        self._is_started = False
        # None, too, after it couldn't be started again.
        self._zygote: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._words: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the zygote and wait until it is warm.

        Raises
        ------
        SandboxError
            It can't start; its own words are in the message.
        """
        if self._uses_groups:
            self._groups = GroupMaker.find()
        with self._lock:
            self._start()
            self._is_started = True
        self._spares.prepare()

    def stop(self) -> None:
        """End the zygote, and with it every sandbox that is still open."""
        self._spares.close()
        with self._lock:
            self._is_started = False
            self._stop()
        self._close_ending()
        if self._groups is not None:
            self._groups.close()

    def open_sandbox(self, source: Mapping[str, bytes], limits: Limits | None = None) -> Sandbox:
        """Get a child that has `source` as the package `datarun_worker.child.PACKAGE`.

        Parameters
        ----------
        source : mapping of str to bytes
            The submission's files by their relative names.
        limits : Limits, optional

        Raises
        ------
        SandboxError
            No child can be had, or it couldn't be confined.
        """
        limits = limits or Limits()
        self._close_ending()
        try:
            return self._open(source, limits)
        except SandboxError:
            if not self._restart_dead_zygote():
                raise
            return self._open(source, limits)

    def prepare(self) -> None:
        """Have the child for the next sandbox made, as there will be one at once."""
        if self._is_started:
            self._spares.prepare()

    def open_input(self, path: Path) -> int:
        """Open a file of the cache folder for a sandbox to read; the caller closes it.

        Opened through a read-only mount, so that a sandbox which gets it can't open it anew for
        writing, nor change its mode.
        """
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        if self._cache is None or self._cache_folder is None:
            return os.open(path, flags)
        return os.open(path.relative_to(self._cache_folder), flags, dir_fd=self._cache)

    def _end_later(self, sandbox: Sandbox) -> None:
        """Take a killed sandbox; while it dies, and its result is on its way, the next is made."""
        self._ending.append(sandbox)
        self.prepare()

    def _close_ending(self) -> None:
        """Wait for the sandboxes that were ended; mostly they have died long since."""
        while self._ending:
            with contextlib.suppress(IndexError):
                self._ending.popleft().close()

    def _open(self, source: Mapping[str, bytes], limits: Limits) -> Sandbox:
        spare = self._spares.take()
        folder = None if Layer.MOUNT in self.layers else self._make_folder()
        try:
            sandbox = Sandbox(
                spare, limits, folder, Layer.PID in self.layers, self._groups, self._end_later
            )
        except BaseException as error:
            spare.discard()
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, OSError):
                raise SandboxError(f"a sandbox can't be opened: {error}") from error
            raise
        try:
            sandbox._enter(source)
        except SubmissionFailure as failure:
            # Nothing of the submission has run yet.
            log = sandbox.read_log()
            sandbox.close()
            raise SandboxError(f"a sandbox can't be entered: {failure}\n{log}") from failure
        except BaseException:
            sandbox.close()
            raise
        return sandbox

    def _make_folder(self) -> Path:
        """Make a folder for a sandbox that has no root of its own."""
        folder = Path(tempfile.mkdtemp(prefix="datarun-"))
        if os.geteuid() == 0 and self.layers:
            os.chown(folder, confine.SANDBOX_USER, confine.SANDBOX_USER)
        return folder

    def _restart_dead_zygote(self) -> bool:
        """Start a new zygote if the old one has ended; tell whether it had."""
        with self._lock:
            if not self._is_started:
                return False
            if self._zygote is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._zygote.wait(_BRIEFLY)
                if self._zygote.poll() is None:
                    return False
            self._stop()
            self._start()
            return True

    def _make_spare(self) -> Spare:
        with self._lock:
            descriptors = self._ask_for_child()
        try:
            return Spare.from_descriptors(descriptors)
        except OSError as error:
            close_files(descriptors)
            raise SandboxError(f"a child can't be found: {error}") from error

    def _ask_for_child(self) -> tuple[int, ...]:
        if self._channel is None:
            raise SandboxError("the engine isn't started")
        try:
            self._channel.send({"fork": True})
            message = self._channel.receive()
        except (OSError, ChannelError) as error:
            raise SandboxError("the zygote can't be reached") from error
        if message is None or len(message.descriptors) != 4:
            raise SandboxError("the zygote has ended")
        return message.descriptors

    def _start(self) -> None:
        ours, theirs = Channel.pair()
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 -- closed by _stop
        with theirs:
            orders = json.dumps(asdict(self._orders))
            command = [sys.executable, "-P", "-m", "datarun_worker.zygote"]
            self._zygote = subprocess.Popen(
                [*command, str(theirs.fileno()), orders],
                env=_build_environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stderr=self._words,
                pass_fds=[theirs.fileno()],
                # Nothing that is typed into the worker's terminal comes here.
                start_new_session=True,
            )
        self._channel = Channel(ours, takes_files=True)
        ready = select.select([ours], [], [], START_TIMEOUT)[0]
        message = self._channel.receive() if ready else None
        if message is None:
            self._zygote.kill()
            words = self._take_words()
            self._stop()
            raise SandboxError(f"the zygote doesn't start: {words}")
        self._cache = message.descriptors[0] if message.descriptors else None

    def _take_words(self) -> str:
        """Give what the zygote printed, which is nothing when all is well."""
        assert self._words is not None  # noqa: S101
        self._words.seek(0)
        text = self._words.read(_PIPE_READ).decode(errors="replace")
        self._words.truncate(0)
        return clean_text(text).strip()

    def _stop(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._cache is not None:
            os.close(self._cache)
            self._cache = None
        if self._zygote is not None:
            try:
                self._zygote.wait(1)
            except subprocess.TimeoutExpired:
                self._zygote.kill()
                self._zygote.wait()
            self._zygote = None
        if self._words is not None:
            if words := self._take_words():
                logger.warning("The zygote said: %s", words)
            self._words.close()
            self._words = None


def _build_environment() -> dict[str, str]:
    """Make a zygote's environment from nothing: no secret can be in it."""
    return {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        # The zygote finds exactly what the worker finds, however that was started.
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        # Set before the first import: an OpenMP that has run threads hangs after a fork.
        **dict.fromkeys(_THREAD_SETTINGS, "1"),
        # pyarrow, which pandas imports where it is installed, would start a thread at its import.
        "JE_ARROW_MALLOC_CONF": "background_thread:false",
        **read_arithmetic(),
    }


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
