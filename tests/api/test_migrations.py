"""The way of a database with data in it from every revision to the newest.

`SAMPLES` has rows as of a revision, and `MORE` what is added to them at a later one. A revision
without rows of its own is reached with those of the one before it, so that a new one is tested by
being there; give it rows if it has new tables.
"""

import uuid
import zlib
from collections.abc import Callable
from typing import Any

import flask_migrate
import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from sqlalchemy import inspect, select
from sqlalchemy.orm import undefer

from datarun_api.extensions import db
from datarun_api.models import (
    MEASURES,
    Attempt,
    Base,
    Outcome,
    RawData,
    Submission,
    SubmissionFold,
    User,
)
from datarun_api.restore import MIGRATIONS
from datarun_client.states import Priority, SplitState, State
from tests.api.conftest import strip_driver

Rows = dict[str, dict[tuple[Any, ...], dict[str, Any]]]
Connection = psycopg.Connection[dict[str, Any]]

REVISIONS = [
    script.revision for script in reversed(list(ScriptDirectory(str(MIGRATIONS)).walk_revisions()))
]
MOVED = {"submission_fold": {"queued_at"}}
"""Columns whose values a migration changes, by table; what becomes of them has its own test."""

FILES = Jsonb([{"name": "data.csv", "sha256": "a" * 64, "size": 9}])
SOURCE = Jsonb([{"name": "classifier.py", "sha256": "b" * 64, "size": 7}])
HASH = "d" * 64
PREDICTIONS = zlib.compress(bytes(range(112)))
TEST_PREDICTIONS = zlib.compress(bytes(range(48)))


def insert(connection: Connection, table: str, **values: Any) -> None:
    query = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(table),
        sql.SQL(",").join(map(sql.Identifier, values)),
        sql.SQL(",").join(sql.Placeholder() * len(values)),
    )
    connection.execute(query, list(values.values()))


def change(connection: Connection, table: str, number: int, **values: Any) -> None:
    query = sql.SQL("UPDATE {} SET {} WHERE id = %s").format(
        sql.Identifier(table),
        sql.SQL(",").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in values),
    )
    connection.execute(query, [*values.values(), number])


def add_accounts(connection: Connection) -> None:
    insert(connection, "account", id=1, name="a", role="platform", password_hash="$argon2id$x")
    insert(connection, "account", id=2, name="v", role="viewer", views_id=1)
    insert(connection, "account", id=3, name="w", role="worker")
    insert(
        connection,
        "token",
        id=1,
        user_id=3,
        name="worker",
        sha256=bytes(32),
        runs_data_jobs=False,
    )


def add_raw_data(connection: Connection, number: int, state: str, **values: Any) -> None:
    insert(
        connection,
        "raw_data",
        **{
            "id": number,
            "owner_id": 1,
            "name": f"data {number}",
            "target_column": "y",
            "workflow_elements": "classifier",
            "files": FILES,
            "reader": "csv",
            "time_limit": 1.5,
            "memory_limit": 1 << 33,
            "split_state": state,
            "split_attempt": 1,
            "held_out_test": 0.3,
            "random_state": 42,
            "parts": FILES if state == "DONE" else Jsonb([]),
            "n_train": 7,
            **values,
        },
    )
    insert(
        connection,
        "submission",
        owner_id=1,
        databoard_s_id=number,
        raw_data_id=number,
        files=SOURCE,
        hash_files="c" * 64,
    )


def add_fold(
    connection: Connection, number: int, state: str, raw_data: int = 1, **values: Any
) -> None:
    insert(
        connection,
        "submission_fold",
        **{
            "owner_id": 1,
            "databoard_sf_id": number,
            "databoard_s": raw_data,
            "train_is": bytes(range(100)),
            "test_is": bytes(range(50)),
            "max_index": 6,
            "priority": "H",
            "state": state,
            "attempt": 1,
            "n_losses": 0,
            "log_messages": "fine\n",
            "new": True,
            **dict.fromkeys(MEASURES, 0.25),
            **values,
        },
    )


