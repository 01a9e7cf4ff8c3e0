"""Lists of rows: filtered, page by page, with an ETag, and streamed.

A list goes from the database to the socket a few rows at a time, as plain values and never as
objects of the models, so that its length costs no memory. A first query looks over the rows without
their large columns and says how many there are, where the page ends and which versions of them it
saw; then they are read piece by piece, each piece by a query that goes on behind the last row of
the one before and ends where it has bytes enough.

So a list has a connection only while a piece is read, and none while it is sent: clients that read
slowly take no connections from others, and hold no snapshot that would keep PostgreSQL from
clearing up. A cursor on the server would need both, and is no quicker.

The versions are PostgreSQL's own: every change of a row gives it another ``xmin``. What changes
while the list is sent may be in the body, but not in the ETag, so that the next look has it again.

A stream that breaks off in the middle is an error in the server's log and a connection that is
closed before its last chunk; and the JSON has no end, so that nobody takes it for a whole list.
"""

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson
from flask import Response, request
from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Connection,
    Dialect,
    Enum,
    Integer,
    LargeBinary,
    Select,
    SQLColumnExpression,
    String,
    Text,
    and_,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    type_coerce,
)
from sqlalchemy.orm import InstrumentedAttribute

from datarun_api.extensions import db
from datarun_api.wire import dump_rows
from datarun_client import __version__

CHUNK_BYTES = 1 << 20
"""How much of a list is in memory at a time, if its rows aren't larger."""

MAX_CHUNK_ROWS = 1000

_NO_KEY = -1
"""Smaller than every key."""

_CONDITIONS = "/* conditions */"
"""What stands for a list's conditions in the text of a query."""

_OWN = "piece_"

HEADERS = {
    "ETag": {"schema": {"type": "string"}, "description": "For `If-None-Match`."},
    "Link": {
        "schema": {"type": "string"},
        "description": 'Where the next page is, if there is one: `<address>; rel="next"`.',
    },
}
"""What a list tells beside its body, for `/openapi.json`."""


@dataclass(frozen=True)
class Listing:
    """Which rows a request lists, and what of them.

    Attributes
    ----------
    key : InstrumentedAttribute
        The number that orders the rows; no two of those listed have the same.
    names : sequence of str
        The fields that are shown; attributes of the model.
    conditions : sequence of ColumnElement
        What is true of the rows that are listed.
    limit : int, optional
        How many rows a page has; all if it is None.
    cursor : int, optional
        The key of the last row of the page before.
    """

    key: InstrumentedAttribute[int]
    names: Sequence[str]
    conditions: Sequence[ColumnElement[bool]]
    limit: int | None = None
    cursor: int | None = None


@dataclass(frozen=True)
class Overview:
    """What is known of a page before its rows are read.

    Attributes
    ----------
    n_rows : int
    last : int or None
        The key of its last row; None if there is no row.
    versions : int
        One number for the keys and the versions of its rows.
    """

    n_rows: int
    last: int | None
    versions: int

    @property
    def etag(self) -> str:
        """What changes when a row of the page does, or the release that writes it."""
        return f"{__version__}-{self.n_rows}-{self.versions:x}"


def send_list(listing: Listing) -> Response:
    """Send a page of a list, or say that the caller has it already.

    Raises
    ------
    DBAPIError, psycopg.Error
        If the database fails before the first row; later it ends the stream.
    """
    page = look_over(listing)
    following = _find_next_address(listing, page)
    if request.if_none_match.contains_weak(page.etag):
        response = Response(status=304)
    else:
        response = _stream(listing, page)
    # The session's connection isn't needed any more.
    db.session.rollback()
    response.set_etag(page.etag, weak=True)
    if following is not None:
        response.headers["Link"] = f'<{following}>; rel="next"'
    return response


def send_all(listing: Listing) -> Response:
    """Send the rows of a list that isn't asked for again; errors as in `send_list`.

    The first of them are read in the session's transaction, which the caller may then end.
    """
    return _stream(listing, look_over(listing))


