"""What an operation costs with a million folds in the database, over what it costs with ten.

Two stacks without workers, side by side: one's database has ten finished folds, the other's a
million, which have been handed out, as those of a platform that is in use for months. PostgreSQL
looks after its tables by itself, as it does for everybody; only its first look is waited for, which
a table that fills in months has had long ago. Each cycle posts a fold and takes it to its end, on
one stack and then on the other.
"""

import contextlib
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

import orjson
import psycopg
import requests

from benchmarks.benches.bench import Bench, Results
from benchmarks.idle_stack import IdleStack, describe_fold, run_idle_stack
from benchmarks.many_folds import FIRST_NUMBER, FOLDS_A_SUBMISSION, add_finished_folds
from benchmarks.measurements import Spread, divide
from benchmarks.memory import Watch, watch_memory
from benchmarks.session import Session
from benchmarks.site import DEADLINE, BenchError
from benchmarks.stack import ACCOUNT
from benchmarks.tables import Table, format_megabytes, format_milliseconds, format_ratio
from benchmarks.worker_calls import WorkerCalls

N_FOLDS = 1_000_000
N_QUICK_FOLDS = 20_000
N_FEW = FOLDS_A_SUBMISSION
N_CYCLES = 20
N_QUICK_CYCLES = 6

MAX_MEMORY = 200_000_000
"""Bytes that no process of the API may have."""

FEW, MANY = "few", "many"

_N_ROWS = 900
"""Rows of a posted fold: 3 kB."""

_CHUNK = 1 << 16
_ANALYZE_TIME = 300.0
"""Seconds within which PostgreSQL looks at tables by itself: it does so once a minute."""

Operation = Callable[[], object]


class GrowthBench(Bench):
    """The same operations with few folds and with many."""

    name = "growth"

    def measure(self, session: Session) -> Results:
        """Fill a database, and then do the same on both stacks, in turn."""
        n_folds = N_QUICK_FOLDS if session.is_quick else N_FOLDS
        with contextlib.ExitStack() as stack:
            players = {
                name: Player(stack.enter_context(run_filled_stack(session, name, number)))
                for name, number in ((FEW, N_FEW), (MANY, n_folds))
            }
            watches: dict[str, Watch] = {}
            with contextlib.ExitStack() as watching:
                for name, player in players.items():
                    watching_one = watch_memory(player.idle.api_processes)
                    watches[name] = watching.enter_context(watching_one)
                seconds = play(session, players)
            many = players[MANY]
            with watch_memory(many.idle.api_processes) as watch:
                whole = time_it(many.read_whole_list)
            return {
                "n_folds": n_folds,
                "seconds": seconds,
                "peak": {name: watch.peak for name, watch in watches.items()},
                "whole": {"seconds": whole, "peak": watch.peak},
                "database": many.measure_database(),
            }

    def make_tables(self, results: Results) -> list[Table]:
        """Show times, ratios and memory."""
        few, many = results["seconds"][FEW], results["seconds"][MANY]
        title = f"Growth: with {results['n_folds']:,} folds over with {N_FEW}"
        table = Table(title, ["", f"{N_FEW} folds", "many", "ratio", "lowest", "highest"])
        for name in few:
            ratio = Spread.of(divide(many[name], few[name]))
            times = (Spread.of(seconds[name]).median for seconds in (few, many))
            ratios = (ratio.median, ratio.lowest, ratio.highest)
            table.rows.append([name, *map(format_milliseconds, times), *map(format_ratio, ratios)])
        memory = Table("Growth: what a process of the API had at most", ["", "memory", "target"])
        whole = results["whole"]
        for name, peak in (
            (f"all of these, {N_FEW} folds", results["peak"][FEW]),
            ("all of these, many folds", results["peak"][MANY]),
            (f"the whole light list, in {whole['seconds']:.1f} s", whole["peak"]),
        ):
            memory.rows.append([name, format_megabytes(peak), format_megabytes(MAX_MEMORY)])
        memory.notes.append(f"The database has {format_megabytes(results['database'])}.")
        return [table, memory]

    def find_ratios(self, results: Results) -> dict[str, Spread]:
        """Give the times with many folds over those with few."""
        few, many = results["seconds"][FEW], results["seconds"][MANY]
        return {
            f"growth, {name}, many folds over few": Spread.of(divide(many[name], few[name]))
            for name in few
        }


