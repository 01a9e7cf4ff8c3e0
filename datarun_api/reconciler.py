"""The reconciler: finds what should happen and won't, and makes it happen.

============================================  ==================================
what it finds                                 what it does
============================================  ==================================
a fold that waits, has its split, and no job  enqueues it again
a split that waits and has no job             enqueues it again
============================================  ==================================

It looks at what has waited for a round or more only, so that it doesn't meet requests that are
about to enqueue by themselves.
"""

import logging
import time
from datetime import timedelta

from flask import current_app
from redis.exceptions import RedisError
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from datarun_api.extensions import db, get_queues
from datarun_api.models import RawData, Submission, SubmissionFold
from datarun_client.states import SplitState

BATCH = 1000
"""How many folds a round looks at; those that wait longest come first."""

logger = logging.getLogger(__name__)


def reconcile_forever() -> None:
    """Reconcile round by round; an outage of PostgreSQL or Redis is waited out."""
    while True:
        try:
            reconcile()
        except (SQLAlchemyError, RedisError) as error:
            logger.warning("could not reconcile: %s", error.__class__.__name__)
        finally:
            db.session.remove()
        time.sleep(current_app.config["RECONCILE"])


def reconcile() -> int:
    """Do one round.

    Returns
    -------
    int
        How many jobs were enqueued.

    Raises
    ------
    SQLAlchemyError, RedisError
        If PostgreSQL or Redis is away.
    """
    return enqueue_folds_again() + enqueue_splits_again()


def enqueue_folds_again() -> int:
    """Enqueue the folds that wait, have their split, and no job."""
    query = (
        select(SubmissionFold)
        .join(SubmissionFold.submission)
        .join(Submission.raw_data)
        .where(
            SubmissionFold.is_waiting(),
            SubmissionFold.queued_at < _one_round_ago(),
            RawData.split_state == SplitState.DONE,
        )
        .order_by(SubmissionFold.priority, SubmissionFold.queued_at)
        .limit(BATCH)
    )
    folds = list(db.session.scalars(query))
    live = get_queues().find_live([fold.job_id for fold in folds])
    lost = [fold for fold in folds if fold.job_id not in live]
    if lost:
        logger.warning("enqueuing %d folds whose jobs were lost", len(lost))
        get_queues().enqueue_folds(lost)
    return len(lost)


def enqueue_splits_again() -> int:
    """Enqueue the splits that wait and have no job."""
    query = select(RawData).where(RawData.split_state == SplitState.TODO, ~RawData.split_running)
    splits = list(db.session.scalars(query))
    live = get_queues().find_live([raw_data.split_job_id for raw_data in splits])
    lost = [raw_data for raw_data in splits if raw_data.split_job_id not in live]
    for raw_data in lost:
        logger.warning("enqueuing the split of data set %d, whose job was lost", raw_data.id)
        get_queues().enqueue_split(raw_data)
    return len(lost)


def _one_round_ago():  # type: ignore[no-untyped-def]
    return func.now() - timedelta(seconds=current_app.config["RECONCILE"])
