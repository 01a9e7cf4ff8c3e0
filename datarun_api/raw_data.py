"""Data sets: how they are accepted and split.

The split is a data job. A fold that is posted while it runs waits, and is enqueued or ended when
the split is.
"""

from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Any

from flask import current_app
from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.exc import IntegrityError

from datarun_api.errors import BadInputError, ConflictError, NotFoundError
from datarun_api.extensions import db, get_queues, get_storage
from datarun_api.leases import get_lease
from datarun_api.models import RawData, StoredFile, Submission, SubmissionFold
from datarun_api.posted_files import PostedFiles
from datarun_api.storage import hash_manifest
from datarun_client.errors import WorkflowElementsError
from datarun_client.file_names import READER_FILE
from datarun_client.states import FailureKind, Reader, SplitState, State
from datarun_client.workflow_elements import (
    KIT_FILE,
    check_kit_elements,
    parse_workflow_elements,
    split_words,
)

MAX_LOSSES = 3
"""After so many attempts that were lost or failed by our fault, a fold or a split ends."""

NAME_TAKEN = "RawData with this name already exists."


def create_raw_data(owner_id: int, payload: dict[str, Any]) -> tuple[RawData, bool]:
    """Keep a data set that was posted.

    Parameters
    ----------
    owner_id : int
    payload : dict
        As `RawDataInputSchema` loads it, with `PostedFiles`.

    Returns
    -------
    raw_data : RawData
    created : bool
        False if the same data set was there already.

    Raises
    ------
    BadInputError
        If the files can't be a data set or can't be decoded, or the elements make no workflow.
    ConflictError
        If another data set has the name.
    """
    posted: PostedFiles = payload["files"]
    reader = find_reader(posted.names)
    check_elements(payload["workflow_elements"], reader)
    if reader == KIT_FILE and payload["metrics"]:
        text = f"A RAMP kit is scored by the score types of its {KIT_FILE}; leave this out."
        raise BadInputError("The request has bad fields.", {"metrics": [text]})
    manifest = [
        {**file, "name": READER_FILE} if file["name"] == reader else file
        for file in posted.save(owner_id, current_app.config["MAX_UPLOAD"])
    ]
    raw_data = RawData(
        owner_id=owner_id,
        name=payload["name"],
        target_column=payload["target_column"],
        workflow_elements=payload["workflow_elements"],
        files=manifest,
        reader=choose_kind(reader),
        time_limit=payload.get("time_limit"),
        memory_limit=payload.get("memory_limit"),
        metrics=payload["metrics"],
    )
    db.session.add(raw_data)
    try:
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        return find_same(raw_data), False
    return raw_data, True


def find_same(posted: RawData) -> RawData:
    """Find the data set that has a posted one's name already.

    Raises
    ------
    ConflictError
        If it isn't the same.
    """
    existing = db.session.scalars(
        select(RawData).where(RawData.owner_id == posted.owner_id, RawData.name == posted.name)
    ).one()
    same = (
        existing.target_column == posted.target_column
        and set(split_words(existing.workflow_elements))
        == set(split_words(posted.workflow_elements))
        and hash_manifest(existing.files) == hash_manifest(posted.files)
        and existing.time_limit == posted.time_limit
        and existing.memory_limit == posted.memory_limit
        # A kit's come from its own file, once that was read.
        and (existing.metrics == posted.metrics or existing.reader is Reader.KIT)
    )
    if not same:
        raise ConflictError(NAME_TAKEN, {"name": [NAME_TAKEN]})
    return existing


def check_elements(text: str, reader: str | None) -> None:
    """Refuse workflow elements that nothing could train.

    Parameters
    ----------
    text : str
    reader : str or None
        The data set's own reader; a kit's has a workflow that names its elements as it likes.

    Raises
    ------
    BadInputError
        With what to write instead.
    """
    try:
        if reader == KIT_FILE:
            check_kit_elements(text)
        else:
            parse_workflow_elements(text)
    except WorkflowElementsError as error:
        raise BadInputError(
            "The request has bad fields.", {"workflow_elements": [str(error)]}
        ) from None


