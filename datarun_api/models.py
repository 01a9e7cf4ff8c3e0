"""The tables, and what a row can say about itself.

Numbers of submissions and folds are the platform's own, so their keys hold the owner too: each
account is a platform with numbers of its own. Columns that may be large (indices, predictions,
logs) are deferred: a query loads them only when it names them.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypedDict, cast
from uuid import UUID, uuid4

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Enum,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    case,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, registry, relationship

from datarun_api.transitions import Status
from datarun_client.codec import PREDICTION_DTYPE
from datarun_client.states import (
    FailureKind,
    Priority,
    Queue,
    Reader,
    Role,
    ScoringState,
    SplitState,
    State,
)


class StoredFile(TypedDict):
    """An entry of a manifest: a file's name and where `storage` has its bytes."""

    name: str
    sha256: str
    size: int


Scores = dict[str, dict[str, float | None]]
"""Scores by metric and `ScorePart`; None where a score is none."""


class Base(DeclarativeBase):
    """The base of all models; constraints have names, so that a migration can find them."""

    registry = registry(
        metadata=MetaData(
            naming_convention={
                "ix": "ix_%(table_name)s_%(column_0_N_name)s",
                "uq": "uq_%(table_name)s_%(column_0_N_name)s",
                "ck": "ck_%(table_name)s_%(constraint_name)s",
                "fk": "fk_%(table_name)s_%(column_0_N_name)s",
                "pk": "pk_%(table_name)s",
            }
        ),
        type_annotation_map={
            datetime: DateTime(timezone=True),
            list[StoredFile]: JSONB,
            list[int]: ARRAY(Integer),
            list[str]: ARRAY(String),
            dict[str, float]: JSONB,
        },
    )


def get_table(model: type[Base]) -> Table:
    """Give a model's table, for statements that go past the session."""
    return cast(Table, model.__table__)


def enum_column(kind: type[StrEnum]) -> Enum:
    """Keep an enum as its text, so that a new member needs no migration."""
    return Enum(
        kind,
        native_enum=False,
        create_constraint=False,
        length=32,
        values_callable=lambda members: [member.value for member in members],
    )


class User(Base):
    """An account: a platform, a viewer of one, a compute machine or an administrator."""

    __tablename__ = "account"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    role: Mapped[Role] = mapped_column(enum_column(Role))
    password_hash: Mapped[str | None] = mapped_column(Text)
    # The account whose data a viewer reads.
    views_id: Mapped[int | None] = mapped_column(ForeignKey("account.id"))
    # The number of the last event of its folds that was deleted for its age.
    events_trimmed_to: Mapped[int] = mapped_column(BigInteger, default=0)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


USE_NOTED_EVERY = timedelta(minutes=1)
"""How often the use of a token is written down at most."""


class Token(Base):
    """A Bearer token, kept as its SHA-256."""

    __tablename__ = "token"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    sha256: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    # Less than the account's role, if it is set.
    role: Mapped[Role | None] = mapped_column(enum_column(Role))
    # Whether its worker may see held-out labels and raw files.
    runs_data_jobs: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None] = mapped_column()
    # Right to `USE_NOTED_EVERY`, or to DATARUN_PASSWORD_CACHE if that is longer.
    last_used_at: Mapped[datetime | None] = mapped_column()

    user: Mapped[User] = relationship(lazy="joined")


class RawData(Base):
    """A data set: its files, what submissions predict, and its split into train and test."""

    __tablename__ = "raw_data"
    __table_args__ = (
        UniqueConstraint("owner_id", "name"),
        # The splits that somebody has to look after.
        Index("ix_raw_data_splitting", "id", postgresql_where=text("split_state = 'TODO'")),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("account.id"))
    name: Mapped[str] = mapped_column(String(200))
    target_column: Mapped[str] = mapped_column(String(200))
    workflow_elements: Mapped[str] = mapped_column(String(200))
    files: Mapped[list[StoredFile]] = mapped_column()
    reader: Mapped[Reader] = mapped_column(enum_column(Reader))
    time_limit: Mapped[float | None] = mapped_column()
    memory_limit: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    # Names of scikit-learn's scorers, or of a kit's own score types once it is split; without any
    # nothing is scored.
    metrics: Mapped[list[str]] = mapped_column(default=list)

    split_state: Mapped[SplitState] = mapped_column(
        enum_column(SplitState), default=SplitState.NONE
    )
    # The split runs as long as there is a lease, be it over or not.
    split_lease_until: Mapped[datetime | None] = mapped_column()
    split_attempt: Mapped[int] = mapped_column(default=0)
    # How many attempts at the split were lost since it was asked for.
    split_losses: Mapped[int] = mapped_column(default=0)
    split_error: Mapped[str | None] = mapped_column(Text)
    held_out_test: Mapped[float | None] = mapped_column()
    random_state: Mapped[int | None] = mapped_column(BigInteger)
    # What the split made: X_train, y_train, X_test, y_test.
    parts: Mapped[list[StoredFile]] = mapped_column(default=list)
    n_train: Mapped[int | None] = mapped_column()
    n_test: Mapped[int | None] = mapped_column()

    @hybrid_property
    def files_path(self) -> str:
        """Give the data set's logical path; never one of the server's."""
        return f"rawdata/{self.id}"

    @files_path.inplace.expression
    @classmethod
    def _write_files_path(cls) -> ColumnElement[str]:
        return func.concat("rawdata/", cls.id)

    @property
    def split_job_id(self) -> str:
        """The RQ job of the newest split."""
        return f"split-{self.id}-{self.split_attempt}"


