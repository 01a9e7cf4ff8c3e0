"""What submitted code tries, and what it gets. A case touches only canaries made for it."""

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from datarun_client.states import FailureKind
from datarun_worker.isolation import Isolation, Layer
from datarun_worker.sandbox import Engine, Limits, SubmissionFailure

MIB = 2**20

RUN = {"module": "main", "function": "run"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    (folder / "part").write_bytes(b"rows")
    return folder


@pytest.fixture(scope="module")
def engine(cache: Path) -> Iterator[Engine]:
    with Engine(Isolation.FULL, programs="sandbox_programs", cache_folder=cache) as engine:
        yield engine


def run(engine: Engine, source: str, limits: Limits | None = None) -> object:
    with engine.open_sandbox({"main.py": source.encode()}, limits) as sandbox:
        return sandbox.call("call_function", RUN).value["result"]


def fail(engine: Engine, source: str, limits: Limits | None = None) -> SubmissionFailure:
    with pytest.raises(SubmissionFailure) as caught:
        run(engine, source, limits)
    return caught.value


# --- attempts: each gives "got through", or the name of the error that stopped it -------------

ATTEMPT = """
import ctypes, errno, os, socket, sys
from pathlib import Path
libc = ctypes.CDLL(None, use_errno=True)

def check(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

def run():
    try:
        attempt()
    except BaseException as error:
        name = errno.errorcode.get(getattr(error, "errno", None), "")
        return f"{type(error).__name__} {name}"
    return "got through"

def attempt():
"""


def attempt(engine: Engine, body: str) -> object:
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    return run(engine, ATTEMPT + lines)


REFUSALS = (
    "PermissionError EACCES",
    "PermissionError EPERM",
    "FileNotFoundError ENOENT",
    "OSError EROFS",
)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    path = tmp_path / "canary"
    path.write_text("tweet")
    # Readable to all: the sandbox alone keeps it.
    for folder in [tmp_path, *tmp_path.parents][:3]:
        folder.chmod(0o755)
    path.chmod(0o666)
    return path


@pytest.mark.parametrize(
    "body",
    [
        "open({canary!r})",
        "os.stat({canary!r})",
        "os.listdir({folder!r})",
        "open({canary!r}, 'w')",
        "os.unlink({canary!r})",
        "os.symlink({canary!r}, 'link'); open('link')",
        "os.link({canary!r}, 'link')",
        "os.chmod({canary!r}, 0o600)",
        "os.open('/proc/self/root' + {canary!r}, os.O_RDONLY)",
        "os.open('../' * 20 + {canary!r}, os.O_RDONLY)",
    ],
)
def test_files_of_the_machine_are_not_there(engine: Engine, canary: Path, body: str) -> None:
    outcome = attempt(engine, body.format(canary=str(canary), folder=str(canary.parent)))

    assert outcome != "got through"
    assert canary.read_text() == "tweet"


@pytest.mark.parametrize(
    "body",
    [
        "open('/etc/shadow')",
        "os.listdir('/home')",
        "os.listdir('/var')",
        "os.listdir('/sys')",
        "open('/proc/self/mem', 'r+b').write(b'')\nopen('/proc/self/comm', 'w').write('x')",
        "open('/proc/sys/kernel/hostname', 'w').write('x')",
        "open('/proc/sys/kernel/core_pattern', 'w').write('x')",
        "open('/new', 'w')",
        "open('/usr/lib/new', 'w')",
        "open(__file__, 'a')",
        "open(Path(__file__).parent / 'new.py', 'w')",
        "open(Path(sys.prefix) / 'new.pth', 'w')",
        "os.mknod('device', 0o20666, os.makedev(1, 1))",
    ],
)
def test_the_system_cannot_be_written_and_shows_little(engine: Engine, body: str) -> None:
    assert attempt(engine, body) in REFUSALS


@pytest.mark.parametrize(
    "call",
    [
        "check(libc.ptrace(0, 0, 0, 0))",
        "check(libc.unshare(0x10000000))",
        "check(libc.mount(b'x', b'/tmp', b'tmpfs', 0, None))",
        "check(libc.syscall(161, b'/tmp'))",
        "check(libc.syscall(321, 0, 0, 0))",
        "check(libc.syscall(250, 0, 0, 0, 0, 0))",
        "check(libc.syscall(425, 1, 0))",
        "check(libc.syscall(323, 0))",
        "check(libc.syscall(298, 0, 0, 0, 0, 0))",
        "check(libc.syscall(319, b'x', 0))",
        "check(libc.shmget(0, 4096, 0o1600))",
        "check(libc.setns(0, 0))",
        "import fcntl; fcntl.ioctl(0, 0x5412, b'x')",
        "os.nice(-5)",
        "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))",
        "import resource; resource.setrlimit(resource.RLIMIT_NPROC, (10**6, 10**6))",
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 1))",
        "socket.socket()",
        "socket.socket(type=socket.SOCK_DGRAM)",
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
        "socket.create_connection(('127.0.0.1', 6379), 1)",
    ],
)
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86_64")
def test_system_calls_that_no_model_needs_are_refused(engine: Engine, call: str) -> None:
    assert attempt(engine, call) in (*REFUSALS, "ValueError ")


