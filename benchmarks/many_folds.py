"""Accounts with more folds than could be run in a bench's time, written past the API."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from flask import Flask
from sqlalchemy import func, insert, select

from datarun_api.credentials import create_token
from datarun_api.extensions import db
from datarun_api.models import RawData, Submission, SubmissionFold, User
from datarun_client.states import Priority, Role, SplitState, State

_SUBMISSION = 1
_ROWS_AT_ONCE = 5000


@dataclass(frozen=True)
class FullAccount:
    """An account with many folds.

    Attributes
    ----------
    id : int
    token : str
        Its Bearer token: a password would be derived anew by each process of the API.
    """

    id: int
    token: str


def fill_account(app: Flask, name: str, n_folds: int, n_bytes: int) -> FullAccount:
    """Write an account with tested folds.

    Parameters
    ----------
    app : Flask
        The API's application.
    name : str
        The account's.
    n_folds : int
    n_bytes : int
        What a fold's rows and predictions have together, packed.
    """
    with app.app_context():
        account = _add_account(name)
        for rows in _make_rows(account.id, n_folds, n_bytes):
            db.session.execute(insert(SubmissionFold), rows)
        db.session.commit()
        return account


def _add_account(name: str) -> FullAccount:
    """Add an account with a split data set and a submission."""
    user = User(name=name, role=Role.PLATFORM)
    db.session.add(user)
    token = create_token(user, "bench")
    db.session.flush()
    raw_data = RawData(
        owner_id=user.id,
        name="rows",
        target_column="y",
        workflow_elements="classifier",
        files=[],
        reader=db.session.scalars(select(RawData.reader)).first(),
        split_state=SplitState.DONE,
    )
    db.session.add(raw_data)
    db.session.flush()
    db.session.add(
        Submission(
            owner_id=user.id,
            databoard_s_id=_SUBMISSION,
            raw_data_id=raw_data.id,
            files=[],
            hash_files="0" * 64,
        )
    )
    db.session.flush()
    return FullAccount(user.id, token)


def _make_rows(owner: int, n_folds: int, n_bytes: int) -> Iterator[list[dict[str, Any]]]:
    """Make the rows of tested folds, some thousands at a time."""
    noise = np.random.default_rng(0)
    share = n_bytes // 4
    now: datetime = db.session.scalars(select(func.now())).one()
    for first in range(1, n_folds + 1, _ROWS_AT_ONCE):
        yield [
            {
                "owner_id": owner,
                "databoard_sf_id": number,
                "databoard_s": _SUBMISSION,
                "train_is": noise.bytes(share),
                "test_is": noise.bytes(share),
                "max_index": 1,
                "priority": Priority.LOW,
                "state": State.TESTED,
                "full_train_predictions": noise.bytes(share),
                "full_train_shape": [share // 8, 1],
                "test_predictions": noise.bytes(share),
                "test_shape": [share // 8, 1],
                "started_at": now,
                "finished_at": now,
            }
            for number in range(first, min(first + _ROWS_AT_ONCE, n_folds + 1))
        ]
