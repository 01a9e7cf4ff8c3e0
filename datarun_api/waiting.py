"""Requests that wait until something happens to their account's folds.

::

    a commit ──NOTIFY──► PostgreSQL ──► one listening connection a process ──► waiting threads

Each process that has waiting requests listens with one connection of its own, in one thread, and
wakes those who wait for the fold that a notification names, or for any of its account (`events`
tells where these come from). A notification says only that it is worth looking again; the truth is
in the tables. So nothing depends on it that a lost one could break: whoever waits begins to do so
before it looks, is woken whenever the connection is made anew, after a restart of PostgreSQL, say,
and looks again now and then anyway.

A transaction that changes a thousand folds sends a thousand notifications, as no two are the same.
Each costs two look-ups here, however many wait, and who waits for any fold of the account looks a
few times for all of them, not a thousand (`REST`).

A waiting request holds a thread of its process and no database connection. At most
``DATARUN_MAX_WAITERS`` of a process wait at once, and at most half as many of one account; the
others are told to come back later. A process must have more threads than that, or waiting would
keep it from answering (`gunicorn_config`).
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import psycopg
from flask import Flask, current_app

from datarun_api.errors import BusyError
from datarun_api.extensions import db, release_connection

CHANNEL = "datarun_fold"
"""What revision 0014 notifies, with ``owner_id:databoard_sf_id``."""

RECHECK = 15.0
"""Seconds after which a waiting thread looks again, woken or not."""

REST = 0.05
"""Seconds between two looks of a thread, however often it is woken."""

TICK = 1.0
"""Seconds after which the listener looks whether it is still needed."""

PING = 15.0
"""Seconds of silence after which the listener asks PostgreSQL for a sign of life."""

RETRY_AFTER = 5.0
"""Seconds after which one who found no place to wait may come back."""

logger = logging.getLogger(__name__)

Subject = tuple[int, int | None]
"""What is waited for: an account, and one fold of it or, as None, any."""

T = TypeVar("T")


class Waiter:
    """One thread that waits for a fold, or for any of an account.

    Parameters
    ----------
    owner_id : int
    databoard_sf_id : int or None
        None for one that waits for all of the account's.
    """

    def __init__(self, owner_id: int, databoard_sf_id: int | None = None) -> None:
        self.subject: Subject = (owner_id, databoard_sf_id)
        self._woken = threading.Event()
        # The first time it looks as soon as it is woken.
        self._looked_at = time.monotonic() - REST

    def wake(self) -> None:
        """Let it look again."""
        self._woken.set()

    def wait(self, seconds: float) -> None:
        """Sleep until it is woken, or for some seconds; what woke it before counts."""
        self._woken.wait(seconds)
        time.sleep(max(0.0, self._looked_at + REST - time.monotonic()))
        self._looked_at = time.monotonic()
        self._woken.clear()


class Listener:
    """Wakes this process's waiting threads.

    Parameters
    ----------
    connect : callable
        Makes a connection in autocommit mode.
    max_waiters : int
    """

    def __init__(self, connect: Callable[[], psycopg.Connection], max_waiters: int) -> None:
        self._connect = connect
        self._max_waiters = max_waiters
        self._lock = threading.Lock()
        self._waiters: dict[Subject, set[Waiter]] = {}
        self._thread: threading.Thread | None = None
        self._is_closed = threading.Event()

    def add(self, owner_id: int, databoard_sf_id: int | None = None) -> Waiter:
        """Find a place to wait for a fold, or for any of an account; `remove` gives it back.

        Raises
        ------
        BusyError
            If too many wait already, of all accounts or of this one.
        """
        with self._lock:
            owners = [owner for (owner, _), waiters in self._waiters.items() for _ in waiters]
            n_own = owners.count(owner_id)
            # One account leaves room for the others, however many requests it sends.
            if len(owners) >= self._max_waiters or n_own >= (self._max_waiters + 1) // 2:
                raise BusyError(
                    "Too many requests wait; ask without waiting, or later.",
                    retry_after=RETRY_AFTER,
                )
            waiter = Waiter(owner_id, databoard_sf_id)
            self._waiters.setdefault(waiter.subject, set()).add(waiter)
            # Not before somebody waits: a process that forks has no thread then.
            if self._thread is None:
                self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)
                self._thread.start()
        return waiter

    def remove(self, waiter: Waiter) -> None:
        """Give a place back; once is enough."""
        with self._lock:
            waiters = self._waiters.get(waiter.subject, set())
            waiters.discard(waiter)
            if not waiters:
                self._waiters.pop(waiter.subject, None)

    @contextlib.contextmanager
    def waiting(self, owner_id: int, databoard_sf_id: int | None = None) -> Iterator[Waiter]:
        """Hold a place as long as the context lasts; errors as of `add`."""
        waiter = self.add(owner_id, databoard_sf_id)
        try:
            yield waiter
        finally:
            self.remove(waiter)

    def close(self) -> None:
        """Stop listening."""
        self._is_closed.set()
        if self._thread is not None:
            self._thread.join()

    def _listen(self) -> None:
        while not self._is_closed.is_set():
            try:
                with self._connect() as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    self._wake_all()
                    self._follow(connection)
            except psycopg.OperationalError as error:
                logger.warning("can't listen to PostgreSQL (%s)", error.__class__.__name__)
                self._is_closed.wait(TICK)

    def _follow(self, connection: psycopg.Connection) -> None:
        heard_at = time.monotonic()
        while not self._is_closed.is_set():
            for notification in connection.notifies(timeout=TICK):
                heard_at = time.monotonic()
                self._hear(notification.payload)
                if self._is_closed.is_set():
                    return
            if time.monotonic() - heard_at > PING:
                # What it does already; so PostgreSQL's list of processes goes on telling it.
                connection.execute(f"LISTEN {CHANNEL}")
                heard_at = time.monotonic()

    def _hear(self, payload: str) -> None:
        """Wake whom a notification concerns: everybody, if it can't be read."""
        try:
            owner_id, databoard_sf_id = map(int, payload.split(":"))
        except ValueError:
            # Another release's. To look in vain does no harm, and to end here would.
            self._wake_all()
        else:
            self._wake((owner_id, databoard_sf_id), (owner_id, None))

    def _wake(self, *subjects: Subject) -> None:
        with self._lock:
            for subject in subjects:
                for waiter in self._waiters.get(subject, ()):
                    waiter.wake()

    def _wake_all(self) -> None:
        with self._lock:
            for waiters in self._waiters.values():
                for waiter in waiters:
                    waiter.wake()


