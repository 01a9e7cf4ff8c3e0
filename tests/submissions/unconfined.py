"""Runs cases with nothing around them, to show that they would get through.

``python unconfined.py NAME...``, with the canaries as JSON on standard input. As an ordinary user,
always: a case that is meant to fail may succeed here.
"""

import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

sys.path[:0] = [str(Path(__file__).parents[2])]

import joblib  # noqa: F401 -- once, before the forks
import numpy as np
import sklearn.ensemble
import sklearn.model_selection
import sklearn.naive_bayes  # noqa: F401

from tests.submissions.cases import FOLDER, Case

LIFETIME = 20
"""Seconds after which a case is ended."""


def run(case: Case, canaries: dict[str, Any]) -> None:
    """Run a case as a process of its own, whose parent it may kill."""
    os.environ.update(DATARUN_TEST_CANARY=canaries["environment"][0][::-1])
    reader, writer = os.pipe()
    if (parent := os.fork()) == 0:
        if (pid := os.fork()) == 0:
            run_to_the_end(case, canaries)
        os.waitpid(pid, 0)
        os._exit(0)
    os.close(writer)
    os.waitpid(parent, 0)
    # Nobody writes: it ends with the last process that has the other end.
    os.read(reader, 1)
    os.close(reader)


def run_to_the_end(case: Case, canaries: dict[str, Any]) -> NoReturn:
    signal.alarm(LIFETIME)
    try:
        with tempfile.TemporaryDirectory() as folder:
            run_in(Path(folder), case, canaries)
    except BaseException as error:
        print(f"ENDED by {error!r}")
    sys.stdout.flush()
    os._exit(0)


def run_in(folder: Path, case: Case, canaries: dict[str, Any]) -> None:
    for name, content in case.read_source(canaries).items():
        path = folder / "submission" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    sys.path[:0] = [str(folder), str(folder / "submission")]
    os.chdir(folder)
    # What a careless worker would let it have.
    kept = [unmask(text) for text in canaries["masked"].values()]
    _open = [os.open(folder, os.O_RDONLY)]
    X, y = np.random.default_rng(0).random((30, 4)), np.arange(30) % 3
    for _ in range(case.runs):
        if case.data == "secrets":
            from submission.regressor import Regressor

            model = Regressor()
            model.fit(X, y)
            model.predict(X)
            model.predict(X)
        else:
            from submission.classifier import Classifier

            Classifier().fit(X, y)
        os.chdir(tempfile.mkdtemp(dir=folder))
    del kept


def unmask(text: str) -> np.ndarray:
    pattern = bytes(byte ^ 0x5A for byte in bytes.fromhex(text))
    return np.frombuffer(b"\0\0" + pattern, np.int64).copy()


if __name__ == "__main__":
    described = json.load(sys.stdin)
    for name in sys.argv[1:]:
        print(f"CASE {name}", flush=True)
        run(Case.load(FOLDER / name), described)