RESULT = {
    "full_train_predictions": PREDICTIONS,
    "full_train_shape": [7, 2],
    "test_predictions": TEST_PREDICTIONS,
    "test_shape": [3, 2],
    "result_sha256": bytes(range(32)),
    "hash_files": "c" * 64,
    "started_at": "2026-01-01T12:00:00Z",
    "finished_at": "2026-01-01T12:00:01Z",
}


def add_rows_of_0001(connection: Connection) -> None:
    add_accounts(connection)
    for number, state in enumerate(("DONE", "TODO", "NONE", "ERROR"), 1):
        add_raw_data(connection, number, state, split_running=state == "TODO")
    add_fold(connection, 1, "TESTED", running=False, worker="w1", new=False, **RESULT)
    add_fold(connection, 2, "ERROR", running=False, failure_kind="submission_error")
    add_fold(connection, 3, "TRAINED", running=True, worker="w1", attempt=2, hash_files="c" * 64)
    add_fold(connection, 4, "TODO", running=False, priority="L")
    add_fold(connection, 5, "TODO", raw_data=2, running=False)


def add_rows_of_0002(connection: Connection) -> None:
    add_accounts(connection)
    moment = "2026-01-01T12:00:00Z"
    for number, state in enumerate(("DONE", "TODO", "NONE", "ERROR"), 1):
        lease = moment if state == "TODO" else None
        add_raw_data(connection, number, state, split_losses=1, split_lease_until=lease)
    add_fold(connection, 1, "TESTED", new=False, **RESULT)
    add_fold(connection, 2, "ERROR", failure_kind="platform_error", n_losses=3)
    add_fold(connection, 3, "TRAINED", lease_until=moment, attempt=2, hash_files="c" * 64)
    add_fold(connection, 4, "TODO", queued_at=moment, priority="L", avoided_worker="w1")
    add_fold(connection, 5, "TODO", raw_data=2)
    add_fold(connection, 6, "TODO", retry_at=moment, n_losses=1)
    attempt = {"owner_id": 1, "worker": "w1", "queue": "high", "hash_files": "c" * 64}
    ended = {"ended_at": moment, "measures": Jsonb({"train_time": 0.25})}
    insert(connection, "attempt", databoard_sf_id=1, number=1, outcome="tested", **ended, **attempt)
    insert(connection, "attempt", databoard_sf_id=3, number=2, **attempt)
    insert(connection, "turn", owner_id=1, priority="H", served_at=moment)
    facts = {"version": "0.1.0", "isolation": "full", "free_disk": 1 << 40, "free_memory": 1 << 33}
    insert(
        connection, "worker", name="w1", account_id=3, host="h", queues=["high"], n_done=1, **facts
    )


def add_rows_of_0011(connection: Connection) -> None:
    moment = "2026-01-01T12:00:00Z"
    change(connection, "token", 1, role="worker", expires_at="2036-01-01T12:00:00Z")
    change(connection, "account", 1, events_trimmed_to=6)
    change(connection, "raw_data", 1, metrics=["accuracy", "roc_auc"])
    upload = {"owner_id": 1, "size": 9, "used_at": moment}
    insert(connection, "upload", id=uuid.UUID(int=1), received=4, announced_sha256=HASH, **upload)
    insert(connection, "upload", id=uuid.UUID(int=2), received=9, sha256=HASH, **upload)
    answer = {"fingerprint": bytes(32), "status": 201, "mimetype": "application/json"}
    insert(connection, "idempotency_key", account_id=1, key="shown", body=b"{}", **answer)
    insert(connection, "idempotency_key", account_id=1, key="secret", **answer)
    event = {"owner_id": 1, "databoard_s": 1, "attempt": 1, "created_at": moment}
    kind = {"state": "ERROR", "failure_kind": "platform_error"}
    insert(connection, "fold_event", id=7, databoard_sf_id=1, state="TESTED", **event)
    insert(connection, "fold_event", id=8, databoard_sf_id=2, **kind, **event)
    insert(
        connection,
        "webhook",
        id=1,
        raw_data_id=1,
        url="https://platform.example.org/hook",
        states=["TESTED", "ERROR"],
        secret=bytes(24),
        last_event_id=8,
        n_failures=1,
        failing_since=moment,
        paused_until=moment,
    )
    delivered = {"n_tries": 1, "tried_at": moment, "delivered_at": moment, "status": 204}
    failed = {"n_tries": 2, "tried_at": moment, "next_try_at": moment, "error": "no answer"}
    insert(connection, "webhook_delivery", webhook_id=1, event_id=7, **delivered)
    insert(connection, "webhook_delivery", webhook_id=1, event_id=8, **failed)
    scores = Jsonb({"accuracy": {"train": 0.75, "test": None}})
    connection.execute(
        "UPDATE submission_fold SET scores = %s, full_train_sha256 = %s, test_sha256 = %s "
        "WHERE databoard_sf_id = 1",
        [scores, HASH, HASH],
    )
    scoring = {"owner_id": 1, "attempt": 2, "is_stale": False, "n_losses": 1}
    insert(connection, "scoring", databoard_s=1, state="DONE", bagged=scores, **scoring)
    insert(connection, "scoring", databoard_s=2, state="TODO", lease_until=moment, **scoring)


