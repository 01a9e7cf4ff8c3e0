"""How long folds take through everything, beside the peers: the table of folds."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.benches.bench import Bench, Results
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
from benchmarks.tables import Table, format_milliseconds, format_ratio, format_spread
from benchmarks.workloads import WORKLOADS, Kit, Workload, write_kit
from datarun_client.codec import unpack_predictions

N_SLOW_FOLDS = 20
"""For those who need seconds for each."""

_OWN_CODEC = "_own_codec"


class FoldsBench(Bench):
    """Makespans of folds, as ratios to the limit's."""

    name = "folds"

    def measure(self, session: Session) -> Results:
        """Let all contenders do the folds of each workload, in turn."""
        left_out = {}
        with contextlib.ExitStack() as started:
            contenders: list[Contender] = []
            for kind in PEERS:
                obstacle = "slow" if session.is_quick and kind.is_slow else kind.find_obstacle()
                if obstacle:
                    left_out[kind.key] = obstacle
                    session.tell(f"without {kind.title}: {obstacle}")
                    continue
                contenders.append(started.enter_context(kind(session.site)))
            twins = [
                started.enter_context(kind(session.site, Codec.DATARUN))
                for kind in WITH_EITHER_CODEC
            ]
            contenders.append(session.datarun)
            workloads = [
                workload
                for workload in WORKLOADS
                if not session.only or workload.name in session.only
            ]
            measured = {
                workload.name: _measure_workload(
                    session,
                    workload,
                    [*contenders, *(twins if workload.has_large_predictions else [])],
                )
                for workload in workloads
            }
        isolation = session.stack.isolation
        return {"isolation": isolation, "left_out": left_out, "workloads": measured}

    def make_tables(self, results: Results) -> list[Table]:
        """Show ratios, then times, then where a fold's time goes."""
        measured = results["workloads"]
        tables = [make_ratio_table(results), _make_time_table(measured)]
        for name, entry in measured.items():
            title = f"Where the time of one fold of {name} goes, two at a time"
            tables.append(make_trace_table(title, entry["traces"], QUEUED))
        return tables

    def find_ratios(self, results: Results) -> dict[str, Spread]:
        """Give datarun's ratios to the limit, and for no-ops those to plain RQ."""
        ratios = {}
        for workload in _find_measured(results):
            seconds = results["workloads"][workload.name]["seconds"]
            base = PreloadedRQ if workload.is_no_op else LIMIT
            ratios[f"{workload.name}, datarun over {base.title}"] = Spread.of(
                divide(seconds[Datarun.key], seconds[base.key])
            )
        return ratios


def _find_key(contender: Contender, workload: Workload) -> str:
    """Name a contender in the results."""
    is_twin = contender.codec is Codec.DATARUN and not isinstance(contender, Datarun)
    return contender.key + (_OWN_CODEC if is_twin else "")


def _measure_workload(
    session: Session, workload: Workload, contenders: Sequence[Contender]
) -> Results:
    """Run all contenders in turn, as often as there are repeats.

    Returns
    -------
    dict
        ``seconds``: by contender, for each repeat, the seconds of one fold on one worker;
        ``folds``: how many it did in each; ``traces``: of datarun's last folds.
    """
    n_folds = workload.n_quick_folds if session.is_quick else workload.n_folds
    session.tell(f"{workload.name}: preparing {len(contenders)} contenders")
    kit = write_kit(workload, session.site.folder / "kits" / workload.name, n_folds)
    for contender in contenders:
        contender.prepare(kit)
    seconds: dict[str, list[float]] = {}
    folds: dict[str, int] = {}
    posted = 0.0
    expected: dict[int, Predictions] = {}
    for repeat in range(session.n_repeats):
        for contender in contenders:
            key = _find_key(contender, workload)
            count = min(n_folds, N_SLOW_FOLDS) if contender.is_slow else n_folds
            folds[key] = count
            if contender is session.datarun:
                posted = time.time()
            run = contender.run(kit, range(count))
            check_predictions(kit, contender, run.predictions, expected)
            each = N_WORKERS * run.seconds / count
            seconds.setdefault(key, []).append(each)
            session.tell(
                f"{workload.name}: repeat {repeat + 1} of {session.n_repeats}, "
                f"{contender.title}: {format_milliseconds(each)} a fold and worker"
            )
    traces = collect_traces(session.stack, session.datarun.last_run, posted)
    return {"seconds": seconds, "folds": folds, "traces": traces}


