"""`datarun up`: the whole of datarun on one machine.

In this order: the home is locked; PostgreSQL and Valkey start under it, unless ``DATABASE_URL`` or
``REDIS_URL`` names others; one process migrates and makes the accounts; gunicorn, the reconciler
and the workers start; once ``GET /health`` answers 200 the ready line is printed. From then on the
supervisor keeps them running. They stop in the opposite order.

What each may know: the API gets the servers' addresses, the workers get Redis's address and a
token, and neither gets the operator's password.
"""

import contextlib
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from signal import Signals

import click

from datarun_api.config import STANDALONE_SETTINGS, load_config
from datarun_api.embedded import READY_TIME, EmbeddedPostgres, EmbeddedValkey
from datarun_api.home import DATABASE_SECRET, REDIS_SECRET, Home
from datarun_api.supervisor import Program, StopRequested, Supervisor
from datarun_client.errors import DatarunError

WEB_STOP_TIME = 10.0
"""Seconds that gunicorn may take to stop; it gives requests half of that (`gunicorn_config`)."""

WORKER_GRACE = 20.0
"""Seconds that a worker may take after a stop to end or give back its fold."""

HEALTH_TIME = 2.0
"""Seconds for an answer of ``GET /health``; no output is printed meanwhile."""

PROVISION_TIME = 600.0
"""Seconds that the migrations of a large database may take."""

SERVERS, WEB, WORKERS = range(3)
"""The stages of the stop; workers end first, then the API, then the servers."""

LOOPBACK = "127.0.0.1"

APP = "datarun_api:create_app()"

GUNICORN_CONFIG = "python:datarun_api.gunicorn_config"

PYTHON_MODULE = (sys.executable, "-m")
"""Runs a command of this installation, wherever its scripts are."""

OPERATOR_ONLY = ("DATABASE_URL", "REDIS_URL", "DATARUN_USERNAME", "DATARUN_PASSWORD")
"""Variables that no child inherits; each is given those that it needs."""


class StandaloneError(DatarunError):
    """`datarun up` can't do what it was asked for."""


@dataclass(frozen=True)
class Servers:
    """The addresses of PostgreSQL and Redis, passwords included."""

    database_url: str
    redis_url: str


class Stack:
    """All of datarun on this machine.

    Parameters
    ----------
    home : Home
    supervisor : Supervisor
    listener : socket.socket
        Listens on the API's port. The supervisor keeps it open, so that the port is never lost
        and requests wait while gunicorn starts again.
    environ : mapping of str to str
        The operator's environment.
    """

    def __init__(
        self,
        home: Home,
        supervisor: Supervisor,
        listener: socket.socket,
        environ: Mapping[str, str],
    ) -> None:
        self._home = home
        self._supervisor = supervisor
        self._listener = listener
        config = load_config(environ)
        self._database_url: str | None = config["DATABASE_URL"]
        self._redis_url: str | None = config["REDIS_URL"]
        self._data_queue: str = config["DATA_QUEUE"]
        self._first_account = {
            setting.name: environ[setting.name]
            for setting in STANDALONE_SETTINGS
            if environ.get(setting.name)
        }
        self._environ = make_child_environ(environ)
        self.url = f"http://{LOOPBACK}:{listener.getsockname()[1]}/"

    def start(self, workers: int) -> None:
        """Start everything; on return the API answers.

        Raises
        ------
        SupervisorError, EmbeddedError
            If something doesn't start.
        StopRequested
            If somebody asks to stop in the meantime.
        """
        servers = self._start_servers()
        self._provision(servers)
        web = self._supervisor.start(self._describe_web(servers))
        threads = max(1, count_cores() // max(1, workers))
        for number in range(1, workers + 1):
            self._supervisor.start(self._describe_worker(number, threads, servers))
        self._supervisor.wait_for(
            lambda: is_healthy(self._listener), f"{self.url}health", READY_TIME, web
        )
        self._supervisor.start(self._describe_reconciler(servers))
        self._home.url.write_text(self.url)

    def _start_servers(self) -> Servers:
        database_url, redis_url = self._database_url, self._redis_url
        embedded: list[EmbeddedPostgres | EmbeddedValkey] = []
        if database_url is None:
            postgres = EmbeddedPostgres(self._home)
            database_url = postgres.url
            embedded.append(postgres)
        if redis_url is None:
            valkey = EmbeddedValkey(self._home)
            redis_url = valkey.url
            embedded.append(valkey)
        started = []
        for server in embedded:
            server.init()
            child = self._supervisor.start(server.get_program(self._environ))
            started.append((server, child))
        for server, child in started:
            self._supervisor.wait_for(server.is_ready, child.program.name, READY_TIME, child)
        self._home.save_secret(DATABASE_SECRET, database_url)
        self._home.save_secret(REDIS_SECRET, redis_url)
        return Servers(database_url, redis_url)

    def _provision(self, servers: Servers) -> None:
        self._supervisor.run_once(
            Program(
                name="setup",
                argv=(*PYTHON_MODULE, "datarun_api.provision", str(self._token_file)),
                environ=self._make_api_environ(servers) | self._first_account,
                directory=self._home.path,
            ),
            PROVISION_TIME,
        )

    def _describe_web(self, servers: Servers) -> Program:
        descriptor = self._listener.fileno()
        options = {
            "--config": GUNICORN_CONFIG,
            "--bind": f"fd://{descriptor}",
            "--log-level": "warning",
        }
        words = [word for option in options.items() for word in option]
        return Program(
            name="web",
            # Preloaded, so that both processes share one import of the application.
            argv=(*PYTHON_MODULE, "gunicorn", "--no-control-socket", "--preload", *words, APP),
            environ=self._make_api_environ(servers),
            directory=self._home.path,
            stage=WEB,
            stop_time=WEB_STOP_TIME,
            hurry_signal=Signals.SIGQUIT,
            pass_fds=(descriptor,),
        )

    def _describe_reconciler(self, servers: Servers) -> Program:
        return Program(
            name="reconciler",
            argv=(*PYTHON_MODULE, "flask", "--app", "datarun_api", "reconcile"),
            environ=self._make_api_environ(servers),
            directory=self._home.path,
            stage=WORKERS,
        )

    def _describe_worker(self, number: int, threads: int, servers: Servers) -> Program:
        queues = ["high", "low"]
        if self._data_queue not in queues:
            queues.insert(0, self._data_queue)
        environ = {
            "DATARUN_THREADS": str(threads),
            **self._environ,
            "DATARUN_URL": self.url,
            "DATARUN_TOKEN": self._token_file.read_text(),
            "DATARUN_CACHE": str(self._home.cache),
            "RQ_REDIS_URL": servers.redis_url,
        }
        return Program(
            name=f"worker-{number}",
            argv=(*PYTHON_MODULE, "rq.cli", "worker", "-w", "datarun_worker.Worker", *queues),
            environ=environ,
            directory=self._home.path,
            stage=WORKERS,
            stop_time=WORKER_GRACE,
        )

    @property
    def _token_file(self) -> Path:
        return self._home.secrets / "worker-token"

    def _make_api_environ(self, servers: Servers) -> dict[str, str]:
        return {
            **self._environ,
            "DATABASE_URL": servers.database_url,
            "REDIS_URL": servers.redis_url,
            "DATARUN_STORAGE": str(self._home.storage),
        }


@click.command()
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    default=lambda: find_default_home(os.environ),
    show_default="~/.local/share/datarun, for root /var/lib/datarun",
    envvar="DATARUN_HOME",
    help="The folder that keeps everything.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="The API's port on 127.0.0.1; 0 takes a free one.",
)
@click.option(
    "--workers",
    type=click.IntRange(0),
    default=lambda: count_cores(),
    show_default="one per core",
    help="How many folds run at once.",
)
def up(home: Path, port: int, workers: int) -> None:
    """Run all of datarun on this machine until Ctrl-C.

    The first account is that of DATARUN_USERNAME and DATARUN_PASSWORD; without them it is `admin`
    with a password that is shown once. DATABASE_URL and REDIS_URL name a PostgreSQL and a Redis of
    your own; without them embedded ones run under the home.
    """
    try:
        run_stack(home, port, workers, os.environ)
    except StopRequested:
        pass
    except DatarunError as error:
        raise click.ClickException(str(error)) from None