def test_the_other_abis_kill(engine: Engine) -> None:
    failure = fail(engine, "import ctypes\ndef run(): ctypes.CDLL(None).syscall(0x40000000 + 39)")

    assert failure.kind is FailureKind.FORBIDDEN


def test_abstract_sockets_of_the_machine_cannot_be_reached(engine: Engine) -> None:
    name = f"\0datarun-canary-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()
        body = f"socket.socket(socket.AF_UNIX).connect({name!r})"

        assert attempt(engine, body) != "got through"


def test_only_its_own_processes_are_there(engine: Engine) -> None:
    source = "import os\ndef run(): return [os.getpid(), os.getppid(), "
    source += "[name for name in os.listdir('/proc') if name.isdigit()]]"

    assert run(engine, source) == [1, 0, ["1"]]


def test_a_signal_to_everybody_reaches_nobody(engine: Engine) -> None:
    source = f"import os, signal\ndef run():\n    os.kill({os.getpid()}, 0)"

    assert "ProcessLookupError" in fail(engine, source).message


def test_only_the_agreed_files_are_open(engine: Engine) -> None:
    source = "import os\ndef run(): return sorted(int(n) for n in os.listdir('/proc/self/fd'))"

    # The last is the listing's own.
    assert run(engine, source) == [0, 1, 2, 3, 4]


def test_no_capability_is_left_and_none_can_be_gained(engine: Engine) -> None:
    source = """
def run():
    lines = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines())
    return [int(lines[n], 16) for n in ("CapInh", "CapPrm", "CapEff", "CapAmb")] + [
        lines["NoNewPrivs"], lines["Seccomp"], "0" in lines["Uid"].split()]
"""
    assert run(engine, source) == [0, 0, 0, 0, "1", "2", False]


def test_an_input_cannot_be_changed_through_its_descriptor(engine: Engine, cache: Path) -> None:
    source = """
import os
def run():
    outcomes = []
    for number in range(3, 10):
        for attempt in (
            lambda: os.open(f"/proc/self/fd/{number}", os.O_RDWR),
            lambda: os.fchmod(number, 0o777) if number > 3 else os.write(99, b""),
            lambda: os.write(number, b"mine") if number > 3 else os.write(99, b""),
            lambda: os.ftruncate(number, 0),
        ):
            try:
                attempt()
                outcomes.append(number)
            except OSError:
                pass
    return outcomes
"""
    (cache / "part").chmod(0o666)
    file = engine.open_input(cache / "part")
    try:
        with engine.open_sandbox({"main.py": source.encode()}) as sandbox:
            value = sandbox.call("call_function", RUN, {"part": file}).value["result"]
    finally:
        os.close(file)

    assert value == []
    assert (cache / "part").read_bytes() == b"rows"
    assert (cache / "part").stat().st_mode & 0o777 == 0o666


