"""The supervisor on real processes: small Python programs and sleeps."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from datarun_api.supervisor import (
    Child,
    Program,
    StopRequested,
    Supervisor,
    SupervisorError,
    clean_line,
    describe_end,
    find_process,
)
from tests.conftest import wait_until

DEADLINE = 20.0


class Stage:
    """A supervisor with its output in a list."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self.supervisor = Supervisor(folder / "programs.json", self.lines.append)

    def make_program(self, code: str, name: str = "program", **fields: object) -> Program:
        defaults = {"environ": dict(os.environ), "directory": self.folder, "stop_time": 5.0}
        return Program(name, (sys.executable, "-u", "-c", code), **{**defaults, **fields})

    def start(self, code: str, **fields: object) -> Child:
        return self.supervisor.start(self.make_program(code, **fields))

    def wait(self, condition: Callable[[], bool]) -> None:
        self.supervisor.wait_for(condition, "the condition of the test", DEADLINE)

    def wait_for_line(self, text: str) -> None:
        self.wait(lambda: any(text in line for line in self.lines))

    def run_until(self, condition: Callable[[], bool]) -> None:
        """Let the supervisor keep its programs running until the condition holds."""
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline, "the condition never held"
            self.supervisor._pump()
            for child in self.supervisor._children:
                self.supervisor._look_after(child)


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path)


SLEEP = "import time; print('awake'); time.sleep(600)"
IGNORE_TERM = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
FORK = """
import os, time
child = os.fork()
if child:
    print('child', child)
time.sleep(600)
"""


def test_output_is_printed_line_by_line_behind_the_name(stage):
    with stage.supervisor:
        stage.supervisor.run_once(
            stage.make_program("print('one'); print('two', end='')", name="speaker"), DEADLINE
        )

    assert stage.lines == ["speaker    | one", "speaker    | two"]


def test_control_characters_do_not_reach_the_terminal():
    assert clean_line(b"\x1b[31mred\x07\x00 \xff\r\n") == " [31mred   \ufffd"


def test_an_endless_line_is_cut(stage):
    code = "import sys; sys.stdout.write('x' * 300_000)"

    with stage.supervisor:
        stage.supervisor.run_once(stage.make_program(code), DEADLINE)

    assert len(stage.lines) > 1
    assert sum(line.count("x") for line in stage.lines) == 300_000


def test_a_program_that_fails_is_an_error_with_its_exit_code(stage):
    with stage.supervisor, pytest.raises(SupervisorError, match="exit code 3"):
        stage.supervisor.run_once(stage.make_program("raise SystemExit(3)"), DEADLINE)


def test_a_program_that_is_not_there_is_an_error(stage):
    program = Program("nothing", ("/nowhere/nothing",), {}, stage.folder)

    with stage.supervisor, pytest.raises(SupervisorError, match="there is no program"):
        stage.supervisor.start(program)


def test_waiting_for_a_program_that_dies_ends_at_once(stage):
    with stage.supervisor:
        child = stage.start("print('last words'); raise SystemExit(4)")
        with pytest.raises(SupervisorError, match="before it was ready"):
            stage.supervisor.wait_for(lambda: False, "never", DEADLINE, child)

    assert stage.lines == ["program    | last words"]


def test_a_program_that_is_killed_starts_again(stage):
    with stage.supervisor:
        child = stage.start(SLEEP)
        stage.wait_for_line("awake")
        first = child.process.pid
        os.kill(first, signal.SIGKILL)
        stage.run_until(lambda: child.process.pid != first and child.is_running)

    assert "datarun    | program ended (SIGKILL); starts again in 0.5 s" in stage.lines


def test_each_death_doubles_the_wait(stage):
    with stage.supervisor:
        stage.start("raise SystemExit(1)")
        stage.run_until(lambda: any("in 1 s" in line for line in stage.lines))

    assert "datarun    | program ended (exit code 1); starts again in 0.5 s" in stage.lines


def test_what_a_dead_program_left_in_its_session_is_killed_before_it_starts_again(stage):
    with stage.supervisor:
        child = stage.start(FORK)
        stage.wait_for_line("child")
        orphan = int(stage.lines[0].split()[-1])
        first = child.process.pid
        os.kill(first, signal.SIGKILL)
        stage.run_until(lambda: child.process.pid != first)

        wait_until(lambda: find_process(orphan) is None, "its end")


def test_a_stop_leaves_no_process(stage):
    with stage.supervisor:
        child = stage.start(FORK)
        stage.wait_for_line("child")
        grandchild = int(stage.lines[0].split()[-1])

    assert find_process(child.process.pid) is None
    wait_until(lambda: find_process(grandchild) is None, "its end")
    assert not (stage.folder / "programs.json").exists()


def test_a_stop_reaches_descendants_in_sessions_of_their_own(stage):
    with stage.supervisor:
        stage.start(FORK.replace("time.sleep", "child or os.setsid(); time.sleep"))
        stage.wait_for_line("child")
        grandchild = int(stage.lines[0].split()[-1])

    wait_until(lambda: find_process(grandchild) is None, "its end")


