"""Where the time of a fold goes: the spans that datarun keeps of each."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from benchmarks.measurements import Spread
from benchmarks.stack import Stack
from benchmarks.tables import Table, format_milliseconds, format_spread
from datarun_client.states import Span

TOLERANCE = 0.05
"""How far the spans' sum may be from the whole."""

QUEUED = (Span.ACCEPT, Span.PICK_UP)
"""Spans that are mostly a wait, for folds that were posted together."""

Trace = dict[str, Any]
"""``spans``: seconds by name, in their order; ``wall``: seconds from POST to the end."""


def collect_traces(stack: Stack, numbers: Sequence[int], posted: float) -> list[Trace]:
    """Get the traces of folds that have ended.

    Parameters
    ----------
    stack : Stack
    numbers : sequence of int
        The folds.
    posted : float
        When they were posted, in seconds since 1970.
    """
    return [make_trace(fold, posted) for fold in stack.get_folds(numbers)]


def make_trace(fold: dict[str, Any], posted: float) -> Trace:
    """Take the trace out of a fold's detail."""
    finished = datetime.fromisoformat(fold["finished_at"]).timestamp()
    return {"spans": fold.get("timings") or {}, "wall": finished - posted}


def make_trace_table(
    title: str, traces: Sequence[Trace], waits: Collection[str] = frozenset()
) -> Table:
    """Show the median of each span, and whether they add up to the whole.

    Parameters
    ----------
    title : str
    traces : sequence of Trace
        At least one.
    waits : collection of str, optional
        Spans that are a wait for others' folds; shares are of the rest.
    """
    table = Table(title, ["span", "median", "spread", "share"])
    traced = [trace for trace in traces if trace["spans"]]
    whole = Spread.of([trace["wall"] for trace in traces])
    if not traced:
        table.notes.append("This datarun keeps no timings of folds.")
    spreads = {
        name: Spread.of([trace["spans"].get(name, 0.0) for trace in traced])
        for name in sort_spans({name for trace in traced for name in trace["spans"]})
    }
    work = sum(spread.median for name, spread in spreads.items() if name not in waits)
    for name, spread in spreads.items():
        share = "" if name in waits else f"{spread.median / work:.0%}"
        table.rows.append([name, *format_spread(spread, format_milliseconds), share])
    table.rows.append(["POST to TESTED", *format_spread(whole, format_milliseconds), ""])
    if traced:
        table.notes.append(describe_sums(traced))
    return table


def sort_spans(names: Iterable[str]) -> list[str]:
    """Put spans in their order, which a JSON object doesn't have; unknown ones come last."""
    places = {str(name): place for place, name in enumerate(Span)}
    return sorted(names, key=lambda name: (places.get(name, len(places)), name))


def describe_sums(traces: Sequence[Trace]) -> str:
    """Say whether the spans of folds add up to their wall time."""
    shares = Spread.of([sum(trace["spans"].values()) / trace["wall"] for trace in traces])
    holds = abs(shares.median - 1) <= TOLERANCE
    return (
        f"The spans add up to {shares.median:.1%} of the wall time "
        f"({shares.lowest:.1%} to {shares.highest:.1%}), "
        f"{'within' if holds else 'NOT within'} {TOLERANCE:.0%}."
    )
