"""How many folds a second are accepted, from one client.

The floor is what can't be left out: to insert a row, commit, and enqueue a job with RQ, in this
process and without HTTP. In bulk, rows and jobs go together. Beside it stands what HTTP takes by
itself: the same client posts the same to a view that does nothing. Who does both, one after the
other, is no faster than the floor over HTTP.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus

import orjson
import psycopg
import requests
from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

from benchmarks.benches.bench import Bench, Results
from benchmarks.empty_view import serve_empty_view
from benchmarks.idle_stack import IdleStack, describe_fold
from benchmarks.measurements import Spread, divide
from benchmarks.session import Session
from benchmarks.site import DEADLINE, BenchError
from benchmarks.stack import FoldEntry
from benchmarks.tables import Table, format_ratio, format_spread
from datarun_client.codec import decode_base64

TABLE = """
    CREATE TABLE IF NOT EXISTS bench_floor (
        databoard_sf_id bigint PRIMARY KEY, databoard_s bigint, train_is bytea, test_is bytea,
        priority text, state text, queued_at timestamptz DEFAULT now()
    )
"""
INSERT = "INSERT INTO bench_floor VALUES (%s, %s, %s, %s, 'L', 'TODO')"


@dataclass(frozen=True)
class Load:
    """Folds to be posted.

    Attributes
    ----------
    title : str
    n_rows : int
        The rows that each names.
    n_requests : int
    n_folds : int
        In each request.
    target : float
        What datarun should reach: a share of the floor's rate, or folds a second if there are
        several in a request.
    """

    title: str
    n_rows: int
    n_requests: int
    n_folds: int
    target: float

    @property
    def is_bulk(self) -> bool:
        """Whether several folds go in one request."""
        return self.n_folds > 1


LOADS = (
    Load("one by one, 3 kB", 900, 100, 1, 0.5),
    Load("one by one, 100 kB", 33_000, 20, 1, 0.5),
    Load("in bulk, 3 kB", 900, 2, 1000, 2000),
)


class AcceptingBench(Bench):
    """Folds accepted a second, beside the floor."""

    name = "accepting"

    def measure(self, session: Session) -> Results:
        """Let datarun and the floor take the same folds, in turn."""
        idle = session.idle_stack
        rates: dict[str, dict[str, list[float]]] = {}
        with _open_floor(idle) as insert, serve_empty_view() as url:
            takes = {
                "datarun": _make_post(
                    idle.stack.session, f"{idle.stack.url}runapp/submissionfold/"
                ),
                "empty view": _make_post(idle.stack.session, url),
                "floor": insert,
            }
            for repeat in range(session.n_repeats):
                for load in LOADS:
                    for name, take in takes.items():
                        rate = _measure(idle, load, take)
                        rates.setdefault(load.title, {}).setdefault(name, []).append(rate)
                        session.tell(
                            f"accepting: repeat {repeat + 1} of {session.n_repeats}, "
                            f"{load.title}, {name}: {rate:,.0f} folds a second"
                        )
        return {"rates": rates}

    def make_tables(self, results: Results) -> list[Table]:
        """Show rates and their ratios."""
        table = Table(
            "Accepting folds: folds a second, one client",
            [
                "",
                "floor",
                "empty view",
                "floor over HTTP",
                "datarun",
                "spread",
                "over the floor",
                "over that over HTTP",
                "target over the floor",
            ],
        )
        for load in LOADS:
            rates = results["rates"][load.title]
            both = _add_times(rates["floor"], rates["empty view"])
            goal = f"{load.target:,.0f} a second" if load.is_bulk else f"{load.target:g}"
            table.rows.append(
                [
                    load.title,
                    *(
                        f"{Spread.of(found).median:,.0f}"
                        for found in (rates["floor"], rates["empty view"], both)
                    ),
                    *format_spread(Spread.of(rates["datarun"]), "{:,.0f}".format),
                    *(
                        format_ratio(Spread.of(divide(rates["datarun"], found)).median)
                        for found in (rates["floor"], both)
                    ),
                    goal,
                ]
            )
        return [table]

    def find_ratios(self, results: Results) -> dict[str, Spread]:
        """Give the floor's rates over datarun's: more is slower."""
        return {
            f"accepting {title}, floor over datarun": Spread.of(
                divide(rates["floor"], rates["datarun"])
            )
            for title, rates in results["rates"].items()
        }


Take = Callable[[list[FoldEntry]], float]
"""Takes folds as they are posted, and says how many seconds that took."""


def _measure(idle: IdleStack, load: Load, take: Take) -> float:
    """Give a load, and say how many folds a second were taken."""
    numbers = idle.stack.take_numbers(load.n_requests * load.n_folds)
    requests = [
        [
            describe_fold(number, idle.submission, load.n_rows)
            for number in numbers[place :: load.n_requests]
        ]
        for place in range(load.n_requests)
    ]
    return len(numbers) / sum(take(folds) for folds in requests)


def _make_post(session: requests.Session, url: str) -> Take:
    """Make what posts folds to an address, over one connection that is kept."""

    def post(folds: list[FoldEntry]) -> float:
        text = orjson.dumps(folds if len(folds) > 1 else folds[0])
        start = time.perf_counter()
        response = session.post(
            url, data=text, headers={"Content-Type": "application/json"}, timeout=DEADLINE
        )
        seconds = time.perf_counter() - start
        if response.status_code != HTTPStatus.CREATED:
            raise BenchError(f"A post was answered {response.status_code}: {response.text}")
        return seconds

    return post


def _add_times(first: list[float], second: list[float]) -> list[float]:
    """Give the rates of doing one thing after the other."""
    return [1 / (1 / one + 1 / other) for one, other in zip(first, second, strict=True)]


@contextlib.contextmanager
def _open_floor(idle: IdleStack) -> Iterator[Take]:
    """Make what writes folds into a table and a queue of their own."""
    with (
        psycopg.connect(idle.database_url) as database,
        Redis.from_url(idle.environ["REDIS_URL"]) as connection,
    ):
        database.execute(TABLE)
        database.commit()
        queue = Queue("bench-floor", connection=connection, serializer=JSONSerializer)

        def insert(folds: list[FoldEntry]) -> float:
            rows = [
                (
                    fold["databoard_sf_id"],
                    fold["databoard_s_id"],
                    decode_base64(fold["train_is"]),
                    decode_base64(fold["test_is"]),
                )
                for fold in folds
            ]
            start = time.perf_counter()
            with database.cursor() as cursor:
                cursor.executemany(INSERT, rows)
            database.commit()
            queue.enqueue_many([Queue.prepare_data("tasks.run", args=(row[0],)) for row in rows])
            return time.perf_counter() - start

        yield insert
        queue.delete(delete_jobs=True)
