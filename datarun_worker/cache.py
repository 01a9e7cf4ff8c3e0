"""Files that the API has, kept on this machine by their SHA-256.

All workers of a machine share one cache. A file is fetched once, whoever needs it first; it gets
its name only when it is there whole and its hash is right, so a half one is never seen. Who uses
a file holds a shared lock on it; what nobody holds goes when the room is used up, longest unused
first. A file that was changed on disk since it was last checked is checked again, and fetched
again if it is broken.

Files of folds and files of data jobs (raw files, and on their way the labels of held-out rows)
lie in folders of their own.
"""

import contextlib
import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import BinaryIO

from datarun_worker.claims import FileEntry
from datarun_worker.disk import read_free_disk
from datarun_worker.errors import CacheError

FetchFile = Callable[[FileEntry, BinaryIO], None]

_UNFINISHED = ".part"

_RECOUNT_INTERVAL = 60.0
"""Seconds after which other workers' files are counted again."""

_SHA256_LENGTH = 64


class Folder(Enum):
    """The cache's folders."""

    FOLDS = "folds"
    DATA_JOBS = "data-jobs"


class Cache:
    """A bounded folder of files.

    Parameters
    ----------
    root : Path
    capacity : int
        Bytes that the files of both folders may have together.
    open_file : callable, optional
        Opens a file for a sandbox to read; `Engine.open_input` where there are sandboxes.
    """

    def __init__(
        self, root: Path, capacity: int, open_file: Callable[[Path], int] | None = None
    ) -> None:
        self._root = root
        self._capacity = capacity
        self._open_file = open_file or _open_to_read
        self._checked: dict[Path, tuple[int, int, int]] = {}
        self._used = 0
        self._counted_at = -_RECOUNT_INTERVAL
        for folder in Folder:
            (root / folder.value).mkdir(mode=0o700, parents=True, exist_ok=True)
        (root / "locks").mkdir(mode=0o700, exist_ok=True)
        self._remove_unfinished()

    @contextlib.contextmanager
    def open(self, folder: Folder, entry: FileEntry, fetch: FetchFile) -> Iterator[int]:
        """Open a file, fetching it if it isn't there.

        Parameters
        ----------
        folder : Folder
        entry : FileEntry
        fetch : callable
            Writes the file's content into an open, empty file.

        Yields
        ------
        int
            A descriptor for reading; the file stays in the cache as long as the context lasts.

        Raises
        ------
        CacheError
            If what is fetched isn't what it should be.
        OSError
            If the disk is full or broken.
        """
        path = self._name_path(folder, entry.sha256)
        with contextlib.ExitStack() as stack:
            holder = self._hold(path, entry)
            if holder is None:
                with self._lock_fetching(entry.sha256):
                    # Another worker may have fetched it while this one waited.
                    holder = self._hold(path, entry)
                    if holder is None:
                        holder = self._fetch(path, entry, fetch)
            stack.callback(os.close, holder)
            # A lock belongs to what `open` gave: the sandbox gets another one, without the lock.
            descriptor = self._open_file(path)
            stack.callback(os.close, descriptor)
            yield descriptor

    def read(self, folder: Folder, entry: FileEntry, fetch: FetchFile) -> bytes:
        """Read a small file; parameters and errors as in `open`."""
        with self.open(folder, entry, fetch) as descriptor:
            return os.pread(descriptor, entry.size, 0)

    @contextlib.contextmanager
    def create(self, folder: Folder) -> Iterator[BinaryIO]:
        """Make an unfinished file, for `keep`; it is gone when the context ends.

        Yields
        ------
        binary file
            Empty, open for reading and writing.
        """
        with _unfinished_file(self._root / folder.value) as file:
            yield file

    def keep(self, folder: Folder, entry: FileEntry, file: BinaryIO) -> None:
        """Keep a finished file of `create` under its hash, which the caller has just computed."""
        path = self._name_path(folder, entry.sha256)
        file.flush()
        os.fchmod(file.fileno(), 0o400)
        # A link, because `create` removes the first name.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(file.name)
            self._count_in(entry.size)

    def clear_disk(self, needed: int) -> None:
        """Evict what nobody uses until so many bytes are free in the file system."""
        for _, n_bytes, path in sorted(self._list_files()):
            if read_free_disk(self._root) >= needed:
                return
            if _evict(path):
                self._checked.pop(path, None)
                self._used -= n_bytes

    def _name_path(self, folder: Folder, sha256: str) -> Path:
        if len(sha256) != _SHA256_LENGTH or not set(sha256) <= set("0123456789abcdef"):
            raise CacheError(f"{sha256[:_SHA256_LENGTH]!r} is no SHA-256.")
        return self._root / folder.value / sha256

    def _hold(self, path: Path, entry: FileEntry) -> int | None:
        """Open a file and lock it against eviction; None if it isn't there, or is broken."""
        try:
            holder = _open_to_read(path)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(holder, fcntl.LOCK_SH)
            status = os.fstat(holder)
            # Without a name it was evicted before it could be locked.
            if status.st_nlink:
                if self._check(path, holder, entry):
                    os.utime(path, ns=(time.time_ns(), status.st_mtime_ns))
                    return holder
                path.unlink(missing_ok=True)
        except BaseException:
            os.close(holder)
            raise
        os.close(holder)
        return None

    def _check(self, path: Path, holder: int, entry: FileEntry) -> bool:
        """Tell whether a file is what its name says; hashed only when it is new or has changed."""
        status = os.fstat(holder)
        stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
        if self._checked.get(path) == stamp:
            return True
        if status.st_size != entry.size or _hash_content(holder) != entry.sha256:
            return False
        self._checked[path] = stamp
        return True

    @contextlib.contextmanager
    def _lock_fetching(self, sha256: str) -> Iterator[None]:
        """Let one worker of the machine at a time fetch this file (and one in 256 others)."""
        with (self._root / "locks" / sha256[:2]).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _fetch(self, path: Path, entry: FileEntry, fetch: FetchFile) -> int:
        self._make_room(entry.size)
        with _unfinished_file(path.parent) as file:
            fetch(entry, file)
            file.flush()
            os.fchmod(file.fileno(), 0o400)
            holder = _open_to_read(file.name)
            fcntl.flock(holder, fcntl.LOCK_SH)
            if not self._check(path, holder, entry):
                os.close(holder)
                raise CacheError(f"{entry.name!r} was fetched as other bytes than its hash says.")
            Path(file.name).replace(path)
        self._count_in(entry.size)
        return holder

    def _count_in(self, size: int) -> None:
        self._used += size
        self._make_room(0)

    def _make_room(self, size: int) -> None:
        """Evict what nobody uses until `size` more bytes fit, longest unused first."""
        recount = time.monotonic() - self._counted_at > _RECOUNT_INTERVAL
        if self._used + size <= self._capacity and not recount:
            return
        files = sorted(self._list_files())
        self._used = sum(n_bytes for _, n_bytes, _ in files)
        self._counted_at = time.monotonic()
        for _, n_bytes, path in files:
            if self._used + size <= self._capacity:
                return
            if _evict(path):
                self._checked.pop(path, None)
                self._used -= n_bytes

    def _list_files(self) -> Iterator[tuple[int, int, Path]]:
        """List last use, size and path of each file."""
        for folder in Folder:
            for found in os.scandir(self._root / folder.value):
                with contextlib.suppress(FileNotFoundError):
                    status = found.stat(follow_symlinks=False)
                    if not found.name.endswith(_UNFINISHED):
                        yield status.st_atime_ns, status.st_size, Path(found.path)

    def _remove_unfinished(self) -> None:
        """Remove what dead workers began; a living one holds a lock on what it writes."""
        for folder in Folder:
            for path in (self._root / folder.value).glob(f"*{_UNFINISHED}"):
                _evict(path)


