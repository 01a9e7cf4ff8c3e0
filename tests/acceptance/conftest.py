"""A whole datarun as a user starts it, and what users do with it."""

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from datarun_client import post_api
from datarun_client.states import SplitState, State
from tests.conftest import numbers, wait_until

ADMIN = ("admin", "admin password")
ORDINARY_USER = "ordinary"
AS_ORDINARY_USER = Path(__file__).with_name("ordinary_user.py")
READY = re.compile(r"ready at (http://\S+)")


@dataclass
class Stack:
    """`datarun up` in a home of its own, as the suite's user or from root as an ordinary one."""

    home: Path
    workers: int = 2
    environ: dict[str, str] = field(default_factory=dict)
    user: str = "current"
    url: str = ""
    lines: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Start it and wait for the ready line."""
        command = [Path(sys.executable).with_name("datarun"), "up", "--home", self.home]
        secrets = dict(zip(("DATARUN_USERNAME", "DATARUN_PASSWORD"), ADMIN, strict=True))
        self.process = subprocess.Popen(
            [*make_prefix(self.user), *command, "--port", "0", "--workers", str(self.workers)],
            env={**os.environ, **secrets, **self.environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        ready: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(ready,))
        self._reader.start()
        self.url = ready.get(timeout=90)
        assert self.url, "".join(self.lines)

    def _read(self, ready: "queue.Queue[str]") -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self.lines.append(line)
                if match := READY.search(line):
                    ready.put(match[1])
        # Whoever still waits for it to be ready waits in vain.
        ready.put("")

    def stop(self) -> int:
        """Stop it politely and say its exit status."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        self._reader.join()
        return status


def make_prefix(user: str) -> list[str]:
    """Make what stands before a command to run it as an ordinary user instead of as root."""
    return [sys.executable, str(AS_ORDINARY_USER)] if user == ORDINARY_USER else []


@pytest.fixture(scope="session")
def stack(make_home) -> Iterator[Stack]:
    # Webhooks are received here.
    environ = {"DATARUN_WEBHOOK_NETWORKS": "127.0.0.0/8"}
    stack = Stack(make_home() / "home", environ=environ)
    stack.start()
    yield stack
    assert stack.stop() == 0


@pytest.fixture
def run_stack() -> Iterator[Callable[..., Stack]]:
    """Start stacks of a test's own, with one worker; none stays, whatever the test does."""
    stacks = []

    def run(home: Path, **environ: str) -> Stack:
        stacks.append(Stack(home, workers=1, environ=environ))
        stacks[-1].start()
        return stacks[-1]

    yield run
    for stack in stacks:
        if stack.process.poll() is None:
            stack.stop()


def run_datarun(*words: object, **environ: str) -> str:
    """Run a command of `datarun`, and give what it said."""
    result = subprocess.run(
        [Path(sys.executable).with_name("datarun"), *map(str, words)],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@dataclass(frozen=True)
class Site:
    """A platform that uses datarun through `post_api`, with numbers of its own."""

    url: str
    account: tuple[str, str]
    folder: Path

    @property
    def arguments(self) -> tuple[str, str, str]:
        return (self.url, *self.account)

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def post_data(self, elements: str, data: Path, *extra: Path, target: str = "target") -> int:
        name = f"{data.name}-{next(numbers)}"
        response = post_api.post_data(*self.arguments, name, target, elements, data, extra)
        assert response.status_code == 201, response.text
        return response.json()["id"]

    def split(self, raw_data: int, held_out_test: float = 0.3) -> dict[str, Any]:
        response = post_api.post_split(*self.arguments, held_out_test, raw_data)
        assert response.status_code == 201, response.text
        return self.wait_for_split(raw_data)

    def split_custom(self, raw_data: int) -> dict[str, Any]:
        response = post_api.custom_post_split(*self.arguments, raw_data)
        assert response.status_code == 201, response.text
        return self.wait_for_split(raw_data)

    def wait_for_split(self, raw_data: int) -> dict[str, Any]:
        def find() -> dict[str, Any] | None:
            rows = post_api.get_raw_data(*self.arguments).json()
            (row,) = [row for row in rows if row["id"] == raw_data]
            return row if row["split_state"] in (SplitState.DONE, SplitState.ERROR) else None

        return wait_until(find, f"the split of data set {raw_data}", 60)

    def submit(
        self, raw_data: int, files: dict[str, str], train_is: Any, test_is: Any = (), **options: Any
    ) -> int:
        """Post a new submission's one fold."""
        number = next(numbers)
        paths = [self.write(f"submission{number}/{name}", text) for name, text in files.items()]
        response = post_api.post_submission_fold(
            *self.arguments, number, number, train_is, test_is, "H", raw_data, paths, **options
        )
        assert response.status_code == 201, response.text
        return number

    def wait_for(self, fold: int, seconds: float = 60) -> dict[str, Any]:
        def find() -> dict[str, Any] | None:
            row = post_api.get_submission_fold_detail(*self.arguments, fold).json()
            return row if State(row["state"]).is_final else None

        return wait_until(find, f"the end of fold {fold}", seconds)

    def run(
        self, raw_data: int, files: dict[str, str], train_is: Any, **options: Any
    ) -> dict[str, Any]:
        return self.wait_for(self.submit(raw_data, files, train_is, **options))


@pytest.fixture
def site(stack, tmp_path) -> Site:
    return Site(stack.url, ADMIN, tmp_path)


@pytest.fixture(scope="session")
def folds() -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    """Cut a train set's rows into a fold's train rows and the others."""

    def cut(n_samples: int) -> tuple[np.ndarray, np.ndarray]:
        rows = np.random.default_rng(0).permutation(n_samples)
        return rows[: n_samples // 2], rows[n_samples // 2 :]

    return cut


def call(site: Site, method: str, path: str, **options: Any) -> requests.Response:
    """Call the API as curl does."""
    return requests.request(
        method, f"{site.url}runapp/{path}", auth=site.account, timeout=30, **options
    )
