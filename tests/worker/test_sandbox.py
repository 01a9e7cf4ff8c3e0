import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from datarun_client.states import FailureKind
from datarun_worker.isolation import Isolation
from datarun_worker.measures import TreeMeter, list_tree
from datarun_worker.sandbox import Engine, Limits, Reply, Sandbox, SandboxError, SubmissionFailure

MIB = 2**20

RUN = {"module": "main", "function": "run"}


@pytest.fixture(scope="module", params=[Isolation.FULL, Isolation.NONE])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    with Engine(request.param, programs="sandbox_programs") as engine:
        yield engine


@pytest.fixture(scope="module")
def plain_engine() -> Iterator[Engine]:
    with Engine(Isolation.NONE, programs="sandbox_programs") as engine:
        yield engine


def open_with(engine: Engine, source: str, limits: Limits | None = None, **more: str) -> Sandbox:
    files = {"main.py": source, **{f"{name}.py": text for name, text in more.items()}}
    return engine.open_sandbox({name: text.encode() for name, text in files.items()}, limits)


def run(engine: Engine, source: str, limits: Limits | None = None, **more: str) -> Reply:
    with open_with(engine, source, limits, **more) as sandbox:
        return sandbox.call("call_function", RUN)


def fail(engine: Engine, source: str, limits: Limits | None = None) -> SubmissionFailure:
    with pytest.raises(SubmissionFailure) as caught:
        run(engine, source, limits)
    return caught.value


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it didn't come true in time"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_command_runs_the_authors_function(engine: Engine) -> None:
    reply = run(engine, "def run(): return 6 * 7")

    assert reply.value == {"result": 42}


def test_open_files_go_in_and_come_out(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"rows")
    with (
        (tmp_path / "in").open("rb") as source,
        (tmp_path / "out").open("wb") as target,
        open_with(engine, "") as sandbox,
    ):
        reply = sandbox.call("copy", {}, {"in": source.fileno()}, {"out": target.fileno()})

    assert reply.value == {"size": 4}
    assert (tmp_path / "out").read_bytes() == b"rows"


def test_state_stays_between_the_calls_of_a_sandbox_and_no_longer(engine: Engine) -> None:
    count = "import statistics\nstatistics.n = getattr(statistics, 'n', 0)\n"
    count += "def run():\n    statistics.n += 1\n    return statistics.n"
    with open_with(engine, count) as sandbox:
        counts = [sandbox.call("call_function", RUN).value["result"] for _ in range(2)]

    assert counts == [1, 2]
    assert run(engine, count).value["result"] == 1


@pytest.mark.parametrize(
    "statement",
    [
        "from .helper import two",
        "from helper import two",
        "import helper; two = helper.two",
        "import importlib; two = importlib.import_module('helper').two",
    ],
)
def test_files_of_a_submission_import_each_other(engine: Engine, statement: str) -> None:
    reply = run(engine, f"{statement}\ndef run(): return two", helper="two = 2")

    assert reply.value == {"result": 2}


def test_a_file_named_like_a_library_is_the_authors_for_the_author_alone(engine: Engine) -> None:
    source = """
        import statistics, random, importlib
        def run():
            import fractions
            return [statistics.mine, hasattr(random, "Random"), fractions.Decimal is not None]
    """
    source = "\n".join(line[8:] for line in source.splitlines())

    reply = run(engine, source, statistics="mine = True", decimal="raise RuntimeError")

    assert reply.value == {"result": [True, True, True]}


def test_libraries_import_as_python_does(engine: Engine) -> None:
    """Whatever stood in the place of `__import__` would slow down each import in a function."""
    source = "import builtins\ndef run(): return repr(builtins.__import__)"

    assert run(engine, source).value == {"result": "<built-in function __import__>"}


