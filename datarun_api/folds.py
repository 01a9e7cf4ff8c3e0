"""Folds in the hands of workers: claimed, reported on, ended, handed out.

Every change asks the state table (`transitions.decide`) with the fold's row locked, so that two
requests about one fold follow one another.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Double,
    Integer,
    Select,
    Update,
    any_,
    bindparam,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import Insert
from sqlalchemy.orm import load_only, undefer

from datarun_api.errors import BadInputError, ConflictError, NotFoundError
from datarun_api.extensions import db, get_queues
from datarun_api.fold_queue import find_given, note_turn, take_next, with_raw_data
from datarun_api.leases import get_lease
from datarun_api.models import (
    MEASURES,
    Attempt,
    Outcome,
    RawData,
    StoredFile,
    Submission,
    SubmissionFold,
    Turn,
    Worker,
    get_table,
)
from datarun_api.raw_data import MAX_LOSSES
from datarun_api.scoring import enqueue_scoring
from datarun_api.timings import add_deliver, add_pick_up
from datarun_api.transitions import Act, Event, decide
from datarun_client.codec import (
    decode_base64,
    hash_predictions,
    is_finite,
    unpack_predictions,
)
from datarun_client.errors import CodecError
from datarun_client.file_names import FOLD_PARTS, READER_FILE
from datarun_client.states import FailureKind, Queue, State

RETRY_DELAYS = (timedelta(seconds=1), timedelta(seconds=10))
"""How long a fold waits after the first and the second failure of ours."""

ATTEMPT_OVER = "This attempt is over; drop it."


@dataclass(frozen=True)
class ClaimWish:
    """What a worker that delivers a result would run next.

    Attributes
    ----------
    queue : Queue
        The queue of the job that it holds.
    worker : str
        Its name.
    ahead : bool
        Whether it runs another fold until then.
    """

    queue: Queue
    worker: str
    ahead: bool = False


def get_fold(owner_id: int, databoard_sf_id: int) -> SubmissionFold:
    """Find an account's fold, with all its columns.

    Raises
    ------
    NotFoundError
        If there is none.
    """
    fold = db.session.scalar(
        select(SubmissionFold).where(*is_fold(owner_id, databoard_sf_id)).options(undefer("*"))
    )
    if fold is None:
        raise make_not_found(databoard_sf_id)
    return fold


def make_not_found(databoard_sf_id: int) -> NotFoundError:
    """Make the refusal of a fold that isn't there."""
    return NotFoundError(f"There is no fold {databoard_sf_id} in this account.")


def claim_fold(wish: ClaimWish, resumes: bool = False) -> SubmissionFold | None:
    """Give a worker the fold of a queue whose turn it is.

    Parameters
    ----------
    wish : ClaimWish
    resumes : bool, optional
        Whether it may have been given a fold without having heard of it; then that one comes again.

    Returns
    -------
    SubmissionFold or None
        None if there is nothing to do.
    """
    fold = find_given(wish.worker) if resumes else None
    if fold is not None:
        fold.lease_until = func.now() + get_lease()
    else:
        fold = _take_fold(wish)
    if fold is None:
        db.session.rollback()
    else:
        db.session.commit()
    return fold


def _take_fold(wish: ClaimWish) -> SubmissionFold | None:
    """Claim a fold, without the commit.

    What is written goes in one statement, past the session, as it is the commonest of all.
    """
    fold = take_next(wish.queue, wish.worker)
    if fold is None or decide(Event.CLAIM, fold.status) is not Act.RUN:
        return None
    if wish.ahead and fold.n_losses > 0:
        # A worker that dies loses what it has claimed ahead, too. So that costs a fold one of its
        # attempts at most, whatever it is that the others die of.
        return None
    db.session.execute(
        _make_start(get_lease()),
        {
            "of_owner": fold.owner_id,
            "of_fold": fold.databoard_sf_id,
            "of_attempt": fold.attempt,
            "of_priority": wish.queue.priority,
            "from_queue": wish.queue,
            "for_worker": wish.worker,
            "of_source": fold.submission.hash_files,
        },
    )
    return fold