SAMPLES: dict[str, Callable[[Connection], None]] = {
    "0001": add_rows_of_0001,
    "0002": add_rows_of_0002,
}
MORE: dict[str, Callable[[Connection], None]] = {"0011": add_rows_of_0011}


class Database:
    """A database that is migrated step by step."""

    def __init__(self, url: str, app: Any) -> None:
        self.url = url
        self.app = app

    def connect(self) -> Connection:
        return psycopg.connect(strip_driver(self.url), row_factory=dict_row)

    def upgrade(self, revision: str = "head") -> None:
        with self.app.app_context():
            flask_migrate.upgrade(revision=revision)

    def downgrade(self, revision: str) -> None:
        with self.app.app_context():
            flask_migrate.downgrade(revision=revision)

    def fill(self, revision: str) -> None:
        """Go to a revision, with the rows of the newest sample that isn't younger."""
        earlier = REVISIONS[: REVISIONS.index(revision) + 1]
        sample = [revision for revision in earlier if revision in SAMPLES][-1]
        self.upgrade(sample)
        with self.connect() as connection:
            SAMPLES[sample](connection)
        for later in earlier:
            if later in MORE:
                self.upgrade(later)
                with self.connect() as connection:
                    MORE[later](connection)
        self.upgrade(revision)

    def read_rows(self) -> Rows:
        """Read all rows, by table and key."""
        with self.connect() as connection:
            return {
                table: {
                    tuple(row[column] for column in key): row
                    for row in connection.execute(
                        sql.SQL("SELECT * FROM {}").format(sql.Identifier(table))
                    )
                }
                for table, key in self.read_keys().items()
            }

    def read_keys(self) -> dict[str, list[str]]:
        """Read the tables' primary keys."""
        with self.app.app_context():
            inspector = inspect(db.engine)
            return {
                table: inspector.get_pk_constraint(table)["constrained_columns"]
                for table in inspector.get_table_names()
            }


@pytest.fixture
def database(make_database, make_app) -> Database:
    url = make_database()
    return Database(url, make_app(url))


@pytest.mark.parametrize("revision", REVISIONS)
def test_data_of_every_revision_are_intact_at_the_newest(database, revision):
    database.fill(revision)
    before = database.read_rows()

    database.upgrade()

    after = database.read_rows()
    assert before.pop("alembic_version") == {(revision,): {"version_num": revision}}
    assert sum(map(len, before.values())) >= 15
    for table, rows in before.items():
        for key, old in rows.items():
            new = after[table][key]
            kept = (old.keys() & new.keys()) - MOVED.get(table, set())
            assert {name: new[name] for name in kept} == {name: old[name] for name in kept}


@pytest.mark.parametrize("revision", REVISIONS)
def test_data_of_every_revision_can_be_read_by_the_models(database, revision):
    database.fill(revision)

    database.upgrade()

    with database.app.app_context():
        for mapper in Base.registry.mappers:
            db.session.scalars(select(mapper.class_).options(undefer("*"))).all()
        fold = db.session.get_one(SubmissionFold, (1, 1), options=[undefer("*")])
        assert (fold.state, fold.new, fold.test_shape) == (State.TESTED, False, [3, 2])
        assert fold.full_train_predictions == PREDICTIONS
        assert fold.submission.raw_data.files[0]["sha256"] == "a" * 64
        assert db.session.get_one(User, 2).views_id == 1


