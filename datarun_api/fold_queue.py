"""Which fold is next: the claim decides it, round-robin over accounts.

A job on Redis wakes a worker and names a fold, but of a queue's folds the worker gets that of the
account which waited longest for its turn, and of that account the one that waited longest. So one
account's thousand folds don't make another's single fold wait for all of them. There are at least
as many jobs on a queue as folds that wait on it, so that a fold which gave way is taken by the job
of the one that went first; the reconciler sees to that.
"""

from collections.abc import Iterator

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import aliased

from datarun_api.extensions import db
from datarun_api.leases import get_lease, is_live, serves
from datarun_api.models import SubmissionFold, Turn, Worker
from datarun_client.states import Priority, Queue


def take_next(queue: Queue, worker: str) -> SubmissionFold | None:
    """Lock the fold of a queue whose turn it is; None if none waits.

    Parameters
    ----------
    queue : Queue
    worker : str
        Who asks: it isn't given a fold that it lost before while another worker may take it.
    """
    for owner_id in _list_owners(queue.priority):
        fold: SubmissionFold | None = db.session.scalar(
            select(SubmissionFold)
            .where(
                *is_queued(queue.priority),
                SubmissionFold.owner_id == owner_id,
                _may_take(worker, queue),
            )
            .order_by(SubmissionFold.queued_at)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        if fold is not None:
            _note_turn(owner_id, queue.priority)
            return fold
    return None


def is_queued(priority: Priority) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Say in SQL that a fold waits on a priority's queue; its index says the same."""
    return SubmissionFold.priority == priority, SubmissionFold.queued_at.is_not(None)


def _list_owners(priority: Priority) -> Iterator[int]:
    """Name the accounts that wait on a queue, the one that was served longest ago first.

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
    query = (
        select(owners.c.owner_id)
        .outerjoin(Turn, and_(Turn.owner_id == owners.c.owner_id, Turn.priority == priority))
        .where(owners.c.owner_id.is_not(None))
        .order_by(Turn.served_at.nulls_first(), owners.c.owner_id)
    )
    yield from db.session.scalars(query).all()


def _may_take(worker: str, queue: Queue) -> ColumnElement[bool]:
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


def _note_turn(owner_id: int, priority: Priority) -> None:
    statement = insert(Turn).values(
        owner_id=owner_id, priority=priority, served_at=func.clock_timestamp()
    )
    db.session.execute(
        statement.on_conflict_do_update(
            index_elements=[Turn.owner_id, Turn.priority],
            set_={"served_at": statement.excluded.served_at},
        )
    )
