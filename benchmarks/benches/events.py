"""What it costs to note a fold's change of state: the event, its notification, the scoring.

Triggers do it in the transaction of the change (`datarun_api.events`, `datarun_api.scoring`), and
whoever changes an account's folds holds a lock while it commits. The same changes are made with the
triggers and without, one a transaction, by one connection and by several at once, each of a fold
of its own. A fold that runs changes its state three times at most.
"""

import time
from concurrent.futures import ThreadPoolExecutor

import psycopg

from benchmarks.benches.bench import Bench, Results
from benchmarks.idle_stack import IdleStack
from benchmarks.many_folds import fill_account
from benchmarks.measurements import Spread, divide
from benchmarks.session import Session
from benchmarks.tables import Table, format_milliseconds, format_ratio

N_CHANGES = 300
N_CONNECTIONS = (1, 4)

WITH, WITHOUT = "with triggers", "without"

_NO_TRIGGERS = "SET session_replication_role = replica"
_CHANGE = """
    UPDATE submission_fold SET state = CASE state WHEN 'TRAINED' THEN 'TESTED' ELSE 'TRAINED' END
    WHERE owner_id = %s AND databoard_sf_id = %s
"""


class EventsBench(Bench):
    """Changes of folds' states, with their events and without."""

    name = "events"

    def measure(self, session: Session) -> Results:
        """Change states in turn with the triggers and without."""
        idle = session.idle_stack
        owner = fill_account(idle.app, "events", max(N_CONNECTIONS), 8).id
        seconds: dict[str, dict[str, list[float]]] = {}
        for repeat in range(session.n_repeats):
            session.tell(f"events: repeat {repeat + 1} of {session.n_repeats}")
            for n_connections in N_CONNECTIONS:
                taken = seconds.setdefault(str(n_connections), {})
                for way in (WITH, WITHOUT):
                    spent = change_states(idle, owner, n_connections, way)
                    taken.setdefault(way, []).append(spent)
        return {"seconds": seconds}

    def make_tables(self, results: Results) -> list[Table]:
        """Show times and ratios."""
        table = Table(
            "A fold's change of state, committed",
            ["connections at once", WITHOUT, WITH, "ratio", "a change costs"],
        )
        for name, taken in results["seconds"].items():
            bare, whole = (Spread.of(taken[way]).median for way in (WITHOUT, WITH))
            ratio = Spread.of(divide(taken[WITH], taken[WITHOUT])).median
            times = map(format_milliseconds, (bare, whole))
            table.rows.append(
                [name, *times, format_ratio(ratio), f"+{format_milliseconds(whole - bare)}"]
            )
        table.notes.append("Each time is the whole's, over all changes.")
        return [table]

    def find_ratios(self, results: Results) -> dict[str, Spread]:
        """Give the times with triggers over those without."""
        return {
            f"events, {name} at once, with triggers over without": Spread.of(
                divide(taken[WITH], taken[WITHOUT])
            )
            for name, taken in results["seconds"].items()
        }


def change_states(idle: IdleStack, owner: int, n_connections: int, way: str) -> float:
    """Change the states of an account's folds, and say how many seconds one change takes."""

    def change(number: int) -> None:
        with psycopg.connect(idle.database_url, autocommit=True) as database:
            if way == WITHOUT:
                database.execute(_NO_TRIGGERS)
            for _ in range(N_CHANGES):
                database.execute(_CHANGE, [owner, number])

    start = time.perf_counter()
    with ThreadPoolExecutor(n_connections) as threads:
        list(threads.map(change, range(1, n_connections + 1)))
    return (time.perf_counter() - start) / (n_connections * N_CHANGES)
