"""Why a fold isn't finished yet, in words and numbers."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import func, or_, select

from datarun_api.extensions import db
from datarun_api.fold_queue import is_queued
from datarun_api.leases import get_lease
from datarun_api.models import Attempt, Outcome, SubmissionFold, Worker
from datarun_api.workers import MAX_COUNTED, count_live_workers
from datarun_client.states import Queue, State

N_RECENT = 50
"""Attempts whose durations make an estimate."""


class Phase(StrEnum):
    """How far a fold is."""

    WAITING = "waiting"
    TRAINING = "training"
    VALIDATING = "validating"
    TESTING = "testing"


class Reason(StrEnum):
    """Why a fold isn't finished."""

    SPLIT = "waits_for_split"
    RETRY = "waits_for_retry"
    NO_WORKER = "no_live_worker"
    QUEUED = "queued"
    RUNNING = "runs"
    WORKER_SILENT = "worker_silent"


PHASES: Mapping[State, Phase] = {
    State.TODO: Phase.TRAINING,
    State.TRAINED: Phase.VALIDATING,
    State.VALIDATED: Phase.TESTING,
}


def describe_progress(fold: SubmissionFold) -> dict[str, Any] | None:
    """Say how far a fold is and what it waits for; None if it is final."""
    if fold.state.is_final:
        return None
    progress: dict[str, Any] = {
        "phase": Phase.WAITING,
        "attempt": fold.attempt,
        "worker": None,
        "since": fold.queued_at or fold.created_at,
        "queue": fold.priority.queue,
        "position": None,
        "estimated_wait": None,
    }
    if fold.is_running:
        return progress | _describe_running(fold)
    if fold.queued_at is not None:
        return progress | _describe_queued(fold)
    if fold.retry_at is not None:
        text = f"attempt {fold.attempt - 1} failed by our fault; the next is at {fold.retry_at}"
        return progress | {"reason": Reason.RETRY, "message": text, "since": fold.retry_at}
    text = "waits for the split of its data set"
    return progress | {"reason": Reason.SPLIT, "message": text}


def _describe_running(fold: SubmissionFold) -> dict[str, Any]:
    attempt = db.session.get_one(Attempt, (fold.owner_id, fold.databoard_sf_id, fold.attempt))
    last_seen: datetime | None = db.session.scalar(
        select(Worker.last_seen).where(
            Worker.name == attempt.worker, Worker.last_seen < func.now() - get_lease()
        )
    )
    if last_seen:
        reason, text = Reason.WORKER_SILENT, f"worker {attempt.worker} silent since {last_seen}"
    else:
        reason, text = Reason.RUNNING, f"runs on worker {attempt.worker}"
    return {
        "phase": PHASES[fold.state],
        "worker": attempt.worker,
        "since": fold.started_at,
        "reason": reason,
        "message": text,
    }


def _describe_queued(fold: SubmissionFold) -> dict[str, Any]:
    queue = fold.priority.queue
    position = _count_ahead(fold)
    n_workers = count_live_workers(queue)
    if not n_workers:
        text = f"no live worker serves the queue {queue}"
        return {"position": position, "reason": Reason.NO_WORKER, "message": text}
    duration = _find_usual_duration()
    more = "+" if position == MAX_COUNTED else ""
    return {
        "position": position,
        "estimated_wait": None if duration is None else duration * position / n_workers,
        "reason": Reason.QUEUED,
        "message": f"{position}{more} folds ahead on the queue {queue}",
    }


def _count_ahead(fold: SubmissionFold) -> int:
    """Count the folds that wait longer; accounts take turns, so it may come sooner."""
    other = SubmissionFold
    ahead = other.queued_at < fold.queued_at
    if fold.priority.queue is Queue.HIGH:
        conditions: tuple[Any, ...] = (*is_queued(fold.priority), ahead)
    else:
        conditions = (other.queued_at.is_not(None), or_(other.priority != fold.priority, ahead))
    found = select(other.databoard_sf_id).where(*conditions).limit(MAX_COUNTED).subquery()
    count: int = db.session.scalars(select(func.count()).select_from(found)).one()
    return count


def _find_usual_duration() -> float | None:
    """Average, in seconds, how long the last attempts took; None if none ran to its end lately."""
    recent = (
        select(Attempt.outcome, Attempt.started_at, Attempt.ended_at)
        .where(Attempt.ended_at.is_not(None))
        .order_by(Attempt.ended_at.desc())
        # Whatever they came to, so that no more than these are ever read.
        .limit(N_RECENT)
        .subquery()
    )
    duration = func.extract("epoch", recent.c.ended_at - recent.c.started_at)
    seconds = db.session.scalar(
        select(func.avg(duration)).where(recent.c.outcome.in_([Outcome.TESTED, Outcome.ERROR]))
    )
    return None if seconds is None else float(seconds)
