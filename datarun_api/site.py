"""Where datarun keeps things: a database and a folder of files, of a home or of the operator's own.

A home that nobody holds is held while it is looked at, and its PostgreSQL runs for so long; in one
where `datarun up` runs, that one's PostgreSQL is used.
"""

import contextlib
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from datarun_api.config import load_config
from datarun_api.embedded import READY_TIME, EmbeddedPostgres, find_running_postgres
from datarun_api.home import Home, HomeInUseError
from datarun_api.standalone import find_default_home, make_child_environ
from datarun_api.storage import Storage
from datarun_api.supervisor import Supervisor, SupervisorError
from datarun_client.errors import DatarunError


class SiteError(DatarunError):
    """There is no database to be had; the message says why and what to do."""


@dataclass(frozen=True)
class Site:
    """A database and the files that it names.

    Attributes
    ----------
    database_url : str
        As SQLAlchemy wants it.
    storage : Storage
    """

    database_url: str
    storage: Storage


def find_home(named: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Find the home that is meant.

    Returns
    -------
    Path or None
        None if it is none, but the database and the folder that `DATABASE_URL` and
        `DATARUN_STORAGE` name.
    """
    if named is None and environ.get("DATABASE_URL") and environ.get("DATARUN_STORAGE"):
        return None
    return named or find_default_home(environ)


@contextlib.contextmanager
def open_site(path: Path | None, environ: Mapping[str, str]) -> Iterator[Site]:
    """Open the site of a home, running or not, or the operator's own.

    Parameters
    ----------
    path : Path or None
        As of `find_home`.
    environ : mapping of str to str
        A `DATABASE_URL` in it goes before the home's own PostgreSQL, as for `datarun up`.

    Raises
    ------
    SiteError
        If there is none, or its PostgreSQL isn't ready.
    """
    config = load_config(environ)
    if path is None:
        yield Site(config["DATABASE_URL"], Storage(Path(config["STORAGE"])))
        return
    if not (path / "storage").is_dir():
        raise SiteError(
            f"{path} is no home of datarun; name one with --home, or set DATABASE_URL and "
            "DATARUN_STORAGE."
        )
    if config["DATABASE_URL"]:
        yield Site(config["DATABASE_URL"], Storage(path / "storage"))
        return
    if not (path / "postgresql" / "data").exists():
        raise SiteError(
            f"{path} has no database of its own; set DATABASE_URL as for its `datarun up`."
        )
    with contextlib.ExitStack() as stack:
        try:
            site = stack.enter_context(_hold_site(path, environ))
        except HomeInUseError:
            site = _find_running_site(path)
        yield site


@contextlib.contextmanager
def open_new_site(path: Path | None, environ: Mapping[str, str]) -> Iterator[Site]:
    """Open a site in which nothing runs, and make its home if there is none.

    Parameters are those of `open_site`.

    Raises
    ------
    HomeError
        If the home is in use or another account's.
    """
    config = load_config(environ)
    if path is None:
        yield Site(config["DATABASE_URL"], Storage(Path(config["STORAGE"])))
    elif config["DATABASE_URL"]:
        with contextlib.closing(Home(path)) as home:
            yield Site(config["DATABASE_URL"], Storage(home.storage))
    else:
        with _hold_site(path, environ) as site:
            yield site


def _find_running_site(path: Path) -> Site:
    url = find_running_postgres(path)
    if url is None:
        raise SiteError(f"The PostgreSQL of {path} isn't ready; try again in a moment.")
    return Site(url, Storage(path / "storage"))


@contextlib.contextmanager
def _hold_site(path: Path, environ: Mapping[str, str]) -> Iterator[Site]:
    lines: list[str] = []
    with (
        contextlib.closing(Home(path)) as home,
        Supervisor(home.record, lines.append) as supervisor,
    ):
        postgres = EmbeddedPostgres(home)
        postgres.init()
        child = supervisor.start(postgres.get_program(make_child_environ(environ)))
        try:
            supervisor.wait_for(postgres.is_ready, child.program.name, READY_TIME, child)
        except SupervisorError as error:
            raise SiteError("\n".join([*lines, str(error)])) from None
        with _interruptible():
            yield Site(postgres.url, Storage(home.storage))


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let the signals that the supervisor only counts end what is done inside."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
