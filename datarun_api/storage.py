"""Uploaded files, by the SHA-256 of their bytes.

A file is written to a temporary name, hashed on the way, synced and renamed, so that whatever has
its final name is whole. The same bytes are kept once. Which names a file goes by, and in which
data set or submission, is the database's to know: its manifests hold `StoredFile` entries.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from datarun_api.models import StoredFile
from datarun_client.codec import decode_base64, unpack_chunks
from datarun_client.errors import CodecError, DatarunError

SHA256_PATTERN = re.compile(r"[0-9a-f]{64}")


class ContentError(DatarunError):
    """The bytes that came aren't those that were announced."""


@dataclass(frozen=True)
class StagedFile:
    """Bytes that were written but not kept yet."""

    path: Path
    sha256: str
    size: int


class Storage:
    """A folder of files by SHA-256.

    Parameters
    ----------
    root : path
        Made if it isn't there.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._incoming = self.root / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)

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

    def stage(self, chunks: Iterable[bytes]) -> "StagedFile":
        """Write bytes to a temporary file, hashed on the way and synced.

        Parameters
        ----------
        chunks : iterable of bytes

        Returns
        -------
        StagedFile
            To be kept or dropped.
        """
        digest = hashlib.sha256()
        size = 0
        handle, name = tempfile.mkstemp(dir=self._incoming)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                for chunk in chunks:
                    digest.update(chunk)
                    size += len(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            temporary.unlink()
            raise
        return StagedFile(temporary, digest.hexdigest(), size)

    def keep(self, staged: "StagedFile") -> None:
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
            staged.path.unlink()
            raise ContentError(
                f"The bytes have SHA-256 {staged.sha256}, not {sha256}; send them again."
            )
        self.keep(staged)
        return staged.size

    def _place(self, sha256: str) -> Path:
        if not SHA256_PATTERN.fullmatch(sha256):
            raise ValueError(f"{sha256!r} is no SHA-256")
        return self.root / sha256[:2] / sha256


def save_files(storage: Storage, files: Mapping[str, str], max_bytes: int) -> list[StoredFile]:
    """Decode the files of an upload and keep them.

    Parameters
    ----------
    storage : Storage
    files : mapping of str to str
        Wire text, ``base64(zlib(bytes))``, by checked file name.
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
                staged[name] = storage.stage(unpack_chunks(decode_base64(files[name]), left))
            except CodecError as error:
                raise CodecError(f"{name!r} {error}") from None
            left -= staged[name].size
        for file in staged.values():
            storage.keep(file)
    finally:
        for file in staged.values():
            file.path.unlink(missing_ok=True)
    return [
        {"name": name, "sha256": file.sha256, "size": file.size} for name, file in staged.items()
    ]


def hash_manifest(manifest: Iterable[StoredFile]) -> str:
    """Give a set of named files one SHA-256, the same for the same names and contents."""
    lines = sorted(f"{file['sha256']} {file['name']}\n" for file in manifest)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