def get_listener() -> Listener:
    """Find this process's listener."""
    listener: Listener = current_app.extensions["datarun_listener"]
    return listener


def make_connect(app: Flask) -> Callable[[], psycopg.Connection]:
    """Make what connects to an application's database, beside its pool and in any thread."""

    def connect() -> psycopg.Connection:
        with app.app_context():
            args, options = db.engine.dialect.create_connect_args(db.engine.url)
        return psycopg.connect(*args, **{"connect_timeout": 10, **options}, autocommit=True)

    return connect


def wait_for(
    owner_id: int, seconds: float, look: Callable[[], T], databoard_sf_id: int | None = None
) -> T:
    """Look until there is something to see, or the time is over.

    Parameters
    ----------
    owner_id : int
        The account whose folds it depends on.
    seconds : float
    look : callable
        What it returns is true if there is something.
    databoard_sf_id : int or None
        The fold whose state alone it depends on; None if any may matter.

    Returns
    -------
    object
        What was seen last.

    Raises
    ------
    BusyError
        If too many wait already.
    """
    deadline = time.monotonic() + seconds
    seen = look()
    if seen or not seconds:
        return seen
    with get_listener().waiting(owner_id, databoard_sf_id) as waiter:
        # What happened before the place was taken wakes nobody.
        while not (seen := look()) and (left := deadline - time.monotonic()) > 0:
            release_connection()
            waiter.wait(min(left, RECHECK))
    return seen
