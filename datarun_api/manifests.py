"""Which files of storage the database names, and who keeps them from being deleted.

A file that nothing names is deleted sooner or later, even one that somebody just read the name of:
its data set may have been deleted since. Whoever needs the files of what it has read (a backup)
holds `hold_files` meanwhile; whoever deletes (`garbage`) asks `may_delete_files` first.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, inspect, select, text

from datarun_api.models import RawData, StoredFile, Submission, Upload

MANIFESTS = (RawData.files, RawData.parts, Submission.files)
"""The columns that name files, each many; an upload names one."""

LOCK = 0x66696C65
"""The advisory lock's number: "file" in ASCII."""

BATCH = 1000


def list_used(connection: Connection) -> Iterator[StoredFile]:
    """List the files that the database names; one may come more than once.

    Parameters
    ----------
    connection : Connection
        To a database of this or an earlier revision.
    """
    inspector = inspect(connection)
    # First, as what an upload named may have gone over into a manifest a moment later.
    if inspector.has_table(Upload.__tablename__):
        uploads = select(Upload.id, Upload.sha256, Upload.size)
        for upload_id, sha256, size in connection.execute(uploads):
            if sha256 is not None:
                yield {"name": str(upload_id), "sha256": sha256, "size": size}
    for column in MANIFESTS:
        table = column.class_.__table__.name
        if column.key not in {found["name"] for found in inspector.get_columns(table)}:
            continue
        query = select(column).execution_options(yield_per=BATCH)
        for manifest in connection.scalars(query):
            yield from manifest


@contextmanager
def hold_files(connection: Connection) -> Iterator[None]:
    """Have no file deleted inside the context, whatever the database comes to name.

    Parameters
    ----------
    connection : Connection
        Its session holds the lock, over the ends of transactions.

    Raises
    ------
    SQLAlchemyError
        If the session was lost meanwhile, and files may have been deleted.
    """
    connection.execute(text("SELECT pg_advisory_lock_shared(:lock)"), {"lock": LOCK})
    connection.commit()
    yield
    connection.execute(text("SELECT pg_advisory_unlock_shared(:lock)"), {"lock": LOCK})
    connection.commit()


def may_delete_files(connection: Connection) -> bool:
    """Tell whether nobody holds the files; nobody can then until the transaction's end."""
    query = text("SELECT pg_try_advisory_xact_lock(:lock)")
    return bool(connection.scalar(query, {"lock": LOCK}))
