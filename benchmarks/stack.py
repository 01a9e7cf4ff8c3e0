"""A whole `datarun up` and a client of its API."""

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import requests

from benchmarks.site import BIN, DEADLINE, N_WORKERS, ROOT, STOP_TIME, BenchError
from datarun_client.states import State

ACCOUNT = ("bench", "bench password")

FoldEntry = dict[str, Any]
"""A fold as it is posted."""

_UNFINISHED = ",".join(state for state in State if not state.is_final)

_READY = re.compile(r"ready at (http://\S+)")

_FOLDS_A_REQUEST = 10


class Stack:
    """A running stack, spoken to as a platform does.

    Parameters
    ----------
    url : str
        Where the API is.
    home : Path
        The stack's home.
    pid : int
        The process of `datarun up`.
    """

    def __init__(self, url: str, home: Path, pid: int) -> None:
        self.url = url
        self.home = home
        self.pid = pid
        self.session = requests.Session()
        self.session.auth = ACCOUNT
        self._next_number = 1

    def take_numbers(self, count: int) -> range:
        """Take numbers for folds that nobody has."""
        numbers = range(self._next_number, self._next_number + count)
        self._next_number += count
        return numbers

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """Send a request that must be granted, and give its answer."""
        response = self.session.request(
            method, f"{self.url}runapp/{path}", timeout=DEADLINE, **options
        )
        if not response.ok:
            raise BenchError(
                f"{method} {path} was answered {response.status_code}: {response.text}"
            )
        return response.json()

    def has(self, path: str) -> bool:
        """Tell whether the API knows a path that can be listed."""
        response = self.session.get(f"{self.url}runapp/{path}", timeout=DEADLINE)
        return response.status_code != HTTPStatus.NOT_FOUND

    def post_text(self, path: str, text: bytes) -> Any:
        """Post JSON text that was made before."""
        return self.ask("POST", path, data=text, headers={"Content-Type": "application/json"})

    def wait_for_fold(self, number: int) -> None:
        """Wait until a fold has ended.

        The API answers when there is something to tell, so that waiting takes no time of the cores
        that do the work.

        Raises
        ------
        BenchError
            If it doesn't end in time.
        """
        deadline = time.monotonic() + DEADLINE
        while not State(self.ask("GET", f"submissionfold/{number}/?wait=30")["state"]).is_final:
            if time.monotonic() > deadline:
                raise BenchError(f"Fold {number} hadn't ended after {DEADLINE:.0f} s.")

    def wait_for_folds(self, submission: int, last: int) -> None:
        """Wait until all folds of a submission have ended; `last` mostly ends last."""
        self.wait_for_fold(last)
        rest = f"submissionfold-light/?submission={submission}&state={_UNFINISHED}"
        for fold in self.ask("GET", rest):
            self.wait_for_fold(fold["databoard_sf_id"])

    def get_predictions(self, numbers: Iterable[int]) -> Iterator[dict[str, Any]]:
        """Get the predictions of folds.

        Raises
        ------
        BenchError
            If a fold was not tested.
        """
        rest = list(numbers)
        while rest:
            part, rest = rest[:_FOLDS_A_REQUEST], rest[_FOLDS_A_REQUEST:]
            entries = self.ask("POST", "testpredictions/list/", json={"list_submission_fold": part})
            for entry in entries:
                if entry["state"] != State.TESTED:
                    raise BenchError(f"A fold of datarun is {entry['state']}: {entry}")
            yield from entries

    def get_folds(self, numbers: Iterable[int]) -> list[dict[str, Any]]:
        """Get folds with all their fields."""
        return [self.ask("GET", f"submissionfold/{number}/") for number in numbers]

    @property
    def isolation(self) -> str:
        """How confined submissions run on its workers."""
        levels = {worker["isolation"] for worker in self.ask("GET", "workers/")}
        return ", ".join(sorted(levels)) or "not known"


@contextlib.contextmanager
def run_stack(home: Path, n_workers: int = N_WORKERS) -> Iterator[Stack]:
    """Run a stack.

    Raises
    ------
    BenchError
        If it doesn't start.
    """
    process = subprocess.Popen(
        [BIN / "datarun", "up", "--home", home, "--port", "0", "--workers", str(n_workers)],
        env={
            **os.environ,
            "DATARUN_USERNAME": ACCOUNT[0],
            "DATARUN_PASSWORD": ACCOUNT[1],
            # A tenth of a second for who comes back after half a minute is none of a fold's.
            "DATARUN_PASSWORD_CACHE": "3600",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if match := _READY.search(line):
                break
        else:
            raise BenchError("datarun up didn't start:\n" + "".join(lines))
        # What it prints from now on mustn't fill the pipe.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield Stack(match[1], home, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIME)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
