"""Where the time of a fold goes: its named spans, from the POST to the result.

Each machine measures the durations that it can see on its own monotonic clock. What lies between
two machines is what is left over of the time by the database's clock, which alone joins them: the
wait for a worker until the claim (`Span.PICK_UP`), and the way of the result (`Span.DELIVER`). So
the spans of a fold add up to the time from its POST to its result, whatever a worker's clock says.
Only the last commit isn't in them, as it can't be written into what it commits.
"""

import time
from datetime import datetime, timedelta

from flask import Flask, g
from sqlalchemy import ColumnElement, Double, Text, cast, func

from datarun_api.models import SubmissionFold
from datarun_client.states import Span


def init_timings(app: Flask) -> None:
    """Have each request's arrival noted."""
    app.before_request(note_arrival)


def note_arrival() -> None:
    """Note when the request arrived; its body is still to be read."""
    g.arrived = time.monotonic()


def measure_accept() -> float:
    """Say how many seconds ago this request arrived."""
    return time.monotonic() - g.arrived if "arrived" in g else 0.0


def find_arrival(since: ColumnElement[timedelta]) -> ColumnElement[datetime]:
    """Say in SQL when a request arrived, by the database's clock.

    Parameters
    ----------
    since : ColumnElement of timedelta
        What `measure_accept` said as the statement was sent.
    """
    return func.statement_timestamp() - since


def add_pick_up() -> ColumnElement[dict[str, float]]:
    """Say in SQL what a fold's spans are once it is claimed; those of an older attempt go."""
    accept = func.coalesce(cast(SubmissionFold.timings[Span.ACCEPT].astext, Double), 0.0)
    rest = func.greatest(0.0, _since_posted(func.clock_timestamp()) - accept)
    return _name(Span.ACCEPT, accept).op("||")(_name(Span.PICK_UP, rest))


def add_deliver(
    spans: ColumnElement[dict[str, float]],
    spent: ColumnElement[float],
    finished_at: ColumnElement[datetime],
) -> ColumnElement[dict[str, float]]:
    """Say in SQL what a fold's spans are once its result is written.

    Parameters
    ----------
    spans : ColumnElement of dict
        Those that are known, the worker's included.
    spent : ColumnElement of float
        Their sum.
    finished_at : ColumnElement of datetime
        When it is written.
    """
    rest = func.greatest(0.0, _since_posted(finished_at) - spent)
    return spans.op("||")(_name(Span.DELIVER, rest))


def _name(span: Span, seconds: ColumnElement[float]) -> ColumnElement[dict[str, float]]:
    return func.jsonb_build_object(cast(span.value, Text), seconds)


def _since_posted(moment: ColumnElement[datetime]) -> ColumnElement[float]:
    return cast(func.extract("epoch", moment - SubmissionFold.posted_at), Double)