def run_stack(home_path: Path, port: int, workers: int, environ: Mapping[str, str]) -> None:
    """Run a stack until somebody asks to stop.

    Raises
    ------
    HomeError, StandaloneError, SupervisorError, EmbeddedError
        If it can't start; nothing of it runs any more.
    StopRequested
        If somebody asked to stop before it was ready.
    """
    # In this order they are taken back: the programs, then the port, then the home.
    with (
        contextlib.closing(Home(home_path)) as home,
        contextlib.closing(listen(port)) as listener,
        Supervisor(home.record, Printer().print_line) as supervisor,
    ):
        stack = Stack(home, supervisor, listener, environ)
        supervisor.log(f"starting in {home.path}")
        stack.start(workers)
        supervisor.log(f"ready at {stack.url}   (Ctrl-C stops it)")
        supervisor.run()
        supervisor.log("stopping; your data stays")


class Printer:
    """Prints lines as long as somebody reads them."""

    def __init__(self) -> None:
        self._is_open = True

    def print_line(self, line: str) -> None:
        """Print a line; a reader that has gone is no reason to stop serving."""
        if not self._is_open:
            return
        try:
            print(line, flush=True)
        except OSError:
            self._is_open = False
            # Python would fail once more at its end, flushing what could not be written.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def listen(port: int) -> socket.socket:
    """Listen on a port of the loopback interface.

    Raises
    ------
    StandaloneError
        If the port is taken.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
        listener.listen(socket.SOMAXCONN)
    except OSError as error:
        listener.close()
        raise StandaloneError(
            f"Port {port} can't be had ({error.strerror}); name another with --port, or 0 for any."
        ) from None
    return listener


def is_healthy(listener: socket.socket) -> bool:
    """Ask the API whether it is ready."""
    connection = HTTPConnection(LOOPBACK, listener.getsockname()[1], timeout=HEALTH_TIME)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def make_child_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Make the environment that all programs share: the operator's, without what is secret."""
    shared = {name: text for name, text in environ.items() if name not in OPERATOR_ONLY}
    exempt = [name for name in (environ.get("no_proxy"), environ.get("NO_PROXY"), LOOPBACK) if name]
    # What a worker says to the API stays on this machine, even where a proxy is set.
    shared["no_proxy"] = shared["NO_PROXY"] = ",".join(exempt)
    shared["PYTHONUNBUFFERED"] = "1"
    return shared


def find_default_home(environ: Mapping[str, str]) -> Path:
    """Find the folder for an operator who named none.

    Root's is not in root's own folder: PostgreSQL's account can't get there.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/datarun")
    data = environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "datarun"


def count_cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


if __name__ == "__main__":
    up()
