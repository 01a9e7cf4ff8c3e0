"""What every test may ask for: real servers, the application on them, and accounts of its own.

Tests share one PostgreSQL and one Valkey, and keep out of each other's way by accounts: whatever
an account makes, no other sees.
"""

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flask_migrate
import pytest
from sqlalchemy import delete, func, select, update
from werkzeug.serving import WSGIRequestHandler, make_server

from datarun_api import create_app
from datarun_api.config import parse_database_url
from datarun_api.credentials import create_token, hash_password
from datarun_api.embedded import find_free_port
from datarun_api.extensions import db, get_queues
from datarun_api.models import Attempt, RawData, Scoring, SubmissionFold, User, Worker
from datarun_client import PROTOCOL, PROTOCOL_HEADER
from datarun_client.states import Role, SplitState, State
from tests.small_server import Server

PASSWORD = "correct horse"
SERVERS = Path(__file__).with_name("servers.py")
numbers = itertools.count(1)


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    """Wait for a condition and return what it said; fail when the deadline is over."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:g} s for {what}, in vain")
        time.sleep(0.02)
    return answer


@pytest.fixture(scope="session")
def make_home() -> Iterator[Callable[[], Path]]:
    """Make folders that PostgreSQL's own user can reach when the suite runs as root."""
    homes = []

    def make() -> Path:
        home = Path(tempfile.mkdtemp(prefix="datarun-test-"))
        home.chmod(0o711)
        homes.append(home)
        return home

    yield make
    for home in homes:
        shutil.rmtree(home)


@dataclass(frozen=True)
class Servers:
    """Where PostgreSQL and Valkey are."""

    database_url: str
    redis_url: str


@pytest.fixture(scope="session")
def servers(make_home) -> Iterator[Servers]:
    command = [sys.executable, SERVERS, make_home()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Servers(*json.loads(process.stdout.readline()))
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@pytest.fixture(scope="session")
def app(servers, tmp_path_factory):
    app = create_app(
        {
            "DATABASE_URL": parse_database_url(servers.database_url),
            "REDIS_URL": servers.redis_url,
            "STORAGE": str(tmp_path_factory.mktemp("storage")),
            # All tests come from one address.
            "FAILED_LOGINS": "10000 per minute",
            "TESTING": True,
        }
    )
    with app.app_context():
        flask_migrate.upgrade()
    yield app
    with app.app_context():
        db.engine.dispose()
    app.extensions["datarun_listener"].close()
    app.extensions["datarun_queues"].connection.close()


@pytest.fixture
def context(app):
    """An application context for tests that look into the database or call functions."""
    with app.app_context():
        yield app
        db.session.rollback()


@dataclass(frozen=True)
class Caller:
    """An account that calls the API in this process."""

    app: Any
    id: int
    name: str
    headers: dict[str, str]

    def call(self, method: str, path: str, headers: Any = None, **options: Any):
        # In a context of its own, even when the test has one: a request must not share its session.
        with self.app.app_context():
            return self.app.test_client().open(
                f"/runapp/{path}",
                method=method,
                headers={**self.headers, **(headers or {})},
                buffered=True,
                **options,
            )

    def get(self, path: str, **options: Any):
        return self.call("GET", path, **options)

    def post(self, path: str, json: Any = None, **options: Any):
        return self.call("POST", path, json=json, **options)


@pytest.fixture(scope="session")
def password_hash() -> str:
    return hash_password(PASSWORD)


@pytest.fixture
def empty_queues(app) -> None:
    """Take what other tests left waiting or running out of the way: workers get whatever waits."""
    with app.app_context():
        db.session.execute(
            update(SubmissionFold)
            .where(SubmissionFold.state.not_in([State.TESTED, State.ERROR]))
            .values(state=State.ERROR, queued_at=None, lease_until=None, retry_at=None)
        )
        db.session.execute(update(Attempt).values(ended_at=func.now()))
        db.session.execute(
            update(RawData)
            .where(RawData.split_state == SplitState.TODO)
            .values(split_state=SplitState.NONE, split_lease_until=None)
        )
        db.session.execute(delete(Worker))
        db.session.commit()
        # Afterwards, as the end of a fold asks for a scoring.
        db.session.execute(delete(Scoring))
        db.session.commit()
        get_queues().connection.flushall()


@pytest.fixture
def add_caller(app, password_hash, empty_queues) -> Callable[..., Caller]:
    """Make accounts; they call with a token, which costs less time than a password."""

    def add(role: Role = Role.PLATFORM, views: Caller | None = None, **token: Any) -> Caller:
        name = f"{role}-{os.getpid()}-{next(numbers)}"
        with app.app_context():
            user = User(name=name, role=role, password_hash=password_hash)
            user.views_id = views.id if views else None
            db.session.add(user)
            headers = {"Authorization": f"Bearer {create_token(user, 'test', **token)}"}
            if role == Role.WORKER:
                headers[PROTOCOL_HEADER] = str(PROTOCOL)
            db.session.commit()
            return Caller(app, user.id, name, headers)

    return add


@pytest.fixture
def platform(add_caller) -> Caller:
    return add_caller()


@pytest.fixture
def worker(add_caller) -> Caller:
    return add_caller(Role.WORKER)


class QuietHandler(WSGIRequestHandler):
    """Serves without a line of log for each request, and keeps connections."""

    protocol_version = "HTTP/1.1"

    def log_request(self, *args: Any, **kwargs: Any) -> None:
        pass


@pytest.fixture(scope="session")
def api_url(app) -> Iterator[str]:
    """The real API behind a real HTTP server of this process."""
    with make_server("127.0.0.1", 0, app, threaded=True, request_handler=QuietHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.port}/"
        server.shutdown()
        thread.join()


class OwnApi:
    """The real API behind an HTTP server that a test may stop, freeze and start again."""

    def __init__(self, app) -> None:
        self._app = app
        self.port = find_free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self._stop = lambda: None

    def start(self) -> None:
        self._stop()
        server = make_server(
            "127.0.0.1", self.port, self._app, threaded=True, request_handler=QuietHandler
        )
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()

        def stop() -> None:
            server.shutdown()
            thread.join()
            server.server_close()

        self._stop = stop

    def stop(self) -> None:
        self._stop()
        self._stop = lambda: None

    def freeze(self) -> None:
        """Take connections and never answer."""
        self._stop()
        self._stop = socket.create_server(("127.0.0.1", self.port)).close


@pytest.fixture
def own_api(app) -> Iterator[OwnApi]:
    api = OwnApi(app)
    api.start()
    yield api
    api.stop()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


def count_rows(model: Any, owner_id: int) -> int:
    """Count an account's rows of a table."""
    return len(db.session.scalars(select(model).where(model.owner_id == owner_id)).all())
