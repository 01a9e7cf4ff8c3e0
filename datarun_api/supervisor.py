"""Keep a handful of programs running, and stop them all.

Theory of operation. One process, the supervisor, one thread. Its children are the programs: a
database, a web server, workers. Each is started through `launch` as the leader of a session of its
own, so that a Ctrl-C in the terminal reaches the supervisor alone, which then stops the programs
in an order that loses nothing. Each writes its output into a pipe; the supervisor reads all pipes
and prints whole lines, each behind the program's name.

- A program that dies is started again, the sooner the longer it had lived. What it left in its
  session is killed first: web workers without their master would serve on unseen.
- A stop goes stage by stage, the highest first: what uses a server ends before the server does.
  Within a stage all get their stop signal at once, and SIGKILL when their time is over. A second
  request to stop sends the hurry signal to every program at once.
- If the supervisor itself is killed, the kernel sends each program its hurry signal (Linux). As a
  second net, and the only one elsewhere, the record file names every program that runs; the next
  supervisor on the same record ends what it still finds there before it starts anything.

Secrets reach a program by its environment only: command lines are everyone's to read.
"""

import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

import psutil

from datarun_client.errors import DatarunError

LAUNCH = Path(__file__).with_name("launch.py")

TICK = 0.2
"""Seconds between two looks at the children when no output wakes the supervisor sooner."""

FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0
"""Seconds before a program that died is started again: doubled with every death, up to a limit."""

LONG_LIFE = 30.0
"""Seconds after which a program counts as having run well, and its deaths are forgotten."""

HURRIED_STOP = 3.0
"""Seconds between a hurry signal and SIGKILL."""

LONGEST_LINE = 1 << 16
"""Bytes of output without an end of line that are kept in memory."""

SAME_START = 2.0
"""Seconds by which two readings of a process's start may differ (its clock is a boot clock)."""


class SupervisorError(DatarunError):
    """A program did not start, did not end or did not become ready."""


class StopRequested(DatarunError):  # noqa: N818  # a wish, no error
    """Somebody asked to stop while the supervisor waited for something."""


@dataclass(frozen=True)
class Program:
    """What to run.

    Attributes
    ----------
    name : str
        Stands before each of its lines.
    argv : sequence of str
        The program and its arguments; no secrets here.
    environ : mapping of str to str
        Its whole environment; secrets go here.
    directory : Path
        Where it runs.
    stage : int
        The order of stopping: higher stages end first.
    stop_signal : signal.Signals
        Asks it to end what it does, and to end.
    stop_time : float
        Seconds that it may take for that.
    hurry_signal : signal.Signals
        Ends it soon, whatever it does; also what it gets when the supervisor dies.
    uid, gid : int
        The user and group to run as; -1 for the supervisor's own.
    pass_fds : tuple of int
        Descriptors that it inherits, under the same numbers.
    """

    name: str
    argv: Sequence[str]
    environ: Mapping[str, str]
    directory: Path
    stage: int = 0
    stop_signal: signal.Signals = signal.SIGTERM
    stop_time: float = 10.0
    hurry_signal: signal.Signals = signal.SIGKILL
    uid: int = -1
    gid: int = -1
    pass_fds: tuple[int, ...] = ()


@dataclass
class Child:
    """A program and its process of the moment."""

    program: Program
    process: subprocess.Popen[bytes]
    started: float = field(default_factory=time.monotonic)
    deaths: int = 0
    restart_at: float | None = None
    partial: bytes = b""

    @property
    def is_running(self) -> bool:
        """Whether its process lives."""
        return self.process.poll() is None


