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


def test_a_group_serves_the_next_sandbox_of_the_same_limits(maker: GroupMaker) -> None:
    group = maker.make(Limits())
    maker.take_back(group)

    assert maker.make(Limits()) is group
    group.remove()


def test_a_group_in_which_something_lives_serves_nobody(maker: GroupMaker) -> None:
    group = maker.make(Limits())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        group.add(process.pid)
        maker.take_back(group)

        another = maker.make(Limits())
        another.remove()
        process.communicate(b"\n")

    assert another is not group
    group.remove()