@functools.cache
def _make_start(lease: timedelta) -> Insert:
    """Make the statement that notes the start of an attempt: fold, attempt and turn at once."""
    fold, attempt, turn = get_table(SubmissionFold), get_table(Attempt), get_table(Turn)
    owner_id = bindparam("of_owner", type_=fold.c.owner_id.type)
    databoard_sf_id = bindparam("of_fold", type_=fold.c.databoard_sf_id.type)
    hash_files = bindparam("of_source", type_=fold.c.hash_files.type)
    started = (
        update(fold)
        .where(fold.c.owner_id == owner_id, fold.c.databoard_sf_id == databoard_sf_id)
        .values(
            queued_at=None,
            lease_until=func.now() + lease,
            hash_files=hash_files,
            started_at=func.now(),
            timings=add_pick_up(),
        )
    )
    noted = insert(attempt).values(
        owner_id=owner_id,
        databoard_sf_id=databoard_sf_id,
        number=bindparam("of_attempt", type_=attempt.c.number.type),
        worker=bindparam("for_worker", type_=attempt.c.worker.type),
        queue=bindparam("from_queue", type_=attempt.c.queue.type),
        hash_files=hash_files,
    )
    served = note_turn(owner_id, bindparam("of_priority", type_=turn.c.priority.type))
    return served.add_cte(started.cte("started"), noted.cte("noted"))


def list_inputs(fold: SubmissionFold) -> list[StoredFile]:
    """List the files of a data set that a fold may see."""
    raw_data = fold.submission.raw_data
    readers = [file for file in raw_data.files if file["name"] == READER_FILE]
    return [part for part in raw_data.parts if part["name"] in FOLD_PARTS] + readers


def find_free_numbers(owner_id: int) -> dict[str, int]:
    """Find the numbers after an account's largest ones, of a submission and of a fold."""
    largest = {
        "databoard_s_id": select(func.max(Submission.databoard_s_id)).where(
            Submission.owner_id == owner_id
        ),
        "databoard_sf_id": select(func.max(SubmissionFold.databoard_sf_id)).where(
            SubmissionFold.owner_id == owner_id
        ),
    }
    return {name: (db.session.scalar(query) or 0) + 1 for name, query in largest.items()}


def get_running_fold(owner_id: int, databoard_sf_id: int, attempt: int) -> SubmissionFold:
    """Find the fold that a worker runs.

    Raises
    ------
    ConflictError
        If this attempt isn't the newest, or isn't running.
    """
    fold = db.session.get(SubmissionFold, (owner_id, databoard_sf_id))
    if fold is None or fold.attempt != attempt or not fold.is_running:
        raise ConflictError(ATTEMPT_OVER)
    return fold


def renew_lease(owner_id: int, databoard_sf_id: int, attempt: int) -> None:
    """Let the newest attempt run on.

    Raises
    ------
    ConflictError
        If this attempt is over.
    """
    _renew(_lock_running(owner_id, databoard_sf_id, attempt))
    db.session.commit()