def test_a_built_in_that_the_author_adds_is_known_in_all_files(engine: Engine) -> None:
    source = """
        import builtins, helper
        def run():
            builtins.two, builtins.len = 2, lambda _: 3
            seen = [two, len(""), helper.see()]
            del builtins.two
            return [*seen, "two" in vars(builtins), helper.knows("two")]
    """
    source = "\n".join(line[8:] for line in source.splitlines())
    helper = """
        def see(): return [two, len("")]
        def knows(name):
            try: return eval(name) is not None
            except NameError: return False
    """
    helper = "\n".join(line[8:] for line in helper.splitlines())

    reply = run(engine, source, helper=helper)

    assert reply.value == {"result": [2, 3, [2, 3], False, False]}


def test_a_data_file_lies_beside_the_code(engine: Engine) -> None:
    source = b"from pathlib import Path\n"
    source += b"def run(): return (Path(__file__).parent / 'sub/words.txt').read_text()"
    files = {"main.py": source, "sub/words.txt": b"plain"}
    with engine.open_sandbox(files) as sandbox:
        assert sandbox.call("call_function", RUN).value == {"result": "plain"}


def test_an_exception_is_told_with_the_authors_lines_only(engine: Engine) -> None:
    failure = fail(engine, "def run():\n    return inner()\ndef inner():\n    return 1 / 0")

    assert failure.kind is FailureKind.SUBMISSION_ERROR
    assert 'File "main.py", line 4, in inner' in failure.message
    assert "ZeroDivisionError: division by zero" in failure.message
    assert "sandbox_programs" not in failure.message
    assert "datarun" not in failure.message


def test_a_syntax_error_is_the_authors(engine: Engine) -> None:
    failure = fail(engine, "def run(:\n    pass")

    assert failure.kind is FailureKind.SUBMISSION_ERROR
    assert 'File "main.py", line 1' in failure.message


def test_an_exception_that_cannot_be_shown_is_still_told(engine: Engine) -> None:
    source = "class E(Exception):\n    def __str__(self): raise ValueError\ndef run(): raise E"

    assert "E: <exception str() failed>" in fail(engine, source).message


def test_a_huge_exception_text_is_cut(engine: Engine) -> None:
    assert len(fail(engine, "def run(): raise ValueError('x' * 10**7)").message) < 40_000


def test_a_programs_refusal_keeps_its_kind(engine: Engine) -> None:
    with open_with(engine, "") as sandbox, pytest.raises(SubmissionFailure) as caught:
        sandbox.call("refuse", {})

    assert caught.value.kind is FailureKind.BAD_PREDICTIONS
    assert caught.value.message == "predictions are empty"


def test_our_own_fault_is_no_result(engine: Engine) -> None:
    with open_with(engine, "") as sandbox, pytest.raises(SandboxError, match="KeyError: 'ours'"):
        sandbox.call("blunder", {})


@pytest.mark.parametrize("status", [0, 3])
def test_a_process_that_exits_ended_without_a_result(engine: Engine, status: int) -> None:
    failure = fail(engine, f"import os\ndef run(): os._exit({status})")

    assert failure.kind is FailureKind.SUBMISSION_ERROR
    assert f"ended without a result (exit status {status})" in failure.message


def test_sys_exit_is_no_success(engine: Engine) -> None:
    failure = fail(engine, "import sys\ndef run(): sys.exit(0)")

    assert failure.kind is FailureKind.SUBMISSION_ERROR
    assert "ended without a result" in failure.message


def test_a_crash_names_the_signal(engine: Engine) -> None:
    failure = fail(engine, "import ctypes\ndef run(): ctypes.string_at(0)")

    assert failure.kind is FailureKind.SUBMISSION_ERROR
    assert "SIGSEGV" in failure.message


STUBBORN = """
import signal, time
def run():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        try:
            while True: time.sleep(0.01)
        except BaseException:
            pass
"""


def test_the_time_limit_holds_against_code_that_catches_everything(engine: Engine) -> None:
    failure = fail(engine, STUBBORN, Limits(time=0.3))

    assert failure.kind is FailureKind.TIME_LIMIT
    assert "0.3 s" in failure.message
    assert failure.usage.wall_time >= 0.3