def test_the_cache_itself_is_not_there(engine: Engine, cache: Path) -> None:
    assert attempt(engine, f"os.stat({str(cache)!r})") == "FileNotFoundError ENOENT"


def test_scratch_tmp_and_shared_memory_can_be_written(engine: Engine) -> None:
    source = """
import os, tempfile
from pathlib import Path
def run():
    for folder in (".", "/tmp", "/dev/shm", os.path.expanduser("~"), tempfile.gettempdir()):
        path = Path(folder) / "file"
        path.write_text("x")
        path.rename(path.with_name("other"))
    open("/dev/null", "w").write("x")
    return os.getcwd()
"""
    assert run(engine, source) == "/sandbox/scratch"


def test_nothing_stays_for_the_next_sandbox(engine: Engine) -> None:
    source = "from pathlib import Path\ndef run():\n    found = [str(p) for f in ('.', '/tmp', "
    source += "'/dev/shm')\n        for p in Path(f).iterdir() if p.name == 'left']\n"
    source += "    for f in ('.', '/tmp', '/dev/shm'): (Path(f) / 'left').write_text('x')\n"
    source += "    return found"

    assert run(engine, source) == []
    assert run(engine, source) == []


@pytest.mark.parametrize("folder", [".", "/tmp", "/dev/shm"])
def test_scratch_is_bounded(engine: Engine, folder: str) -> None:
    source = f"""
def run():
    with open("{folder}/big", "wb") as file:
        for _ in range(64):  # its own cap
            file.write(b"x" * 2**20)
"""
    failure = fail(engine, source, Limits(scratch=16 * MIB))

    assert failure.kind is FailureKind.OUTPUT_LIMIT


def test_a_million_small_files_are_too_many(engine: Engine) -> None:
    source = "def run():\n    for n in range(200_000): open(str(n), 'w').close()"

    assert fail(engine, source).kind is FailureKind.OUTPUT_LIMIT


def test_a_fork_bomb_stays_small_and_dies(engine: Engine) -> None:
    source = """
import os, time
def run():
    for _ in range(300):  # its own cap: nothing forks in a child
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
"""
    failure = fail(engine, source, Limits(processes=30, time=10))

    assert failure.kind is FailureKind.SUBMISSION_ERROR
    assert "BlockingIOError" in failure.message
    assert run(engine, "def run(): return 1") == 1


def test_a_thread_bomb_stays_small(engine: Engine) -> None:
    source = """
import threading, time
def run():
    for n in range(1000):
        threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
"""
    failure = fail(engine, source, Limits(processes=30, time=10))

    assert "can't start new thread" in failure.message


def test_a_stopped_sandbox_meets_its_time_limit(engine: Engine) -> None:
    source = "import os, signal, time\ndef run():\n    if (p := os.fork()) == 0:\n"
    source += "        os.kill(os.getpid(), signal.SIGSTOP)\n    os.waitpid(p, 0)"

    assert fail(engine, source, Limits(time=0.3)).kind is FailureKind.TIME_LIMIT


# --- what models do must work -----------------------------------------------------------------