class Submission(Base):
    """A model's source files, by the platform's own number."""

    __tablename__ = "submission"

    owner_id: Mapped[int] = mapped_column(ForeignKey("account.id"), primary_key=True)
    databoard_s_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    raw_data_id: Mapped[int] = mapped_column(ForeignKey("raw_data.id"), index=True)
    files: Mapped[list[StoredFile]] = mapped_column()
    # One hash of all names and contents.
    hash_files: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    raw_data: Mapped[RawData] = relationship()


class Upload(Base):
    """A file that was sent before the data set or the submission that it belongs to."""

    __tablename__ = "upload"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    owner_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), index=True)
    # How many bytes it is to have, and how many of them have arrived.
    size: Mapped[int] = mapped_column(BigInteger)
    received: Mapped[int] = mapped_column(BigInteger, default=0)
    # What the hash of all is to be, if that was announced.
    announced_sha256: Mapped[str | None] = mapped_column(String(64))
    # Where `storage` has it; None until it is whole.
    sha256: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # When a part of it arrived last.
    used_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), onupdate=func.now(), index=True
    )


MEASURES = (
    "train_time",
    "validation_time",
    "test_time",
    "train_cpu_time",
    "test_cpu_time",
    "train_memory",
    "test_memory",
)
"""The wire's measures of a fold: times in seconds, memory in kB of 1024 bytes."""


