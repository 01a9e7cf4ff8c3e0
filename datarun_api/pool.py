"""The pool of database connections, and how it sees that PostgreSQL went away.

A connection that PostgreSQL closed, as it does when it is restarted, mustn't be given to a request.
To ask PostgreSQL each time (`pool_pre_ping`) would be one more round trip for every request. But
its kernel has told ours already: the socket of such a connection can be read, while that of a good
one can't, as nothing was asked. So PostgreSQL is asked only if there is something to read, or if
the connection was idle for so long that something between the two machines may have forgotten it.
"""

import select
import time
from typing import Any

import orjson
from sqlalchemy import Engine, event
from sqlalchemy.exc import InvalidatePoolError

POOL = {
    "pool_size": 10,
    "max_overflow": 10,
    "pool_timeout": 10,
    # The one used last knows its statements, and the others may rest.
    "pool_use_lifo": True,
    "hide_parameters": True,
    "json_deserializer": orjson.loads,
}
"""Each thread of a gunicorn worker holds at most one connection. What goes into the database may be
secret, so no error and no log shows it. PostgreSQL gives 1e20 back as a whole number, which only
orjson reads as what it can write again."""

MAX_IDLE = 10.0
"""Seconds after which a connection is asked for a sign of life before it is used again."""

_RETURNED_AT = "datarun_returned_at"


def check_connections(engine: Engine) -> None:
    """Have the engine's pool give out only connections that PostgreSQL hasn't closed."""

    @event.listens_for(engine, "checkin")
    def note_return(connection: Any, record: Any) -> None:
        record.info[_RETURNED_AT] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def check(connection: Any, record: Any, proxy: Any) -> None:
        returned_at = record.info.get(_RETURNED_AT)
        if returned_at is None:
            return  # it was made just now
        is_recent = time.monotonic() - returned_at < MAX_IDLE
        try:
            if not is_recent or is_readable(connection):
                engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error


def is_readable(connection: Any) -> bool:
    """Tell whether something came on a connection: PostgreSQL's last word, or the end of it."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))
