"""How folds are accepted: a request's folds, all or none, in one transaction.

Rows are looked up once for all folds, and new ones are inserted in bulk. An insert that meets a
row which is there already leaves it as it is; the payload is then held against that row, so that
two requests with the same new submission or fold follow one another whichever comes first.

Nearly all posts are plain: new folds of known submissions, on data sets that are split. These are
inserted by one statement, which looks up all that on the way (`FoldIntake._insert_plain`). What it
leaves out takes the long way, on which every refusal has its reason.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import current_app
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
    FromClause,
    Integer,
    Interval,
    LargeBinary,
    Select,
    String,
    any_,
    bindparam,
    case,
    column,
    func,
    literal,
    select,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import load_only, undefer
from sqlalchemy.sql.dml import ReturningInsert
from sqlalchemy.types import TypeEngine

from datarun_api.byte_arrays import ByteArray
from datarun_api.errors import ApiError, BadInputError, ConflictError, NotFoundError
from datarun_api.extensions import db
from datarun_api.folds import end_attempt, enqueue_queued, is_among
from datarun_api.models import (
    Outcome,
    RawData,
    StoredFile,
    Submission,
    SubmissionFold,
    get_table,
)
from datarun_api.posted_files import FilesKey, PostedFiles
from datarun_api.raw_data import enqueue_or_end, find_problem
from datarun_api.schemas import parse_force
from datarun_api.storage import hash_manifest
from datarun_api.timings import find_arrival, measure_accept, measure_lead
from datarun_api.transitions import Act, Event, decide
from datarun_client.states import Span, SplitState

T = TypeVar("T")
Payload = dict[str, Any]
"""A fold as `SubmissionFoldInputSchema` loads it, with `PostedFiles`."""

COLUMNS: Mapping[str, TypeEngine[Any]] = {
    "databoard_sf_id": Integer(),
    "databoard_s": Integer(),
    "train_is": LargeBinary(),
    "test_is": LargeBinary(),
    "max_index": BigInteger(),
    "priority": String(),
    "is_queued": Boolean(),
}
"""What a new fold brings, and whether it waits for a worker at once."""

MORE = ("raw_data", "files", "force")
"""What a post may bring besides, so that there is more to do than to insert a fold."""

LARGE = ("train_is", "test_is")
"""The columns of a new fold that the database needn't send back."""


class BulkError(ApiError):
    """Some folds of a request were refused, so none was accepted.

    Parameters
    ----------
    refusals : mapping of int to ApiError
        By the fold's place in the request.
    """

    def __init__(self, refusals: Mapping[int, ApiError]) -> None:
        first = refusals[min(refusals)]
        self.code = first.code
        self.refusals = refusals
        super().__init__(
            f"{len(refusals)} of the folds can't be accepted, so none was: {first.description}",
            {str(place): refusal.errors for place, refusal in refusals.items()},
        )


@dataclass(frozen=True)
class Accepted:
    """A fold that was posted.

    Attributes
    ----------
    fold : SubmissionFold
    started : bool
        False if the same fold was there already, so that nothing started.
    """

    fold: SubmissionFold
    started: bool


def accept_folds(owner_id: int, payloads: Sequence[Payload]) -> list[Accepted]:
    """Keep folds that were posted, all or none, and enqueue those that can run.

    Parameters
    ----------
    owner_id : int
    payloads : sequence of dict
        As `SubmissionFoldInputSchema` loads them, with `PostedFiles`.

    Returns
    -------
    list of Accepted
        In the order of the payloads.

    Raises
    ------
    BulkError
        If some can't be accepted; says which and why.
    """
    intake = FoldIntake(owner_id, payloads)
    try:
        accepted = intake.run()
        db.session.commit()
    except BaseException:
        db.session.rollback()
        raise
    enqueue_queued(item.fold for item in accepted if item.started)
    return accepted


