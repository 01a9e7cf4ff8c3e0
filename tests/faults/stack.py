"""A whole datarun whose processes can be killed, frozen and kept away one by one.

It is `datarun up` (by way of `tests.faults.up`), so all parts are the real ones: PostgreSQL,
Valkey, gunicorn, the reconciler, `rq worker` with zygotes and sandboxes.
"""

import contextlib
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
from redis import Redis

ROOT = Path(__file__).parents[2]
CLOCK = Path(__file__).with_name("clock")
ACCOUNT = ("admin", "admin password")
READY = re.compile(r"ready at (http://\S+)")

LEASE = 3.0
RECONCILE = 0.5
GRACE = 6.0
"""Seconds; as short as a busy machine with two cores bears."""

POLL = 0.1
"""Seconds between two looks; what is looked at has work to do."""


class Stack:
    """`datarun up` in a home of its own.

    Parameters
    ----------
    base : Path
        A folder for it alone; PostgreSQL's own user must be able to pass.
    workers : int
    environ : dict, optional
        More variables, by the program's name.
    """

    def __init__(
        self, base: Path, workers: int = 2, environ: dict[str, dict[str, str]] | None = None
    ) -> None:
        self.home = base / "home"
        self.workers = [f"worker-{number}" for number in range(1, workers + 1)]
        self.lines: list[str] = []
        self.url = ""
        self._environ = environ or {}
        self._base = base
        self._held = base / "held"
        # All that is temporary, so that what is left over can be seen.
        self.scratch = base / "scratch"

    def start(self) -> None:
        """Start it and wait for the ready line."""
        self._base.chmod(0o711)
        self._held.mkdir()
        self.scratch.mkdir()
        self.scratch.chmod(0o1777)
        command = [sys.executable, "-m", "tests.faults.up", "--home", str(self.home)]
        self._process = subprocess.Popen(
            [*command, "--port", "0", "--workers", str(len(self.workers))],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "TMPDIR": str(self.scratch),
                "DATARUN_USERNAME": ACCOUNT[0],
                "DATARUN_PASSWORD": ACCOUNT[1],
                "DATARUN_LEASE": str(LEASE),
                "DATARUN_RECONCILE": str(RECONCILE),
                "DATARUN_GRACE": str(GRACE),
                "FAULTS_HELD": str(self._held),
                "FAULTS_ENVIRON": json.dumps(self._environ),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        ready: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(ready,))
        self._reader.start()
        self.url = ready.get(timeout=120)
        if not self.url:
            raise RuntimeError("the stack didn't start:\n" + "".join(self.lines))
        self.worker_token = (self.home / "secrets" / "worker-token").read_text()
        variables = self.wait_for_program("web").environ()
        self.database_url = variables["DATABASE_URL"].replace("+psycopg", "")
        self.redis_url = variables["REDIS_URL"]

    def _read(self, ready: "queue.Queue[str]") -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self.lines.append(line)
                if match := READY.search(line):
                    ready.put(match[1])
        ready.put("")

    @property
    def pid(self) -> int:
        """The supervisor's."""
        return self._process.pid

    def stop(self) -> int:
        """Stop it politely and say its exit status."""
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(90)
        self._reader.join()
        return status

    def end(self) -> None:
        """End it, however it is; nothing happens if it has been stopped."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for process in self.list_processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def remove(self) -> None:
        """Remove its folder."""
        shutil.rmtree(self._base, ignore_errors=True)

    def says(self, words: str, program: str = "") -> bool:
        """Tell whether a program has said something."""
        return any(words in line for line in self.lines if line.startswith(program))

    @property
    def output(self) -> str:
        """All that the programs said."""
        return "".join(self.lines)

    # Processes

    def find_program(self, name: str) -> psutil.Process | None:
        """Find a program's process; None while there is none."""
        entries = json.loads((self.home / "programs.json").read_text())
        for entry in entries:
            if entry["name"] == name:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process = psutil.Process(entry["pid"])
                    same = abs(process.create_time() - entry["started"]) < 1
                    if same and process.status() != psutil.STATUS_ZOMBIE:
                        return process
        return None

    def wait_for_program(self, name: str, other_than: psutil.Process | None = None) -> Any:
        """Wait until a program has a process, a new one if the old one is named."""

        def find() -> psutil.Process | None:
            process = self.find_program(name)
            return process if process != other_than else None

        return wait_for(find, f"{name} to run")

    def find_zygote(self, worker: str) -> psutil.Process | None:
        """Find a worker's zygote; None while there is none."""
        process = self.find_program(worker)
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
            for child in process.children() if process else ():
                if "datarun_worker.zygote" in child.cmdline():
                    # In a namespace of its own it is the child of one that waits for it.
                    inner = child.children()
                    return (
                        inner[0]
                        if inner and read_namespace(inner[0]) != read_namespace(child)
                        else child
                    )
        return None

    def find_sandboxes(self, worker: str) -> list[psutil.Process]:
        """Find the sandboxes of a worker: the one in use, or else the spare for the next fold."""
        zygote = self.find_zygote(worker)
        with contextlib.suppress(psutil.NoSuchProcess):
            return sorted(zygote.children(), key=lambda child: child.pid) if zygote else []
        return []

    def wait_for_sandboxes(self, worker: str) -> list[psutil.Process]:
        """Wait for a worker's sandboxes: a busy zygote may fork late."""
        return wait_for(lambda: self.find_sandboxes(worker), f"the sandbox of {worker}")

    def list_processes(self) -> list[psutil.Process]:
        """List all processes that belong to this home, whoever their parent is."""
        home = str(self.home.resolve())
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                if process.cwd().startswith(home) or any(
                    home in word for word in process.cmdline()
                ):
                    found.append(process)
        return found

    def name_program(self, worker: str) -> str:
        """Name the program that an RQ worker is, by what it said at its start."""
        (line,) = [line for line in self.lines if f"Worker {worker}: started" in line]
        return line.split()[0]

    # Faults

    def kill(self, name: str) -> psutil.Process:
        """Kill a program by SIGKILL, and wait until it is dead."""
        process = self.wait_for_program(name)
        process.kill()
        wait_for(lambda: is_dead(process), f"{name} to die")
        return process

    def kill_group(self, name: str) -> None:
        """Kill a program and all its descendants at once, as a power cut would."""
        process = self.wait_for_program(name)
        family = [process, *process.children(recursive=True)]
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        wait_for(lambda: all(map(is_dead, family)), f"{name} and its descendants to die")

    @contextlib.contextmanager
    def frozen(self, *names: str) -> Iterator[None]:
        """Stop programs by SIGSTOP inside the context."""
        processes = [self.wait_for_program(name) for name in names]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()

    def hold(self, name: str) -> None:
        """Keep a program from being started again."""
        (self._held / name).touch()

    def release(self, name: str) -> None:
        """Let it be started again."""
        (self._held / name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def away(self, *names: str) -> Iterator[None]:
        """Kill programs, and keep them away inside the context; afterwards they are back."""
        old = {name: self.wait_for_program(name) for name in names}
        for name in names:
            self.hold(name)
            self.kill_group(name)
        try:
            yield
        finally:
            for name in names:
                self.release(name)
            for name, process in old.items():
                self.wait_for_program(name, other_than=process)

    def empty_valkey(self) -> None:
        """Kill Valkey and have it start with nothing, once it is let."""
        shutil.rmtree(self.home / "valkey" / "appendonlydir", ignore_errors=True)

    @contextlib.contextmanager
    def extra_worker(
        self, name: str, *queues: str, prefix: Sequence[str] = (), **environ: str
    ) -> "Iterator[ExtraWorker]":
        """Run one more worker inside the context.

        Parameters
        ----------
        name : str
        *queues : str
        prefix : sequence of str, optional
            The module that runs it, and its arguments.
        **environ : str
            Settings that differ from the other workers'.
        """
        python = [sys.executable, "-m"]
        command = [*python, *prefix] if prefix else []
        command += [*python, "rq.cli", "worker", "-w", "datarun_worker.Worker", "-n", name, *queues]
        variables = self.wait_for_program(self.workers[0]).environ()
        log = self._base / f"{name}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**variables, "PYTHONPATH": str(ROOT), **environ},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                yield ExtraWorker(process, log)
            finally:
                process.terminate()
                try:
                    process.wait(30)
                finally:
                    process.kill()
                    process.wait()

    # Looking inside

    def connect(self) -> "psycopg.Connection[Any]":
        """Connect to the database."""
        return psycopg.connect(self.database_url, autocommit=True)

    def query(self, statement: str, *values: Any) -> list[Any]:
        """Ask the database."""
        with self.connect() as connection:
            return connection.execute(statement, values).fetchall()

    def execute(self, statement: str) -> None:
        """Change the database."""
        with self.connect() as connection:
            connection.execute(statement)

    def connect_redis(self) -> "Redis":
        """Connect to Valkey."""
        return Redis.from_url(self.redis_url, socket_timeout=5)

    def list_spooled(self) -> list[Path]:
        """List the results that wait on the disk."""
        return sorted(self.home.glob("cache-spool/*/worker-*/*.json"))


@dataclass(frozen=True)
class ExtraWorker:
    """A worker that the supervisor doesn't know."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def says(self, words: str) -> bool:
        """Tell whether it has said something."""
        return words in self.log.read_text()


def is_dead(process: psutil.Process) -> bool:
    """Tell whether a process has ended."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def read_namespace(process: psutil.Process) -> str:
    """Name a process's PID namespace."""
    return str(Path(f"/proc/{process.pid}/ns/pid").readlink())


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """Wait for a condition and return what it said.

    Raises
    ------
    TimeoutError
        When the deadline is over.
    """
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}, in vain")
        time.sleep(POLL)
    return answer
