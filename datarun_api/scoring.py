"""Scores of submissions, made by a data job with the hidden labels.

**Asked for by the database.** When a fold of a data set with metrics gets a final state, a trigger
(revision 0011) notes in the same transaction that its submission is to be scored, whichever
function or statement ended it. A scoring is a row per submission; whoever delivers the fold's
result enqueues its job after the commit, and the reconciler finds what was lost on the way.

**One job, all folds.** The job scores those that are tested, and the mean of their predictions. A
fold that ends meanwhile makes it stale: it is done once more when it is finished. Scores belong
to an attempt at a fold; those of an attempt that was replaced meanwhile are dropped.

**Labels** go to workers that may run data jobs, and there into a sandbox in which no submission
runs. With those of a RAMP kit goes its `problem.py`, whose score types are the metrics.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import undefer

from datarun_api.errors import BadInputError, ConflictError, NotFoundError
from datarun_api.extensions import db, get_queues
from datarun_api.leases import get_lease
from datarun_api.models import Scoring, StoredFile, Submission, SubmissionFold
from datarun_api.raw_data import MAX_LOSSES, get_submission
from datarun_client.file_names import READER_FILE, SCORING_PARTS
from datarun_client.scores import ScoreSummary, summarize_scores
from datarun_client.states import FailureKind, Reader, ScoringState, State


@dataclass(frozen=True)
class Summary:
    """What is known of a submission and its scores.

    Attributes
    ----------
    submission : Submission
    scoring : Scoring or None
        None if nothing is scored, or nothing has ended yet.
    n_folds, n_tested : int
    scores : dict
        By metric and part: ``mean`` and ``std`` over the tested folds, and ``bagged``.
    """

    submission: Submission
    scoring: Scoring | None
    n_folds: int
    n_tested: int
    scores: ScoreSummary


def enqueue_scoring(owner_id: int, databoard_sf_id: int) -> None:
    """Enqueue the scoring of a fold's submission if it waits for a worker; after the commit."""
    scoring = db.session.scalar(
        select(Scoring)
        .join(
            SubmissionFold,
            (SubmissionFold.owner_id == Scoring.owner_id)
            & (SubmissionFold.databoard_s == Scoring.databoard_s),
        )
        .where(
            SubmissionFold.owner_id == owner_id,
            SubmissionFold.databoard_sf_id == databoard_sf_id,
            *waits_for_worker(),
        )
        .execution_options(populate_existing=True)
    )
    if scoring is not None:
        get_queues().enqueue_scoring(scoring)


def waits_for_worker() -> tuple[Any, Any]:
    """Say in SQL that a scoring waits for a worker."""
    return Scoring.state == ScoringState.TODO, Scoring.lease_until.is_(None)


def claim_scoring(owner_id: int, databoard_s: int, attempt: int) -> Scoring | None:
    """Give a scoring to a worker; None if there is nothing to do."""
    scoring = _lock(owner_id, databoard_s)
    if (
        scoring is None
        or scoring.state is not ScoringState.TODO
        or scoring.lease_until is not None
        or scoring.attempt != attempt
    ):
        db.session.rollback()
        return None
    scoring.lease_until = func.now() + get_lease()
    db.session.commit()
    return scoring


def get_running_scoring(
    owner_id: int, databoard_s: int, attempt: int, *, lock: bool = False
) -> Scoring:
    """Find the scoring that a worker runs.

    Raises
    ------
    ConflictError
        If this attempt isn't the newest, or isn't running.
    """
    found = _lock(owner_id, databoard_s) if lock else None
    scoring = found or db.session.get(Scoring, (owner_id, databoard_s))
    if scoring is None or scoring.attempt != attempt or scoring.lease_until is None:
        raise ConflictError("This attempt at the scores is over; drop it.")
    return scoring


def list_scoring_files(scoring: Scoring) -> list[StoredFile]:
    """List the files that a scoring needs: the labels, and a kit's reader with its score types."""
    raw_data = scoring.submission.raw_data
    files = [part for part in raw_data.parts if part["name"] in SCORING_PARTS]
    if raw_data.reader is Reader.KIT:
        files += [file for file in raw_data.files if file["name"] == READER_FILE]
    return files


def list_tested(scoring: Scoring) -> Sequence[SubmissionFold]:
    """List the folds that a scoring is about."""
    query = select(SubmissionFold).where(
        SubmissionFold.owner_id == scoring.owner_id,
        SubmissionFold.databoard_s == scoring.databoard_s,
        SubmissionFold.state == State.TESTED,
    )
    return db.session.scalars(query.order_by(SubmissionFold.databoard_sf_id)).all()