class FoldIntake:
    """One request's folds on their way into the database.

    Parameters
    ----------
    owner_id : int
    payloads : sequence of dict
    """

    def __init__(self, owner_id: int, payloads: Sequence[Payload]) -> None:
        self.owner_id = owner_id
        self.payloads = payloads
        self.raw_data: dict[int, RawData] = {}
        self.submissions: dict[int, Submission] = {}
        self.folds: dict[int, SubmissionFold] = {}
        self.created: set[int] = set()
        # The manifests of files that came with the request, by what was sent.
        # All folds share the limit: a list may hold thousands of zlib bombs.
        self._bytes_left: int = current_app.config["MAX_UPLOAD"]
        self._saved: dict[FilesKey, list[StoredFile]] = {}

    def run(self) -> list[Accepted]:
        """Take all folds in, without the commit.

        Raises
        ------
        BulkError
            If some can't be accepted.
        """
        self._check_numbers()
        if self._insert_plain():
            return [
                Accepted(self.folds[payload["databoard_sf_id"]], started=True)
                for payload in self.payloads
            ]
        self._load_raw_data()
        self._check_each(self._check_raw_data)
        self._check_each(self._save_files)
        self._insert_submissions()
        self._lock_replaced()
        self._load_submissions()
        self._check_each(self._check_submission)
        self._check_each(self._check_split)
        self._insert(is_plain=False)
        self._load_folds()
        return self._check_each(self._settle)

    def _check_each(self, check: Callable[[Payload], T]) -> list[T]:
        """Apply a check to every payload, so that all refusals are told at once."""
        refusals: dict[int, ApiError] = {}
        results = []
        for place, payload in enumerate(self.payloads):
            try:
                results.append(check(payload))
            except ApiError as refusal:
                refusals[place] = refusal
        if refusals:
            raise BulkError(refusals)
        return results

    def _check_numbers(self) -> None:
        seen: set[int] = set()

        def check(payload: Payload) -> None:
            number = payload["databoard_sf_id"]
            if number in seen:
                raise _refuse(BadInputError, "databoard_sf_id", f"Fold {number} stands twice.")
            seen.add(number)

        self._check_each(check)

    def _load_raw_data(self) -> None:
        """Find the data sets that payloads name."""
        numbers = {payload["raw_data"] for payload in self.payloads} - {None}
        if not numbers:
            return
        query = select(RawData).where(RawData.owner_id == self.owner_id, RawData.id.in_(numbers))
        # Shared, so that a split can't begin or end between this look and the commit.
        for row in db.session.scalars(query.order_by(RawData.id).with_for_update(read=True)):
            self.raw_data[row.id] = row

    def _check_raw_data(self, payload: Payload) -> None:
        number = payload["raw_data"]
        if number is not None and number not in self.raw_data:
            raise _refuse(
                NotFoundError,
                "raw_data",
                f"There is no data set {number}; GET rawdata/ lists them.",
            )

    def _save_files(self, payload: Payload) -> None:
        """Keep a payload's files; a submission's folds often come with the same ones."""
        files: PostedFiles | None = payload["files"]
        if files is not None and files.key not in self._saved:
            manifest = files.save(self.owner_id, self._bytes_left)
            self._bytes_left -= sum(file["size"] for file in manifest)
            self._saved[files.key] = manifest

    def _find_manifest(self, payload: Payload) -> list[StoredFile] | None:
        files: PostedFiles | None = payload["files"]
        return None if files is None else self._saved[files.key]

    def _insert_submissions(self) -> None:
        rows: dict[int, Payload] = {}
        for payload in self.payloads:
            manifest = self._find_manifest(payload)
            if manifest is None or payload["raw_data"] is None:
                continue
            row = {
                "owner_id": self.owner_id,
                "databoard_s_id": payload["databoard_s_id"],
                "raw_data_id": payload["raw_data"],
                "files": manifest,
                "hash_files": hash_manifest(manifest),
            }
            rows.setdefault(payload["databoard_s_id"], row)
        if rows:
            statement = insert(Submission).on_conflict_do_nothing()
            db.session.execute(statement, [rows[number] for number in sorted(rows)])

    def _lock_replaced(self) -> None:
        """Let those that would replace the source of one submission follow one another."""
        numbers = {
            payload["databoard_s_id"]
            for payload in self.payloads
            if "submission" in parse_force(payload["force"])
        }
        if numbers:
            query = select(Submission.databoard_s_id).where(
                Submission.owner_id == self.owner_id, Submission.databoard_s_id.in_(numbers)
            )
            query = query.order_by(Submission.databoard_s_id).with_for_update(key_share=True)
            db.session.execute(query).all()

    def _load_submissions(self) -> None:
        """Find the submissions with their data sets, those that were just inserted included."""
        numbers = sorted({payload["databoard_s_id"] for payload in self.payloads})
        found = db.session.execute(
            _select_submissions(), {"of_owner": self.owner_id, "numbers": numbers}
        )
        for submission, raw_data in found:
            self.submissions[submission.databoard_s_id] = submission
            self.raw_data[raw_data.id] = raw_data

    def _check_submission(self, payload: Payload) -> None:
        """Hold a payload against its submission, and replace the source if it is forced to."""
        submission = self.submissions.get(payload["databoard_s_id"])
        if submission is None:
            missing = {
                name: ["Missing: the submission is new, so send its files and its data set."]
                for name in ("raw_data", "files")
                if payload[name] is None
            }
            raise BadInputError("The submission is new.", missing)
        if payload["raw_data"] not in (None, submission.raw_data_id):
            raise _refuse(
                ConflictError,
                "raw_data",
                f"Submission {submission.databoard_s_id} is on data set {submission.raw_data_id}.",
            )
        manifest = self._find_manifest(payload)
        force = parse_force(payload["force"])
        if manifest is None or hash_manifest(manifest) == submission.hash_files:
            return
        if "submission" in force:
            submission.files = manifest
            submission.hash_files = hash_manifest(manifest)
        elif "submission_fold" not in force:
            raise _refuse(
                ConflictError,
                "files",
                f"Submission {submission.databoard_s_id} has other files; "
                "force='submission, submission_fold' replaces them.",
            )

    def _find_raw_data(self, databoard_s: int) -> RawData:
        return self.raw_data[self.submissions[databoard_s].raw_data_id]

    def _check_split(self, payload: Payload) -> None:
        raw_data = self._find_raw_data(payload["databoard_s_id"])
        if raw_data.split_state is SplitState.NONE:
            raise _refuse(
                ConflictError,
                "raw_data",
                f"Data set {raw_data.id} isn't split; ask for the split first.",
            )
        for name in ("train_is", "test_is"):
            problem = find_problem(raw_data, payload[name].largest)
            if problem and raw_data.split_state is SplitState.DONE:
                raise _refuse(BadInputError, name, problem)

    def _insert_plain(self) -> bool:
        """Insert the folds that can run at once, and tell whether those are all."""
        if any(payload[name] is not None for payload in self.payloads for name in MORE):
            return False
        self._insert(is_plain=True)
        return len(self.created) == len(self.payloads)

    def _insert(self, is_plain: bool) -> None:
        """Insert the folds that aren't there; what the database made of them comes back.

        Parameters
        ----------
        is_plain : bool
            Whether to leave out those that can't run at once, instead of looking at them first.
        """
        rows = [
            {
                "databoard_sf_id": payload["databoard_sf_id"],
                "databoard_s": payload["databoard_s_id"],
                "train_is": payload["train_is"].packed,
                "test_is": payload["test_is"].packed,
                "max_index": find_max_index(payload),
                "priority": payload["priority"].value,
                "is_queued": is_plain or self._is_split(payload),
            }
            for payload in self.payloads
        ]
        is_bulk = len(rows) > 1
        parameters = {
            **({name: [row[name] for row in rows] for name in COLUMNS} if is_bulk else rows[0]),
            "of_owner": self.owner_id,
            "lead": measure_lead(),
            "spans": {Span.ACCEPT: measure_accept()},
        }
        if is_plain:
            parameters["numbers"] = sorted({row["databoard_s"] for row in rows})
        sent = {row["databoard_sf_id"]: row for row in rows}
        for row in db.session.execute(_make_insert(is_bulk, is_plain), parameters).mappings():
            number = row["databoard_sf_id"]
            large = {name: sent[number][name] for name in LARGE}
            self.folds[number] = SubmissionFold(**row, **large)
        self.created = set(self.folds)

    def _is_split(self, payload: Payload) -> bool:
        """Tell whether a new fold can wait for a worker; else it waits for its split."""
        return self._find_raw_data(payload["databoard_s_id"]).split_state is SplitState.DONE

    def _load_folds(self) -> None:
        """Find the folds that more is to be done to than to insert them."""
        numbers = [
            payload["databoard_sf_id"]
            for payload in self.payloads
            if payload["databoard_sf_id"] not in self.created or self._has_no_split(payload)
        ]
        if not numbers:
            return
        query = select(SubmissionFold).where(
            SubmissionFold.owner_id == self.owner_id, is_among(numbers)
        )
        query = query.options(undefer("*")).order_by(SubmissionFold.databoard_sf_id)
        rows = db.session.scalars(query.with_for_update())
        self.folds |= {row.databoard_sf_id: row for row in rows}

    def _has_no_split(self, payload: Payload) -> bool:
        """Tell whether a new fold ends at once, as the split of its data set failed."""
        return self._find_raw_data(payload["databoard_s_id"]).split_state is SplitState.ERROR

    def _settle(self, payload: Payload) -> Accepted:
        """Say what a payload does to its fold, by the state table."""
        fold = self.folds[payload["databoard_sf_id"]]
        if fold.databoard_sf_id in self.created:
            if self._has_no_split(payload):
                self._enqueue(fold)
            return Accepted(fold, started=True)
        event = _name_event(payload, fold)
        match decide(event, fold.status):
            case Act.KEEP:
                return Accepted(fold, started=False)
            case Act.RESTART if payload["databoard_s_id"] == fold.databoard_s:
                fold.train_is = payload["train_is"].packed
                fold.test_is = payload["test_is"].packed
                fold.max_index = find_max_index(payload)
                fold.priority = payload["priority"]
                if fold.is_running:
                    end_attempt(fold, Outcome.SUPERSEDED)
                fold.n_losses = 0
                fold.avoided_worker = None
                fold.restart()
                fold.posted_at = find_arrival(literal(measure_lead()))
                fold.timings = {Span.ACCEPT: measure_accept()}
                self._enqueue(fold)
                return Accepted(fold, started=True)
        raise _refuse(
            ConflictError,
            "databoard_sf_id",
            f"Fold {fold.databoard_sf_id} exists with other content"
            + (
                "; force='submission_fold' runs it again."
                if payload["databoard_s_id"] == fold.databoard_s
                else f": it belongs to submission {fold.databoard_s}."
            ),
        )

    def _enqueue(self, fold: SubmissionFold) -> None:
        """Let a fold wait for a worker, or for its split, or end if that failed."""
        enqueue_or_end(self._find_raw_data(fold.databoard_s), fold)