def test_limits_hold_whatever_a_process_calls_itself(engine: Engine) -> None:
    source = "import ctypes\ndef run():\n    ctypes.CDLL(None).prctl(15, b'\\xff) R\\n', 0, 0, 0)\n"
    source += "    while True: pass"

    assert fail(engine, source, Limits(time=0.3)).kind is FailureKind.TIME_LIMIT


def test_a_sandbox_that_cannot_be_watched_is_killed(engine: Engine, monkeypatch) -> None:
    def stumble(meter: TreeMeter, limit: int) -> int:
        raise ValueError("a file of /proc that nobody has seen before")

    monkeypatch.setattr(TreeMeter, "sample", stumble)

    with (
        pytest.raises(SandboxError),
        open_with(engine, "def run():\n    while True: pass") as sandbox,
    ):
        sandbox.call("call_function", RUN)


def test_the_author_is_told_where_the_time_ran_out(engine: Engine) -> None:
    source = "import time\ndef wait(): time.sleep(60)\ndef run():\n    wait()\n"

    failure = fail(engine, source, Limits(time=0.3))

    assert failure.kind is FailureKind.TIME_LIMIT
    assert "line 2, in wait" in failure.message
    assert "datarun_worker/" not in failure.message


def test_who_claims_that_its_time_is_over_is_not_believed(engine: Engine) -> None:
    source = """
from datarun_worker.child import OutOfTimeError
def run(): raise OutOfTimeError
"""
    with open_with(engine, source) as sandbox, pytest.raises(SubmissionFailure) as caught:
        sandbox.call("call_function", RUN, believed={FailureKind.SUBMISSION_ERROR})

    assert caught.value.kind is FailureKind.SUBMISSION_ERROR


def test_a_calls_own_time_limit_is_the_shorter_one(engine: Engine) -> None:
    with open_with(engine, STUBBORN) as sandbox, pytest.raises(SubmissionFailure) as caught:
        sandbox.call("call_function", RUN, time_limit=0.2)

    assert caught.value.kind is FailureKind.TIME_LIMIT


def test_all_calls_together_have_the_sandboxs_time(engine: Engine) -> None:
    source = "import time\ndef run(): time.sleep(0.2)"
    with open_with(engine, source, Limits(time=0.3)) as sandbox:
        sandbox.call("call_function", RUN)
        with pytest.raises(SubmissionFailure) as caught:
            sandbox.call("call_function", RUN)

    assert caught.value.kind is FailureKind.TIME_LIMIT


GREEDY = """
import numpy
def run():
    held = []
    for _ in range(100):  # its own cap, should the limit fail
        try:
            held.append(numpy.ones(2 * 2**20))
        except BaseException:
            pass
"""


def test_the_memory_limit_holds_and_names_peak_and_limit(engine: Engine) -> None:
    failure = fail(engine, GREEDY, Limits(memory=200 * MIB))

    assert failure.kind is FailureKind.MEMORY_LIMIT
    assert "the limit is 200 MiB" in failure.message


def test_memory_of_many_children_counts_together(engine: Engine) -> None:
    source = """
import os, time
def run():
    for _ in range(4):
        if os.fork() == 0:
            held = b"x" * (80 * 2**20)
            time.sleep(20)
            os._exit(0)
    time.sleep(20)
"""
    assert fail(engine, source, Limits(memory=250 * MIB)).kind is FailureKind.MEMORY_LIMIT


HIDDEN = """
import mmap
def run():
    held = []
    for _ in range(8):  # its own cap
        held.append(mmap.mmap(-1, 50 * 2**20))
        held[-1].write(b"x" * (50 * 2**20))
"""


@pytest.mark.parametrize("uses_groups", [True, False])
def test_memory_is_limited_with_and_without_control_groups(uses_groups: bool) -> None:
    limits = Limits(memory=150 * MIB, scratch=MIB)
    with Engine(Isolation.FULL, programs="sandbox_programs", uses_groups=uses_groups) as engine:
        for source in (GREEDY, HIDDEN):
            assert fail(engine, source, limits).kind is FailureKind.MEMORY_LIMIT


