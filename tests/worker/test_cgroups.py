import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from datarun_client.states import FailureKind
from datarun_worker.cgroups import Group, GroupMaker
from datarun_worker.confine import Limits
from datarun_worker.isolation import Isolation
from datarun_worker.sandbox import Engine, Sandbox, SandboxError, SubmissionFailure
from tests.conftest import wait_until


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


SOURCE = b"""
import time

def run():
    time.sleep(60)
"""


def read_groups(sandbox: Sandbox) -> str:
    return Path(f"/proc/{sandbox.pid}/cgroup").read_text()


def test_a_sandbox_that_runs_on_goes_into_a_group(maker: GroupMaker) -> None:
    """One that is over soon isn't worth it: each move holds up the whole machine."""
    with (
        Engine(Isolation.NONE, programs="sandbox_programs") as engine,
        engine.open_sandbox({"main.py": SOURCE}) as sandbox,
        ThreadPoolExecutor() as threads,
    ):
        reply = threads.submit(sandbox.call, "call_function", {"module": "main", "function": "run"})

        wait_until(lambda: "/datarun-" in read_groups(sandbox), "the sandbox to be in a group")

        sandbox.kill()
        with pytest.raises(SandboxError):
            reply.result()


def test_a_sandbox_that_no_group_takes_is_held_by_its_watcher(
    maker: GroupMaker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refusing = []

    def refuse(group: Group, pid: int) -> None:
        refusing.append(group)
        raise PermissionError("no")

    monkeypatch.setattr(Group, "add", refuse)
    limits = Limits(time=1.0)

    with (
        Engine(Isolation.NONE, programs="sandbox_programs") as engine,
        engine.open_sandbox({"main.py": SOURCE}, limits) as sandbox,
        pytest.raises(SubmissionFailure) as failure,
    ):
        sandbox.call("call_function", {"module": "main", "function": "run"})

    assert failure.value.kind is FailureKind.TIME_LIMIT
    assert "is only watched" in caplog.text
    # Its group isn't left.
    (group,) = refusing
    with pytest.raises(FileNotFoundError):
        group.read_memory_limit()
