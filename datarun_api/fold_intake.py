"""How folds are accepted: a request's folds, all or none, in one transaction.

Rows are looked up once for all folds, and new ones are inserted in bulk. An insert that meets a
row which is there already leaves it as it is; the payload is then held against that row, so that
two requests with the same new submission or fold follow one another whichever comes first.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import current_app
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Integer,
    LargeBinary,
    String,
    case,
    column,
    func,
    literal,
    select,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import undefer
from sqlalchemy.types import TypeEngine

from datarun_api.errors import ApiError, BadInputError, ConflictError, NotFoundError
from datarun_api.extensions import db
from datarun_api.folds import end_attempt, enqueue_queued, is_among
from datarun_api.models import Outcome, RawData, StoredFile, Submission, SubmissionFold
from datarun_api.posted_files import PostedFiles
from datarun_api.raw_data import enqueue_or_end, find_problem
from datarun_api.schemas import parse_force
from datarun_api.storage import hash_manifest
from datarun_api.timings import measure_posting
from datarun_api.transitions import Act, Event, decide
from datarun_client.states import SplitState

T = TypeVar("T")
Payload = dict[str, Any]
"""A fold as `SubmissionFoldInputSchema` loads it, with `PostedFiles`."""


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
        self._saved: dict[frozenset[tuple[str, str]], list[StoredFile]] = {}

    def run(self) -> list[Accepted]:
        """Take all folds in, without the commit.

        Raises
        ------
        BulkError
            If some can't be accepted.
        """
        self._check_numbers()
        self._load_raw_data(payload["raw_data"] for payload in self.payloads)
        self._check_each(self._check_raw_data)
        self._check_each(self._save_files)
        self._insert_submissions()
        self._load_submissions()
        self._check_each(self._check_submission)
        self._load_raw_data(row.raw_data_id for row in self.submissions.values())
        self._check_each(self._check_split)
        self._insert_folds()
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

    def _load_raw_data(self, numbers: Iterable[int | None]) -> None:
        missing = {number for number in numbers if number is not None} - self.raw_data.keys()
        if not missing:
            return
        query = select(RawData).where(RawData.owner_id == self.owner_id, RawData.id.in_(missing))
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

    def _load_submissions(self) -> None:
        numbers = {payload["databoard_s_id"] for payload in self.payloads}
        query = select(Submission).where(
            Submission.owner_id == self.owner_id, Submission.databoard_s_id.in_(numbers)
        )
        query = query.order_by(Submission.databoard_s_id).with_for_update(key_share=True)
        self.submissions = {row.databoard_s_id: row for row in db.session.scalars(query)}

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

    def _insert_folds(self) -> None:
        posting = measure_posting()
        payloads = sorted(self.payloads, key=lambda payload: payload["databoard_sf_id"])
        # One array a column: a placeholder for every value would take longer than the insert.
        columns: dict[str, tuple[TypeEngine[Any], list[Any]]] = {
            "databoard_sf_id": (Integer(), [entry["databoard_sf_id"] for entry in payloads]),
            "databoard_s": (Integer(), [entry["databoard_s_id"] for entry in payloads]),
            "train_is": (LargeBinary(), [entry["train_is"].packed for entry in payloads]),
            "test_is": (LargeBinary(), [entry["test_is"].packed for entry in payloads]),
            "max_index": (BigInteger(), [find_max_index(entry) for entry in payloads]),
            "priority": (String(), [entry["priority"].value for entry in payloads]),
            "is_split": (Boolean(), [self._is_split(entry) for entry in payloads]),
        }
        arrays = [literal(values, ARRAY(kind)) for kind, values in columns.values()]
        names = [column(name, kind) for name, (kind, _) in columns.items()]
        rows = func.unnest(*arrays).table_valued(*names).render_derived("rows")
        shown = {found.name: found for found in rows.c}
        is_split = shown.pop("is_split")
        values = {
            "owner_id": literal(self.owner_id),
            **shown,
            "queued_at": case((is_split, posting.written_at)),
            "posted_at": literal(posting.posted_at),
            "timings": literal(posting.timings, SubmissionFold.timings.type),
        }
        statement = (
            insert(SubmissionFold)
            .from_select(list(values), select(*values.values()))
            .on_conflict_do_nothing()
            .returning(SubmissionFold.databoard_sf_id)
        )
        self.created = set(db.session.scalars(statement))

    def _is_split(self, payload: Payload) -> bool:
        """Tell whether a new fold can wait for a worker; else it waits for its split."""
        return self._find_raw_data(payload["databoard_s_id"]).split_state is SplitState.DONE

    def _load_folds(self) -> None:
        numbers = [payload["databoard_sf_id"] for payload in self.payloads]
        query = select(SubmissionFold).where(
            SubmissionFold.owner_id == self.owner_id, is_among(numbers)
        )
        query = query.options(undefer("*")).order_by(SubmissionFold.databoard_sf_id)
        rows = db.session.scalars(query.with_for_update())
        self.folds = {row.databoard_sf_id: row for row in rows}

    def _settle(self, payload: Payload) -> Accepted:
        """Say what a payload does to its fold, by the state table."""
        fold = self.folds[payload["databoard_sf_id"]]
        if fold.databoard_sf_id in self.created:
            if self._find_raw_data(fold.databoard_s).split_state is SplitState.ERROR:
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
                posting = measure_posting()
                fold.posted_at, fold.timings = posting.posted_at, posting.timings
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
