import subprocess
import sys
from collections.abc import Iterator

import pytest

from datarun_worker.cgroups import Group, GroupMaker
from datarun_worker.confine import Limits
from datarun_worker.isolation import Isolation
from datarun_worker.sandbox import Engine, SandboxError


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


def test_a_group_that_a_child_could_not_go_into_is_not_left(
    maker: GroupMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = []

    def refuse(group: Group, pid: int) -> None:
        refusing.append(group)
        raise OSError("no")

    monkeypatch.setattr(Group, "add", refuse)

    with (
        Engine(Isolation.NONE, programs="sandbox_programs") as engine,
        pytest.raises(SandboxError, match="can't be limited"),
    ):
        engine.open_sandbox({})

    assert refusing
    for group in refusing:
        with pytest.raises(FileNotFoundError):
            group.read_memory_limit()
