"""Folds in the hands of workers: claimed, reported on, ended, handed out.

Every change asks the state table (`transitions.decide`) with the fold's row locked, so that two
requests about one fold follow one another.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import func, select, update
from sqlalchemy.orm import undefer

from datarun_api.errors import BadInputError, ConflictError, NotFoundError
from datarun_api.extensions import db, get_queues
from datarun_api.models import MEASURES, StoredFile, Submission, SubmissionFold
from datarun_api.raw_data import SPECIFIC
from datarun_api.transitions import Act, Event, decide
from datarun_client.codec import decode_base64, is_finite, unpack_predictions
from datarun_client.errors import CodecError
from datarun_client.states import FailureKind, Queue, SplitState, State

FOLD_PARTS = ("X_train", "y_train", "X_test")
"""The parts that a fold may see; `y_test` goes to data jobs alone."""

MAX_LOSSES = 3
"""After so many attempts that were lost or failed by our fault, a fold ends."""

ATTEMPT_OVER = "This attempt is over; drop it."


def get_fold(owner_id: int, databoard_sf_id: int) -> SubmissionFold:
    """Find an account's fold, with all its columns.

    Raises
    ------
    NotFoundError
        If there is none.
    """
    fold = db.session.scalar(
        select(SubmissionFold).where(*_is_fold(owner_id, databoard_sf_id)).options(undefer("*"))
    )
    if fold is None:
        raise NotFoundError(f"There is no fold {databoard_sf_id} in this account.")
    return fold


def claim_fold(
    owner_id: int, databoard_sf_id: int, queue: Queue, worker: str
) -> SubmissionFold | None:
    """Give a fold to a worker.

    Parameters
    ----------
    owner_id, databoard_sf_id : int
        The fold that the worker's job names.
    queue : Queue
        The queue that the job came from.
    worker : str
        The worker's name.

    Returns
    -------
    SubmissionFold or None
        None if there is nothing to do.
    """
    fold = _lock_fold(owner_id, databoard_sf_id)
    if fold is None or decide(Event.CLAIM, fold.status) is not Act.RUN:
        db.session.rollback()
        return None
    raw_data = fold.submission.raw_data
    if raw_data.split_state is not SplitState.DONE:
        db.session.rollback()
        return None
    fold.running = True
    fold.worker = worker
    fold.hash_files = fold.submission.hash_files
    fold.started_at = func.now()
    db.session.commit()
    return fold


def list_inputs(fold: SubmissionFold) -> list[StoredFile]:
    """List the files of a data set that a fold may see."""
    raw_data = fold.submission.raw_data
    readers = [file for file in raw_data.files if file["name"] == SPECIFIC]
    return [part for part in raw_data.parts if part["name"] in FOLD_PARTS] + readers


def get_running_fold(owner_id: int, databoard_sf_id: int, attempt: int) -> SubmissionFold:
    """Find the fold that a worker runs.

    Raises
    ------
    ConflictError
        If this attempt isn't the newest, or isn't running.
    """
    fold = db.session.get(SubmissionFold, (owner_id, databoard_sf_id))
    if fold is None or fold.attempt != attempt or not fold.running:
        raise ConflictError(ATTEMPT_OVER)
    return fold


def report_phase(owner_id: int, databoard_sf_id: int, attempt: int, state: State) -> None:
    """Show how far the newest attempt got.

    Raises
    ------
    ConflictError
        If this attempt is over.
    """
    fold = _lock_attempt(owner_id, databoard_sf_id, attempt)
    if decide(Event.PHASE, fold.status) is not Act.ADVANCE:
        raise ConflictError(ATTEMPT_OVER)
    order = list(State)
    # A report that was overtaken by the next one changes nothing.
    fold.state = max(fold.state, state, key=order.index)
    db.session.commit()


def append_log(owner_id: int, databoard_sf_id: int, attempt: int, offset: int, text: str) -> int:
    """Add a piece to a running fold's log.

    Parameters
    ----------
    owner_id, databoard_sf_id, attempt : int
    offset : int
        How many bytes of UTF-8 were sent before; a piece that was sent twice is kept once.
    text : str

    Returns
    -------
    int
        How many bytes have arrived.

    Raises
    ------
    ConflictError
        If this attempt is over, or if an earlier piece is missing.
    """
    fold = _lock_attempt(owner_id, databoard_sf_id, attempt)
    if decide(Event.PHASE, fold.status) is not Act.ADVANCE:
        raise ConflictError(ATTEMPT_OVER)
    log = fold.log_messages.encode()
    if offset > len(log):
        text = f"{len(log)} bytes have arrived; send what follows them."
        raise BadInputError("An earlier piece of the log is missing.", {"offset": [text]})
    log = log[:offset] + text.encode()
    fold.log_messages = log.decode(errors="replace")
    db.session.commit()
    return len(log)


def finish_fold(owner_id: int, databoard_sf_id: int, attempt: int, payload: dict[str, Any]) -> None:
    """Keep an attempt's result; a failure by our fault is tried again.

    Parameters
    ----------
    owner_id, databoard_sf_id, attempt : int
    payload : dict
        As `FoldResultInputSchema` loads it.

    Raises
    ------
    ConflictError
        If this attempt is over.
    BadInputError
        If the predictions aren't what they should be.
    """
    fold = _lock_attempt(owner_id, databoard_sf_id, attempt)
    ours = payload["failure_kind"] is FailureKind.PLATFORM_ERROR
    digest = hashlib.sha256(orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)).digest()
    match decide(Event.LOSS if ours else Event.RESULT, fold.status):
        case Act.FINISH:
            _keep_result(fold, payload)
            fold.result_sha256 = digest
        case Act.RETRY:
            lose_attempt(fold, payload["log_messages"])
            fold.result_sha256 = digest if fold.state.is_final else None
        case Act.COMPARE if fold.result_sha256 == digest:
            pass
        case _:
            raise ConflictError(ATTEMPT_OVER)
    db.session.commit()
    if fold.state is State.TODO:
        get_queues().enqueue_folds([fold])


def lose_attempt(fold: SubmissionFold, reason: str) -> None:
    """Take a fold's newest attempt as lost: the next one follows, or the third ends it.

    Parameters
    ----------
    fold : SubmissionFold
        Running, and locked.
    reason : str
        What is known, for the log.
    """
    fold.n_losses += 1
    if fold.n_losses >= MAX_LOSSES:
        fold.fail(
            FailureKind.PLATFORM_ERROR,
            f"{reason}\nThat was the last of {MAX_LOSSES} attempts; the fault is the platform's.",
        )
    else:
        fold.restart()


def hand_out_list(owner_id: int, numbers: Sequence[int]) -> list[SubmissionFold]:
    """Hand out the folds of a list; those with predictions aren't new any more."""
    chosen = (
        SubmissionFold.owner_id == owner_id,
        SubmissionFold.databoard_sf_id.in_(numbers),
    )
    db.session.execute(
        update(SubmissionFold)
        .where(*chosen, SubmissionFold.state == State.TESTED, SubmissionFold.new)
        .values(new=False)
    )
    folds = db.session.scalars(
        select(SubmissionFold)
        .where(*chosen)
        .options(undefer("*"))
        .order_by(SubmissionFold.databoard_sf_id)
    ).all()
    db.session.commit()
    return list(folds)


