"""The reconciler: finds what should happen and won't, and makes it happen.

=================================================  ==========================================
what it finds                                      what it does
=================================================  ==========================================
a running fold whose lease is over                 the attempt is lost: the next one is
                                                   queued; the third ends it
a running split whose lease is over                the same
a fold that is to be tried again about now         queues it
a queue with fewer jobs than folds wait on it      enqueues folds that have no job
a split that waits and has no job                  enqueues it
scores whose lease is over, or that have no job    the same
a fold that waits for a split which is over        queues or ends it
a worker not heard of for a day                    forgets it
a file that nothing refers to for an hour          deletes it
an answer kept for its key for a day               forgets it
an event older than ``DATARUN_KEEP_EVENTS``        deletes it
=================================================  ==========================================

A cancelled attempt that still runs needs no rule: it has lost its lease, so its worker's next call
is refused, within a second.

**Outages.** A lease also runs out when its worker could not reach us. So nothing is taken away
because of an outage of ours: when the reconciler starts, when PostgreSQL was away in the round
before, and when no worker at all was heard for half a lease (each calls four times in one) and
one is heard again, every lease gets one full lease more.

**Several reconcilers.** One of them holds an advisory lock of its session and works; the others
wait for it. All rows are locked with SKIP LOCKED besides, so that two would do no harm.

**Cost.** Each rule reads an index that holds only what it looks for, so that a million finished
folds cost nothing. Mostly no rule finds anything; one query tells which do.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flask import current_app
from redis.exceptions import RedisError
from sqlalchemy import ColumnElement, Connection, Select, func, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from datarun_api.events import trim_events
from datarun_api.extensions import db, get_queues
from datarun_api.fold_queue import is_queued
from datarun_api.folds import enqueue_queued, lose_attempt
from datarun_api.garbage import collect_files
from datarun_api.idempotency import forget_keys
from datarun_api.leases import get_lease
from datarun_api.models import Outcome, RawData, Scoring, Submission, SubmissionFold, Worker
from datarun_api.queues import FOLD_JOB
from datarun_api.raw_data import enqueue_or_end, lose_split, waits_for_split
from datarun_api.scoring import lose_scoring, waits_for_worker
from datarun_client.states import Queue, ScoringState, SplitState

BATCH = 1000
"""How many rows a rule looks at in one round; those that wait longest come first."""

LOCK = 0x72656373
"""The advisory lock's number: "recs" in ASCII."""