def get_scored_fold(scoring: Scoring, databoard_sf_id: int) -> SubmissionFold:
    """Find a tested fold of a scoring, with its predictions.

    Raises
    ------
    NotFoundError
        If there is none, or no longer.
    """
    query = select(SubmissionFold).where(
        SubmissionFold.owner_id == scoring.owner_id,
        SubmissionFold.databoard_s == scoring.databoard_s,
        SubmissionFold.databoard_sf_id == databoard_sf_id,
        SubmissionFold.state == State.TESTED,
    )
    fold = db.session.scalar(query.options(undefer("*")))
    if fold is None:
        raise NotFoundError(f"Fold {databoard_sf_id} isn't tested.")
    return fold


def renew_scoring_lease(owner_id: int, databoard_s: int, attempt: int) -> None:
    """Let the newest attempt run on; errors as of `get_running_scoring`."""
    scoring = get_running_scoring(owner_id, databoard_s, attempt, lock=True)
    scoring.lease_until = func.now() + get_lease()
    db.session.commit()


def release_scoring(owner_id: int, databoard_s: int, attempt: int) -> None:
    """Take a scoring back that a worker can't finish; errors as of `get_running_scoring`."""
    scoring = get_running_scoring(owner_id, databoard_s, attempt, lock=True)
    scoring.restart()
    db.session.commit()
    get_queues().enqueue_scoring(scoring)


def finish_scoring(owner_id: int, databoard_s: int, attempt: int, payload: dict[str, Any]) -> None:
    """Keep the scores of a submission.

    Parameters
    ----------
    owner_id, databoard_s, attempt : int
    payload : dict
        As `ScoringResultInputSchema` loads it.

    Raises
    ------
    ConflictError
        If this attempt isn't the newest, or isn't running.
    BadInputError
        If there are scores by another metric than those of the data set.
    """
    scoring = get_running_scoring(owner_id, databoard_s, attempt, lock=True)
    ours = payload["failure_kind"] is FailureKind.PLATFORM_ERROR
    if payload["state"] is ScoringState.ERROR and ours:
        lose_scoring(scoring)
        db.session.commit()
        return
    metrics = set(scoring.submission.raw_data.metrics)
    for scores in (payload["bagged"] or {}, *(fold["scores"] for fold in payload["folds"])):
        if not scores.keys() <= metrics:
            raise BadInputError("There are scores by metrics that nobody asked for.")
    for entry in payload["folds"]:
        db.session.execute(
            update(SubmissionFold)
            .where(
                SubmissionFold.owner_id == owner_id,
                SubmissionFold.databoard_sf_id == entry["databoard_sf_id"],
                SubmissionFold.attempt == entry["attempt"],
                SubmissionFold.state == State.TESTED,
            )
            .values(scores=entry["scores"])
        )
    scoring.bagged = payload["bagged"]
    scoring.error = payload["error"]
    scoring.lease_until = None
    scoring.n_losses = 0
    scoring.state = payload["state"]
    if scoring.is_stale:
        scoring.restart()
    db.session.commit()
    if scoring.state is ScoringState.TODO:
        get_queues().enqueue_scoring(scoring)


def lose_scoring(scoring: Scoring) -> None:
    """Take the newest attempt as lost: the next one follows, or the third ends it."""
    scoring.n_losses += 1
    scoring.restart()
    if scoring.n_losses >= MAX_LOSSES:
        scoring.state = ScoringState.ERROR
        scoring.error = (
            f"{MAX_LOSSES} attempts at the scores were lost; the fault is the platform's."
        )


def summarize(owner_id: int, databoard_s: int) -> Summary:
    """Say what is known of a submission and its scores.

    Raises
    ------
    NotFoundError
        If there is none.
    """
    submission = get_submission(owner_id, databoard_s)
    of_submission = (
        SubmissionFold.owner_id == owner_id,
        SubmissionFold.databoard_s == databoard_s,
    )
    n_folds = db.session.scalars(select(func.count()).where(*of_submission)).one()
    query = select(SubmissionFold.scores).where(
        *of_submission, SubmissionFold.state == State.TESTED
    )
    of_folds = db.session.scalars(query.order_by(SubmissionFold.databoard_sf_id)).all()
    scoring = db.session.get(Scoring, (owner_id, databoard_s))
    bagged = (scoring.bagged if scoring else None) or {}
    return Summary(
        submission,
        scoring,
        n_folds,
        len(of_folds),
        summarize_scores(
            submission.raw_data.metrics, [scores for scores in of_folds if scores], bagged
        ),
    )


def _lock(owner_id: int, databoard_s: int) -> Scoring | None:
    query = select(Scoring).where(Scoring.owner_id == owner_id, Scoring.databoard_s == databoard_s)
    scoring: Scoring | None = db.session.scalar(query.with_for_update())
    return scoring
