"""Which fold is next: the claim decides it, round-robin over accounts.

A job on Redis wakes a worker and names a fold, but of a queue's folds the worker gets that of the
account which waited longest for its turn, and of that account the one that waited longest. So one
account's thousand folds don't make another's single fold wait for all of them. There are at least
as many jobs on a queue as folds that wait on it, so that a fold which gave way is taken by the job
of the one that went first; the reconciler sees to that.
"""

import functools
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, String, and_, bindparam, func, or_, select
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.orm import QueryableAttribute, aliased, joinedload, load_only
from sqlalchemy.orm.interfaces import ORMOption

from datarun_api.extensions import db
from datarun_api.leases import get_lease, is_live, serves
from datarun_api.models import (
    Attempt,
    RawData,
    Submission,
    SubmissionFold,
    Turn,
    Worker,
    get_table,
)
from datarun_client.states import Priority, Queue


def take_next(queue: Queue, worker: str) -> SubmissionFold | None:
    """Lock the fold of a queue whose turn it is, with its inputs; None if none waits.

    Parameters
    ----------
    queue : Queue
    worker : str
        Who asks: it isn't given a fold that it lost before while another worker may take it.
    """
    lease = get_lease()
    # Mostly the first account has one that this worker may be given: one query instead of two.
    first = db.session.scalar(_select_first(queue, lease), {"for_worker": worker})
    if first is not None:
        return first
    query = _select_next(queue, lease)
    for owner_id in db.session.scalars(_select_owners(queue.priority)).all():
        fold: SubmissionFold | None = db.session.scalar(
            query, {"of_owner": owner_id, "for_worker": worker}
        )
        if fold is not None:
            return fold
    return None


# Statements that are made again and again are built once: SQLAlchemy takes longer to put one
# together than PostgreSQL to carry it out.


@functools.cache
def _select_first(queue: Queue, lease: timedelta) -> Select[SubmissionFold]:
    """Make the query for the next fold of the account whose turn it is."""
    first = _select_owners(queue.priority).limit(1).scalar_subquery()
    return _select_waiting(queue, lease).where(SubmissionFold.owner_id == first)


@functools.cache
def _select_next(queue: Queue, lease: timedelta) -> Select[SubmissionFold]:
    """Make the query for an account's next fold."""
    return _select_waiting(queue, lease).where(SubmissionFold.owner_id == bindparam("of_owner"))


def _select_waiting(queue: Queue, lease: timedelta) -> Select[SubmissionFold]:
    """Make the query for the next fold of whichever accounts; `lease` is the application's."""
    return (
        select(SubmissionFold)
        .where(
            *is_queued(queue.priority),
            _may_take(bindparam("for_worker", type_=String), queue),
        )
        .order_by(SubmissionFold.queued_at)
        .limit(1)
        .options(*_load_claim())
        .with_for_update(of=SubmissionFold, skip_locked=True)
    )


def find_given(worker: str) -> SubmissionFold | None:
    """Lock the fold that a worker was given and may not know of; None if there is none."""
    query = (
        select(SubmissionFold)
        .join(
            Attempt,
            and_(
                Attempt.owner_id == SubmissionFold.owner_id,
                Attempt.databoard_sf_id == SubmissionFold.databoard_sf_id,
                Attempt.number == SubmissionFold.attempt,
            ),
        )
        .where(
            Attempt.worker == worker,
            Attempt.ended_at.is_(None),
            SubmissionFold.lease_until.is_not(None),
        )
        .limit(1)
        .options(*_load_claim())
        .with_for_update(of=SubmissionFold)
    )
    fold: SubmissionFold | None = db.session.scalar(query)
    return fold


def _load_claim() -> tuple[ORMOption, ORMOption]:
    """Load all that a worker is told of a fold in one query, and no more."""
    return (
        load_only(
            SubmissionFold.databoard_s,
            SubmissionFold.train_is,
            SubmissionFold.state,
            SubmissionFold.attempt,
            SubmissionFold.lease_until,
            SubmissionFold.n_losses,
        ),
        with_raw_data(
            [Submission.raw_data_id, Submission.hash_files, Submission.files],
            [
                RawData.workflow_elements,
                RawData.target_column,
                RawData.reader,
                RawData.time_limit,
                RawData.memory_limit,
                RawData.n_train,
                RawData.n_test,
                RawData.files,
                RawData.parts,
            ],
        ),
    )


def with_raw_data(
    of_submission: Sequence[QueryableAttribute[Any]], of_raw_data: Sequence[QueryableAttribute[Any]]
) -> ORMOption:
    """Load a fold's submission and data set in the same query, with no more than these columns.

    To load all columns of the three would take longer than all else that the query does.
    """
    submission = joinedload(SubmissionFold.submission, innerjoin=True).load_only(*of_submission)
    return submission.joinedload(Submission.raw_data, innerjoin=True).load_only(*of_raw_data)


def is_queued(priority: Priority) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Say in SQL that a fold waits on a priority's queue; its index says the same."""
    return SubmissionFold.priority == priority, SubmissionFold.queued_at.is_not(None)


@functools.cache
def _select_owners(priority: Priority) -> Select[int]:
    """Make the query for the accounts that wait on a queue, that served longest ago first.

    The index of queued folds is walked from account to account, so that this costs in proportion
    to the accounts and not to their folds.
    """
    fold = aliased(SubmissionFold)

    def find_first(*conditions: ColumnElement[bool]) -> ColumnElement[int]:
        return (
            select(fold.owner_id)
            .where(fold.priority == priority, fold.queued_at.is_not(None), *conditions)
            .order_by(fold.owner_id)
            .limit(1)
            .scalar_subquery()
        )

    owners = select(find_first().label("owner_id")).cte("owners", recursive=True)
    following = find_first(fold.owner_id > owners.c.owner_id)
    owners = owners.union_all(
        select(following.label("owner_id")).where(owners.c.owner_id.is_not(None))
    )
    return (
        select(owners.c.owner_id)
        .outerjoin(Turn, and_(Turn.owner_id == owners.c.owner_id, Turn.priority == priority))
        .where(owners.c.owner_id.is_not(None))
        .order_by(Turn.served_at.nulls_first(), owners.c.owner_id)
    )


def _may_take(worker: ColumnElement[str], queue: Queue) -> ColumnElement[bool]:
    """Say in SQL that a fold wasn't lost by this worker, or that nobody else can take it."""
    another = (
        select(Worker.name)
        .where(
            Worker.name != worker,
            serves(queue),
            is_live(),
        )
        .exists()
    )
    return or_(
        SubmissionFold.avoided_worker.is_distinct_from(worker),
        ~another,
        # Others may be busy for hours.
        SubmissionFold.queued_at < func.now() - get_lease(),
    )


def note_turn(owner_id: ColumnElement[int], priority: ColumnElement[Priority]) -> Insert:
    """Make the statement that notes that an account was served."""
    table = get_table(Turn)
    statement = insert(table).values(
        owner_id=owner_id, priority=priority, served_at=func.clock_timestamp()
    )
    return statement.on_conflict_do_update(
        index_elements=[table.c.owner_id, table.c.priority],
        set_={"served_at": statement.excluded.served_at},
    )