def report_phase(owner_id: int, databoard_sf_id: int, attempt: int, state: State) -> None:
    """Show how far the newest attempt got.

    Raises
    ------
    ConflictError
        If this attempt is over.
    """
    fold = _lock_running(owner_id, databoard_sf_id, attempt)
    order = list(State)
    # A report that was overtaken by the next one changes nothing.
    _renew(fold, state=max(fold.state, state, key=order.index))
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
        If this attempt is over.
    BadInputError
        If an earlier piece is missing.
    """
    fold = _lock_running(owner_id, databoard_sf_id, attempt, with_log=True)
    log = fold.log_messages.encode()
    if offset > len(log):
        text = f"{len(log)} bytes have arrived; send what follows them."
        raise BadInputError("An earlier piece of the log is missing.", {"offset": [text]})
    log = log[:offset] + text.encode()
    _renew(fold, log_messages=log.decode(errors="replace"))
    db.session.commit()
    return len(log)


def finish_fold(
    owner_id: int,
    databoard_sf_id: int,
    attempt: int,
    payload: dict[str, Any],
    digest: bytes,
    wish: ClaimWish | None = None,
) -> SubmissionFold | None:
    """Keep an attempt's result; a failure by our fault is tried again.

    Parameters
    ----------
    owner_id, databoard_sf_id, attempt : int
    payload : dict
        As `FoldResultInputSchema` loads it.
    digest : bytes
        Of what was delivered, by which it is known when it comes again.
    wish : ClaimWish, optional
        What the worker would run next; claimed in the same transaction.

    Returns
    -------
    SubmissionFold or None
        The fold that was claimed, as of `claim_fold`.

    Raises
    ------
    ConflictError
        If this attempt is over.
    BadInputError
        If the predictions aren't what they should be.
    """
    fold = _lock_attempt(owner_id, databoard_sf_id, attempt)
    ours = payload["failure_kind"] is FailureKind.PLATFORM_ERROR
    match decide(Event.LOSS if ours else Event.RESULT, fold.status):
        case Act.FINISH:
            _keep_result(fold, payload, digest)
        case Act.RETRY:
            lose_attempt(fold, payload["log_messages"], Outcome.ERROR)
            fold.result_sha256 = digest if fold.state.is_final else None
        case Act.COMPARE if fold.result_sha256 == digest:
            pass
        case _:
            raise ConflictError(ATTEMPT_OVER)
    claimed = _take_fold(wish) if wish else None
    db.session.commit()
    enqueue_queued([fold])
    if fold.submission.raw_data.metrics:
        enqueue_scoring(owner_id, databoard_sf_id)
    return claimed


def release_fold(owner_id: int, databoard_sf_id: int, attempt: int, reason: str) -> None:
    """Take a fold back that a worker can't finish; no loss is charged.

    Raises
    ------
    ConflictError
        If this attempt is over.
    """
    fold = _lock_attempt(owner_id, databoard_sf_id, attempt)
    _check_running(fold)
    end_attempt(fold, Outcome.RELEASED, reason)
    fold.restart()
    fold.enqueue()
    db.session.commit()
    enqueue_queued([fold])


def cancel_fold(owner_id: int, databoard_sf_id: int) -> SubmissionFold:
    """End a fold that its account doesn't want any more; what runs is stopped.

    Raises
    ------
    NotFoundError
        If there is none.
    ConflictError
        If it has ended already.
    """
    fold = _lock_fold(owner_id, databoard_sf_id)
    if fold is None:
        raise make_not_found(databoard_sf_id)
    if decide(Event.CANCEL, fold.status) is not Act.STOP:
        raise ConflictError(f"Fold {databoard_sf_id} has ended already: {fold.state}.")
    if fold.is_running:
        end_attempt(fold, Outcome.CANCELLED)
    fold.fail(FailureKind.CANCELLED, "Cancelled.")
    db.session.commit()
    return get_fold(owner_id, databoard_sf_id)


def lose_attempt(fold: SubmissionFold, reason: str, outcome: Outcome) -> None:
    """Take a fold's newest attempt as lost: the next one follows, or the third ends it.

    Parameters
    ----------
    fold : SubmissionFold
        Running, and locked.
    reason : str
        What is known, for the log.
    outcome : Outcome
        `LOST` if nothing was heard any more, `ERROR` if the worker told of our failure.
    """
    attempt = end_attempt(fold, outcome, reason, FailureKind.PLATFORM_ERROR)
    fold.n_losses += 1
    if fold.n_losses >= MAX_LOSSES:
        tried = "\n".join(
            f"Attempt {row.number}, {row.worker}: {row.reason}"
            for row in list_attempts(fold.owner_id, fold.databoard_sf_id)[-MAX_LOSSES:]
        )
        fold.fail(
            FailureKind.PLATFORM_ERROR,
            f"{tried}\nThat was the last of {MAX_LOSSES} attempts; the fault is the platform's.",
        )
        return
    fold.restart()
    fold.avoided_worker = attempt.worker
    if outcome is Outcome.LOST:
        fold.enqueue()
    else:
        # What failed a moment ago would fail now.
        fold.retry_at = func.now() + RETRY_DELAYS[fold.n_losses - 1]


def end_attempt(
    fold: SubmissionFold,
    outcome: Outcome,
    reason: str | None = None,
    kind: FailureKind | None = None,
) -> Attempt:
    """Note how a running fold's attempt ended; call it before the fold begins anew."""
    attempt = db.session.get_one(Attempt, (fold.owner_id, fold.databoard_sf_id, fold.attempt))
    attempt.end(outcome, reason, kind)
    if not fold.state.is_final:
        attempt.log_messages = fold.log_messages
    return attempt


def list_attempts(owner_id: int, databoard_sf_id: int) -> list[Attempt]:
    """List a fold's attempts, the first one first."""
    query = select(Attempt).where(
        Attempt.owner_id == owner_id, Attempt.databoard_sf_id == databoard_sf_id
    )
    return list(db.session.scalars(query.order_by(Attempt.number)))


def enqueue_queued(folds: Iterable[SubmissionFold]) -> None:
    """Enqueue those of some folds that wait for a worker; call it after the commit."""
    get_queues().enqueue_folds([fold for fold in folds if fold.queued_at is not None])


def mark_handed_out(owner_id: int, numbers: Sequence[int]) -> None:
    """Note that folds are handed out: those with predictions aren't new any more."""
    db.session.execute(
        update(SubmissionFold)
        .where(
            SubmissionFold.owner_id == owner_id,
            is_among(numbers),
            SubmissionFold.state == State.TESTED,
            SubmissionFold.new,
        )
        .values(new=False)
    )
    db.session.commit()


