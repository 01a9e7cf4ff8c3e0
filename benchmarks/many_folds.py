"""Accounts with more folds than could be run in a bench's time, written past the API.

`fill_account` writes rows of any size; `add_finished_folds` has PostgreSQL make small ones, a
million in a minute or two.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import psycopg
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


FOLDS_A_SUBMISSION = 10

FIRST_NUMBER = 1_000_000
"""The first number of the finished folds and of their submissions."""

_FINISHED = """
    -- Whatever these rows refer to is there, so that nothing has to be looked up for each.
    SET LOCAL session_replication_role = replica;
    CREATE TEMPORARY TABLE template ON COMMIT DROP AS
        SELECT f.*, s.raw_data_id, s.files FROM submission_fold f
        JOIN submission s ON s.owner_id = f.owner_id AND s.databoard_s_id = f.databoard_s
        ORDER BY f.databoard_sf_id LIMIT 1;
    INSERT INTO submission (owner_id, databoard_s_id, raw_data_id, files, hash_files)
        SELECT owner_id, {first} + n, raw_data_id, files, repeat('0', 64)
        FROM template, generate_series(0, {last} / {share}) n;
    INSERT INTO submission_fold (
            owner_id, databoard_sf_id, databoard_s, train_is, test_is, max_index, priority, state,
            attempt, n_losses, log_messages, hash_files, new, full_train_predictions,
            full_train_shape, full_train_sha256, test_predictions, test_shape, test_sha256,
            train_time, validation_time, test_time, train_cpu_time, test_cpu_time, train_memory,
            test_memory, created_at, started_at, finished_at, changed_at, posted_at)
        SELECT owner_id, {first} + n, {first} + n / {share}, train_is, test_is, max_index, 'L',
            'TESTED', 1, 0, 'trained', repeat('0', 64), false, train_is, '{{100,1}}',
            repeat('0', 64), test_is, '{{100,1}}', repeat('0', 64), 1, 1, 1, 1, 1, 1, 1,
            ended, ended, ended, ended, ended
        FROM template, generate_series(0, {last}) n,
            LATERAL (SELECT now() - ({last} - n + 60) * interval '5 s' AS ended) times;
    INSERT INTO attempt (owner_id, databoard_sf_id, number, worker, queue, hash_files,
            started_at, ended_at, outcome)
        SELECT owner_id, databoard_sf_id, 1, 'worker-1', 'low', hash_files, started_at,
            finished_at, 'tested'
        FROM submission_fold WHERE databoard_sf_id >= {first};
    INSERT INTO fold_event (owner_id, databoard_sf_id, databoard_s, state, attempt, created_at)
        SELECT owner_id, databoard_sf_id, databoard_s, state, 1, finished_at
        FROM submission_fold WHERE databoard_sf_id >= {first} ORDER BY databoard_sf_id;
"""


def add_finished_folds(database_url: str, n_folds: int) -> None:
    """Add folds to the account of a database's first one, as if they had run one after the other.

    Parameters
    ----------
    database_url : str
        Of a stack with one fold.
    n_folds : int
        They have been handed out, and are numbered from `FIRST_NUMBER` on.
    """
    statement = _FINISHED.format(first=FIRST_NUMBER, last=n_folds - 1, share=FOLDS_A_SUBMISSION)
    with psycopg.connect(database_url) as database:
        for part in statement.split(";\n"):
            database.execute(part)