def find_reader(names: Collection[str]) -> str | None:
    """Find a data set's own reader among its files; None if pandas reads it.

    It is the one ``.py`` file, or a RAMP kit's ``problem.py``, which may have others beside it.

    Raises
    ------
    BadInputError
        If there is more than one reader, or several files and none to read them, or a kit's file
        has the name under which its reader is kept.
    """
    readers = [name for name in names if PurePosixPath(name).suffix == ".py"]
    if KIT_FILE in readers:
        if READER_FILE in readers:
            text = f"{KIT_FILE} is kept as {READER_FILE}, so give that file another name."
            raise BadInputError("A data set has one reader.", {"files": [text]})
        readers = [KIT_FILE]
    if len(readers) > 1:
        raise BadInputError(
            "A data set has one reader.", {"files": ["Send one .py file, the data set's reader."]}
        )
    if not readers and len(names) > 1:
        raise BadInputError(
            "Several files need a reader.",
            {
                "files": [
                    "Send a single CSV, or add one .py file with prepare_data, get_train_data "
                    "and get_test_data that reads them."
                ]
            },
        )
    return readers[0] if readers else None


def choose_kind(reader: str | None) -> Reader:
    """Say what kind of reader a data set's own is; None is pandas's."""
    if reader is None:
        return Reader.CSV
    return Reader.KIT if reader == KIT_FILE else Reader.SPECIFIC


def get_raw_data(owner_id: int, raw_data_id: int, field: str, *, lock: bool = False) -> RawData:
    """Find an account's data set.

    Parameters
    ----------
    owner_id, raw_data_id : int
    field : str
        The request's field that named it.
    lock : bool, optional
        Whether to hold its row until the transaction ends.

    Raises
    ------
    NotFoundError
        If there is none.
    """
    query = select(RawData).where(RawData.owner_id == owner_id, RawData.id == raw_data_id)
    raw_data = db.session.scalar(query.with_for_update() if lock else query)
    if raw_data is None:
        text = f"There is no data set {raw_data_id}; GET rawdata/ lists them."
        raise NotFoundError(text, {field: [text]})
    return raw_data


def request_split(
    owner_id: int,
    raw_data_id: int,
    *,
    by_own_reader: bool,
    held_out_test: float | None = None,
    random_state: int | None = None,
) -> tuple[RawData, bool]:
    """Ask for the split of a data set.

    Parameters
    ----------
    owner_id, raw_data_id : int
    by_own_reader : bool
        Which of the two kinds of split was asked for.
    held_out_test : float, optional
        The share of the rows that is held out.
    random_state : int, optional

    Returns
    -------
    raw_data : RawData
    started : bool
        False if the same split was asked for before.

    Raises
    ------
    NotFoundError
        If there is no such data set.
    BadInputError
        If the data set's reader is of the other kind.
    ConflictError
        If another split exists and folds rely on it.
    """
    raw_data = get_raw_data(owner_id, raw_data_id, "raw_data_id", lock=True)
    if raw_data.reader.is_own is not by_own_reader:
        hint = (
            "This data set has its own reader; ask for rawdata/customsplit/."
            if raw_data.reader.is_own
            else "This data set has no reader of its own; ask for rawdata/split/."
        )
        raise BadInputError(hint, {"raw_data_id": [hint]})
    same = (raw_data.held_out_test, raw_data.random_state) == (held_out_test, random_state)
    if same and raw_data.split_state in (SplitState.TODO, SplitState.DONE):
        return raw_data, False
    if raw_data.split_state is not SplitState.NONE and not same and has_folds(raw_data):
        text = "Folds rely on another split of this data set; post the data under another name."
        raise ConflictError(text, {"raw_data_id": [text]})
    raw_data.split_losses = 0
    restart_split(raw_data)
    raw_data.split_error = None
    raw_data.held_out_test = held_out_test
    raw_data.random_state = random_state
    raw_data.parts = []
    raw_data.n_train = raw_data.n_test = None
    db.session.commit()
    get_queues().enqueue_split(raw_data)
    return raw_data, True