def look_over(listing: Listing) -> Overview:
    """Find out about a page what can be known without its large columns."""
    model = listing.key.class_
    rows = _select(
        listing,
        listing.key.label("key"),
        cast(cast(literal_column(f"{model.__tablename__}.xmin"), Text), BigInteger).label("xmin"),
    ).subquery()
    overview = select(
        func.count(),
        func.max(rows.c.key),
        func.sum(func.hashint8extended(rows.c.key, rows.c.xmin)),
    )
    n_rows, last, versions = db.session.execute(overview).one()
    return Overview(n_rows, last, int(versions or 0))


def _stream(listing: Listing, page: Overview) -> Response:
    rows = RowReader(listing, page)

    def write() -> Iterator[bytes]:
        yield b"["
        separator = b""
        for chunk in rows:
            yield separator + orjson.dumps(dump_rows(listing.names, chunk))[1:-1]
            separator = b","
        yield b"]\n"

    response = Response(write(), mimetype="application/json")
    if rows.is_whole:
        response.make_sequence()
    return response


class RowReader:
    """Reads a page's rows some at a time, each time with a connection that it gives back at once.

    The first of them are read at once and with the session's connection, so that an early failure
    is a refusal. For the others the session is gone.

    Parameters
    ----------
    listing : Listing
    page : Overview

    Attributes
    ----------
    is_whole : bool
        Whether the first were all.
    """

    def __init__(self, listing: Listing, page: Overview) -> None:
        piece = _write_piece(listing.key, tuple(listing.names), db.engine.dialect)
        self._key_place = piece.key_place
        self._adds_key = piece.key_place == len(listing.names)
        self._engine = db.engine
        conditions = and_(*listing.conditions).compile(
            db.engine, compile_kwargs={"render_postcompile": True}
        )
        self._query = piece.text.replace(_CONDITIONS, str(conditions))
        self._values = {
            **conditions.params,
            **piece.values,
            f"{_OWN}max_rows": MAX_CHUNK_ROWS,
            f"{_OWN}max_bytes": CHUNK_BYTES,
        }
        self._behind = _NO_KEY if listing.cursor is None else listing.cursor
        self._last = _NO_KEY if page.last is None else page.last
        # If the keys are spread evenly, so many of them have a piece's rows.
        self._span = (self._last - self._behind) * MAX_CHUNK_ROWS // max(page.n_rows, 1) + 1
        self._first = self._read_next(db.session.connection())
        self.is_whole = self._behind >= self._last

    def __iter__(self) -> Iterator[list[Any]]:
        rows = self._first
        self._first = []
        while rows:
            yield rows
            rows = self._read_next()

    def _read_next(self, connection: Connection | None = None) -> list[Any]:
        """Read the next piece; it is empty at the end alone.

        The keys are bounded on both sides, as a piece's limit isn't enough: PostgreSQL that knows
        a table badly, after many rows came at once, would sort all that follow for each piece.
        """
        rows: list[Any] = []
        while not rows and self._behind < self._last:
            up_to = min(self._behind + self._span, self._last)
            with contextlib.nullcontext(connection) if connection else self._connect() as reading:
                keys = {f"{_OWN}behind": self._behind, f"{_OWN}up_to": up_to}
                rows = _fetch_all(reading, self._query, self._values | keys)
            if rows:
                up_to = rows[-1][self._key_place]
                self._span = up_to - self._behind
            # Room for a piece that is larger than this one; where nothing is, for ever more.
            self._span *= 2
            self._behind = up_to
        return [row[:-1] for row in rows] if self._adds_key else rows

    def _connect(self) -> Connection:
        """Take a connection with nothing to begin and nothing to end."""
        return self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")


@dataclass(frozen=True)
class _Piece:
    """The query for a piece of a list.

    Attributes
    ----------
    text : str
        SQL, with `_CONDITIONS` where the list's are to be.
    values : mapping
        Of its parameters, whose names begin with `_OWN`, as the conditions have some, too.
    key_place : int
        The place of the key among its columns; it is the last if it isn't shown.
    """

    text: str
    values: Mapping[str, Any]
    key_place: int


