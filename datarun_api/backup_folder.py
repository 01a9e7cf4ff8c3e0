"""A backup: its folder, what it says of itself, and what backing up and restoring share.

::

    DIR/
    ├── backup.json      what this is, written last: a folder without it is no backup
    ├── SHA256SUMS       of all that follows; `sha256sum --check SHA256SUMS` reads it
    ├── database.dump    pg_dump's custom format
    └── storage/         the files that the database names, by SHA-256
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import click
from sqlalchemy import Connection, NullPool, create_engine, func, select
from sqlalchemy.exc import SQLAlchemyError

from datarun_api.models import Base, RawData, Submission, SubmissionFold, User
from datarun_api.storage import ContentError, Storage
from datarun_client import __version__
from datarun_client.errors import DatarunError

FORMAT = 1
"""The number of the folder's layout."""

CHUNK = 1 << 20

HOME_OPTION = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="DATARUN_HOME",
    help="The folder of `datarun up`; without it what DATABASE_URL and DATARUN_STORAGE name, and "
    "if they aren't both set the default home.",
)


class BackupError(DatarunError):
    """A backup can't be made or restored; the message says why and what to do."""


@dataclass(frozen=True)
class Contents:
    """What a site holds, in numbers.

    Attributes
    ----------
    accounts, data_sets, submissions, folds, files : int
    size : int
        Bytes of all files.
    """

    accounts: int
    data_sets: int
    submissions: int
    folds: int
    files: int
    size: int

    def __str__(self) -> str:
        return (
            f"{self.accounts} accounts, {self.data_sets} data sets, {self.submissions} "
            f"submissions, {self.folds} folds and {self.files} files of {self.size} bytes"
        )


@dataclass(frozen=True)
class Label:
    """What a backup says of itself.

    Attributes
    ----------
    made_at : str
        ISO 8601, UTC.
    version : str
        The release of datarun that made it.
    revision : str
        The database's, of our migrations.
    postgresql : int
        The major version of pg_dump and its server.
    sums_sha256 : str
        Of the file with all other sums.
    contents : Contents
    """

    made_at: str
    version: str
    revision: str
    postgresql: int
    sums_sha256: str
    contents: Contents

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a backup's label.

        Raises
        ------
        BackupError
            If there is none that this release can read.
        """
        try:
            fields = json.loads(path.read_text())
            number = fields.pop("format")
            if number == FORMAT:
                return cls(**{**fields, "contents": Contents(**fields["contents"])})
        except FileNotFoundError:
            raise BackupError(f"{path.parent} is no backup: it has no {path.name}.") from None
        except (ValueError, TypeError, KeyError, AttributeError):
            raise BackupError(f"{path} can't be read; the backup is damaged.") from None
        raise BackupError(
            f"{path.parent} is a backup of format {number}, and this datarun ({__version__}) reads "
            f"format {FORMAT}: take the release that made it ({fields.get('version')})."
        )

    def write(self, path: Path) -> None:
        """Write it down."""
        write_file(path, json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n")


class Backup:
    """The folder of a backup.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.label = path / "backup.json"
        self.sums = path / "SHA256SUMS"
        self.dump = path / "database.dump"
        self.storage = path / "storage"

    def read_sums(self) -> dict[str, str]:
        """Read which files there are, by their paths in the folder, and their hashes."""
        pairs = (line.split("  ", 1) for line in self.sums.read_text().splitlines())
        return {name: sha256 for sha256, name in pairs}


@contextlib.contextmanager
def connect(url: str) -> Iterator[Connection]:
    """Connect to a database; each transaction sees one snapshot of it.

    Raises
    ------
    BackupError
        If the database fails inside the context.
    """
    engine = create_engine(url, poolclass=NullPool, isolation_level="REPEATABLE READ")
    try:
        with engine.connect() as connection:
            yield connection
    except SQLAlchemyError as error:
        raise BackupError(f"The database failed: {getattr(error, 'orig', error)}") from error


def count_contents(connection: Connection, sizes: Mapping[str, int]) -> Contents:
    """Count what a database holds, whose files have these sizes by their hashes."""

    def count(model: type[Base]) -> int:
        return connection.scalar(select(func.count()).select_from(model.__table__)) or 0

    return Contents(
        accounts=count(User),
        data_sets=count(RawData),
        submissions=count(Submission),
        folds=count(SubmissionFold),
        files=len(sizes),
        size=sum(sizes.values()),
    )


def find_file(storage: Storage, sha256: str) -> Path:
    """Find a file that the database names.

    Raises
    ------
    BackupError
        If it isn't there.
    """
    try:
        return storage.find(sha256)
    except FileNotFoundError:
        raise BackupError(
            f"The database names the file {sha256}, which isn't in {storage.root}; is that its "
            "folder?"
        ) from None


def copy_file(source: Path, sha256: str, storage: Storage) -> None:
    """Copy a file into a storage.

    Raises
    ------
    BackupError
        If its bytes aren't those of its hash.
    """
    try:
        storage.write(_read(source), sha256)
    except ContentError as error:
        raise BackupError(f"{source} is damaged: {error}") from None


def hash_file(path: Path) -> str:
    """Give a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_file(path: Path, content: str) -> None:
    """Write a file, onto the disk."""
    path.write_text(content)
    sync(path)


def sync(path: Path) -> None:
    """Have a file or a folder on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def explaining_errors() -> Iterator[None]:
    """End a command with a sentence instead of a traceback."""
    try:
        yield
    except (DatarunError, OSError) as error:
        raise click.ClickException(str(error)) from None


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
