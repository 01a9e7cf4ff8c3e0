"""How long it takes to list many folds, and what it costs the API in memory.

The floor reads the same columns through a cursor that PostgreSQL keeps, a thousand rows at a time,
and writes them as JSON, in this process and without HTTP.
"""

import base64
import time
from collections.abc import Iterator
from dataclasses import dataclass

import orjson
import psycopg
import requests

from benchmarks.benches.bench import Bench, Results
from benchmarks.idle_stack import IdleStack
from benchmarks.many_folds import FullAccount, fill_account
from benchmarks.measurements import Spread, divide
from benchmarks.memory import watch_memory
from benchmarks.session import Session
from benchmarks.site import DEADLINE
from benchmarks.tables import Table, format_megabytes, format_milliseconds, format_ratio

TARGET = 1.5
FIRST_BYTE_TARGET = 0.050
"""Seconds."""

_CHUNK = 1 << 16

_ROWS_AT_ONCE = 1000

_LIGHT = ("databoard_sf_id", "databoard_s", "state", "new")
_FULL = (
    *_LIGHT,
    "priority",
    "log_messages",
    "train_time",
    "validation_time",
    "test_time",
    "train_cpu_time",
    "test_cpu_time",
    "train_memory",
    "test_memory",
    "attempt",
    "created_at",
    "started_at",
    "finished_at",
    "failure_kind",
    "train_is",
    "test_is",
    "full_train_predictions",
    "test_predictions",
)


@dataclass(frozen=True)
class Listing:
    """A list to be read, in an account of its own.

    Attributes
    ----------
    account, title, path : str
    columns : tuple of str
        What the floor reads.
    n_folds, n_quick_folds : int
    n_bytes : int
        Packed bytes of a fold's rows and predictions.
    """

    account: str
    title: str
    path: str
    columns: tuple[str, ...]
    n_folds: int
    n_quick_folds: int
    n_bytes: int


LISTINGS = (
    Listing("light", "light list", "submissionfold-light/", _LIGHT, 100_000, 20_000, 8),
    Listing("full", "full list, 20 kB a fold", "submissionfold/", _FULL, 10_000, 2_000, 15_000),
)


class ReadingBench(Bench):
    """The lists of folds, beside the floor."""

    name = "reading"

    def measure(self, session: Session) -> Results:
        """Fill accounts with folds, then read them in turn."""
        idle = session.idle_stack
        measured = {}
        for listing in LISTINGS:
            n_folds = listing.n_quick_folds if session.is_quick else listing.n_folds
            session.tell(f"reading: making {n_folds:,} folds for the {listing.title}")
            account = fill_account(idle.app, listing.account, n_folds, listing.n_bytes)
            seconds: dict[str, list[float]] = {"datarun": [], "floor": []}
            first: dict[str, list[float]] = {"datarun": [], "floor": []}
            growth, peaks = [], []
            read_list(idle, listing, account)
            for _ in range(session.n_repeats):
                with watch_memory(idle.api_processes) as watch:
                    reads = {"datarun": read_list(idle, listing, account)}
                growth.append(watch.growth)
                peaks.append(watch.peak)
                reads["floor"] = read_floor(idle, listing, account)
                for name, (first_byte, whole) in reads.items():
                    first[name].append(first_byte)
                    seconds[name].append(whole)
            measured[listing.account] = {
                "n_folds": n_folds,
                "seconds": seconds,
                "first_byte": first,
                "growth": growth,
                "peak": max(peaks),
            }
        return {"listings": measured}

    def make_tables(self, results: Results) -> list[Table]:
        """Show times, first bytes and memory."""
        table = Table(
            "Reading",
            [
                "",
                "floor",
                "datarun",
                "over the floor",
                "target",
                "first byte",
                "target",
                "API's memory",
                "a process at most",
            ],
        )
        for listing in LISTINGS:
            entry = results["listings"][listing.account]
            ratio = Spread.of(divide(entry["seconds"]["datarun"], entry["seconds"]["floor"]))
            table.rows.append(
                [
                    f"{listing.title}, {entry['n_folds']:,} folds",
                    format_milliseconds(Spread.of(entry["seconds"]["floor"]).median),
                    format_milliseconds(Spread.of(entry["seconds"]["datarun"]).median),
                    format_ratio(ratio.median),
                    f"{TARGET:g}",
                    format_milliseconds(Spread.of(entry["first_byte"]["datarun"]).median),
                    format_milliseconds(FIRST_BYTE_TARGET),
                    f"+{format_megabytes(Spread.of(entry['growth']).highest)}",
                    format_megabytes(entry["peak"]),
                ]
            )
        return [table]

    def find_ratios(self, results: Results) -> dict[str, Spread]:
        """Give datarun's times over the floor's."""
        ratios = {}
        for listing in LISTINGS:
            seconds = results["listings"][listing.account]["seconds"]
            name = f"reading the {listing.title}, datarun over floor"
            ratios[name] = Spread.of(divide(seconds["datarun"], seconds["floor"]))
        return ratios


def read_list(idle: IdleStack, listing: Listing, account: FullAccount) -> tuple[float, float]:
    """Read a list over HTTP: seconds until its first byte and until its last."""
    start = time.perf_counter()
    with requests.get(
        f"{idle.stack.url}runapp/{listing.path}",
        headers={"Authorization": f"Bearer {account.token}", "Accept-Encoding": "identity"},
        stream=True,
        timeout=DEADLINE,
    ) as response:
        response.raise_for_status()
        chunks = response.iter_content(_CHUNK)
        next(chunks)
        first = time.perf_counter() - start
        for _ in chunks:
            pass
    return first, time.perf_counter() - start


def read_floor(idle: IdleStack, listing: Listing, account: FullAccount) -> tuple[float, float]:
    """Read the same from PostgreSQL: seconds until the first bytes and until the last."""
    with psycopg.connect(idle.database_url) as database:
        start = time.perf_counter()
        pieces = _write_rows(database, listing, account.id)
        next(pieces)
        first = time.perf_counter() - start
        for _ in pieces:
            pass
        return first, time.perf_counter() - start


def _write_rows(
    database: "psycopg.Connection[tuple[object, ...]]", listing: Listing, owner: int
) -> Iterator[bytes]:
    with database.cursor(name="floor", binary=True) as cursor:
        cursor.itersize = _ROWS_AT_ONCE
        columns = ", ".join(listing.columns)
        cursor.execute(
            f"SELECT {columns} FROM submission_fold WHERE owner_id = %s ORDER BY databoard_sf_id",
            [owner],
        )
        while rows := cursor.fetchmany(_ROWS_AT_ONCE):
            yield orjson.dumps(
                [dict(zip(listing.columns, map(_show, row), strict=True)) for row in rows]
            )


def _show(value: object) -> object:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