def is_among(numbers: Sequence[int]) -> ColumnElement[bool]:
    """Say in SQL that a fold's number is one of these, however many they are."""
    return SubmissionFold.databoard_sf_id == any_(literal(numbers, ARRAY(Integer)))


def select_new(owner_id: int, raw_data_id: int | None) -> Select[SubmissionFold]:
    """Make the query for the folds with predictions that weren't handed out yet, by number."""
    query = (
        select(SubmissionFold)
        .where(
            SubmissionFold.owner_id == owner_id,
            SubmissionFold.new,
            SubmissionFold.state == State.TESTED,
        )
        .order_by(SubmissionFold.databoard_sf_id)
    )
    if raw_data_id is not None:
        query = query.join(SubmissionFold.submission).where(Submission.raw_data_id == raw_data_id)
    return query


def lock_new(owner_id: int, raw_data_id: int | None) -> Sequence[int]:
    """Lock the folds with predictions that weren't handed out yet, and give their numbers.

    `mark_handed_out` notes that they are, and lets them go.
    """
    numbers = select_new(owner_id, raw_data_id).with_only_columns(SubmissionFold.databoard_sf_id)
    return db.session.scalars(numbers.with_for_update(of=SubmissionFold)).all()


def is_fold(owner_id: int, databoard_sf_id: int) -> tuple[Any, Any]:
    """Say in SQL which fold is meant."""
    return (
        SubmissionFold.owner_id == owner_id,
        SubmissionFold.databoard_sf_id == databoard_sf_id,
    )


def _lock_fold(owner_id: int, databoard_sf_id: int) -> SubmissionFold | None:
    fold: SubmissionFold | None = db.session.scalar(
        _select_fold(), {"of_owner": owner_id, "of_fold": databoard_sf_id}
    )
    return fold


@functools.cache
def _select_fold() -> Select[SubmissionFold]:
    """Make the query that locks a fold, with what decides and what a result is held against."""
    return (
        select(SubmissionFold)
        .where(*_is_bound_fold())
        .options(
            load_only(
                SubmissionFold.databoard_s,
                SubmissionFold.state,
                SubmissionFold.attempt,
                SubmissionFold.lease_until,
                SubmissionFold.queued_at,
                SubmissionFold.n_losses,
                SubmissionFold.result_sha256,
                SubmissionFold.timings,
            ),
            with_raw_data(
                [Submission.raw_data_id], [RawData.n_train, RawData.n_test, RawData.metrics]
            ),
        )
        .with_for_update(of=SubmissionFold)
    )


def _lock_attempt(owner_id: int, databoard_sf_id: int, attempt: int) -> SubmissionFold:
    fold = _lock_fold(owner_id, databoard_sf_id)
    if fold is None or fold.attempt != attempt:
        raise ConflictError(ATTEMPT_OVER)
    return fold


def _lock_running(
    owner_id: int, databoard_sf_id: int, attempt: int, *, with_log: bool = False
) -> SubmissionFold:
    """Lock the fold that a worker runs; read no more of it than a report needs."""
    fold: SubmissionFold | None = db.session.scalar(
        _select_running(with_log), {"of_owner": owner_id, "of_fold": databoard_sf_id}
    )
    if fold is None or fold.attempt != attempt:
        raise ConflictError(ATTEMPT_OVER)
    _check_running(fold)
    return fold


def _check_running(fold: SubmissionFold) -> None:
    if decide(Event.PHASE, fold.status) is not Act.ADVANCE:
        raise ConflictError(ATTEMPT_OVER)


@functools.cache
def _select_running(with_log: bool) -> Select[SubmissionFold]:
    """Make the query that locks a fold for a report."""
    columns = [SubmissionFold.state, SubmissionFold.attempt, SubmissionFold.lease_until]
    return (
        select(SubmissionFold)
        .where(*_is_bound_fold())
        .options(load_only(*columns, *([SubmissionFold.log_messages] if with_log else [])))
        .with_for_update()
    )


def _renew(fold: SubmissionFold, **reported: Any) -> None:
    """Renew a running fold's lease, and write what was reported, past the session."""
    db.session.execute(
        _make_renewal(get_lease(), *reported),
        {
            "of_owner": fold.owner_id,
            "of_fold": fold.databoard_sf_id,
            **{f"new_{name}": value for name, value in reported.items()},
        },
    )


@functools.cache
def _make_renewal(lease: timedelta, *names: str) -> Update:
    """Make the statement that renews a lease and writes the columns of these names."""
    table = get_table(SubmissionFold)
    values = {name: bindparam(f"new_{name}", type_=table.c[name].type) for name in names}
    return update(table).where(*_is_bound_fold()).values(lease_until=func.now() + lease, **values)