def test_what_ran_before_leases_gets_one_that_is_over(database):
    """So the reconciler finds it; what waited is queued, and what waited for a split waits on."""
    database.fill("0001")

    database.upgrade()

    with database.app.app_context():
        folds = {
            fold.databoard_sf_id: fold
            for fold in db.session.scalars(select(SubmissionFold).order_by("databoard_sf_id"))
        }
        assert [number for number, fold in folds.items() if fold.is_running] == [3]
        assert [number for number, fold in folds.items() if fold.queued_at] == [4]
        assert folds[4].priority is Priority.LOW
        (attempt,) = db.session.scalars(select(Attempt))
        assert (attempt.databoard_sf_id, attempt.number, attempt.worker) == (3, 2, "w1")
        assert attempt.outcome is None
        splits = db.session.scalars(select(RawData).where(RawData.split_lease_until.is_not(None)))
        assert [raw_data.split_state for raw_data in splits] == [SplitState.TODO]


def test_history_outlives_the_upgrade(database):
    database.fill("0002")

    database.upgrade()

    with database.app.app_context():
        attempt = db.session.get_one(Attempt, (1, 1, 1))
        assert attempt.outcome is Outcome.TESTED
        assert attempt.measures == {"train_time": 0.25}
        assert db.session.get_one(Submission, (1, 1)).hash_files == "c" * 64


def test_notifications_name_the_fold_where_an_earlier_release_hears_nothing(database):
    """Its listener would end at what it can't read."""
    database.fill("0013")
    assert hear_change(database, "TRAINED") == [("datarun_fold_event", "1")]

    database.upgrade("0014")
    assert hear_change(database, "VALIDATED") == [("datarun_fold", "1:4")]

    database.downgrade("0013")
    assert hear_change(database, "TESTED") == [("datarun_fold_event", "1")]


def hear_change(database: Database, state: str) -> list[tuple[str, str]]:
    """Change a fold's state, and list the notifications, as (channel, payload)."""
    with database.connect() as connection:
        connection.execute("LISTEN datarun_fold_event")
        connection.execute("LISTEN datarun_fold")
        connection.commit()
        connection.execute(
            "UPDATE submission_fold SET state = %s WHERE databoard_sf_id = 4", [state]
        )
        connection.commit()
        return [(heard.channel, heard.payload) for heard in connection.notifies(timeout=0)]


def test_the_samples_have_rows_in_every_table(database):
    """A table without them isn't tried: give the revision that makes it rows in `MORE`."""
    database.fill(REVISIONS[-1])

    assert [table for table, rows in database.read_rows().items() if not rows] == []


def test_an_upgrade_of_the_newest_revision_changes_nothing(database):
    database.fill(REVISIONS[-1])
    before = database.read_rows()

    database.upgrade()

    assert database.read_rows() == before


def test_models_and_migrations_agree(database):
    database.upgrade()

    with database.app.app_context(), db.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )

        assert compare_metadata(context, Base.metadata) == []


def test_indexes_are_those_of_the_models_to_their_conditions(database, make_database, make_app):
    """Alembic doesn't compare the conditions, and the reconciler's cost hangs on them."""
    database.upgrade()
    url = make_database()
    fresh = Database(url, make_app(url))
    with fresh.app.app_context():
        db.create_all()

    assert read_indexes(database) == read_indexes(fresh)


def read_indexes(database: Database) -> set[str]:
    query = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
    with database.connect() as connection:
        return {
            row["indexdef"]
            for row in connection.execute(query)
            if row["indexname"] != "alembic_version_pkc"
        }


def test_the_way_back_is_a_backup(database, caplog):
    database.fill(REVISIONS[-1])
    before = database.read_rows()

    with pytest.raises(SystemExit):
        database.downgrade("0001")

    assert "restoring a backup" in caplog.text
    assert database.read_rows() == before


def test_the_first_tables_can_be_taken_back(database):
    database.upgrade("0001")

    database.downgrade("base")

    assert database.read_rows() == {"alembic_version": {}}
