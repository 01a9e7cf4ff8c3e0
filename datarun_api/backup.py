"""`datarun backup`: all that must not be lost, in one folder, while datarun runs or not.

**Consistent.** pg_dump and the list of files come from one snapshot of the database. The files are
copied after it; they never change, and none is deleted meanwhile, because the backup holds
`manifests.hold_files`.

**Whole or not at all.** It is made beside its place, in DIR.partial, and moved there when all is
on the disk.

**What isn't in it.** The queues: the reconciler enqueues what waits. The secrets of a home: a new
home makes new ones. Accounts' passwords and tokens are in the database, as hashes.
"""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import click
from sqlalchemy import Connection, inspect, text

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
    sync,
    write_file,
)
from datarun_api.manifests import hold_files, list_used
from datarun_api.postgres_tools import dump_database, read_major_version
from datarun_api.site import Site, find_home, open_site
from datarun_api.storage import Storage
from datarun_client import __version__


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@HOME_OPTION
def backup(folder: Path, home: Path | None) -> None:
    """Back up the database and the stored files into DIR, a new folder.

    datarun may run meanwhile. DIR then holds passwords' hashes and all that was submitted: keep it
    from others.
    """
    with explaining_errors(), open_site(find_home(home, os.environ), os.environ) as site:
        contents = write_backup(site, folder)
    click.echo(f"backed up {contents} to {folder}")


def write_backup(site: Site, target: Path) -> Contents:
    """Back up a site, running or not.

    Parameters
    ----------
    site : Site
    target : Path
        The backup's folder; it must not exist.

    Returns
    -------
    Contents
        What is in it.

    Raises
    ------
    BackupError, PostgresToolError
        If it can't be made; nothing of it is left then.
    """
    target = target.absolute()
    partial = target.with_name(f"{target.name}.partial")
    for path in (target, partial):
        if path.exists():
            raise BackupError(f"{path} exists; name another folder, or delete it.")
    partial.mkdir(mode=0o700, parents=True)
    try:
        contents = _fill(Backup(partial), site)
        partial.rename(target)
        sync(target.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return contents


def _fill(backup: Backup, site: Site) -> Contents:
    storage = Storage(backup.storage)
    with connect(site.database_url) as connection:
        major = read_major_version(connection)
        with hold_files(connection):
            snapshot = connection.scalar(text("SELECT pg_export_snapshot()"))
            revision = _read_revision(connection)
            dump_database(site.database_url, major, snapshot, backup.dump)
            files = {file["sha256"]: file["size"] for file in list_used(connection)}
            contents = count_contents(connection, files)
            # The snapshot isn't needed any more; a long one would keep PostgreSQL from cleaning up.
            connection.rollback()
            for sha256 in files:
                copy_file(find_file(site.storage, sha256), sha256, storage)
    (storage.root / "incoming").rmdir()
    sums = {sha256: f"storage/{sha256[:2]}/{sha256}" for sha256 in files}
    lines = [f"{hash_file(backup.dump)}  {backup.dump.name}\n"]
    lines += [f"{sha256}  {name}\n" for sha256, name in sorted(sums.items())]
    write_file(backup.sums, "".join(lines))
    sync(backup.dump)
    label = Label(
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        revision=revision,
        postgresql=major,
        sums_sha256=hash_file(backup.sums),
        contents=contents,
    )
    label.write(backup.label)
    sync(backup.path)
    return contents


def _read_revision(connection: Connection) -> str:
    if not inspect(connection).has_table("alembic_version"):
        raise BackupError("The database has no tables of datarun; there is nothing to back up.")
    return str(connection.scalar(text("SELECT version_num FROM alembic_version")))
