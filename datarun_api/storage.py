"""Uploaded files, by the SHA-256 of their bytes.

A file is written to a temporary name, hashed on the way, synced and renamed, so that whatever has
its final name is whole. The same bytes are kept once. Which names a file goes by, and in which
data set or submission, is the database's to know: its manifests hold `StoredFile` entries.

A file that comes in parts grows under the name of its upload until it is whole.
"""

import fcntl
import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from uuid import UUID

from datarun_api.models import StoredFile
from datarun_client.codec import decode_base64, decode_base64_pieces, unpack_chunks
from datarun_client.errors import CodecError, DatarunError

SHA256_PATTERN = re.compile(r"[0-9a-f]{64}")


CHUNK = 1 << 20


class ContentError(DatarunError):
    """The bytes that came aren't those that were announced."""


class PartialFileBusyError(DatarunError):
    """Somebody else is writing to the file."""


@dataclass(frozen=True)
class StagedFile:
    """Bytes that were written but not kept yet."""

    path: Path
    sha256: str
    size: int

    def drop(self) -> None:
        """Forget the bytes; nothing happens if they were kept."""
        self.path.unlink(missing_ok=True)


class StagingWriter:
    """Writes bytes to a temporary file and hashes them on the way.

    Parameters
    ----------
    folder : path
        Where the file is made.
    """

    def __init__(self, folder: Path) -> None:
        handle, name = tempfile.mkstemp(dir=folder)
        self._file = os.fdopen(handle, "wb")
        self._path = Path(name)
        self._digest = hashlib.sha256()
        self._size = 0

    def write(self, chunk: bytes) -> int:
        """Write some bytes."""
        self._digest.update(chunk)
        self._size += len(chunk)
        return self._file.write(chunk)

    def finish(self) -> StagedFile:
        """Sync and close the file."""
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())
        return StagedFile(self._path, self._digest.hexdigest(), self._size)

    def drop(self) -> None:
        """Delete the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)


class Storage:
    """A folder of files by SHA-256.

    Parameters
    ----------
    root : path
        Made if it isn't there.

    Attributes
    ----------
    root, incoming : Path
        The folder, and where in it what isn't kept yet may be written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.incoming = self.root / "incoming"
        self._partial = self.root / "partial"
        for folder in (self.incoming, self._partial):
            folder.mkdir(parents=True, exist_ok=True)

    def find(self, sha256: str) -> Path:
        """Say where the bytes with this hash are.

        Raises
        ------
        ValueError
            If that is no SHA-256.
        FileNotFoundError
            If they aren't there.
        """
        path = self._place(sha256)
        if not path.is_file():
            raise FileNotFoundError(f"storage has no file {sha256}")
        return path

    def list_all(self) -> list[Path]:
        """List the files that are kept; each is named by its hash."""
        return list(self.root.glob("[0-9a-f][0-9a-f]/*"))

    def list_older(self, moment: float) -> list[Path]:
        """List the files that were kept before a moment, in seconds since the epoch."""
        return [path for path in self.list_all() if path.stat().st_mtime < moment]

    def delete_older(self, path: Path, moment: float) -> bool:
        """Delete a file that `list_older` gave; not if the same bytes were kept anew meanwhile."""
        if not path.exists() or path.stat().st_mtime >= moment:
            return False
        path.unlink(missing_ok=True)
        return True

    def list_abandoned(self, moment: float) -> list[Path]:
        """List the temporary files that were written to last before a moment."""
        return [
            path
            for folder in (self.incoming, self._partial)
            for path in folder.iterdir()
            if path.stat().st_mtime < moment
        ]

    def find_partial(self, upload_id: UUID) -> Path:
        """Say where what has arrived of a file is that comes in parts."""
        return self._partial / str(upload_id)

    def open_partial(self, upload_id: UUID) -> "PartialFile":
        """Open what has arrived of a file that comes in parts.

        Raises
        ------
        PartialFileBusyError
            If it is open already.
        """
        return PartialFile(self.find_partial(upload_id))

    def delete_partial(self, upload_id: UUID) -> None:
        """Forget what has arrived of a file that comes in parts."""
        self.find_partial(upload_id).unlink(missing_ok=True)

    def stage(self, chunks: Iterable[bytes]) -> StagedFile:
        """Write bytes to a temporary file, hashed on the way and synced.

        Parameters
        ----------
        chunks : iterable of bytes

        Returns
        -------
        StagedFile
            To be kept or dropped.
        """
        writer = self.open_staging()
        try:
            for chunk in chunks:
                writer.write(chunk)
            return writer.finish()
        except BaseException:
            writer.drop()
            raise

    def open_staging(self) -> StagingWriter:
        """Open a temporary file for bytes that come piece by piece."""
        return StagingWriter(self.incoming)

    def keep(self, staged: StagedFile) -> None:
        """Give staged bytes their final name."""
        place = self._place(staged.sha256)
        place.parent.mkdir(exist_ok=True)
        staged.path.rename(place)
        _sync_folder(place.parent)

    def write(self, chunks: Iterable[bytes], sha256: str) -> int:
        """Keep bytes whose hash was announced.

        Returns
        -------
        int
            Their number.

        Raises
        ------
        ContentError
            If the hash is another; nothing is kept then.
        """
        staged = self.stage(chunks)
        if staged.sha256 != sha256:
            staged.drop()
            raise ContentError(
                f"The bytes have SHA-256 {staged.sha256}, not {sha256}; send them again."
            )
        self.keep(staged)
        return staged.size

    def _place(self, sha256: str) -> Path:
        if not SHA256_PATTERN.fullmatch(sha256):
            raise ValueError(f"{sha256!r} is no SHA-256")
        return self.root / sha256[:2] / sha256


