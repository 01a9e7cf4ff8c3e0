"""PostgreSQL and Valkey under a home, for real, run by the supervisor."""

import contextlib
import os
import socket
import stat
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from psycopg.conninfo import conninfo_to_dict
from redis.backoff import NoBackoff
from redis.retry import Retry

from datarun_api.embedded import (
    DATABASE,
    EmbeddedPostgres,
    EmbeddedValkey,
    copy_binaries,
    find_free_port,
)
from datarun_api.home import Home, HomeError, find_closed_folder
from datarun_api.supervisor import Child, Supervisor, find_process

DEADLINE = 60.0


@pytest.fixture
def folder(make_home) -> Path:
    """A folder that PostgreSQL's account can reach; pytest's own ones are closed."""
    return make_home()


class Servers:
    """A home, its supervisor and what the servers said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []

    def __enter__(self) -> "Servers":
        self.home = Home(self.folder)
        self.supervisor = Supervisor(self.home.record, self.lines.append)
        self.supervisor.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.supervisor.__exit__()
        self.home.close()

    def start(self, server: EmbeddedPostgres | EmbeddedValkey) -> Child:
        server.init()
        child = self.supervisor.start(server.get_program(dict(os.environ)))
        self.supervisor.wait_for(server.is_ready, child.program.name, DEADLINE, child)
        return child

    def revive(self, child: Child, server: EmbeddedPostgres | EmbeddedValkey) -> None:
        """Kill a server, and let the supervisor do what it does then."""
        dead = child.process.pid
        child.process.kill()
        self.supervisor.wait_for(
            lambda: self.supervisor._look_after(child) or child.process.pid != dead,
            "the restart",
            DEADLINE,
        )
        self.supervisor.wait_for(server.is_ready, child.program.name, DEADLINE, child)


def connect(url: str, **changes: str) -> psycopg.Connection:
    parameters = conninfo_to_dict(url.replace("+psycopg", ""), **changes)
    return psycopg.connect(autocommit=True, **parameters)


def test_postgresql_answers_only_to_its_password(folder):
    with Servers(folder) as servers:
        server = EmbeddedPostgres(servers.home)
        servers.start(server)

        with connect(server.url) as connection:
            assert connection.execute("SELECT current_database()").fetchone() == (DATABASE,)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            connect(server.url, password="wrong")


def test_valkey_answers_only_to_its_password(folder):
    with Servers(folder) as servers:
        server = EmbeddedValkey(servers.home)
        servers.start(server)

        with redis.Redis.from_url(server.url) as connection:
            assert connection.ping()
        port = connection.get_connection_kwargs()["port"]
        with (
            redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()


def test_data_outlives_a_stop(folder):
    with Servers(folder) as servers:
        postgres, valkey = EmbeddedPostgres(servers.home), EmbeddedValkey(servers.home)
        servers.start(postgres)
        servers.start(valkey)
        first_urls = (postgres.url, valkey.url)
        write_something(postgres, valkey)

    with Servers(folder) as servers:
        postgres, valkey = EmbeddedPostgres(servers.home), EmbeddedValkey(servers.home)
        servers.start(postgres)
        servers.start(valkey)

        assert (postgres.url, valkey.url) == first_urls
        assert read_something(postgres, valkey) == (7, b"seven")


def test_data_outlives_the_death_of_both_servers(folder):
    with Servers(folder) as servers:
        postgres, valkey = EmbeddedPostgres(servers.home), EmbeddedValkey(servers.home)
        postgres_child, valkey_child = servers.start(postgres), servers.start(valkey)
        write_something(postgres, valkey)

        servers.revive(postgres_child, postgres)
        servers.revive(valkey_child, valkey)

        assert read_something(postgres, valkey) == (7, b"seven")


def write_something(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> None:
    with connect(postgres.url) as connection:
        connection.execute("CREATE TABLE number AS SELECT 7 AS value")
    with redis.Redis.from_url(valkey.url) as connection:
        connection.set("number", "seven")
        # Otherwise a crash may cost its last second, as documented.
        connection.waitaof(1, 0, 5000)


def read_something(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> tuple[int, bytes]:
    with connect(postgres.url) as connection:
        row = connection.execute("SELECT value FROM number").fetchone()
    with redis.Redis.from_url(valkey.url) as connection:
        return row[0], connection.get("number")


def test_a_stop_leaves_no_server_process(folder):
    with Servers(folder) as servers:
        children = [
            servers.start(EmbeddedPostgres(servers.home)),
            servers.start(EmbeddedValkey(servers.home)),
        ]
        pids = [child.process.pid for child in children]
        pids += [process.pid for pid in pids for process in psutil.Process(pid).children()]

    assert [pid for pid in pids if find_process(pid)] == []
    assert all(child.process.returncode == 0 for child in children)


def test_a_database_that_was_made_halfway_is_made_anew(folder):
    with Servers(folder) as servers:
        server = EmbeddedPostgres(servers.home)
        half = folder / "postgresql" / "data.new"
        half.mkdir()
        (half / "PG_VERSION").write_text("18\n")

        servers.start(server)

        assert not half.exists()


def test_no_password_is_on_a_command_line_or_in_the_output(folder):
    with Servers(folder) as servers:
        children = [
            servers.start(EmbeddedPostgres(servers.home)),
            servers.start(EmbeddedValkey(servers.home)),
        ]
        secrets = [path.read_text() for path in servers.home.secrets.iterdir()]
        commands = [" ".join(psutil.Process(child.process.pid).cmdline()) for child in children]

    assert len(secrets) == 2
    for secret in secrets:
        assert all(secret not in text for text in [*commands, *servers.lines])


def test_secrets_are_for_their_owner_only(folder):
    with Servers(folder) as servers:
        servers.start(EmbeddedValkey(servers.home))

        private = [servers.home.secrets, *servers.home.secrets.iterdir()]
        private += [folder / "valkey", folder / "valkey" / "users.acl"]
        assert {path.stat().st_mode & 0o077 for path in private} == {0}


def test_a_long_folder_name_has_its_socket_elsewhere(folder):
    long = folder / ("long" * 25)

    with Servers(long) as servers:
        server = EmbeddedPostgres(servers.home)
        servers.start(server)
        sockets = Path(conninfo_to_dict(server.url.replace("+psycopg", ""))["host"])
        assert sockets.parent == Path("/tmp")

    assert not sockets.exists()


def test_a_port_that_somebody_took_is_given_up(folder):
    with Servers(folder) as servers:
        first = EmbeddedValkey(servers.home)
    port = int((folder / "valkey" / "port").read_text())

    with socket.socket() as somebody, Servers(folder) as servers:
        somebody.bind(("127.0.0.1", port))
        somebody.listen()
        second = EmbeddedValkey(servers.home)
        servers.start(second)

        assert second.url != first.url


def test_a_free_port_is_the_wanted_one():
    port = find_free_port(0)

    assert find_free_port(port) == port


def test_a_second_use_of_a_home_is_refused(folder):
    with (
        contextlib.closing(Home(folder)),
        pytest.raises(HomeError, match=f"process {os.getpid()}"),
    ):
        Home(folder)


def test_a_home_may_be_used_again_afterwards(folder):
    for _ in range(2):
        with contextlib.closing(Home(folder)):
            pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_the_home_of_somebody_else_is_refused(folder):
    os.chown(folder, 65534, 65534)

    with pytest.raises(HomeError, match="run as nobody"):
        Home(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's database runs as that user")
def test_root_is_told_when_the_database_could_not_get_to_its_folder(folder):
    closed = folder / "closed"
    closed.mkdir(mode=0o700)

    with (
        contextlib.closing(Home(closed / "home")) as home,
        pytest.raises(HomeError, match="/var/lib/datarun"),
    ):
        EmbeddedPostgres(home)

    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs the copy")
def test_root_runs_a_copy_of_a_postgresql_that_lies_in_a_closed_folder(folder, monkeypatch):
    with Servers(folder) as servers:
        server = EmbeddedPostgres(servers.home)
        server._binaries = copy_binaries(server._binaries, folder / "postgresql-server")
        servers.start(server)

        program = psutil.Process(servers.supervisor._children[0].process.pid).exe()
        assert Path(program).is_relative_to(folder)


def test_a_closed_folder_is_found(folder):
    closed = folder / "closed"
    (closed / "open").mkdir(parents=True)
    closed.chmod(0o700)

    assert find_closed_folder(closed / "open") in (closed, *closed.parents)


def test_postgresql_needs_no_recovery_after_a_stop(folder):
    with Servers(folder) as servers:
        servers.start(EmbeddedPostgres(servers.home))

    with Servers(folder) as servers:
        servers.start(EmbeddedPostgres(servers.home))

    assert any("ready to accept connections" in line for line in servers.lines)
    assert not any("not properly shut down" in line for line in servers.lines)
