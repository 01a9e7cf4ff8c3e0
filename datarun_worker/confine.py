"""What a sandbox gives up before it runs a stranger's code, in order."""

import os
from dataclasses import dataclass
from pathlib import Path

from datarun_worker.isolation import Isolation

MIB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """What one sandbox may use.

    Attributes
    ----------
    time : float
        Seconds of all its calls together.
    memory : int
        Bytes of its process tree, beyond an idle sandbox.
    processes : int
        Processes and threads at one time.
    scratch : int
        Bytes in its scratch folder, /tmp and /dev/shm together.
    log : int
        Bytes of printed text that are kept, the first half and the last half.
    threads : int
        Threads that BLAS, OpenMP and joblib use by themselves.
    """

    time: float = 3600.0
    memory: int = 4096 * MIB
    processes: int = 256
    scratch: int = 512 * MIB
    log: int = MIB
    threads: int = 1


@dataclass(frozen=True)
class Place:
    """Where a child finds itself once it is confined.

    Attributes
    ----------
    level : Isolation
    folder : pathlib.Path
        Holds `source`, the submission's files, and `scratch`, the working folder.
    """

    level: Isolation
    folder: Path


def prepare(level: Isolation) -> Place:
    """Enter what can be entered before it is known whose code will run."""
    os.setsid()
    return Place(level, Path("/sandbox"))


def finish(place: Place, folder: Path, limits: Limits) -> None:
    """Give up the rest, for good: afterwards this process can't get anything back."""
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    os.chdir(scratch)
    os.environ.update(HOME=str(scratch), PYTHONDONTWRITEBYTECODE="1")