def restart_split(raw_data: RawData) -> None:
    """Make a split ready for its next attempt."""
    raw_data.split_state = SplitState.TODO
    raw_data.split_attempt += 1
    raw_data.split_lease_until = None


def has_folds(raw_data: RawData) -> bool:
    """Tell whether any fold relies on a data set."""
    query = (
        select(SubmissionFold.databoard_sf_id)
        .join(SubmissionFold.submission)
        .where(Submission.raw_data_id == raw_data.id)
        .limit(1)
    )
    return db.session.scalar(query) is not None


def claim_split(raw_data_id: int, attempt: int) -> RawData | None:
    """Give a split to a worker; None if there is nothing to do."""
    raw_data = db.session.scalar(select(RawData).where(RawData.id == raw_data_id).with_for_update())
    if (
        raw_data is None
        or raw_data.split_state is not SplitState.TODO
        or raw_data.split_lease_until is not None
        or raw_data.split_attempt != attempt
    ):
        db.session.rollback()
        return None
    raw_data.split_lease_until = func.now() + get_lease()
    db.session.commit()
    return raw_data


def renew_split_lease(raw_data_id: int, attempt: int) -> None:
    """Let the newest attempt at a split run on.

    Raises
    ------
    ConflictError
        If this attempt is over.
    """
    raw_data = get_running_split(raw_data_id, attempt, lock=True)
    raw_data.split_lease_until = func.now() + get_lease()
    db.session.commit()


def release_split(raw_data_id: int, attempt: int) -> None:
    """Take a split back that a worker can't finish; no loss is charged.

    Raises
    ------
    ConflictError
        If this attempt is over.
    """
    raw_data = get_running_split(raw_data_id, attempt, lock=True)
    restart_split(raw_data)
    db.session.commit()
    get_queues().enqueue_split(raw_data)


def get_running_split(raw_data_id: int, attempt: int, *, lock: bool = False) -> RawData:
    """Find the split that a worker runs.

    Raises
    ------
    ConflictError
        If this attempt isn't the newest, or isn't running.
    """
    query = select(RawData).where(RawData.id == raw_data_id)
    raw_data = db.session.scalar(query.with_for_update() if lock else query)
    if raw_data is None or raw_data.split_attempt != attempt or raw_data.split_lease_until is None:
        raise ConflictError("This attempt at the split is over; drop it.")
    return raw_data


def finish_split(raw_data_id: int, attempt: int, payload: dict[str, Any]) -> None:
    """Keep the result of a split, and let the folds go that waited for it.

    Parameters
    ----------
    raw_data_id, attempt : int
    payload : dict
        As `SplitResultInputSchema` loads it.

    Raises
    ------
    ConflictError
        If this attempt isn't the newest, or isn't running.
    BadInputError
        If a part wasn't uploaded.
    """
    raw_data = get_running_split(raw_data_id, attempt, lock=True)
    failed = payload["state"] is SplitState.ERROR
    if failed and payload["failure_kind"] is FailureKind.PLATFORM_ERROR:
        lose_split(raw_data)
        db.session.commit()
        return
    check_stored(payload["files"])
    raw_data.split_lease_until = None
    raw_data.split_state = payload["state"]
    raw_data.split_error = payload["error"]
    raw_data.parts = payload["files"]
    raw_data.n_train = payload["n_train"]
    raw_data.n_test = payload["n_test"]
    if raw_data.reader is Reader.KIT:
        raw_data.metrics = payload["metrics"]
    folds = find_waiting_folds(raw_data)
    for fold in folds:
        enqueue_or_end(raw_data, fold)
    db.session.commit()
    get_queues().enqueue_folds([fold for fold in folds if fold.queued_at is not None])


def lose_split(raw_data: RawData) -> None:
    """Take a split's newest attempt as lost: the next one follows, or the third ends it.

    Parameters
    ----------
    raw_data : RawData
        Its split runs, and its row is locked.
    """
    raw_data.split_losses += 1
    restart_split(raw_data)
    if raw_data.split_losses >= MAX_LOSSES:
        raw_data.split_state = SplitState.ERROR
        raw_data.split_error = (
            f"{MAX_LOSSES} attempts at the split were lost; the fault is the platform's."
        )
        for fold in find_waiting_folds(raw_data):
            enqueue_or_end(raw_data, fold)


