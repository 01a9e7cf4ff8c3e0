"""`datarun restore`: a backup, back in an empty home or an empty database and folder.

The files come back first, each checked, and the database last, in one transaction: a restore that
is cut off leaves an empty database, and can be done again. What ran when the backup was made has
lost its worker: the reconciler finds it when its lease is over, and has it tried again.
"""

import os
from pathlib import Path

import click
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, inspect

from datarun_api.backup_folder import (
    HOME_OPTION,
    Backup,
    BackupError,
    Contents,
    Label,
    connect,
    copy_file,
    count_contents,
    explaining_errors,
    find_file,
    hash_file,
)
from datarun_api.manifests import list_used
from datarun_api.postgres_tools import read_major_version, restore_database
from datarun_api.site import Site, find_home, open_new_site
from datarun_api.storage import Storage
from datarun_client import __version__

MIGRATIONS = Path(__file__).with_name("migrations")


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@HOME_OPTION
def restore(folder: Path, home: Path | None) -> None:
    """Restore the backup DIR into an empty home, or an empty database and folder, and check it."""
    backup = Backup(folder)
    with explaining_errors():
        # Before a home is made for it.
        check_backup(backup)
        with open_new_site(find_home(home, os.environ), os.environ) as site:
            contents = restore_backup(backup, site)
    click.echo(f"restored {contents} from {folder}")


def check_backup(backup: Backup) -> None:
    """Check that a backup is whole and that this release can read it.

    The stored files' bytes are checked when they are read.

    Raises
    ------
    BackupError
        If it isn't.
    """
    label = Label.read(backup.label)
    try:
        ScriptDirectory(str(MIGRATIONS)).get_revision(label.revision)
    except CommandError:
        raise BackupError(
            f"The backup is of datarun {label.version}, which is newer than this one "
            f"({__version__}): restore it with that release."
        ) from None
    if not backup.sums.exists() or hash_file(backup.sums) != label.sums_sha256:
        raise BackupError(f"{backup.sums} isn't as it was written; the backup is damaged.")
    sums = backup.read_sums()
    for name in sums:
        if not (backup.path / name).is_file():
            raise BackupError(f"{backup.path / name} is missing; the backup is damaged.")
    if hash_file(backup.dump) != sums[backup.dump.name]:
        raise BackupError(f"{backup.dump} isn't as it was written; the backup is damaged.")


def restore_backup(backup: Backup, site: Site) -> Contents:
    """Restore a backup into an empty site.

    Parameters
    ----------
    backup : Backup
        Checked.
    site : Site
        Nothing may run there.

    Returns
    -------
    Contents
        What is there now.

    Raises
    ------
    BackupError, PostgresToolError
        If a file is damaged, the server is too old, or the site isn't empty.
    """
    label = Label.read(backup.label)
    sums = backup.read_sums()
    with connect(site.database_url) as connection:
        major = read_major_version(connection)
        if major < label.postgresql:
            raise BackupError(
                f"The backup is of PostgreSQL {label.postgresql}, the server is {major}: restore "
                f"it into PostgreSQL {label.postgresql} or newer."
            )
        if inspect(connection).get_table_names():
            raise BackupError("The database isn't empty; restore into a new one.")
    # What a restore that was cut off left is no hindrance.
    strangers = {path.name for path in site.storage.list_all()} - set(sums.values())
    if strangers:
        raise BackupError(
            f"{site.storage.root} isn't empty: it has {len(strangers)} files that aren't of this "
            "backup; restore into a new folder."
        )
    for name, sha256 in sums.items():
        if name != backup.dump.name:
            copy_file(backup.path / name, sha256, site.storage)
    restore_database(site.database_url, major, backup.dump)
    with connect(site.database_url) as connection:
        contents = count_contents(connection, _check_files(connection, site.storage))
    if contents != label.contents:
        raise BackupError(f"There are {contents}, where the backup had {label.contents}.")
    return contents


def _check_files(connection: Connection, storage: Storage) -> dict[str, int]:
    """Check that every file is there that the database names; give their sizes by hash."""
    sizes = {}
    for file in list_used(connection):
        sizes[file["sha256"]] = file["size"]
        if find_file(storage, file["sha256"]).stat().st_size != file["size"]:
            raise BackupError(f"File {file['sha256']} ({file['name']}) has another size.")
    return sizes
