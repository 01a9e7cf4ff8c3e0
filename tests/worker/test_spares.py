"""Children that are made before they are needed."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from datarun_worker.errors import WorkerError
from datarun_worker.spares import Spare, SpareKeeper
from tests.conftest import wait_until


class Nursery:
    """Makes children that wait, and knows what became of them."""

    def __init__(self) -> None:
        self.made: list[subprocess.Popen[bytes]] = []
        self.failures = 0

    def make(self) -> Spare:
        if self.failures:
            self.failures -= 1
            raise WorkerError("no child today")
        child = subprocess.Popen(["sleep", "60"])
        self.made.append(child)
        ends = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]
        return Spare.from_descriptors([*ends, os.pidfd_open(child.pid)])


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    for child in nursery.made:
        child.kill()
        child.wait()


@pytest.fixture
def keeper(nursery) -> Iterator[SpareKeeper]:
    keeper = SpareKeeper(nursery.make)
    yield keeper
    keeper.close()


def test_one_is_ready_before_it_is_taken(keeper, nursery):
    keeper.prepare()
    keeper.prepare()
    wait_until(lambda: nursery.made, "a child")

    spare = keeper.take()

    (child,) = nursery.made
    assert spare.pid == child.pid
    assert spare.is_alive()
    spare.discard()


def count_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_one_that_died_is_never_given(keeper, nursery):
    before = count_files()
    keeper.prepare()
    wait_until(lambda: nursery.made, "a child")
    nursery.made[0].kill()
    nursery.made[0].wait()

    spare = keeper.take()

    assert spare.pid == nursery.made[1].pid
    spare.discard()
    assert count_files() == before


def test_a_failure_while_nobody_waits_is_tried_again(keeper, nursery):
    nursery.failures = 1
    keeper.prepare()
    wait_until(lambda: not nursery.failures, "the failure")

    spare = keeper.take()

    assert spare.is_alive()
    spare.discard()


def test_a_failure_that_lasts_is_told(keeper, nursery):
    nursery.failures = 2
    keeper.prepare()

    with pytest.raises(WorkerError, match="no child today"):
        keeper.take()


def test_what_nobody_takes_is_killed(keeper, nursery):
    keeper.prepare()

    keeper.close()

    (child,) = nursery.made
    assert child.wait(10) < 0