FORGET_WORKER = timedelta(days=1)
COLLECT_INTERVAL = 3600.0
"""Seconds between two looks at what nothing refers to."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rule:
    """Something that should happen and won't.

    Attributes
    ----------
    select : callable
        Makes the query for the rows that it is about.
    mend : callable
        Makes it happen for them.
    """

    select: Callable[[], Select[*tuple[Any, ...]]]
    mend: Callable[[], None]


def reconcile_forever() -> None:
    """Reconcile round by round; an outage of PostgreSQL or Redis is waited out."""
    reconciler = Reconciler()
    while True:
        try:
            reconciler.do_round()
        except (SQLAlchemyError, RedisError) as error:
            logger.warning("could not reconcile: %s", error.__class__.__name__)
            reconciler.note_outage()
        finally:
            db.session.remove()
        time.sleep(current_app.config["RECONCILE"])


class Reconciler:
    """What the reconciler remembers from round to round."""

    def __init__(self) -> None:
        self._session: Connection | None = None
        self._was_outage = True
        self._collected_at = time.monotonic()

    def note_outage(self) -> None:
        """Note that PostgreSQL or Redis was away."""
        self._was_outage = True
        self.close()

    def close(self) -> None:
        """Let another reconciler have its turn."""
        if self._session is not None:
            # A connection that goes back to the pool would keep the lock.
            self._session.invalidate()
            self._session.close()
            self._session = None

    def do_round(self) -> None:
        """Apply all rules once, if no other reconciler does; errors as of `apply_rules`."""
        if self._is_in_charge():
            self.apply_rules()
        else:
            self._was_outage = True

    def apply_rules(self) -> None:
        """Apply all rules once.

        Raises
        ------
        SQLAlchemyError, RedisError
            If PostgreSQL or Redis is away.
        """
        rules: tuple[Rule, ...] = RULES
        if not any_worker_heard():
            # Either all workers are gone, and nobody could take anything over, or we were.
            self._was_outage = True
        elif self._was_outage:
            extend_leases()
            self._was_outage = False
        else:
            rules = LEASE_RULES + RULES
        apply_due(rules)
        if time.monotonic() - self._collected_at > COLLECT_INTERVAL:
            forget_workers()
            collect_files()
            forget_keys()
            trim_events()
            self._collected_at = time.monotonic()

    def _is_in_charge(self) -> bool:
        """Hold the advisory lock, in a session of its own for as long as that lives."""
        if self._session is None:
            session = db.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            if not session.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": LOCK}):
                session.close()
                return False
            self._session = session
        self._session.execute(text("SELECT 1"))
        return True


def any_worker_heard() -> bool:
    """Tell whether any worker was heard within half a lease.

    An outage that is shorter isn't noticed, and leaves every lease the other half.
    """
    heard = Worker.last_seen > func.now() - get_lease() / 2
    return db.session.scalar(select(Worker.name).where(heard).limit(1)) is not None


def extend_leases() -> None:
    """Give every lease one full lease more."""
    fresh = func.now() + get_lease()
    for model, column in (
        (SubmissionFold, SubmissionFold.lease_until),
        (RawData, RawData.split_lease_until),
        (Scoring, Scoring.lease_until),
    ):
        statement = update(model).where(column.is_not(None)).values({column: fresh})
        db.session.execute(statement, execution_options={"synchronize_session": False})
    db.session.commit()


def apply_due(rules: Sequence[Rule]) -> None:
    """Apply those rules that have something to do."""
    found = db.session.execute(select(*(rule.select().exists() for rule in rules))).one()
    db.session.commit()
    for rule, is_due in zip(rules, found, strict=True):
        if is_due:
            rule.mend()


def select_lost_folds() -> Select[SubmissionFold]:
    """Make the query for the folds whose lease is over."""
    return (
        select(SubmissionFold)
        .where(SubmissionFold.lease_until < func.now())
        .order_by(SubmissionFold.lease_until)
        .limit(BATCH)
    )


def take_lost_folds() -> None:
    """Take the attempts as lost whose lease is over."""
    folds = list(db.session.scalars(select_lost_folds().with_for_update(skip_locked=True)))
    for fold in folds:
        logger.warning(
            "attempt %d of fold %d of account %d is lost: its worker fell silent",
            fold.attempt,
            fold.databoard_sf_id,
            fold.owner_id,
        )
        lose_attempt(fold, "The worker fell silent.", Outcome.LOST)
    db.session.commit()
    enqueue_queued(folds)


def select_lost_splits() -> Select[RawData]:
    """Make the query for the data sets whose split's lease is over."""
    return select(RawData).where(
        RawData.split_state == SplitState.TODO, RawData.split_lease_until < func.now()
    )


def take_lost_splits() -> None:
    """Take the splits as lost whose lease is over."""
    query = select_lost_splits().with_for_update(skip_locked=True)
    for raw_data in db.session.scalars(query).all():
        logger.warning("the split of data set %d is lost: its worker fell silent", raw_data.id)
        lose_split(raw_data)
    db.session.commit()


def select_lost_scorings() -> Select[Scoring]:
    """Make the query for the scorings whose lease is over."""
    return select(Scoring).where(
        Scoring.state == ScoringState.TODO, Scoring.lease_until < func.now()
    )


def take_lost_scorings() -> None:
    """Take the scorings as lost whose lease is over."""
    query = select_lost_scorings().with_for_update(skip_locked=True)
    for scoring in db.session.scalars(query).all():
        logger.warning("%s is lost: its worker fell silent", scoring.job_id)
        lose_scoring(scoring)
    db.session.commit()


def select_retries() -> Select[SubmissionFold]:
    """Make the query for the folds that are to be tried again about now."""
    return select(SubmissionFold).where(SubmissionFold.retry_at <= func.now()).limit(BATCH)


def queue_retries() -> None:
    """Queue the folds that are to be tried again about now."""
    folds = list(db.session.scalars(select_retries().with_for_update(skip_locked=True)))
    for fold in folds:
        fold.enqueue()
    db.session.commit()
    enqueue_queued(folds)


