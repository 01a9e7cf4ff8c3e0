import subprocess
import sys
from collections.abc import Iterator

import pytest

from datarun_worker.cgroups import GroupMaker
from datarun_worker.confine import Limits


@pytest.fixture
def maker() -> Iterator[GroupMaker]:
    maker = GroupMaker.find()
    if maker is None:
        pytest.skip("no control groups can be made here")
    yield maker
    maker.close()


def test_a_group_serves_the_next_sandbox(maker: GroupMaker) -> None:
    group = maker.make()
    maker.take_back(group)

    assert maker.make() is group
    group.remove()


def test_limits_go_up_and_down(maker: GroupMaker) -> None:
    group = maker.make()

    for size in (1 << 30, 2 << 30, 1 << 29):
        group.limit(Limits(memory=size, scratch=size))
        assert group.read_memory_limit() == 2 * size
    group.remove()


def test_a_group_in_which_something_lives_serves_nobody(maker: GroupMaker) -> None:
    group = maker.make()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        group.add(process.pid)
        maker.take_back(group)

        another = maker.make()
        another.remove()
        process.communicate(b"\n")

    assert another is not group
    group.remove()
