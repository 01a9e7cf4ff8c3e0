"""New predictions that are handed out until the platform says that it has them.

Without `ack` ``testpredictions/new/`` hands out a result once: when that answer is lost, the
platform has to notice and ask ``testpredictions/list/``. Here nothing is marked before the platform
acknowledges it. Each answer comes with a cursor; sent back with the next request, it says that the
answer has arrived. What was handed out and never acknowledged is handed out again.

The cursor itself names the answer's folds and their attempts, so that there is nothing to remember
for it: it may be sent twice, or never, or after the fold was run again, whose new result it leaves
new.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import tuple_, update
from sqlalchemy.orm import undefer

from datarun_api.errors import BadInputError
from datarun_api.extensions import db
from datarun_api.folds import select_new
from datarun_api.models import SubmissionFold
from datarun_api.schemas import MAX_ID, MAX_PAGE
from datarun_client.codec import decode_indices, encode_indices
from datarun_client.errors import CodecError
from datarun_client.states import State

START = ""
"""The cursor that acknowledges nothing."""

_MAX_CURSOR_BYTES = MAX_PAGE * 2 * 8


@dataclass(frozen=True)
class Page:
    """Some folds that are handed out.

    Attributes
    ----------
    folds : sequence of SubmissionFold
        Those with the smallest numbers.
    """

    folds: Sequence[SubmissionFold]

    def __len__(self) -> int:
        return len(self.folds)

    @property
    def cursor(self) -> str:
        """What acknowledges these folds."""
        pairs = [(fold.databoard_sf_id, fold.attempt) for fold in self.folds]
        return encode_indices(np.ravel(pairs)) if pairs else START


def hand_out_page(owner_id: int, raw_data_id: int | None, ack: str, limit: int) -> Page:
    """Note what has arrived, and hand out what comes next.

    Parameters
    ----------
    owner_id : int
    raw_data_id : int or None
        A data set, if only its folds are wanted.
    ack : str
        The cursor of the answer before; `START` for the first time.
    limit : int
        How many folds are wanted at most.

    Raises
    ------
    BadInputError
        If that is no cursor of ours.
    """
    acknowledged = _read_cursor(ack)
    if acknowledged:
        fold = SubmissionFold
        db.session.execute(
            update(fold)
            .where(
                fold.owner_id == owner_id,
                tuple_(fold.databoard_sf_id, fold.attempt).in_(acknowledged),
                fold.state == State.TESTED,
                fold.new,
            )
            .values(new=False)
        )
        db.session.commit()
    following = select_new(owner_id, raw_data_id).options(undefer("*")).limit(limit)
    return Page(db.session.scalars(following).all())


def _read_cursor(text: str) -> list[tuple[int, int]]:
    """Read the numbers and attempts of the folds that a cursor names."""
    if text == START:
        return []
    try:
        numbers = decode_indices(text, _MAX_CURSOR_BYTES)
        pairs = numbers.reshape(-1, 2)
    except (CodecError, ValueError):
        raise _refuse() from None
    if not ((pairs >= 0) & (pairs <= MAX_ID)).all():
        raise _refuse()
    return [(int(number), int(attempt)) for number, attempt in pairs]


def _refuse() -> BadInputError:
    text = 'This is no cursor; send the `ack` of the answer before, or "" to begin.'
    return BadInputError(text, {"ack": [text]})
