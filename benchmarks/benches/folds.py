"""How long folds take through everything, beside the peers: the table of folds."""

import contextlib
import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.benches.bench import Bench, Results
from benchmarks.benches.folds_tables import (
    find_measured,
    make_floor_table,
    make_ratio_table,
    make_time_table,
)
from benchmarks.benches.trace import QUEUED, collect_traces, make_trace_table
from benchmarks.contenders import (
    LIMIT,
    PEERS,
    WITH_EITHER_CODEC,
    Contender,
    Datarun,
    PreloadedRQ,
)
from benchmarks.fold_work import Codec, Predictions
from benchmarks.measurements import Spread, divide
from benchmarks.session import Session
from benchmarks.site import N_WORKERS, BenchError
from benchmarks.tables import Table, format_milliseconds
from benchmarks.workloads import WORKLOADS, Kit, Workload, write_kit
from datarun_client.codec import unpack_predictions

N_SLOW_FOLDS = 20
"""For those who need seconds for each."""

N_PASSES = 2
"""How often those that are compared most closely run there and back in a repeat."""

SLOW = "not in a quick run, since it needs seconds for each fold"


class FoldsBench(Bench):
    """Makespans of folds, as ratios to the limit's."""

    name = "folds"

    def measure(self, session: Session) -> Results:
        """Let all contenders do the folds of each workload, in turn."""
        left_out = {}
        with contextlib.ExitStack() as started:
            contenders: list[Contender] = []
            for kind in PEERS:
                obstacle = SLOW if session.is_quick and kind.is_slow else kind.find_obstacle()
                if obstacle:
                    left_out[kind.key] = obstacle
                    session.tell(f"without {kind.title}: {obstacle}")
                    continue
                contenders.append(started.enter_context(kind(session.site)))
            twins = [
                started.enter_context(kind(session.site, Codec.DATARUN))
                for kind in WITH_EITHER_CODEC
            ]
            # Peers end with plain RQ.
            *others, plain_rq = contenders
            workloads = [
                workload
                for workload in WORKLOADS
                if not session.only or workload.name in session.only
            ]
            measured = {
                workload.name: _measure_workload(
                    session,
                    workload,
                    [
                        *others,
                        *(twins if workload.has_large_predictions else []),
                        plain_rq,
                        session.datarun,
                    ],
                )
                for workload in workloads
            }
        isolation = session.stack.isolation
        return {"isolation": isolation, "left_out": left_out, "workloads": measured}

    def make_tables(self, results: Results) -> list[Table]:
        """Show ratios, then times, then where a fold's time goes."""
        tables = [make_ratio_table(results), make_floor_table(results), make_time_table(results)]
        for name, entry in results["workloads"].items():
            title = f"Where the time of one fold of {name} goes, two at a time"
            tables.append(make_trace_table(title, entry["traces"], QUEUED))
        return tables

    def find_ratios(self, results: Results) -> dict[str, Spread]:
        """Give datarun's ratios to the limit, and for no-ops those to plain RQ."""
        ratios = {}
        for workload in find_measured(results):
            seconds = results["workloads"][workload.name]["seconds"]
            base = PreloadedRQ if workload.is_no_op else LIMIT
            ratios[f"{workload.name}, datarun over {base.title}"] = Spread.of(
                divide(seconds[Datarun.key], seconds[base.key])
            )
        return ratios


def _measure_workload(
    session: Session, workload: Workload, contenders: Sequence[Contender]
) -> Results:
    """Run all contenders in turn, as often as there are repeats.

    Returns
    -------
    dict
        ``seconds``: by contender, for each repeat, the seconds of one fold on one worker, the mean
        of those that run several times; ``folds``: how many it did in each; ``traces``: of
        datarun's last folds.
    """
    n_folds = workload.n_quick_folds if session.is_quick else workload.n_folds
    session.tell(f"{workload.name}: preparing {len(contenders)} contenders")
    kit = write_kit(workload, session.site.folder / "kits" / workload.name, n_folds)
    for contender in contenders:
        contender.prepare(kit)
    seconds: dict[str, list[float]] = {}
    folds: dict[str, int] = {}
    expected: dict[int, Predictions] = {}
    for repeat in range(session.n_repeats):
        runs: dict[str, list[float]] = {}
        for contender in plan_repeat(contenders):
            key = contender.name
            count = min(n_folds, N_SLOW_FOLDS) if contender.is_slow else n_folds
            folds[key] = count
            contender.warm_up(kit)
            run = contender.run(kit, range(count))
            check_predictions(kit, contender, range(count), run.predictions, expected)
            each = N_WORKERS * run.seconds / count
            runs.setdefault(key, []).append(each)
            session.tell(
                f"{workload.name}: repeat {repeat + 1} of {session.n_repeats}, "
                f"{contender.name}: {format_milliseconds(each)} a fold and worker"
            )
        for key, times in runs.items():
            seconds.setdefault(key, []).append(statistics.mean(times))
    traces = collect_traces(session.stack, session.datarun.last_run, session.datarun.last_posted)
    return {"seconds": seconds, "folds": folds, "traces": traces}


def plan_repeat(contenders: Sequence[Contender]) -> list[Contender]:
    """Say who runs in a repeat, one after the other.

    Plain RQ and datarun, whom the floor compares, run there and back `N_PASSES` times: what gets
    slower or faster meanwhile does so for both. The two differ by less than one run does from the
    next.
    """
    compared = [contender for contender in contenders if type(contender) in (PreloadedRQ, Datarun)]
    others = [contender for contender in contenders if contender not in compared]
    return [*others, *(N_PASSES * [*compared, *reversed(compared)])]


def check_predictions(
    kit: Kit,
    contender: Contender,
    numbers: Sequence[int],
    made: Mapping[int, Predictions],
    expected: dict[int, Predictions],
) -> None:
    """Check that a contender did all folds, and predicted what the first one did.

    Parameters
    ----------
    kit : Kit
    contender : Contender
    numbers : sequence of int
        The folds that it was to do.
    made : mapping
        What it predicted, by fold.
    expected : dict
        What is known of the folds already; gets those that are new.

    Raises
    ------
    BenchError
        If it didn't; its time means nothing then.
    """
    if sorted(made) != sorted(numbers):
        raise BenchError(f"{contender.title} did the folds {sorted(made)} of {kit.workload.name}.")
    for number, predictions in made.items():
        first = expected.setdefault(number, predictions)
        for packed, other, n_rows in (
            (predictions.full_train, first.full_train, kit.n_train),
            (predictions.test, first.test, kit.n_test),
        ):
            shape = (n_rows, kit.n_classes)
            if packed != other and not np.allclose(
                unpack_predictions(packed, shape), unpack_predictions(other, shape), atol=1e-9
            ):
                raise BenchError(
                    f"{contender.title} predicts fold {number} of {kit.workload.name} otherwise "
                    "than its peers; it did other work."
                )