def hash_file(name: str, file: BinaryIO) -> FileEntry:
    """Describe a file that was written here."""
    file.flush()
    size = os.fstat(file.fileno()).st_size
    return FileEntry(name, _hash_content(file.fileno()), size)


def _hash_content(descriptor: int) -> str:
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _unfinished_file(folder: Path) -> Iterator[BinaryIO]:
    """Make a file that is gone when the context ends, unless it was given another name.

    It is locked, so that nobody takes it for a dead worker's.
    """
    with _open_locked(folder) as file:
        try:
            yield file
        finally:
            Path(file.name).unlink(missing_ok=True)


def _open_locked(folder: Path) -> BinaryIO:
    while True:
        descriptor, name = tempfile.mkstemp(dir=folder, suffix=_UNFINISHED)
        os.close(descriptor)
        file = Path(name).open("w+b")  # noqa: SIM115 -- given to the caller
        # Shared, because whoever puts it into its place locks it once more.
        fcntl.flock(file, fcntl.LOCK_SH)
        # A worker that just starts may have found it before it was locked.
        if Path(name).exists() and os.fstat(file.fileno()).st_nlink:
            return file
        file.close()


def _open_to_read(path: Path | str) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _evict(path: Path) -> bool:
    """Remove a file unless somebody holds it."""
    try:
        descriptor = _open_to_read(path)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)