def hand_out_new(owner_id: int, raw_data_id: int | None) -> list[SubmissionFold]:
    """Hand out, once, the folds with predictions that weren't handed out yet."""
    query = (
        select(SubmissionFold)
        .where(
            SubmissionFold.owner_id == owner_id,
            SubmissionFold.new,
            SubmissionFold.state == State.TESTED,
        )
        .options(undefer("*"))
        .order_by(SubmissionFold.databoard_sf_id)
        .with_for_update(of=SubmissionFold)
    )
    if raw_data_id is not None:
        query = query.join(SubmissionFold.submission).where(Submission.raw_data_id == raw_data_id)
    folds = list(db.session.scalars(query))
    for fold in folds:
        fold.new = False
    db.session.commit()
    return folds


def _is_fold(owner_id: int, databoard_sf_id: int) -> tuple[Any, Any]:
    return (
        SubmissionFold.owner_id == owner_id,
        SubmissionFold.databoard_sf_id == databoard_sf_id,
    )


def _lock_fold(owner_id: int, databoard_sf_id: int) -> SubmissionFold | None:
    fold: SubmissionFold | None = db.session.scalar(
        select(SubmissionFold).where(*_is_fold(owner_id, databoard_sf_id)).with_for_update()
    )
    return fold


def _lock_attempt(owner_id: int, databoard_sf_id: int, attempt: int) -> SubmissionFold:
    fold = _lock_fold(owner_id, databoard_sf_id)
    if fold is None or fold.attempt != attempt:
        raise ConflictError(ATTEMPT_OVER)
    return fold


def _keep_result(fold: SubmissionFold, payload: dict[str, Any]) -> None:
    """Write a checked result into a fold."""
    if payload["state"] is State.TESTED:
        raw_data = fold.submission.raw_data
        fold.full_train_predictions = _check_predictions(payload, "full_train", raw_data.n_train)
        fold.full_train_shape = payload["full_train_shape"]
        fold.test_predictions = _check_predictions(payload, "test", raw_data.n_test)
        fold.test_shape = payload["test_shape"]
    fold.state = payload["state"]
    fold.failure_kind = payload["failure_kind"] if fold.state is State.ERROR else None
    fold.log_messages = payload["log_messages"]
    for measure in MEASURES:
        setattr(fold, measure, payload[measure])
    fold.running = False
    fold.finished_at = func.now()


def _check_predictions(payload: dict[str, Any], part: str, n_samples: int | None) -> bytes:
    """Check predictions as a worker delivered them.

    Returns
    -------
    bytes
        Their zlib stream.

    Raises
    ------
    BadInputError
        If they are no finite float64 of the announced shape, or of another number of rows.
    """
    field = f"{part}_predictions"
    shape = payload[f"{part}_shape"]
    if shape[0] != n_samples:
        text = f"{shape[0]} rows instead of {n_samples}."
        raise BadInputError(text, {field: [text]})
    try:
        packed = decode_base64(payload[field])
        values = unpack_predictions(packed, shape)
    except CodecError as error:
        raise BadInputError(f"{field} {error}", {field: [str(error)]}) from None
    if not is_finite(values):
        text = "The predictions must be finite."
        raise BadInputError(text, {field: [text]})
    return packed