def select_forgotten_folds() -> Select[SubmissionFold, RawData]:
    """Make the query for the folds that wait for a split which is over, with its data set."""
    return (
        select(SubmissionFold, RawData)
        .join(SubmissionFold.submission)
        .join(Submission.raw_data)
        .where(
            *waits_for_split(),
            RawData.split_state.in_([SplitState.DONE, SplitState.ERROR]),
        )
        .limit(BATCH)
    )


def settle_forgotten_folds() -> None:
    """Queue or end the folds that wait for a split which is over."""
    query = select_forgotten_folds().with_for_update(of=SubmissionFold, skip_locked=True)
    folds = []
    for fold, raw_data in db.session.execute(query).all():
        enqueue_or_end(raw_data, fold)
        folds.append(fold)
    db.session.commit()
    enqueue_queued(folds)


def select_waiting_folds() -> Select[SubmissionFold]:
    """Make the query for the folds that should have a job by now, be it lost or not."""
    return (
        select(SubmissionFold)
        .where(SubmissionFold.queued_at < one_round_ago())
        .order_by(SubmissionFold.owner_id, SubmissionFold.queued_at)
        .limit(BATCH)
    )


def enqueue_lost_folds() -> None:
    """Enqueue folds on the queues that have fewer jobs than folds wait on them."""
    for queue in Queue:
        query = select_waiting_folds().where(*is_queued(queue.priority))
        folds = list(db.session.scalars(query))
        if not folds:
            continue
        waiting = get_queues().list_waiting(queue, BATCH)
        jobs = {job_id for job_id in waiting if job_id.startswith(FOLD_JOB)}
        lost = [fold for fold in folds if fold.job_id not in jobs][: len(folds) - len(jobs)]
        if len(folds) > len(jobs):
            logger.warning("enqueuing %d folds whose jobs were lost", len(lost))
            get_queues().enqueue_folds(lost)


def select_waiting_splits() -> Select[RawData]:
    """Make the query for the data sets that wait for their split."""
    return select(RawData).where(
        RawData.split_state == SplitState.TODO, RawData.split_lease_until.is_(None)
    )


def enqueue_lost_splits() -> None:
    """Enqueue the splits that wait and have no job."""
    splits = list(db.session.scalars(select_waiting_splits()))
    waiting = get_queues().list_waiting(get_queues().data_queue, BATCH)
    for raw_data in splits:
        if raw_data.split_job_id not in waiting:
            logger.warning("enqueuing the split of data set %d, whose job was lost", raw_data.id)
            get_queues().enqueue_split(raw_data)


def select_waiting_scorings() -> Select[Scoring]:
    """Make the query for the scorings that wait for a worker."""
    return select(Scoring).where(*waits_for_worker()).limit(BATCH)


def enqueue_lost_scorings() -> None:
    """Enqueue the scorings that wait and have no job."""
    scorings = list(db.session.scalars(select_waiting_scorings()))
    waiting = set(get_queues().list_waiting(get_queues().data_queue, 2 * BATCH))
    for scoring in scorings:
        if scoring.job_id not in waiting:
            logger.warning("enqueuing %s, whose job was lost", scoring.job_id)
            get_queues().enqueue_scoring(scoring)


LEASE_RULES = (
    Rule(select_lost_folds, take_lost_folds),
    Rule(select_lost_splits, take_lost_splits),
    Rule(select_lost_scorings, take_lost_scorings),
)
"""What is left out after an outage, when a lease says nothing about its worker."""

RULES = (
    Rule(select_retries, queue_retries),
    Rule(select_forgotten_folds, settle_forgotten_folds),
    Rule(select_waiting_folds, enqueue_lost_folds),
    Rule(select_waiting_splits, enqueue_lost_splits),
    Rule(select_waiting_scorings, enqueue_lost_scorings),
)


def forget_workers() -> None:
    """Forget the workers that weren't heard of for a day."""
    query = select(Worker).where(Worker.last_seen < func.now() - FORGET_WORKER)
    for worker in db.session.scalars(query):
        db.session.delete(worker)
    db.session.commit()


def one_round_ago() -> ColumnElement[datetime]:
    """Say in SQL when the round before was; what is younger may be about to be enqueued."""
    return func.now() - timedelta(seconds=current_app.config["RECONCILE"])
