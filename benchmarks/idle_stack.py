"""A stack without workers: what is posted stays, and nothing but the API is at work."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import psutil
from flask import Flask

from benchmarks.fold_work import TARGET
from benchmarks.site import N_WORKERS, BenchError
from benchmarks.stack import FoldEntry, Stack, run_stack
from benchmarks.workloads import HELD_OUT, SPLIT_SEED
from datarun_client.codec import encode_bytes, encode_indices

N_ROWS = 60_000
"""Rows of its data set."""

_SOURCE = encode_bytes(b"class Classifier:\n    pass\n")


@dataclass
class IdleStack:
    """A stack whose folds are run by nobody.

    Attributes
    ----------
    stack : Stack
    process : psutil.Process
        `datarun up`.
    raw_data : int
        A data set that is split.
    submission : int
        A submission that exists.
    """

    stack: Stack
    process: psutil.Process
    raw_data: int
    submission: int

    @cached_property
    def environ(self) -> dict[str, str]:
        """The variables of its API, addresses of the servers included."""
        return next(
            variables
            for process in self.process.children(recursive=True)
            if "DATABASE_URL" in (variables := process.environ())
        )

    @property
    def database_url(self) -> str:
        """Its PostgreSQL, for psycopg."""
        return self.environ["DATABASE_URL"].replace("+psycopg", "")

    @cached_property
    def app(self) -> Flask:
        """Its application, once more in this process."""
        from datarun_api import create_app

        return create_app(
            {
                "DATABASE_URL": self.environ["DATABASE_URL"],
                "REDIS_URL": self.environ["REDIS_URL"],
                "STORAGE": self.environ["DATARUN_STORAGE"],
            }
        )

    @property
    def api_processes(self) -> list[psutil.Process]:
        """The processes that answer requests."""
        found = []
        for process in self.process.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if "gunicorn" in " ".join(process.cmdline()):
                    found.append(process)
        return found


def describe_fold(number: int, submission: int, n_rows: int) -> FoldEntry:
    """Make the entry to post for a fold of the idle stack's data set.

    Parameters
    ----------
    number : int
        The fold's.
    submission : int
    n_rows : int
        How many rows it names; the text has about three bytes for each.
    """
    rows = np.random.default_rng(number).permutation(int(N_ROWS * (1 - HELD_OUT)))[:n_rows]
    cut = n_rows * 3 // 4
    return {
        "databoard_sf_id": number,
        "databoard_s_id": submission,
        "train_is": encode_indices(rows[:cut]),
        "test_is": encode_indices(rows[cut:]),
    }


@contextlib.contextmanager
def run_idle_stack(home: Path) -> Iterator[IdleStack]:
    """Run a stack without workers, whose data set is split and has one submission.

    Raises
    ------
    BenchError
        If it can't be made ready.
    """
    with run_stack(home, N_WORKERS) as stack:
        raw_data = _upload(stack)
        (number,) = stack.take_numbers(1)
        fold = describe_fold(number, number, 100)
        new = {"raw_data": raw_data, "files": {"classifier.py": _SOURCE}}
        # It fails, as its classifier does nothing, and then the split has been done.
        stack.ask("POST", "submissionfold/", json={**fold, **new})
        _wait_until_split(stack, raw_data, number)
    with run_stack(home, 0) as stack:
        stack.take_numbers(number)
        yield IdleStack(stack, psutil.Process(stack.pid), raw_data, number)


def _upload(stack: Stack) -> int:
    """Upload a small data set of many rows and ask for its split."""
    lines = "".join(f"{row},{row % 2}\n" for row in range(N_ROWS))
    payload = {
        "name": "rows",
        "target_column": TARGET,
        "workflow_elements": "classifier",
        "files": {"data.csv": encode_bytes(f"x,{TARGET}\n{lines}".encode())},
    }
    raw_data = stack.ask("POST", "rawdata/", json=payload)["id"]
    split = {"raw_data_id": raw_data, "held_out_test": HELD_OUT, "random_state": SPLIT_SEED}
    stack.ask("POST", "rawdata/split/", json=split)
    return raw_data


def _wait_until_split(stack: Stack, raw_data: int, number: int) -> None:
    stack.wait_for_fold(number)
    (entry,) = (row for row in stack.ask("GET", "rawdata/") if row["id"] == raw_data)
    if entry["split_state"] != "DONE":
        raise BenchError(f"The split failed: {entry['split_error']}")
