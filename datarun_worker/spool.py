"""What a worker has at hand on its disk: results that aren't delivered yet, and scratch space.

Theory of operation. Each worker process has a folder of its own below the spool, and holds a lock
on it for as long as it lives; the kernel lets go of the lock however the process ends. So whoever
gets the lock of another's folder knows that its process is dead, and takes over: the results are
moved to its own folder, the scratch space is removed. The spool's own lock keeps a folder from
being taken for a dead one between its making and its locking.

A result has its name only once it is written whole. After a power cut one that wasn't synced may be
there with other bytes; its digest tells the API, and its attempt is over by then.
"""

import contextlib
import fcntl
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

_RESULT = re.compile(r"((folds|scorings)-\d+-\d+-\d+|splits-\d+-\d+)\.json")
_LOCK = "lock"
_SCRATCH = "scratch"
_SCRATCH_PREFIX = "datarun-scratch-"

logger = logging.getLogger("rq.worker.datarun")


@dataclass(frozen=True)
class KeptResult:
    """A result that waits to be delivered.

    Attributes
    ----------
    path : str
        The attempt's, as of `Claim.path`.
    file : Path or None
        Where its body is; None if the disk couldn't take it.
    body : bytes
        JSON; empty if it is only in a file.
    """

    path: str
    file: Path | None
    body: bytes = b""

    def read(self) -> bytes:
        """Read its body."""
        return self.body if self.body or self.file is None else self.file.read_bytes()


class Spool:
    """A worker's own folder, until the process ends.

    Parameters
    ----------
    root : Path
        The spool of all workers of a machine that have the same API.

    Attributes
    ----------
    scratch : Path
        An empty folder in the machine's place for temporary files, for this process alone.
        Others may pass through it, but not list it.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._root = root
        self._in_memory: dict[str, KeptResult] = {}
        self.scratch = Path(tempfile.gettempdir()) / f"{_SCRATCH_PREFIX}{uuid4().hex}"
        with self._locking_root():
            self._folder = Path(tempfile.mkdtemp(prefix="worker-", dir=root))
            self._lock = _take_lock(self._folder)
            # Noted before it is made, so that none is ever forgotten.
            (self._folder / _SCRATCH).symlink_to(self.scratch)
        self.scratch.mkdir(mode=0o711)
        _sync_folder(root)

    def close(self) -> None:
        """Remove what isn't needed any more; undelivered results stay for another worker."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        if not any(_RESULT.fullmatch(file.name) for file in self._folder.iterdir()):
            shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock)

    def keep(self, path: str, body: bytes) -> KeptResult:
        """Keep a result; when the disk can't take it, in memory.

        It outlives the process; a power cut only after `sync`.
        """
        name = path.replace("/", "-") + ".json"
        file = self._folder / name
        unfinished = file.with_suffix(".part")
        try:
            with unfinished.open("wb") as content:
                content.write(body)
            unfinished.replace(file)
        except OSError as error:
            logger.error("the result of %s can't be kept on disk: %s", path, error)
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            kept = KeptResult(path, None, body)
            self._in_memory[path] = kept
            return kept
        self._in_memory.pop(path, None)
        return KeptResult(path, file, body)

    def sync(self, result: KeptResult) -> None:
        """Have a kept result survive a power cut, if the disk can do that."""
        if result.file is None:
            return
        try:
            with result.file.open("rb") as content:
                os.fsync(content.fileno())
            _sync_folder(self._folder)
        except OSError as error:
            logger.error("the result of %s isn't safe from a power cut: %s", result.path, error)

    def remove(self, result: KeptResult) -> None:
        """Forget a result that is delivered."""
        self._in_memory.pop(result.path, None)
        if result.file is not None:
            result.file.unlink(missing_ok=True)

    def list_results(self) -> list[KeptResult]:
        """List what waits to be delivered, the oldest first."""
        found = []
        for entry in os.scandir(self._folder):
            if match := _RESULT.fullmatch(entry.name):
                path = match[1].replace("-", "/")
                found.append((entry.stat().st_mtime_ns, KeptResult(path, Path(entry.path))))
        found.sort(key=lambda pair: pair[0])
        return [result for _, result in found] + list(self._in_memory.values())

    def adopt(self) -> None:
        """Take over the results of dead workers, and remove what else they left."""
        others = [folder for folder in self._root.glob("worker-*") if folder != self._folder]
        if not others:
            return
        with self._locking_root():
            for folder in others:
                try:
                    with _locking(folder):
                        self._take_over(folder)
                except (BlockingIOError, FileNotFoundError):
                    # Its worker lives, or has just ended by itself.
                    continue
                except OSError as error:
                    logger.warning("a dead worker's folder can't be taken over: %s", error)

    def _take_over(self, folder: Path) -> None:
        """Take over from a worker that is dead; whatever is interrupted here is done next time."""
        for file in list(folder.iterdir()):
            if _RESULT.fullmatch(file.name):
                logger.warning("the result %s of a dead worker is taken over", file.stem)
                file.replace(self._folder / file.name)
        _sync_folder(self._folder)
        with contextlib.suppress(FileNotFoundError):
            scratch = (folder / _SCRATCH).readlink()
            if scratch.name.startswith(_SCRATCH_PREFIX):
                shutil.rmtree(scratch)
        shutil.rmtree(folder)

    @contextlib.contextmanager
    def _locking_root(self) -> Iterator[None]:
        lock = os.open(self._root, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _take_lock(folder: Path) -> int:
    """Lock a worker's folder.

    Raises
    ------
    BlockingIOError
        If its worker lives.
    """
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(lock)
        raise
    return lock


@contextlib.contextmanager
def _locking(folder: Path) -> Iterator[None]:
    lock = _take_lock(folder)
    try:
        yield
    finally:
        os.close(lock)


def _sync_folder(folder: Path) -> None:
    """Have a folder's names survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