HONEST = {
    "loky": """
from joblib import Parallel, delayed
from .helper import square
def run(): return Parallel(n_jobs=2)(delayed(square)(i) for i in range(4))
""",
    "joblib threads": """
from joblib import Parallel, delayed
from .helper import square
def run(): return Parallel(n_jobs=2, prefer="threads")(delayed(square)(i) for i in range(4))
""",
    "multiprocessing fork": """
import multiprocessing
from .helper import square
def run():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(square, range(4))
""",
    "multiprocessing forkserver": """
import multiprocessing
from .helper import square
def run():
    with multiprocessing.get_context("forkserver").Pool(2) as pool:
        return pool.map(square, range(4))
""",
    "multiprocessing spawn with plain import": """
import multiprocessing
from helper import square
def run():
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        return pool.map(square, range(4))
""",
    "shared memory": """
from multiprocessing import shared_memory
def run():
    memory = shared_memory.SharedMemory(create=True, size=4)
    memory.buf[:] = bytes([0, 1, 4, 9])
    result = list(memory.buf)
    memory.close(); memory.unlink()
    return result
""",
    "subprocess": """
import subprocess, sys
def run():
    code = "import numpy; print([int(n) ** 2 for n in numpy.arange(4)])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return eval(done.stdout)
""",
    "forest on all cores": """
import numpy
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.cluster import KMeans
def run():
    X = numpy.random.default_rng(0).normal(size=(200, 3)); y = (X[:, 0] > 0).astype(int)
    for model in (RandomForestClassifier(5, n_jobs=-1), HistGradientBoostingClassifier(max_iter=3),
                  KMeans(2, n_init=1)):
        model.fit(X, y).predict(X)
    return [int(n) ** 2 for n in numpy.arange(4)]
""",
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", HONEST)
def test_honest_parallel_code_works(engine: Engine, name: str, threads: int) -> None:
    files = {"main.py": HONEST[name].encode(), "helper.py": b"def square(x): return x * x"}
    with engine.open_sandbox(files, Limits(threads=threads, time=60)) as sandbox:
        assert sandbox.call("call_function", RUN).value == {"result": [0, 1, 4, 9]}


@pytest.mark.parametrize("threads", [1, 2])
def test_libraries_use_the_threads_they_are_given(engine: Engine, threads: int) -> None:
    source = """
import joblib, numpy, sklearn.ensemble, threadpoolctl
def run():
    numpy.ones((500, 500)) @ numpy.ones((500, 500))
    return sorted({p["num_threads"] for p in threadpoolctl.threadpool_info()}
                  | {joblib.cpu_count()})
"""
    if threads > (os.cpu_count() or 1):
        pytest.skip("needs as many cores")
    assert run(engine, source, Limits(threads=threads)) == [threads]


# --- each layer is needed ---------------------------------------------------------------------

BITES = {
    Layer.MOUNT: "os.stat({canary!r})",
    Layer.PID: "assert Path('/proc/{process}').exists()",
    Layer.NETWORK: "assert {socket!r} in open('/proc/net/unix').read()",
    Layer.IPC: "assert os.readlink('/proc/self/ns/ipc') == {ipc!r}",
    Layer.UTS: "assert os.uname().nodename == {host!r}",
    Layer.SECCOMP: "check(libc.syscall(319, b'x', 0))",
    Layer.LANDLOCK: "os.listdir('/')",
    Layer.RLIMITS: "import resource; assert resource.getrlimit(resource.RLIMIT_CORE)[1] != 0",
}


@pytest.fixture
def what_to_find(canary: Path) -> Iterator[dict[str, object]]:
    name = f"datarun-canary-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        yield {
            "canary": str(canary),
            "process": os.getpid(),
            "socket": name,
            "ipc": str(Path("/proc/self/ns/ipc").readlink()),
            "host": os.uname().nodename,
        }


def may_anyone_run_python() -> bool:
    """Whether the user that a root worker's sandboxes run as can reach the interpreter."""
    prefix = Path(sys.base_prefix)
    return os.geteuid() != 0 or all(p.stat().st_mode & 0o001 for p in (prefix, *prefix.parents))


@pytest.mark.parametrize("layer", Layer)
def test_each_layer_stops_something_by_itself(
    engine: Engine, layer: Layer, what_to_find: dict[str, object]
) -> None:
    if layer is Layer.MOUNT and not may_anyone_run_python():
        pytest.skip("Python lies in a private folder, out of reach without a root of its own")
    body = BITES[layer].format(**what_to_find)

    assert attempt(engine, body) != "got through"
    with Engine(Isolation.FULL, programs="sandbox_programs", without={layer}) as bare:
        assert attempt(bare, body) == "got through"
