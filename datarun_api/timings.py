"""Where the time of a fold goes: its named spans, from the POST to the result.

Each machine measures the durations that it can see on its own monotonic clock. What lies between
two machines is what is left over of the time by the database's clock, which alone joins them: the
wait for a worker until the claim (`Span.PICK_UP`), and the way of the result (`Span.DELIVER`). So
the spans of a fold add up to the time from its POST to its result, whatever a worker's clock says.
Only the last commit isn't in them, as it can't be written into what it commits.

The two clocks meet where a request's transaction begins: PostgreSQL's ``now()`` stays that moment
until the commit, however long the statements take to put together, to send and to carry out.
"""

import time
from datetime import datetime, timedelta

from flask import Flask, g, has_app_context
from sqlalchemy import ColumnElement, Connection, Double, Engine, Text, cast, event, func

from datarun_api.extensions import db
from datarun_api.models import SubmissionFold
from datarun_client.states import Span


def init_timings(app: Flask) -> None:
    """Have each request's arrival noted, and when its transaction began."""
    app.before_request(note_arrival)
    with app.app_context():
        note_transactions(db.engine)


def note_arrival() -> None:
    """Note when the request arrived; its body is still to be read."""
    g.arrived = time.monotonic()


def note_transactions(engine: Engine) -> None:
    """Have it noted when a request's newest transaction began."""

    @event.listens_for(engine, "begin")
    def note_begin(connection: Connection) -> None:
        if has_app_context():
            g.began = time.monotonic()


def measure_accept() -> float:
    """Say how many seconds ago this request arrived."""
    return time.monotonic() - g.arrived if "arrived" in g else 0.0


def measure_lead() -> timedelta:
    """Say how long before its transaction this request arrived; begin that if need be."""
    db.session.connection()
    return timedelta(seconds=g.began - g.arrived) if "arrived" in g else timedelta(0)


def find_arrival(lead: ColumnElement[timedelta]) -> ColumnElement[datetime]:
    """Say in SQL when a request arrived, by the database's clock.

    Parameters
    ----------
    lead : ColumnElement of timedelta
        What `measure_lead` says in the statement's transaction.
    """
    return func.now() - lead


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