class SubmissionFold(Base):
    """One submission on one cross-validation fold, and what became of it."""

    __tablename__ = "submission_fold"
    __table_args__ = (
        ForeignKeyConstraint(
            ["owner_id", "databoard_s"], ["submission.owner_id", "submission.databoard_s_id"]
        ),
        Index("ix_submission_fold_submission", "owner_id", "databoard_s"),
        # What hands out results and what looks for waiting or running folds must cost the same
        # with a million finished folds in the table.
        Index(
            "ix_submission_fold_new",
            "owner_id",
            "databoard_sf_id",
            postgresql_where=text("new AND state = 'TESTED'"),
        ),
        # Lists of the folds in a state, and of those that changed lately.
        Index("ix_submission_fold_state", "owner_id", "state", "databoard_sf_id"),
        Index("ix_submission_fold_changed", "owner_id", "changed_at"),
        # Lists of those that go first, which are few; to find the others is to list nearly all.
        Index(
            "ix_submission_fold_high",
            "owner_id",
            "databoard_sf_id",
            postgresql_where=text("priority = 'H'"),
        ),
        Index(
            "ix_submission_fold_queued",
            "priority",
            "owner_id",
            "queued_at",
            postgresql_where=text("queued_at IS NOT NULL"),
        ),
        Index(
            "ix_submission_fold_waits_for_split",
            "owner_id",
            "databoard_s",
            postgresql_where=text(
                "state = 'TODO' AND lease_until IS NULL AND queued_at IS NULL AND retry_at IS NULL"
            ),
        ),
        Index(
            "ix_submission_fold_lease",
            "lease_until",
            postgresql_where=text("lease_until IS NOT NULL"),
        ),
        Index(
            "ix_submission_fold_retry", "retry_at", postgresql_where=text("retry_at IS NOT NULL")
        ),
    )

    owner_id: Mapped[int] = mapped_column(ForeignKey("account.id"), primary_key=True)
    databoard_sf_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    databoard_s: Mapped[int] = mapped_column()
    # zlib streams of int64, as the codec packs them. PostgreSQL is told not to try to compress them
    # once more (revision 0012).
    train_is: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    test_is: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    # The largest row number of both, to be held against the train part's size.
    max_index: Mapped[int] = mapped_column(BigInteger)
    priority: Mapped[Priority] = mapped_column(enum_column(Priority))

    state: Mapped[State] = mapped_column(enum_column(State), default=State.TODO)
    attempt: Mapped[int] = mapped_column(default=1)
    # Of what follows at most one is set: the fold runs, is queued, or is to be tried again later.
    # None is set while it waits for its data set's split, and when it is final.
    lease_until: Mapped[datetime | None] = mapped_column()
    queued_at: Mapped[datetime | None] = mapped_column()
    retry_at: Mapped[datetime | None] = mapped_column()
    # How many attempts were lost or failed by our fault since the fold was posted or forced.
    n_losses: Mapped[int] = mapped_column(default=0)
    # The worker that lost the last one: another is to try first.
    avoided_worker: Mapped[str | None] = mapped_column(String(200))
    failure_kind: Mapped[FailureKind | None] = mapped_column(enum_column(FailureKind))
    log_messages: Mapped[str] = mapped_column(Text, default="", deferred=True)
    # The source that the newest attempt ran.
    hash_files: Mapped[str | None] = mapped_column(String(64))
    # zlib streams of float64, as the codec packs them; the shapes, and the SHA-256 of the bytes.
    full_train_predictions: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    full_train_shape: Mapped[list[int] | None] = mapped_column()
    full_train_sha256: Mapped[str | None] = mapped_column(String(64))
    test_predictions: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    test_shape: Mapped[list[int] | None] = mapped_column()
    test_sha256: Mapped[str | None] = mapped_column(String(64))
    # By metric and part of the data; None if they aren't there, or not yet.
    scores: Mapped[Scores | None] = mapped_column(JSONB)
    # One hash of all that was delivered: the same result may come twice.
    result_sha256: Mapped[bytes | None] = mapped_column(LargeBinary)
    new: Mapped[bool] = mapped_column(default=True)

    train_time: Mapped[float] = mapped_column(default=0.0)
    validation_time: Mapped[float] = mapped_column(default=0.0)
    test_time: Mapped[float] = mapped_column(default=0.0)
    train_cpu_time: Mapped[float] = mapped_column(default=0.0)
    test_cpu_time: Mapped[float] = mapped_column(default=0.0)
    train_memory: Mapped[float] = mapped_column(default=0.0)
    test_memory: Mapped[float] = mapped_column(default=0.0)

    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None] = mapped_column()
    finished_at: Mapped[datetime | None] = mapped_column()
    # When anything of it changed last, its lease included.
    changed_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), onupdate=func.clock_timestamp(), deferred=True
    )
    # When the newest POST that started it arrived, and the spans of time since then, by `Span`.
    posted_at: Mapped[datetime] = mapped_column(server_default=func.now(), deferred=True)
    timings: Mapped[dict[str, float]] = mapped_column(
        default=dict, server_default=text("'{}'"), deferred=True
    )

    submission: Mapped[Submission] = relationship(viewonly=True)

    @hybrid_property
    def full_train_dtype(self) -> str | None:
        """Give the type of the predictions, as NumPy writes it; None if there are none."""
        return None if self.full_train_shape is None else PREDICTION_DTYPE.str

    @full_train_dtype.inplace.expression
    @classmethod
    def _write_full_train_dtype(cls) -> ColumnElement[str | None]:
        return case((cls.full_train_shape.is_not(None), PREDICTION_DTYPE.str))

    @hybrid_property
    def test_dtype(self) -> str | None:
        """Give the type of the predictions of the test set, as `full_train_dtype` does."""
        return None if self.test_shape is None else PREDICTION_DTYPE.str

    @test_dtype.inplace.expression
    @classmethod
    def _write_test_dtype(cls) -> ColumnElement[str | None]:
        return case((cls.test_shape.is_not(None), PREDICTION_DTYPE.str))

    @property
    def is_running(self) -> bool:
        """Whether an attempt has a lease, be it over or not."""
        return self.lease_until is not None

    @property
    def status(self) -> Status:
        """The fold's row in the state table."""
        return Status.of(self.state, self.is_running)

    @property
    def job_id(self) -> str:
        """The RQ job of the newest attempt."""
        return make_fold_job_id(self.owner_id, self.databoard_sf_id, self.attempt)

    def enqueue(self) -> None:
        """Let the fold wait for a worker."""
        self.queued_at = func.now()
        self.lease_until = self.retry_at = None

    def leave_queue(self) -> None:
        """Let the fold neither run nor wait for a worker."""
        self.queued_at = self.lease_until = self.retry_at = None

    def restart(self) -> None:
        """Make the fold ready for its next attempt, with nothing left of the one before."""
        self.attempt += 1
        self.state = State.TODO
        self.failure_kind = None
        self.log_messages = ""
        self.hash_files = None
        self.full_train_predictions = self.full_train_shape = self.full_train_sha256 = None
        self.test_predictions = self.test_shape = self.test_sha256 = None
        self.result_sha256 = None
        self.scores = None
        self.new = True
        for measure in MEASURES:
            setattr(self, measure, 0.0)
        self.started_at = self.finished_at = None
        self.leave_queue()

    def fail(self, kind: FailureKind, message: str) -> None:
        """End the fold in `ERROR`, with a last line in its log."""
        self.state = State.ERROR
        self.failure_kind = kind
        log = self.log_messages
        self.log_messages = f"{log}{'' if not log or log.endswith(chr(10)) else chr(10)}{message}"
        self.finished_at = func.now()
        self.leave_queue()