class Supervisor:
    """Starts programs, prints what they write, starts them again, and stops them.

    A context manager: inside, the signals that ask a process to stop are counted instead of
    obeyed; at its end no program runs any more.

    Parameters
    ----------
    record : Path
        The file that names the running programs, for the next supervisor.
    write : callable
        Takes each line of output, without an end of line.
    width : int, optional
        The width of the column with the programs' names.
    """

    def __init__(self, record: Path, write: Callable[[str], None], width: int = 10) -> None:
        self._record = record
        self._write = write
        self._width = width
        self._children: list[Child] = []
        self._selector = selectors.DefaultSelector()
        self._stop_requests = 0
        self._handlers: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> "Supervisor":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._handlers[number] = signal.signal(number, self._request_stop)
        end_leftovers(self._record)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
        self._selector.close()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def log(self, message: str) -> None:
        """Print a line of the supervisor's own."""
        self._write_line("datarun", message)

    def start(self, program: Program) -> Child:
        """Start a program that is to run until the stop.

        Raises
        ------
        SupervisorError
            If its file can't be found.
        """
        child = Child(program, self._spawn(program))
        self._adopt(child)
        return child

    def run_once(self, program: Program, time_limit: float) -> None:
        """Run a program to its end.

        Raises
        ------
        SupervisorError
            If it fails or takes longer than `time_limit` seconds.
        StopRequested
            If somebody asks to stop in the meantime.
        """
        child = self.start(program)
        try:
            self.wait_for(lambda: not child.is_running, f"{program.name} to end", time_limit)
        finally:
            self._children.remove(child)
            self._end([child], program.hurry_signal, HURRIED_STOP)
            self._drain(child)
            self._save_record()
        if child.process.returncode != 0:
            raise SupervisorError(
                f"{program.name} failed ({describe_end(child.process.returncode)}); "
                "its output stands above"
            )

    def wait_for(
        self,
        is_ready: Callable[[], bool],
        what: str,
        time_limit: float,
        child: Child | None = None,
    ) -> None:
        """Print output until something is ready.

        Parameters
        ----------
        is_ready : callable
            Asked a few times a second.
        what : str
            What is waited for, as an error's message says it.
        time_limit : float
            Seconds.
        child : Child, optional
            The program that must get ready; if it dies there is nothing to wait for.

        Raises
        ------
        SupervisorError
            If the time is over or the child died.
        StopRequested
            If somebody asks to stop in the meantime.
        """
        deadline = time.monotonic() + time_limit
        while not is_ready():
            if self._stop_requests:
                raise StopRequested("asked to stop")
            if child is not None and not child.is_running:
                self._drain(child)
                raise SupervisorError(
                    f"{child.program.name} ended ({describe_end(child.process.returncode)}) "
                    "before it was ready; its output stands above"
                )
            if time.monotonic() > deadline:
                raise SupervisorError(f"waited {time_limit:g} s for {what}, in vain")
            self._pump()

    def run(self) -> None:
        """Keep all programs running until somebody asks to stop."""
        while not self._stop_requests:
            self._pump()
            for child in self._children:
                self._look_after(child)

    def stop(self) -> None:
        """Stop all programs, the highest stage first; no process of theirs is left afterwards."""
        while self._children:
            stage = max(child.program.stage for child in self._children)
            ending = [child for child in self._children if child.program.stage == stage]
            self._children = [child for child in self._children if child not in ending]
            self._end(ending, None, max(child.program.stop_time for child in ending))
            for child in ending:
                self._drain(child)
        self._record.unlink(missing_ok=True)

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        self._stop_requests += 1

    def _spawn(self, program: Program) -> "subprocess.Popen[bytes]":
        path = shutil.which(program.argv[0])
        if path is None:
            raise SupervisorError(f"{program.name}: there is no program {program.argv[0]}")
        words = (os.getpid(), int(program.hurry_signal), program.uid, program.gid)
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(LAUNCH), *map(str, words), path, *program.argv[1:]],
            env=dict(program.environ),
            cwd=program.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=program.pass_fds,
        )

    def _adopt(self, child: Child) -> None:
        output = get_output(child)
        os.set_blocking(output.fileno(), False)
        self._selector.register(output, selectors.EVENT_READ, child)
        if child not in self._children:
            self._children.append(child)
        self._save_record()

    def _look_after(self, child: Child) -> None:
        """Start a program again that has died, when its time has come."""
        if child.is_running:
            return
        now = time.monotonic()
        if child.restart_at is None:
            child.deaths = 1 if now - child.started > LONG_LIFE else child.deaths + 1
            delay = min(FIRST_DELAY * 2 ** (child.deaths - 1), LONGEST_DELAY)
            child.restart_at = now + delay
            kill_session(child)
            self._drain(child)
            end = describe_end(child.process.returncode)
            self.log(f"{child.program.name} ended ({end}); starts again in {delay:g} s")
        elif now >= child.restart_at:
            child.process = self._spawn(child.program)
            child.started, child.restart_at = now, None
            self._adopt(child)

    def _end(self, ending: list[Child], number: signal.Signals | None, seconds: float) -> None:
        """Signal some children, wait until they have ended, kill those that don't.

        Without a `number` each gets its stop signal, and the hurry signal when somebody asks to
        stop once more.
        """
        descendants = find_descendants(ending)
        for child in ending:
            child.process.send_signal(number or child.program.stop_signal)
        deadline = time.monotonic() + seconds
        hurried = number is not None
        while any(child.is_running for child in ending):
            if self._stop_requests > 1 and not hurried:
                hurried = True
                deadline = min(deadline, time.monotonic() + HURRIED_STOP)
                descendants |= find_descendants(ending)
                for child in [*ending, *self._children]:
                    child.process.send_signal(child.program.hurry_signal)
            if time.monotonic() > deadline:
                break
            self._pump()
        descendants |= find_descendants(ending)
        for child in ending:
            if child.is_running:
                self.log(f"{child.program.name} did not end by itself; it is killed")
            child.process.kill()
            child.process.wait()
            kill_session(child)
        # Those in sessions of their own; psutil never signals a process that only has the same id.
        for process in descendants:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def _pump(self) -> None:
        """Print what the children wrote; wait a tick if nothing came."""
        for key, _ in self._selector.select(TICK):
            self._read(key.data)

    def _drain(self, child: Child) -> None:
        """Print the last of what a child that has ended wrote, and close its pipe."""
        output = get_output(child)
        while not output.closed and self._read(child):
            pass
        self._close_output(child)

    def _read(self, child: Child) -> bool:
        """Print whole lines of a child's output; False when there is no more of it for now."""
        try:
            data = os.read(get_output(child).fileno(), LONGEST_LINE)
        except BlockingIOError:
            return False
        if not data:
            self._close_output(child)
            return False
        *lines, child.partial = (child.partial + data).split(b"\n")
        if len(child.partial) >= LONGEST_LINE:
            lines, child.partial = [*lines, child.partial], b""
        for line in lines:
            self._write_line(child.program.name, clean_line(line))
        return True

    def _close_output(self, child: Child) -> None:
        output = get_output(child)
        if output.closed:
            return
        if child.partial:
            self._write_line(child.program.name, clean_line(child.partial))
            child.partial = b""
        self._selector.unregister(output)
        output.close()

    def _write_line(self, name: str, text: str) -> None:
        self._write(f"{name:<{self._width}} | {text}")

    def _save_record(self) -> None:
        """Name the running programs in the record, whole or not at all."""
        entries = [
            {
                "name": child.program.name,
                "pid": child.process.pid,
                "started": process.create_time(),
                "signal": int(child.program.hurry_signal),
                "stage": child.program.stage,
            }
            for child in self._children
            if (process := find_process(child.process.pid)) is not None
        ]
        fresh = self._record.with_suffix(".new")
        fresh.write_text(json.dumps(entries))
        fresh.replace(self._record)