def enqueue_or_end(raw_data: RawData, fold: SubmissionFold) -> None:
    """Let a fold wait for a worker, or for its split, or end if it can't run on the split."""
    problem = find_problem(raw_data, fold.max_index)
    if problem:
        ours = raw_data.split_losses >= MAX_LOSSES
        fold.fail(FailureKind.PLATFORM_ERROR if ours else FailureKind.DATA_ERROR, problem)
    elif raw_data.split_state is SplitState.DONE:
        fold.enqueue()


def find_waiting_folds(raw_data: RawData) -> list[SubmissionFold]:
    """Find the folds that wait for a data set's split, locked."""
    query = (
        select(SubmissionFold)
        .join(SubmissionFold.submission)
        .where(Submission.raw_data_id == raw_data.id, *waits_for_split())
        .order_by(SubmissionFold.owner_id, SubmissionFold.databoard_sf_id)
        .with_for_update(of=SubmissionFold)
    )
    return list(db.session.scalars(query))


def waits_for_split() -> tuple[ColumnElement[bool], ...]:
    """Say in SQL that a fold waits for its data set's split."""
    return (
        SubmissionFold.state == State.TODO,
        SubmissionFold.lease_until.is_(None),
        SubmissionFold.queued_at.is_(None),
        SubmissionFold.retry_at.is_(None),
    )


def find_problem(raw_data: RawData, max_index: int) -> str | None:
    """Say why a fold can't run on a data set's split; None if nothing is known against it."""
    if raw_data.split_state is SplitState.ERROR:
        return f"The split of the data set failed: {raw_data.split_error}"
    if raw_data.n_train is not None and max_index >= raw_data.n_train:
        return (
            f"Row number {max_index} is out of range: the train set has {raw_data.n_train} rows, "
            "counted from 0."
        )
    return None


def check_stored(files: list[StoredFile]) -> None:
    """Check that files were uploaded.

    Raises
    ------
    BadInputError
        If one is missing.
    """
    storage = get_storage()
    for file in files:
        try:
            storage.find(file["sha256"])
        except FileNotFoundError:
            text = f"{file['name']} was not uploaded; PUT its bytes first."
            raise BadInputError(text, {"files": [text]}) from None


def delete_raw_data(owner_id: int, raw_data_id: int) -> None:
    """Delete a data set with its submissions and folds; what runs is stopped.

    Raises
    ------
    NotFoundError
        If there is none.
    """
    raw_data = get_raw_data(owner_id, raw_data_id, "raw_data_id", lock=True)
    submissions = select(Submission.databoard_s_id).where(Submission.raw_data_id == raw_data.id)
    delete_submissions(owner_id, submissions)
    db.session.delete(raw_data)
    db.session.commit()


def get_submission(owner_id: int, databoard_s_id: int) -> Submission:
    """Find an account's submission.

    Raises
    ------
    NotFoundError
        If there is none.
    """
    submission = db.session.get(Submission, (owner_id, databoard_s_id))
    if submission is None:
        raise NotFoundError(f"There is no submission {databoard_s_id} in this account.")
    return submission


def delete_submission(owner_id: int, databoard_s_id: int) -> None:
    """Delete a submission with its folds; what runs is stopped.

    Raises
    ------
    NotFoundError
        If there is none.
    """
    get_submission(owner_id, databoard_s_id)
    delete_submissions(owner_id, [databoard_s_id])
    db.session.commit()


def delete_submissions(owner_id: int, numbers: Any) -> None:
    """Delete an account's submissions, by their numbers or a query for them."""
    for model, column in (
        (SubmissionFold, SubmissionFold.databoard_s),
        (Submission, Submission.databoard_s_id),
    ):
        db.session.execute(delete(model).where(model.owner_id == owner_id, column.in_(numbers)))