def check_predictions(
    kit: Kit,
    contender: Contender,
    made: Mapping[int, Predictions],
    expected: dict[int, Predictions],
) -> None:
    """Check that a contender did all folds, and predicted what the first one did.

    Raises
    ------
    BenchError
        If it didn't; its time means nothing then.
    """
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


def _find_measured(results: Results) -> list[Workload]:
    return [workload for workload in WORKLOADS if workload.name in results["workloads"]]


def make_ratio_table(results: Results) -> Table:
    """Make the table of makespans over the limit's."""
    kinds = [kind for kind in PEERS if kind is not LIMIT and kind.key not in results["left_out"]]
    workloads = sorted(_find_measured(results), key=lambda workload: workload.is_no_op)
    rows = []
    for workload in workloads:
        seconds = results["workloads"][workload.name]["seconds"]
        cells = [_format_cell(workload, seconds, kind.key) for kind in (*kinds, Datarun)]
        twin = LIMIT.key + _OWN_CODEC
        own = (
            format_ratio(Spread.of(divide(seconds[Datarun.key], seconds[twin])).median)
            if twin in seconds
            else ""
        )
        goals = [
            f"{goal:g} ms" if workload.is_no_op else f"{goal:g}"
            for goal in (workload.target, workload.moonshot)
        ]
        unit = ", overhead a fold and worker" if workload.is_no_op else ""
        rows.append([f"{workload.name}: {workload.title}{unit}", *cells, own, *goals])
    titles = [kind.title for kind in kinds]
    table = Table(
        "Folds: makespan over joblib.Parallel(n_jobs=2) with the data loaded once",
        ["work per fold", *titles, "datarun", "the same, all with its codec", "target", "moonshot"],
        rows,
    )
    table.notes.append(
        f"datarun ran at isolation `{results['isolation']}`; the others isolate nothing."
    )
    table.notes += [
        f"Without {kind.title}: {reason}."
        for kind in PEERS
        if (reason := results["left_out"].get(kind.key))
    ]
    table.notes += _compare_codecs(results)
    return table


def _format_cell(workload: Workload, seconds: Mapping[str, list[float]], key: str) -> str:
    if workload.is_no_op:
        return format_milliseconds(Spread.of(seconds[key]).median)
    return format_ratio(Spread.of(divide(seconds[key], seconds[LIMIT.key])).median)


def _compare_codecs(results: Results) -> list[str]:
    """Say how datarun compares with plain RQ where both pack with the same codec."""
    twin = PreloadedRQ.key + _OWN_CODEC
    return [
        f"{workload.name} with datarun's codec: datarun over {PreloadedRQ.title} "
        f"{format_ratio(Spread.of(divide(seconds[Datarun.key], seconds[twin])).median)}."
        for workload in _find_measured(results)
        if twin in (seconds := results["workloads"][workload.name]["seconds"])
    ]


def _make_time_table(measured: Mapping[str, Any]) -> Table:
    """Make the table of medians and spreads."""
    titles = {kind.key: kind.title for kind in (*PEERS, Datarun)}
    titles |= {
        kind.key + _OWN_CODEC: f"{kind.title}, datarun's codec" for kind in WITH_EITHER_CODEC
    }
    rows = []
    for name, entry in measured.items():
        for key, values in entry["seconds"].items():
            ratios = Spread.of(divide(values, entry["seconds"][LIMIT.key]))
            rows.append(
                [
                    f"{name}, {titles[key]}",
                    str(entry["folds"][key]),
                    str(len(values)),
                    *format_spread(Spread.of(values), format_milliseconds),
                    *format_spread(ratios, format_ratio),
                ]
            )
    columns = ["", "folds", "repeats", "a fold and worker", "spread", "over joblib", "spread"]
    return Table("Folds: medians and spreads", columns, rows)
