"""The tables of folds: ratios to the limit and to plain RQ, times and spreads."""

from collections.abc import Mapping

from benchmarks.benches.bench import Results
from benchmarks.contenders import CONTENDERS, LIMIT, WITH_EITHER_CODEC, Datarun, PreloadedRQ
from benchmarks.contenders.contender import OWN_CODEC
from benchmarks.measurements import Spread, divide
from benchmarks.tables import Table, format_milliseconds, format_ratio, format_spread
from benchmarks.workloads import WORKLOADS, Workload


def find_measured(results: Results) -> list[Workload]:
    """Give the workloads that a run has measured."""
    return [workload for workload in WORKLOADS if workload.name in results["workloads"]]


def make_ratio_table(results: Results) -> Table:
    """Make the table of makespans over the limit's."""
    kinds = [
        kind for kind in CONTENDERS if kind is not LIMIT and kind.key not in results["left_out"]
    ]
    workloads = sorted(find_measured(results), key=lambda workload: workload.is_no_op)
    rows = []
    for workload in workloads:
        seconds = results["workloads"][workload.name]["seconds"]
        cells = [_format_cell(workload, seconds, kind.key) for kind in kinds]
        twin = LIMIT.key + OWN_CODEC
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
        ["work per fold", *titles, "the same, all with its codec", "target", "moonshot"],
        rows,
    )
    table.notes.append(
        f"datarun ran at isolation `{results['isolation']}`; the others isolate nothing."
    )
    table.notes += [
        f"Without {kind.title}: {reason}."
        for kind in CONTENDERS
        if (reason := results["left_out"].get(kind.key))
    ]
    return table


def _format_cell(workload: Workload, seconds: Mapping[str, list[float]], key: str) -> str:
    if workload.is_no_op:
        return format_milliseconds(Spread.of(seconds[key]).median)
    return format_ratio(Spread.of(divide(seconds[key], seconds[LIMIT.key])).median)


def make_floor_table(results: Results) -> Table:
    """Make the table that holds datarun against plain RQ, which isolates nothing."""
    table = Table(
        f"Folds: datarun over {PreloadedRQ.title}",
        ["", "ratio", "spread", "repeats at least as fast"],
    )
    for workload in find_measured(results):
        seconds = results["workloads"][workload.name]["seconds"]
        for key, remark in (
            (PreloadedRQ.key, ""),
            (PreloadedRQ.key + OWN_CODEC, ", both with datarun's codec"),
        ):
            if key not in seconds:
                continue
            ratios = divide(seconds[Datarun.key], seconds[key])
            n_won = sum(ratio <= 1 for ratio in ratios)
            table.rows.append(
                [
                    f"{workload.name}{remark}",
                    *format_spread(Spread.of(ratios), format_ratio),
                    f"{n_won} of {len(ratios)}",
                ]
            )
    return table


def make_time_table(results: Results) -> Table:
    """Make the table of medians and spreads."""
    titles = {kind.key: kind.title for kind in CONTENDERS}
    titles |= {kind.key + OWN_CODEC: f"{kind.title}, datarun's codec" for kind in WITH_EITHER_CODEC}
    rows = []
    for name, entry in results["workloads"].items():
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
