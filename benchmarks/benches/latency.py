"""How long one no-op fold takes on an idle stack, from its POST to TESTED."""

import time

import orjson

from benchmarks.benches.bench import Bench, Results
from benchmarks.benches.trace import collect_traces, make_trace_table
from benchmarks.contenders import PreloadedRQ
from benchmarks.measurements import Spread, divide
from benchmarks.session import Session
from benchmarks.tables import Table, format_milliseconds, format_ratio, format_spread
from benchmarks.workloads import WORKLOADS, write_kit

TARGET = 0.045
MOONSHOT = 0.020
"""Seconds."""

N_SAMPLES = 30
N_QUICK_SAMPLES = 15

PAUSE = 0.1
"""Seconds after a fold until the next: what is done behind a fold is done by then."""


class LatencyBench(Bench):
    """One fold at a time, in turn with one job of plain RQ."""

    name = "latency"

    def measure(self, session: Session) -> Results:
        """Post a fold, enqueue a job, and so on."""
        session.tell("latency: one no-op fold at a time")
        workload = next(workload for workload in WORKLOADS if workload.is_no_op)
        kit = write_kit(workload, session.site.folder / "kits" / "latency", 1)
        datarun, traces = session.datarun, []
        datarun.prepare(kit)
        seconds: dict[str, list[float]] = {datarun.key: [], PreloadedRQ.key: []}
        with PreloadedRQ(session.site) as plain:
            plain.prepare(kit)
            for _ in range(N_QUICK_SAMPLES if session.is_quick else N_SAMPLES):
                (fold,) = datarun.describe_folds(kit, [0])
                text = orjson.dumps({**fold, "priority": "H"})
                time.sleep(PAUSE)
                posted, start = time.time(), time.perf_counter()
                session.stack.post_text("submissionfold/", text)
                numbers = [fold["databoard_sf_id"]]
                session.stack.wait_for_fold(fold["databoard_sf_id"])
                seconds[datarun.key].append(time.perf_counter() - start)
                traces += collect_traces(session.stack, numbers, posted)
                time.sleep(PAUSE)
                seconds[PreloadedRQ.key].append(plain.run(kit, [0]).seconds)
        return {"seconds": seconds, "traces": traces}

    def make_tables(self, results: Results) -> list[Table]:
        """Show the latencies and where they come from."""
        ours = results["seconds"]["datarun"]
        plain = results["seconds"][PreloadedRQ.key]
        table = Table(
            "From POST to TESTED, one no-op fold, idle stack",
            ["", "median", "spread", "target", "moonshot"],
        )
        goals = [format_milliseconds(TARGET), format_milliseconds(MOONSHOT)]
        for title, values, last in (
            ("datarun", ours, goals),
            (PreloadedRQ.title, plain, ["", ""]),
        ):
            table.rows.append(
                [title, *format_spread(Spread.of(values), format_milliseconds), *last]
            )
        table.notes.append(f"Ratio {format_ratio(Spread.of(divide(ours, plain)).median)}.")
        trace = make_trace_table("Where the time of that fold goes", results["traces"])
        return [table, trace]

    def find_ratios(self, results: Results) -> dict[str, Spread]:
        """Give datarun's latency over plain RQ's, thirds of the samples as repeats."""
        ratios = divide(results["seconds"]["datarun"], results["seconds"][PreloadedRQ.key])
        thirds = [Spread.of(ratios[place::3]).median for place in range(3)]
        return {f"latency, datarun over {PreloadedRQ.title}": Spread.of(thirds)}
