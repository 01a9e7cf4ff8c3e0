"""Runs cases in sandboxes, with a layer of the isolation left out or with all of them.

``python confined.py LAYER NAME...``, where ``all`` leaves none out, with the canaries as JSON on
standard input.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2])]

from datarun_worker.isolation import Isolation, Layer
from datarun_worker.sandbox import Engine, Limits, SubmissionFailure

from tests.submissions.cases import FOLDER, Case

ALL = "all"
MIB = 1024 * 1024
LIMITS = Limits(time=20, memory=1024 * MIB, processes=128, scratch=32 * MIB)
RUN = {"module": "alone", "function": "run"}


def run(engine: Engine, case: Case, canaries: dict[str, Any]) -> str:
    """Train a case in a sandbox and give its log."""
    with engine.open_sandbox(case.read_source(canaries), LIMITS) as sandbox:
        try:
            sandbox.call("call_function", RUN)
        except SubmissionFailure as failure:
            # Some are stopped; what counts is what they could do before.
            return f"{sandbox.read_log()}\nREFUSED to go on: {failure.kind}"
        return sandbox.read_log()


def main(left_out: str, names: list[str]) -> None:
    canaries = json.load(sys.stdin)
    without = () if left_out == ALL else (Layer(left_out),)
    with (
        tempfile.TemporaryDirectory() as cache,
        Engine(Isolation.FULL, cache_folder=Path(cache), without=without) as engine,
    ):
        for name in names:
            print(f"CASE {name}\n{run(engine, Case.load(FOLDER / name), canaries)}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