def test_a_sandbox_is_not_blamed_for_the_one_before(engine: Engine) -> None:
    """They may share a control group, one after the other."""
    limits = Limits(memory=150 * MIB, scratch=MIB)
    assert fail(engine, HIDDEN, limits).kind is FailureKind.MEMORY_LIMIT

    assert fail(engine, "import os\ndef run(): os._exit(3)", limits).kind is (
        FailureKind.SUBMISSION_ERROR
    )


def test_an_ended_sandbox_is_dead_before_there_is_another(engine: Engine) -> None:
    # Given a sandbox that runs on
    ended = open_with(engine, "def run(): pass")
    ended.end()

    # When there is another one, then the first is gone, and ending it again does nothing
    with open_with(engine, "def run(): pass") as sandbox:
        assert not is_alive(ended.pid)
        ended.end()
        sandbox.call("call_function", RUN)


def test_measures_are_those_of_each_call(engine: Engine) -> None:
    source = """
import os, time
def burn():
    start = time.process_time()
    while time.process_time() - start < 0.2: pass
def run():
    held = b"x" * (100 * 2**20)
    burn()
    if (pid := os.fork()) == 0:
        burn()
        os._exit(0)
    os.waitpid(pid, 0)
def rest(): pass
"""
    with open_with(engine, source) as sandbox:
        busy = sandbox.call("call_function", RUN).usage
        idle = sandbox.call("call_function", {**RUN, "function": "rest"}).usage

    assert busy.cpu_time > 0.35
    assert 100 * MIB <= busy.peak_memory < 160 * MIB
    assert idle.cpu_time < 0.1
    assert idle.peak_memory < 60 * MIB


def test_the_whole_tree_is_dead_after_close(engine: Engine) -> None:
    source = """
import os, time
def run():
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(writer, b"up")
            time.sleep(60)
        os._exit(0)
    os.read(reader, 2)
"""
    with open_with(engine, source) as sandbox:
        sandbox.call("call_function", RUN)
        tree = list_tree(sandbox.pid)
        assert len(tree) >= 2

    wait_until(lambda: not any(map(is_alive, tree)))


def test_orphans_die_too_without_a_namespace(plain_engine: Engine, tmp_path: Path) -> None:
    source = f"""
import os, time
def run():
    if os.fork() == 0:
        os.setsid()
        open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))
        time.sleep(60)
    while not os.path.exists({str(tmp_path / "pid")!r}): time.sleep(0.01)
    os._exit(0)
"""
    failure = fail(plain_engine, source)

    assert failure.kind is FailureKind.SUBMISSION_ERROR
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not is_alive(pid))


def test_what_is_printed_stands_in_the_log(engine: Engine) -> None:
    source = "import sys\nprint('top')\ndef run():\n    print('out')\n"
    source += "    print('err\\x1b[31m\\0', file=sys.stderr)\n    print('10%\\r20%\\r30%')"
    with open_with(engine, source) as sandbox:
        sandbox.call("call_function", RUN)
        wait_until(lambda: "30%" in sandbox.read_log())

        assert sandbox.read_log() == "top\nout\nerr\n30%\n"


def test_of_a_long_log_the_first_and_the_last_part_stay(engine: Engine) -> None:
    source = "def run():\n    print('first')\n    for _ in range(4000): print('x' * 1000)\n"
    source += "    print('last')"
    with open_with(engine, source, Limits(log=20_000)) as sandbox:
        sandbox.call("call_function", RUN)
        wait_until(lambda: sandbox.read_log().endswith("last\n"))
        log = sandbox.read_log()

    assert log.startswith("first\n")
    assert "bytes left out ...]" in log
    assert len(log) < 21_000


@pytest.mark.parametrize(
    "answer", ["[1]", '{"id": 2, "ok": false, "kind": [], "message": ""}', '{"id": 2, "ok": {}}']
)
def test_a_forged_answer_is_the_authors_fault(engine: Engine, answer: str) -> None:
    source = f"import os\ndef run():\n    os.write(3, {answer.encode()!r})\n    return 1"

    assert fail(engine, source).kind is FailureKind.SUBMISSION_ERROR


