"""PostgreSQL's own programs: pg_dump and pg_restore.

Both are taken in the server's own major version: an older pg_dump refuses a newer server, and what
a newer one writes can't be restored into the server that it came from.
"""

import contextlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import Connection, make_url

from datarun_api.embedded import POSTGRES_PROGRAM, EmbeddedError, find_program
from datarun_client.errors import DatarunError

DEBIAN_PLACE = "/usr/lib/postgresql/{major}/bin/{name}"
"""Debian's pg_dump on PATH is a script that chooses one of these by rules of its own."""

VERSION = re.compile(r"\(PostgreSQL\) (\d+)")


class PostgresToolError(DatarunError):
    """One of PostgreSQL's programs isn't there, or failed."""


def read_major_version(connection: Connection) -> int:
    """Read the server's major version."""
    number = connection.exec_driver_sql("SHOW server_version_num").scalar_one()
    return int(number) // 10_000


def dump_database(url: str, major: int, snapshot: str, target: Path) -> None:
    """Write a database to a file, in pg_dump's custom format.

    Parameters
    ----------
    url : str
        The database, as SQLAlchemy names it.
    major : int
        The server's major version.
    snapshot : str
        What pg_export_snapshot gave, in a transaction that is still open.
    target : Path

    Raises
    ------
    PostgresToolError
        If there is no pg_dump of that version or it fails.
    """
    options = ("--format=custom", f"--snapshot={snapshot}", f"--file={target}")
    _run("pg_dump", major, url, *options, "--no-owner", "--no-privileges")


def restore_database(url: str, major: int, source: Path) -> None:
    """Restore what `dump_database` wrote, all or nothing.

    Raises
    ------
    PostgresToolError
        If there is no pg_restore of that version or it fails.
    """
    options = ("--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges")
    _run("pg_restore", major, url, *options, str(source))


def find_tool(name: str, major: int) -> Path:
    """Find one of PostgreSQL's programs: the system's, that on PATH, or the embedded server's.

    Raises
    ------
    PostgresToolError
        If there is none of that major version.
    """
    candidates = [Path(DEBIAN_PLACE.format(major=major, name=name))]
    if on_path := shutil.which(name):
        candidates.append(Path(on_path))
    with contextlib.suppress(EmbeddedError):
        candidates.append(find_program(*POSTGRES_PROGRAM).with_name(name))
    for path in candidates:
        if path.is_file() and _read_tool_version(path) == major:
            return path
    raise PostgresToolError(
        f"The server is PostgreSQL {major}, and there is no {name} {major} here; "
        f"install PostgreSQL's client programs (Debian: postgresql-client-{major})."
    )


def _read_tool_version(path: Path) -> int | None:
    result = subprocess.run([path, "--version"], stdin=subprocess.DEVNULL, capture_output=True)
    found = VERSION.search(result.stdout.decode(errors="replace"))
    return int(found[1]) if found else None


def _run(name: str, major: int, url: str, *options: str) -> None:
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    parameters = conninfo_to_dict(address)
    environ = dict(os.environ)
    # Not on the command line, which is everyone's to read.
    if password := parameters.pop("password", None):
        environ["PGPASSWORD"] = str(password)
    result = subprocess.run(
        [find_tool(name, major), f"--dbname={make_conninfo('', **parameters)}", *options],
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    if result.returncode != 0:
        said = result.stderr.decode(errors="replace").strip()
        raise PostgresToolError(f"{name} failed: {said}")