# Statements that every post needs are built once: SQLAlchemy takes longer to put one together than
# PostgreSQL to carry it out. What they look at is shared, so that no split begins or ends and no
# source is replaced between the look and the commit.


@functools.cache
def _select_submissions() -> Select[Submission, RawData]:
    """Make the query for an account's submissions with their data sets."""
    columns = (
        load_only(Submission.raw_data_id, Submission.hash_files),
        load_only(RawData.split_state, RawData.split_error, RawData.split_losses, RawData.n_train),
    )
    return (
        select(Submission, RawData)
        .join(Submission.raw_data)
        .where(*_is_meant())
        .options(*columns)
        .with_for_update(read=True)
    )


def _is_meant() -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Say in SQL which submissions are meant, by parameters of the statement."""
    return (
        Submission.owner_id == bindparam("of_owner"),
        Submission.databoard_s_id == any_(bindparam("numbers", type_=ARRAY(Integer))),
    )


@functools.cache
def _make_insert(is_bulk: bool, is_plain: bool) -> ReturningInsert[Any]:
    """Make the statement that inserts new folds, and leaves alone those that are there.

    Parameters
    ----------
    is_bulk : bool
        Whether each of `COLUMNS` comes as an array of values.
    is_plain : bool
        Whether it leaves out what can't run at once, too.
    """
    table = get_table(SubmissionFold)
    rows: FromClause
    if is_bulk:
        # One array a column: a placeholder for every value would take longer than the insert.
        arrays = [
            bindparam(name, type_=ByteArray() if name in LARGE else ARRAY(kind))
            for name, kind in COLUMNS.items()
        ]
        names = [column(name, kind) for name, kind in COLUMNS.items()]
        rows = func.unnest(*arrays).table_valued(*names).render_derived("rows")
    else:
        shown = [bindparam(name, type_=kind).label(name) for name, kind in COLUMNS.items()]
        rows = select(*shown).subquery("rows")
    values: dict[str, ColumnElement[Any]] = {
        "owner_id": bindparam("of_owner", type_=table.c.owner_id.type),
        **{name: rows.c[name] for name in COLUMNS if name in table.c},
        "queued_at": case((rows.c.is_queued, func.now())),
        "posted_at": find_arrival(bindparam("lead", type_=Interval())),
        "timings": bindparam("spans", type_=table.c.timings.type),
    }
    # In order, so that two requests with the same folds don't wait for each other.
    query = select(*values.values()).select_from(rows).order_by(rows.c.databoard_sf_id)
    if is_plain:
        known = (
            select(Submission.databoard_s_id, RawData.split_state, RawData.n_train)
            .join(Submission.raw_data)
            .where(*_is_meant())
            .with_for_update(read=True)
            .cte("known")
        )
        query = query.join(known, known.c.databoard_s_id == rows.c.databoard_s).where(
            known.c.split_state == SplitState.DONE, rows.c.max_index < known.c.n_train
        )
    return (
        insert(table)
        .from_select(list(values), query)
        .on_conflict_do_nothing()
        .returning(*(found for found in table.c if found.name not in LARGE))
    )


def find_max_index(payload: Payload) -> int:
    """Find the largest row number of a fold."""
    return max(payload["train_is"].largest, payload["test_is"].largest)


def _name_event(payload: Payload, fold: SubmissionFold) -> Event:
    """Tell what a repeated post is."""
    if payload["force"]:
        return Event.FORCE
    same = (
        payload["databoard_s_id"] == fold.databoard_s
        and payload["priority"] is fold.priority
        and payload["train_is"].equals(fold.train_is)
        and payload["test_is"].equals(fold.test_is)
    )
    return Event.REPEAT if same else Event.CHANGE


def _refuse(kind: type[ApiError], field: str, text: str) -> ApiError:
    """Make a refusal that names one field."""
    return kind(text, {field: [text]})