class Outcome(StrEnum):
    """How an attempt ended."""

    TESTED = "tested"
    ERROR = "error"
    LOST = "lost"
    RELEASED = "released"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"


class Attempt(Base):
    """One try at running a fold: who, when, and how it ended."""

    __tablename__ = "attempt"
    __table_args__ = (
        ForeignKeyConstraint(
            ["owner_id", "databoard_sf_id"],
            ["submission_fold.owner_id", "submission_fold.databoard_sf_id"],
            ondelete="CASCADE",
        ),
        # What a worker runs at the moment.
        Index("ix_attempt_running", "worker", postgresql_where=text("ended_at IS NULL")),
        # How long attempts took lately, and how many there were.
        Index("ix_attempt_ended", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
    )

    owner_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    databoard_sf_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    worker: Mapped[str] = mapped_column(String(200))
    queue: Mapped[Queue] = mapped_column(enum_column(Queue))
    hash_files: Mapped[str] = mapped_column(String(64))
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None] = mapped_column()
    outcome: Mapped[Outcome | None] = mapped_column(enum_column(Outcome))
    failure_kind: Mapped[FailureKind | None] = mapped_column(enum_column(FailureKind))
    # What is known of an end that was not the submission's own.
    reason: Mapped[str | None] = mapped_column(Text)
    # What it had written when it ended without a result; the newest one's log is the fold's.
    log_messages: Mapped[str | None] = mapped_column(Text)
    # What it used, as in `MEASURES`.
    measures: Mapped[dict[str, float] | None] = mapped_column()

    def end(
        self, outcome: Outcome, reason: str | None = None, kind: FailureKind | None = None
    ) -> None:
        """Note how the attempt ended."""
        self.ended_at = func.now()
        self.outcome = outcome
        self.reason = reason
        self.failure_kind = kind


class IdempotencyKey(Base):
    """The answer to a POST that was sent with an `Idempotency-Key`."""

    __tablename__ = "idempotency_key"

    account_id: Mapped[int] = mapped_column(
        ForeignKey("account.id", ondelete="CASCADE"), primary_key=True
    )
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    # One hash of the request.
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    status: Mapped[int] = mapped_column()
    mimetype: Mapped[str] = mapped_column(String(100))
    # None if the answer showed a secret.
    body: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)