def test_higher_stages_end_first(stage):
    say = (
        "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(print('bye')))"
    )
    code = f"{say}\nprint('awake')\ntime.sleep(600)"

    with stage.supervisor:
        for name, number in (("server", 0), ("client", 2), ("middle", 1)):
            stage.start(code, name=name, stage=number)
        stage.wait(lambda: sum("awake" in line for line in stage.lines) == 3)

    said = [line.split()[0] for line in stage.lines if "bye" in line]
    assert said == ["client", "middle", "server"]


def test_a_program_that_will_not_stop_is_killed(stage):
    with stage.supervisor:
        child = stage.start(IGNORE_TERM, stop_time=0.5)
        stage.wait_for_line("awake")

    assert child.process.returncode == -signal.SIGKILL
    assert "datarun    | program did not end by itself; it is killed" in stage.lines


def test_the_first_request_to_stop_ends_the_run(stage):
    with stage.supervisor:
        stage.start(f"import os, signal; os.kill(os.getppid(), signal.SIGTERM); {SLEEP}")
        stage.supervisor.run()


def test_a_request_to_stop_ends_a_wait(stage):
    with stage.supervisor:
        stage.start(f"import os, signal; os.kill(os.getppid(), signal.SIGINT); {SLEEP}")
        with pytest.raises(StopRequested):
            stage.wait(lambda: False)


def test_a_second_request_hurries(stage):
    code = f"""
import os, signal
def ask_again(*_):
    os.kill(os.getppid(), signal.SIGINT)
signal.signal(signal.SIGTERM, ask_again)
{SLEEP}
"""
    with stage.supervisor:
        child = stage.start(code, stop_time=600.0)
        stage.wait_for_line("awake")
        os.kill(os.getpid(), signal.SIGINT)

    assert child.process.returncode == -signal.SIGKILL


def test_signals_work_as_before_after_the_stop(stage):
    before = signal.getsignal(signal.SIGTERM)

    with stage.supervisor:
        assert signal.getsignal(signal.SIGTERM) != before

    assert signal.getsignal(signal.SIGTERM) == before


SUPERVISE = """
import os, sys
from pathlib import Path
from datarun_api.supervisor import Program, Supervisor
folder = Path(sys.argv[1])
with Supervisor(folder / "programs.json", lambda line: print(line, flush=True)) as supervisor:
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    supervisor.start(Program("a", (sys.executable, "-c", code), dict(os.environ), folder))
    supervisor.run()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of the death")
def test_programs_die_with_a_supervisor_that_is_killed(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISE, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as supervisor:
        pid = int(supervisor.stdout.readline().split()[-1])
        assert find_process(pid)

        supervisor.kill()

    wait_until(lambda: find_process(pid) is None, "its end")


def test_what_a_killed_supervisor_left_is_ended_by_the_next(stage):
    left = subprocess.Popen([sys.executable, "-c", SLEEP], stdout=subprocess.DEVNULL)
    write_record(stage, left.pid, psutil.Process(left.pid).create_time())

    with stage.supervisor:
        assert find_process(left.pid) is None
    left.wait()


def test_a_stranger_with_the_id_of_a_dead_program_is_left_alone(stage):
    stranger = subprocess.Popen([sys.executable, "-c", SLEEP], stdout=subprocess.DEVNULL)
    write_record(stage, stranger.pid, psutil.Process(stranger.pid).create_time() - 1000)

    with stage.supervisor:
        assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def write_record(stage: Stage, pid: int, started: float) -> None:
    entry = {"name": "left", "pid": pid, "started": started, "signal": 9, "stage": 0}
    (stage.folder / "programs.json").write_text(json.dumps([entry]))


def test_nothing_secret_is_on_a_command_line(stage):
    with stage.supervisor:
        child = stage.start(SLEEP, environ={**os.environ, "SECRET": "canary-of-the-test"})
        stage.wait_for_line("awake")
        process = psutil.Process(child.process.pid)

        assert "canary-of-the-test" not in " ".join(process.cmdline())
        assert process.environ()["SECRET"] == "canary-of-the-test"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_program_runs_as_the_account_that_it_is_to_run_as(stage):
    with stage.supervisor:
        stage.supervisor.run_once(
            Program(
                "id",
                ("/usr/bin/id", "-u"),
                {},
                Path("/"),
                uid=65534,
                gid=65534,
            ),
            DEADLINE,
        )

    assert stage.lines == ["id         | 65534"]


@pytest.mark.parametrize(
    ("returncode", "words"),
    [(0, "exit code 0"), (-9, "SIGKILL"), (-64, "SIGRTMAX"), (-99, "signal 99")],
)
def test_an_end_is_told_in_words(returncode, words):
    assert describe_end(returncode) == words