def test_kill_from_another_thread_ends_a_call(engine: Engine) -> None:
    with open_with(engine, STUBBORN) as sandbox:
        timer = threading.Timer(0.1, sandbox.kill)
        timer.start()
        with pytest.raises(SandboxError, match="stopped by the worker"):
            sandbox.call("call_function", RUN)
        timer.join()


def test_the_folder_of_a_sandbox_goes_with_it(plain_engine: Engine) -> None:
    with open_with(plain_engine, "from pathlib import Path\ndef run(): return __file__") as sandbox:
        path = Path(sandbox.call("call_function", RUN).value["result"])
        assert path.exists()

    assert not path.parents[3].exists()


def test_a_sandbox_has_no_environment_of_the_workers(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATARUN_SECRET", "hidden")
    with Engine(engine.isolation, programs="sandbox_programs") as engine:
        reply = run(engine, "import os\ndef run(): return dict(os.environ)")

    assert "hidden" not in str(reply.value)


def kill_zygote(engine: Engine) -> int:
    """Kill the zygote with all that is below it; says what its number was."""
    assert engine._zygote is not None
    pid = engine._zygote.pid
    tree = list_tree(pid)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, tree)))
    return pid


def test_a_dead_zygote_is_replaced_unnoticed(engine: Engine) -> None:
    old = kill_zygote(engine)

    assert run(engine, "def run(): return 1").value == {"result": 1}
    assert engine._zygote is not None
    assert engine._zygote.pid != old


def test_a_zygote_that_could_not_be_replaced_is_replaced_later(engine: Engine, monkeypatch) -> None:
    kill_zygote(engine)
    with monkeypatch.context() as patch:
        patch.setattr("sys.executable", "/bin/false")
        with pytest.raises(SandboxError, match="doesn't start"):
            run(engine, "def run(): return 1")

    assert run(engine, "def run(): return 1").value == {"result": 1}


def test_a_sandbox_whose_zygote_dies_is_our_fault(engine: Engine) -> None:
    with open_with(engine, STUBBORN) as sandbox:
        assert engine._zygote is not None
        timer = threading.Timer(0.1, engine._zygote.kill)
        timer.start()
        with pytest.raises(SandboxError, match="zygote"):
            sandbox.call("call_function", RUN)
        timer.join()


def test_a_sandbox_starts_without_imports(engine: Engine) -> None:
    """The zygote is warm: what submissions import is there already."""
    source = "import sys\nbefore = set(sys.modules)\nimport numpy, pandas, sklearn.ensemble\n"
    source += "def run(): return len(set(sys.modules) - before)"

    assert run(engine, source).value == {"result": 0}


WORKER = """
import sys, time
from datarun_worker.isolation import Isolation
from datarun_worker.measures import TreeMeter, list_tree
from datarun_worker.sandbox import Engine
import os

engine = Engine(Isolation(sys.argv[1]), programs="sandbox_programs")
engine.start()
source = b'''
import os, signal, time
def run():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0: time.sleep(60)
        os._exit(0)
    os.wait()
'''
with engine.open_sandbox({"main.py": source}) as sandbox:
    sandbox.call("call_function", {"module": "main", "function": "run"})
    print(*list_tree(os.getpid())[1:], flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(("level", "n_zygotes"), [(Isolation.FULL, 2), (Isolation.NONE, 1)])
def test_nothing_outlives_the_worker_however_it_dies(level: Isolation, n_zygotes: int) -> None:
    """A zygote with a PID namespace has a process that only waits for it."""
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, level],
        env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert worker.stdout is not None
    with worker.stdout:
        tree = [int(word) for word in worker.stdout.readline().split()]
    # And the child, with what it left behind.
    assert len(tree) >= n_zygotes + 2
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()

    wait_until(lambda: not any(map(is_alive, tree)))


def test_a_machine_without_room_for_a_sandbox_is_our_fault(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that hears so takes nothing until it is over, instead of ending."""

    def refuse() -> NoReturn:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as full:
        full.setattr(os, "pipe", refuse)
        with pytest.raises(SandboxError, match="can't be opened"):
            engine.open_sandbox({})

    engine.open_sandbox({}).close()
