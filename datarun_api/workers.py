"""Compute machines: what they tell of themselves, and what is known of the queues."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import distinct_on, insert

from datarun_api.extensions import db
from datarun_api.fold_queue import is_queued
from datarun_api.leases import is_live, serves
from datarun_api.models import Attempt, SubmissionFold, Worker
from datarun_client.states import Queue

MAX_COUNTED = 1000
"""Folds of a queue are counted up to here; the count of more costs too much to be worth it."""

HOUR = timedelta(hours=1)


def note_worker(account_id: int, payload: dict[str, Any]) -> None:
    """Keep what a worker tells of itself.

    Parameters
    ----------
    account_id : int
    payload : dict
        As `HeartbeatInputSchema` loads it.
    """
    values = {**payload, "name": payload["worker"], "account_id": account_id}
    del values["worker"]
    statement = insert(Worker).values(**values, n_done=0)
    db.session.execute(
        statement.on_conflict_do_update(
            index_elements=[Worker.name], set_={**values, "last_seen": func.now()}
        )
    )
    db.session.commit()


def list_workers() -> list[dict[str, Any]]:
    """Show all workers, those heard last first."""
    # Of those that a worker holds the first is running, and the next one is claimed ahead.
    running = (
        select(Attempt)
        .where(Attempt.ended_at.is_(None))
        .ext(distinct_on(Attempt.worker))
        .order_by(Attempt.worker, Attempt.started_at)
        .subquery()
    )
    query = (
        select(Worker, is_live(), running.c.owner_id, running.c.databoard_sf_id, running.c.number)
        .outerjoin(running, running.c.worker == Worker.name)
        .order_by(Worker.last_seen.desc())
    )
    return [
        {
            "name": worker.name,
            "host": worker.host,
            "queues": worker.queues,
            "version": worker.version,
            "isolation": worker.isolation,
            "free_disk": worker.free_disk,
            "free_memory": worker.free_memory,
            "first_seen": worker.first_seen,
            "last_seen": worker.last_seen,
            "live": live,
            "n_done": worker.n_done,
            "fold": None
            if databoard_sf_id is None
            else {"owner": owner, "databoard_sf_id": databoard_sf_id, "attempt": attempt},
        }
        for worker, live, owner, databoard_sf_id, attempt in db.session.execute(query)
    ]


def list_queues() -> list[dict[str, Any]]:
    """Show the queues of folds."""
    return [describe_queue(queue) for queue in Queue]


def describe_queue(queue: Queue) -> dict[str, Any]:
    """Show how long a queue is, how long its first fold waits, and how fast it moves."""
    waiting = (
        select(SubmissionFold.queued_at)
        .where(*is_queued(queue.priority))
        .limit(MAX_COUNTED)
        .subquery()
    )
    depth, oldest = db.session.execute(select(func.count(), func.min(waiting.c.queued_at))).one()
    ended = (
        select(func.count())
        .select_from(Attempt)
        .where(Attempt.queue == queue, Attempt.ended_at > func.now() - HOUR)
    )
    return {
        "name": queue,
        "depth": depth,
        "oldest_wait": (datetime.now(UTC) - oldest).total_seconds() if oldest else 0.0,
        "done_last_hour": db.session.scalar(ended),
        "live_workers": count_live_workers(queue),
    }


def count_live_workers(queue: Queue) -> int:
    """Count the workers that were heard within a lease and serve a queue."""
    query = select(func.count()).select_from(Worker)
    count: int | None = db.session.scalar(query.where(is_live(), serves(queue)))
    return count or 0