class FoldEvent(Base):
    """A change of a fold's state; written by a trigger, as `events` tells."""

    __tablename__ = "fold_event"
    __table_args__ = (Index("ix_fold_event_owner_id", "owner_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    databoard_sf_id: Mapped[int] = mapped_column()
    databoard_s: Mapped[int] = mapped_column()
    state: Mapped[State] = mapped_column(enum_column(State))
    failure_kind: Mapped[FailureKind | None] = mapped_column(enum_column(FailureKind))
    attempt: Mapped[int] = mapped_column()
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp(), index=True)

    @property
    def message_id(self) -> str:
        """How a webhook's messages name it; every try has the same name."""
        return f"fold_event_{self.id}"


class Webhook(Base):
    """An address that is called when a fold of a data set gets one of some states."""

    __tablename__ = "webhook"

    id: Mapped[int] = mapped_column(primary_key=True)
    raw_data_id: Mapped[int] = mapped_column(
        ForeignKey("raw_data.id", ondelete="CASCADE"), index=True
    )
    url: Mapped[str] = mapped_column(Text)
    states: Mapped[list[str]] = mapped_column()
    # Not a hash: every message is signed with it.
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    # The last event that its deliveries were made of.
    last_event_id: Mapped[int] = mapped_column(BigInteger)
    # How many calls failed since one succeeded, and since when.
    n_failures: Mapped[int] = mapped_column(default=0)
    failing_since: Mapped[datetime | None] = mapped_column()
    paused_until: Mapped[datetime | None] = mapped_column()
    disabled_at: Mapped[datetime | None] = mapped_column()
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    def recover(self) -> None:
        """Forget that calls failed."""
        self.n_failures = 0
        self.failing_since = self.paused_until = self.disabled_at = None


class WebhookDelivery(Base):
    """What a webhook is called about, and how that went."""

    __tablename__ = "webhook_delivery"
    __table_args__ = (
        Index(
            "ix_webhook_delivery_due",
            "webhook_id",
            "next_try_at",
            postgresql_where=text("next_try_at IS NOT NULL"),
        ),
    )

    webhook_id: Mapped[int] = mapped_column(
        ForeignKey("webhook.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    event_id: Mapped[int] = mapped_column(
        BigInteger,
        ForeignKey("fold_event.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
        index=True,
    )
    n_tries: Mapped[int] = mapped_column(default=0)
    # None once it was delivered or given up.
    next_try_at: Mapped[datetime | None] = mapped_column()
    tried_at: Mapped[datetime | None] = mapped_column()
    delivered_at: Mapped[datetime | None] = mapped_column()
    # Of the last try: the answer's status, or why there was none.
    status: Mapped[int | None] = mapped_column()
    error: Mapped[str | None] = mapped_column(Text)


class Scoring(Base):
    """The job that scores a submission's folds; `scoring` tells who asks for it."""

    __tablename__ = "scoring"
    __table_args__ = (
        ForeignKeyConstraint(
            ["owner_id", "databoard_s"],
            ["submission.owner_id", "submission.databoard_s_id"],
            ondelete="CASCADE",
        ),
        # Those that somebody has to look after.
        Index(
            "ix_scoring_todo", "owner_id", "databoard_s", postgresql_where=text("state = 'TODO'")
        ),
    )

    owner_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    databoard_s: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    state: Mapped[ScoringState] = mapped_column(enum_column(ScoringState))
    attempt: Mapped[int] = mapped_column(default=1)
    # It runs as long as there is a lease, be it over or not.
    lease_until: Mapped[datetime | None] = mapped_column()
    # Whether a fold has ended since it began.
    is_stale: Mapped[bool] = mapped_column(default=False)
    n_losses: Mapped[int] = mapped_column(default=0)
    # What some metric said.
    error: Mapped[str | None] = mapped_column(Text)
    # The scores of the mean predictions of all tested folds.
    bagged: Mapped[Scores | None] = mapped_column(JSONB)

    submission: Mapped[Submission] = relationship(viewonly=True)

    @property
    def job_id(self) -> str:
        """The RQ job of the newest attempt."""
        return f"score-{self.owner_id}-{self.databoard_s}-{self.attempt}"

    def restart(self) -> None:
        """Make it ready for its next attempt."""
        self.state = ScoringState.TODO
        self.attempt += 1
        self.lease_until = None
        self.is_stale = False


class Turn(Base):
    """When an account was last served from a queue: the one that waited longest comes next."""

    __tablename__ = "turn"

    owner_id: Mapped[int] = mapped_column(ForeignKey("account.id"), primary_key=True)
    priority: Mapped[Priority] = mapped_column(enum_column(Priority), primary_key=True)
    served_at: Mapped[datetime] = mapped_column()


class Worker(Base):
    """A compute machine's worker process, as it told of itself last."""

    __tablename__ = "worker"

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    host: Mapped[str] = mapped_column(String(200))
    queues: Mapped[list[str]] = mapped_column()
    version: Mapped[str] = mapped_column(String(50))
    isolation: Mapped[str] = mapped_column(String(50))
    free_disk: Mapped[int] = mapped_column(BigInteger)
    free_memory: Mapped[int] = mapped_column(BigInteger)
    n_done: Mapped[int] = mapped_column(default=0)
    first_seen: Mapped[datetime] = mapped_column(server_default=func.now())
    last_seen: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)


def make_fold_job_id(owner_id: int, databoard_sf_id: int, attempt: int) -> str:
    """Name the RQ job of one attempt."""
    return f"fold-{owner_id}-{databoard_sf_id}-{attempt}"