class Player:
    """A platform and a worker of a stack, who do one thing after the other.

    Parameters
    ----------
    idle : IdleStack
    """

    def __init__(self, idle: IdleStack) -> None:
        from datarun_api.reconciler import Reconciler

        self.idle = idle
        self._worker = WorkerCalls(idle)
        self._reconciler = Reconciler()
        self._worker.beat()
        # It takes its start for the end of an outage.
        self._apply_rules()

    def prepare_cycle(self) -> Mapping[str, Operation]:
        """Make the operations of a cycle, which have to follow each other."""
        stack = self.idle.stack
        (number,) = stack.take_numbers(1)
        text = orjson.dumps(describe_fold(number, self.idle.submission, _N_ROWS))
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        light = f"submissionfold-light/?limit={N_FEW}"
        self._worker.beat()

        def get(path: str) -> Operation:
            return lambda: stack.ask("GET", path)

        return {
            "post a fold": lambda: stack.post_text("submissionfold/", text),
            "why it isn't ready": get(f"submissionfold/{number}/"),
            "the queues": get("queues/"),
            "a reconciler's round": self._apply_rules,
            "claim it and deliver its result": self._worker.run_next,
            "`testpredictions/new/`": self._take_new,
            f"light list, first {N_FEW}": get(light),
            "the same of a state": get(f"{light}&state=TESTED"),
            "the same of a state that few have": get(f"{light}&state=TODO,ERROR"),
            "the same of a submission": get(f"{light}&submission={FIRST_NUMBER}"),
            "the same of a data set": get(f"{light}&raw_data={self.idle.raw_data}"),
            "the same of what changed lately": get(f"{light}&since={now}"),
            "a submission's summary": get(f"submission/{FIRST_NUMBER}/"),
        }

    def read_whole_list(self) -> None:
        """Read the light list of all folds, and keep nothing of it."""
        url = f"{self.idle.stack.url}runapp/submissionfold-light/"
        with requests.get(url, auth=ACCOUNT, stream=True, timeout=DEADLINE) as response:
            response.raise_for_status()
            for _ in response.iter_content(_CHUNK):
                pass

    def measure_database(self) -> int:
        """Say how many bytes the database has."""
        with psycopg.connect(self.idle.database_url) as database:
            ((size,),) = database.execute("SELECT pg_database_size(current_database())")
            return int(size)

    def _apply_rules(self) -> None:
        from datarun_api.extensions import db

        with self.idle.app.app_context():
            self._reconciler.apply_rules()
            db.session.remove()

    def _take_new(self) -> None:
        entries = self.idle.stack.ask("POST", "testpredictions/new/", json={})
        if len(entries) != 1:
            raise BenchError(f"{len(entries)} folds were new instead of one.")


@contextlib.contextmanager
def run_filled_stack(session: Session, name: str, n_folds: int) -> Iterator[IdleStack]:
    """Run a stack without workers that has some finished folds; its home is removed at the end."""
    home = session.site.folder / f"growth-{name}"
    session.tell(f"growth: starting datarun up with {n_folds:,} folds")
    try:
        with run_idle_stack(home) as idle:
            start = time.monotonic()
            add_finished_folds(idle.database_url, n_folds)
            session.tell(f"growth: made in {time.monotonic() - start:.0f} s")
            if n_folds > N_FEW:
                wait_until_analyzed(idle.database_url)
            yield idle
    finally:
        shutil.rmtree(home, ignore_errors=True)


def wait_until_analyzed(database_url: str) -> None:
    """Wait until PostgreSQL has looked at the tables that were filled.

    Raises
    ------
    BenchError
        If it doesn't.
    """
    unknown = """
        SELECT count(*) FROM pg_stat_user_tables WHERE last_autoanalyze IS NULL
        AND relname IN ('submission', 'submission_fold', 'attempt', 'fold_event')
    """
    deadline = time.monotonic() + _ANALYZE_TIME
    with psycopg.connect(database_url, autocommit=True) as database:
        while database.execute(unknown).fetchone() != (0,):
            if time.monotonic() > deadline:
                raise BenchError("PostgreSQL didn't analyze its tables by itself.")
            time.sleep(1)


def play(session: Session, players: Mapping[str, Player]) -> dict[str, dict[str, list[float]]]:
    """Do the same on all stacks, in turn; give the median of each repeat by stack and operation."""
    seconds: dict[str, dict[str, list[float]]] = {name: {} for name in players}
    for repeat in range(session.n_repeats):
        session.tell(f"growth: repeat {repeat + 1} of {session.n_repeats}")
        taken: dict[str, dict[str, list[float]]] = {name: {} for name in players}
        for number in range(N_QUICK_CYCLES if session.is_quick else N_CYCLES):
            cycles = {name: player.prepare_cycle() for name, player in players.items()}
            # Each comes first as often as second.
            names = list(cycles) if number % 2 else list(reversed(cycles))
            for operation in cycles[FEW]:
                for name in names:
                    times = taken[name].setdefault(operation, [])
                    times.append(time_it(cycles[name][operation]))
        for name, operations in taken.items():
            for operation, times in operations.items():
                seconds[name].setdefault(operation, []).append(statistics.median(times))
    return seconds


def time_it(operation: Operation) -> float:
    """Say how many seconds something takes."""
    start = time.perf_counter()
    operation()
    return time.perf_counter() - start
