"""What happened to an account's folds, in order: an outbox.

**Written by the database.** A trigger (revision 0009) writes an event for every change of a fold's
state, in the transaction of that change, whichever function or statement made it. A fold that is
posted is no event; from there on each new state is one.

**In order, without gaps.** Readers ask for what follows the last event that they know. A number
that a sequence gives out early and a transaction commits late would be skipped by a reader who
comes in between. So the trigger is deferred to the end of its transaction, where it takes the
account's advisory lock *before* the number, and the lock is let go only after the commit. Within an
account events therefore become visible in the order of their numbers: who has read number n has
missed none below it. The lock is held for the time of a commit, not of a request. Accounts don't
wait for each other; numbers of others are missing in between.

**Trimmed.** The reconciler deletes events after ``DATARUN_KEEP_EVENTS`` seconds and notes up to
which number, so that a reader who comes back too late is told.

With each event goes a notification that names the fold (revision 0014); `waiting` listens to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from flask import current_app
from sqlalchemy import delete, func, select, update

from datarun_api.extensions import db
from datarun_api.models import FoldEvent, User

BATCH = 500
"""Events that are read at once."""


@dataclass(frozen=True)
class Place:
    """Where a reader of an account's events goes on.

    Attributes
    ----------
    last_id : int
        The number of the last event that the reader knows.
    was_lost : bool
        Whether events are gone that it doesn't know.
    """

    last_id: int
    was_lost: bool = False


def find_place(owner_id: int, last_id: int | None) -> Place:
    """Find where a reader goes on.

    Parameters
    ----------
    owner_id : int
    last_id : int or None
        The last event that it knows; None for one who wants to know what happens from now on.
    """
    trimmed_to = db.session.scalars(select(User.events_trimmed_to).where(User.id == owner_id)).one()
    newest = db.session.scalar(select(func.max(FoldEvent.id)).where(FoldEvent.owner_id == owner_id))
    end = newest or trimmed_to
    if last_id is None:
        return Place(end)
    # A number that was never given out is one of another database's.
    if not trimmed_to <= last_id <= end:
        return Place(trimmed_to, was_lost=True)
    return Place(last_id)


def list_events(owner_id: int, last_id: int) -> Sequence[FoldEvent]:
    """List the first events of an account that follow one; at most `BATCH`."""
    query = select(FoldEvent).where(FoldEvent.owner_id == owner_id, FoldEvent.id > last_id)
    return db.session.scalars(query.order_by(FoldEvent.id).limit(BATCH)).all()


def trim_events() -> None:
    """Delete the events that were kept long enough."""
    age = timedelta(seconds=current_app.config["KEEP_EVENTS"])
    gone = (
        delete(FoldEvent)
        .where(FoldEvent.created_at < func.now() - age)
        .returning(FoldEvent.owner_id, FoldEvent.id)
        .cte("gone")
    )
    newest = (
        select(gone.c.owner_id, func.max(gone.c.id).label("id")).group_by(gone.c.owner_id).cte()
    )
    db.session.execute(
        update(User).where(User.id == newest.c.owner_id).values(events_trimmed_to=newest.c.id),
        execution_options={"synchronize_session": False},
    )
    db.session.commit()