@dataclass(frozen=True)
class WrittenPart:
    """A part of a file that was written."""

    sha256: str
    size: int


class PartialFile:
    """A file that comes in parts; one process at a time has it open.

    A part's bytes count once the caller has noted that they arrived: whatever lies behind what was
    noted is of a part that broke off, and is written over.

    Parameters
    ----------
    path : path
        Made if it isn't there.

    Raises
    ------
    PartialFileBusyError
        If somebody else has it open.

    Attributes
    ----------
    path : path
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open(path, "r+b", opener=_create)  # noqa: SIM115  # closed by `__exit__`
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between the two lines above it may have become whole, and have another name.
            is_same = path.exists() and os.path.samestat(path.stat(), os.fstat(self._file.fileno()))
        except BlockingIOError:
            is_same = False
        if not is_same:
            self._file.close()
            raise PartialFileBusyError("another part of the file is being received")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return os.fstat(self._file.fileno()).st_size

    def write(self, offset: int, chunks: Iterable[bytes]) -> WrittenPart:
        """Write a part, hashed on the way, and sync it; what lay behind its beginning is gone."""
        self._file.truncate(offset)
        self._file.seek(offset)
        digest = hashlib.sha256()
        size = 0
        for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
            self._file.write(chunk)
        self._file.flush()
        os.fsync(self._file.fileno())
        return WrittenPart(digest.hexdigest(), size)

    def as_staged(self, sha256: str) -> StagedFile:
        """Give the whole file, to be kept."""
        return StagedFile(self.path, sha256, self.size)


def hash_range(path: Path, offset: int, size: int) -> str:
    """Give the SHA-256 of some bytes of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(offset)
        while size > 0 and (chunk := file.read(min(size, CHUNK))):
            digest.update(chunk)
            size -= len(chunk)
    return digest.hexdigest()


def save_files(
    storage: Storage, files: Mapping[str, str | Iterable[bytes]], max_bytes: int
) -> list[StoredFile]:
    """Decode the files of an upload and keep them.

    Parameters
    ----------
    storage : Storage
    files : mapping of str to str or iterable of bytes
        Wire text, ``base64(zlib(bytes))``, by checked file name; or pieces of it, as of
        `decode_base64_pieces`.
    max_bytes : int
        How many bytes all of them may have together.

    Returns
    -------
    list of StoredFile
        Their manifest, by name.

    Raises
    ------
    CodecError
        If a text is no ``base64(zlib(bytes))`` or too large; nothing is kept then.
    """
    staged: dict[str, StagedFile] = {}
    left = max_bytes
    try:
        for name in sorted(files):
            try:
                staged[name] = storage.stage(unpack_chunks(_decode(files[name]), left))
            except CodecError as error:
                raise CodecError(f"{name!r} {error}") from None
            left -= staged[name].size
        for file in staged.values():
            storage.keep(file)
    finally:
        for file in staged.values():
            file.drop()
    return [
        {"name": name, "sha256": file.sha256, "size": file.size} for name, file in staged.items()
    ]


def _decode(text: str | Iterable[bytes]) -> Iterable[bytes]:
    return [decode_base64(text)] if isinstance(text, str) else decode_base64_pieces(text)


def hash_manifest(manifest: Iterable[StoredFile]) -> str:
    """Give a set of named files one SHA-256, the same for the same names and contents."""
    lines = sorted(f"{file['sha256']} {file['name']}\n" for file in manifest)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _create(path: str, flags: int) -> int:
    """Open a file for reading and writing, without emptying it."""
    return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