def end_leftovers(record: Path) -> None:
    """End the programs of a supervisor that was killed.

    A process counts as the one of the record only if it started at the same time: the kernel
    gives the ids of the dead to others.

    Parameters
    ----------
    record : Path
        The file that `Supervisor` wrote; it is removed.
    """
    try:
        entries = json.loads(record.read_text())
    except (FileNotFoundError, ValueError):
        entries = []
    for entry in sorted(entries, key=lambda entry: -entry["stage"]):
        process = find_process(entry["pid"])
        if process is None or abs(process.create_time() - entry["started"]) > SAME_START:
            continue
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(entry["signal"])
            _, alive = psutil.wait_procs([process], timeout=HURRIED_STOP)
            if alive:
                process.kill()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(entry["pid"], signal.SIGKILL)
    record.unlink(missing_ok=True)


def find_process(pid: int) -> psutil.Process | None:
    """Find a process that lives; a zombie doesn't."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process
    except psutil.NoSuchProcess:
        return None


def get_output(child: Child) -> IO[bytes]:
    """Get the reading end of a child's output."""
    assert child.process.stdout is not None  # noqa: S101  # it was started with a pipe
    return child.process.stdout


def kill_session(child: Child) -> None:
    """Kill what a child that has ended left in its process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.process.pid, signal.SIGKILL)


def find_descendants(children: Iterable[Child]) -> set[psutil.Process]:
    """Find all processes that descend from these children."""
    found: set[psutil.Process] = set()
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            found.update(psutil.Process(child.process.pid).children(recursive=True))
    return found


def describe_end(returncode: int) -> str:
    """Say in words how a process ended."""
    if returncode >= 0:
        return f"exit code {returncode}"
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"


def clean_line(line: bytes) -> str:
    """Make a line of output fit for a terminal: no escapes, no other control characters."""
    text = line.decode(errors="replace").rstrip()
    return "".join(letter if letter.isprintable() or letter == "\t" else " " for letter in text)