@functools.lru_cache
def _write_piece(
    key: InstrumentedAttribute[int], shown: tuple[str, ...], dialect: Dialect
) -> _Piece:
    """Write the query for a piece: the first rows behind a key, and up to another, by key.

    There are `max_rows` of them at most, and none after those that have `max_bytes`. SQLAlchemy
    takes longer to put it together than PostgreSQL to carry it out, so that is done once.
    """
    names = [*shown] if key.key in shown else [*shown, key.key]
    # Numbered, as a list may be asked to show a field twice.
    columns = [
        column.label(f"column_{place}") for place, column in enumerate(_list_columns(key, names))
    ]
    key_place = names.index(key.key)
    large = [
        func.coalesce(func.octet_length(column.element), 0)
        for column in columns
        if isinstance(column.type, LargeBinary | Text)
    ]
    rows = (
        select(
            *columns,
            sum(large, literal_column("0")).label("n_bytes"),
        )
        .where(
            literal_column(_CONDITIONS, Boolean),
            key > bindparam("behind"),
            key <= bindparam("up_to"),
        )
        .order_by(key)
        .limit(bindparam("max_rows", type_=Integer))
        .subquery("rows")
    )
    shown_columns = [rows.c[column.name] for column in columns]
    so_far = func.sum(rows.c.n_bytes).over(order_by=shown_columns[key_place]) - rows.c.n_bytes
    counted = select(*shown_columns, so_far.label("so_far")).subquery("counted")
    piece = (
        select(*(counted.c[column.name] for column in columns))
        .where(counted.c.so_far < bindparam("max_bytes", type_=Integer))
        .order_by(counted.c[columns[key_place].name])
    )
    compiled = piece.compile(dialect=dialect)
    text = str(compiled)
    for name in compiled.params:
        text = text.replace(f"%({name})s", f"%({_OWN}{name})s")
    values = {f"{_OWN}{name}": value for name, value in compiled.params.items()}
    return _Piece(text, values, key_place)


def _fetch_all(connection: Connection, query: str, values: Mapping[str, Any]) -> list[Any]:
    """Read rows by a cursor of psycopg's own.

    SQLAlchemy's would read bytes as hexadecimal text and wrap every row, which takes twice as long.
    """
    driver: Any = connection.connection.driver_connection
    with driver.cursor(binary=True) as cursor:
        # Planned each time: what is best for the first piece may not be for the last.
        cursor.execute(query, values, prepare=False)
        rows: list[Any] = cursor.fetchall()
    return rows


def _find_next_address(listing: Listing, page: Overview) -> str | None:
    """Address the next page; None if there is none.

    It is relative, as only a proxy in front of us knows how we are called.
    """
    if page.last is None or page.n_rows != listing.limit:
        return None
    behind = _select(listing, listing.key).where(listing.key > page.last).limit(1)
    if db.session.scalar(behind) is None:
        return None
    query = urlencode({**request.args.to_dict(), "cursor": page.last})
    return f"{request.root_path}{request.path}?{query}"


def _select(listing: Listing, *columns: SQLColumnExpression[Any]) -> Select[Any]:
    """Ask for columns of a page's rows."""
    query = select(*columns).where(*listing.conditions)
    if listing.cursor is not None:
        query = query.where(listing.key > listing.cursor)
    return query if listing.limit is None else query.order_by(listing.key).limit(listing.limit)


def _list_columns(
    key: InstrumentedAttribute[int], names: Sequence[str]
) -> list[ColumnElement[Any]]:
    """Name the columns of fields of the key's table; an enum's text is shown as it is kept."""
    columns = [getattr(key.class_, name) for name in names]
    return [
        type_coerce(column, String) if isinstance(column.type, Enum) else column
        for column in columns
    ]
