"""One stack for all rows of the table; the second worker's clock is wrong by an hour."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.challenge import Challenge, write_model, write_table
from tests.faults.stack import CLOCK, ROOT, Stack, wait_for

WRONG_CLOCK = {"FAULTS_CLOCK": "3600", "PYTHONPATH": f"{CLOCK}:{ROOT}"}
CALLS_HERE = {"DATARUN_WEBHOOK_NETWORKS": "127.0.0.0/8"}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    base = Path(tempfile.mkdtemp(prefix="datarun-test-"))
    stack = Stack(
        base,
        workers=2,
        environ={"worker-2": WRONG_CLOCK, "web": CALLS_HERE, "reconciler": CALLS_HERE},
    )
    try:
        stack.start()
        yield stack
        # A worker that was killed last is back, and has cleared what it left.
        wait_for(lambda: all(map(stack.find_zygote, stack.workers)), "the workers")
        wait_for(
            lambda: len(list(stack.scratch.iterdir())) == len(stack.workers), "a clear scratch"
        )
        assert stack.stop() == 0, stack.output
        wait_for(lambda: not stack.list_processes(), "the last process to end", 10)
        assert not list(stack.scratch.iterdir())
        assert not stack.list_spooled()
    finally:
        stack.end()
        stack.remove()


@pytest.fixture(scope="module")
def challenge(stack) -> Challenge:
    challenge = Challenge(stack)
    challenge.raw_data = challenge.add_data(write_table())
    return challenge


@pytest.fixture(scope="module")
def expected(challenge) -> dict[str, Any]:
    """What the model comes to when nothing breaks."""
    fold = challenge.run(write_model())
    assert fold["state"] == "TESTED", fold
    return {name: fold[name] for name in ("full_train_predictions", "test_predictions")}