def _is_bound_fold() -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Say in SQL which fold is meant, by parameters of the statement."""
    return (
        SubmissionFold.owner_id == bindparam("of_owner"),
        SubmissionFold.databoard_sf_id == bindparam("of_fold"),
    )


def _keep_result(fold: SubmissionFold, payload: dict[str, Any], digest: bytes) -> None:
    """Write a checked result into a fold; in one statement, past the session, as a start is."""
    checked: dict[str, _Predictions | None] = {"full_train": None, "test": None}
    is_tested = payload["state"] is State.TESTED
    if is_tested:
        raw_data = fold.submission.raw_data
        for part, n_samples in (("full_train", raw_data.n_train), ("test", raw_data.n_test)):
            checked[part] = _check_predictions(payload, part, n_samples)
    measures = {measure: payload[measure] for measure in MEASURES}
    result = {
        "state": payload["state"],
        "failure_kind": None if is_tested else payload["failure_kind"],
        "log_messages": payload["log_messages"],
        "result_sha256": digest,
        **measures,
    }
    for part, predictions in checked.items():
        result[f"{part}_predictions"] = predictions.packed if predictions else None
        result[f"{part}_shape"] = payload[f"{part}_shape"] if predictions else None
        result[f"{part}_sha256"] = predictions.sha256 if predictions else None
    spans = {**fold.timings, **payload["timings"]}
    db.session.execute(
        _make_end(),
        {
            "of_owner": fold.owner_id,
            "of_fold": fold.databoard_sf_id,
            "of_attempt": fold.attempt,
            "outcome": Outcome.TESTED if is_tested else Outcome.ERROR,
            "measures": measures,
            "spans": spans,
            "spent": sum(spans.values()),
            **{f"new_{name}": value for name, value in result.items()},
        },
    )


RESULT = (
    "state",
    "failure_kind",
    "log_messages",
    "result_sha256",
    "full_train_predictions",
    "full_train_shape",
    "full_train_sha256",
    "test_predictions",
    "test_shape",
    "test_sha256",
    *MEASURES,
)
"""The columns of a fold that its result brings."""


@functools.cache
def _make_end() -> Update:
    """Make the statement that notes the end of an attempt: fold, attempt and its worker's count."""
    fold, attempt, worker = get_table(SubmissionFold), get_table(Attempt), get_table(Worker)
    owner_id = bindparam("of_owner", type_=fold.c.owner_id.type)
    databoard_sf_id = bindparam("of_fold", type_=fold.c.databoard_sf_id.type)
    result = {name: bindparam(f"new_{name}", type_=fold.c[name].type) for name in RESULT}
    # Read once, so that the spans add up to the moment that is noted.
    moment = select(func.clock_timestamp().label("finished_at")).cte("moment")
    finished_at = select(moment.c.finished_at).scalar_subquery()
    kept = (
        update(fold)
        .where(fold.c.owner_id == owner_id, fold.c.databoard_sf_id == databoard_sf_id)
        .values(
            **result,
            queued_at=None,
            lease_until=None,
            retry_at=None,
            finished_at=finished_at,
            timings=add_deliver(
                bindparam("spans", type_=fold.c.timings.type),
                bindparam("spent", type_=Double()),
                finished_at,
            ),
        )
    )
    ended = (
        update(attempt)
        .where(
            attempt.c.owner_id == owner_id,
            attempt.c.databoard_sf_id == databoard_sf_id,
            attempt.c.number == bindparam("of_attempt", type_=attempt.c.number.type),
        )
        .values(
            ended_at=func.now(),
            outcome=bindparam("outcome", type_=attempt.c.outcome.type),
            failure_kind=result["failure_kind"],
            measures=bindparam("measures", type_=attempt.c.measures.type),
        )
        .returning(attempt.c.worker)
        .cte("ended")
    )
    name = select(ended.c.worker).scalar_subquery()
    counted = update(worker).where(worker.c.name == name).values(n_done=worker.c.n_done + 1)
    return counted.add_cte(kept.cte("kept"))


@dataclass(frozen=True)
class _Predictions:
    """Predictions that were checked: their zlib stream, and the SHA-256 of what is in it."""

    packed: bytes
    sha256: str


def _check_predictions(payload: dict[str, Any], part: str, n_samples: int | None) -> _Predictions:
    """Check predictions as a worker delivered them.

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
    return _Predictions(packed, hash_predictions(values))
