"""Rows as the wire shows them; `schemas` says the same to `/openapi.json`."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from datarun_api.folds import list_inputs
from datarun_api.models import (
    MEASURES,
    Attempt,
    FoldEvent,
    RawData,
    Scoring,
    SubmissionFold,
    Upload,
    Webhook,
    WebhookDelivery,
)
from datarun_api.progress import describe_progress
from datarun_api.scoring import Summary, list_scoring_files, list_tested
from datarun_client.codec import encode_base64
from datarun_client.workflow_elements import find_workflow_elements

RAW_DATA_FIELDS = (
    "id",
    "name",
    "files_path",
    "workflow_elements",
    "target_column",
    "time_limit",
    "memory_limit",
    "metrics",
    "split_state",
    "split_error",
    "n_train",
    "n_test",
    "created_at",
)
"""The fields of `RawDataSchema`; each is an attribute of `RawData`."""

PREDICTION_FIELDS = (
    "databoard_sf_id",
    "databoard_s",
    "full_train_predictions",
    "full_train_dtype",
    "full_train_shape",
    "full_train_sha256",
    "test_predictions",
    "test_dtype",
    "test_shape",
    "test_sha256",
    "state",
    "log_messages",
    *MEASURES,
)
"""The fields of `PredictionSchema`; each is an attribute of `SubmissionFold`."""

FOLD_FIELDS = (
    *PREDICTION_FIELDS,
    "train_is",
    "test_is",
    "priority",
    "new",
    "failure_kind",
    "attempt",
    "hash_files",
    "created_at",
    "started_at",
    "finished_at",
)
"""The fields of `SubmissionFoldSchema`."""

LIGHT_FIELDS = ("databoard_sf_id", "databoard_s", "state", "new")
"""The fields of `SubmissionFoldLightSchema`."""

PACKED = ("train_is", "test_is", "full_train_predictions", "test_predictions")
"""The fields that the database keeps as zlib streams, and the wire shows as text."""


def dump_rows(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[dict[str, Any]]:
    """Show rows of a table.

    Parameters
    ----------
    names : sequence of str
        The fields that are shown.
    rows : iterable of sequence
        Their values, in the order of the names.
    """
    entries = [dict(zip(names, row, strict=True)) for row in rows]
    for name in PACKED:
        if name in names:
            for entry in entries:
                entry[name] = _encode(entry[name])
    return entries


def dump_raw_data(raw_data: RawData) -> dict[str, Any]:
    """Show a data set as in `RawDataSchema`."""
    return _dump(raw_data, RAW_DATA_FIELDS)


def dump_prediction(fold: SubmissionFold) -> dict[str, Any]:
    """Show a fold's predictions and measures as in `PredictionSchema`."""
    return _dump(fold, PREDICTION_FIELDS)


def dump_fold(fold: SubmissionFold) -> dict[str, Any]:
    """Show a fold with all its fields as in `SubmissionFoldSchema`."""
    return _dump(fold, FOLD_FIELDS)


def dump_fold_detail(fold: SubmissionFold) -> dict[str, Any]:
    """Show a fold and how far it is, as in `SubmissionFoldDetailSchema`."""
    return {
        **dump_fold(fold),
        "progress": describe_progress(fold),
        "timings": fold.timings,
        "scores": fold.scores,
    }


def dump_submission(summary: Summary) -> dict[str, Any]:
    """Show a submission and its scores as in `SubmissionSchema`."""
    submission, scoring = summary.submission, summary.scoring
    return {
        "databoard_s_id": submission.databoard_s_id,
        "raw_data": submission.raw_data_id,
        "hash_files": submission.hash_files,
        "created_at": submission.created_at,
        "n_folds": summary.n_folds,
        "n_tested": summary.n_tested,
        "scoring_state": scoring.state if scoring else None,
        "scoring_error": scoring.error if scoring else None,
        "scores": summary.scores,
    }


def dump_scoring_claim(scoring: Scoring, lease: float) -> dict[str, Any]:
    """Show a worker the scoring that it was given, as in `ScoringClaimSchema`."""
    raw_data = scoring.submission.raw_data
    return {
        "owner": scoring.owner_id,
        "databoard_s": scoring.databoard_s,
        "attempt": scoring.attempt,
        "lease": lease,
        "reader": raw_data.reader,
        "metrics": raw_data.metrics,
        "workflow_elements": find_workflow_elements(raw_data.workflow_elements),
        "time_limit": raw_data.time_limit,
        "memory_limit": raw_data.memory_limit,
        "files": list_scoring_files(scoring),
        "folds": [
            {"databoard_sf_id": fold.databoard_sf_id, "attempt": fold.attempt}
            for fold in list_tested(scoring)
        ],
    }


def dump_scored_fold(fold: SubmissionFold) -> dict[str, Any]:
    """Show a worker a fold's rows and predictions, as in `ScoredFoldSchema`."""
    return {
        "databoard_sf_id": fold.databoard_sf_id,
        "attempt": fold.attempt,
        "train_is": _encode(fold.train_is),
        "test_is": _encode(fold.test_is),
        "full_train_predictions": _encode(fold.full_train_predictions),
        "full_train_shape": fold.full_train_shape,
        "test_predictions": _encode(fold.test_predictions),
        "test_shape": fold.test_shape,
    }


def dump_attempt(attempt: Attempt, fold: SubmissionFold) -> dict[str, Any]:
    """Show one of a fold's attempts as in `AttemptSchema`."""
    return {
        "number": attempt.number,
        "worker": attempt.worker,
        "started_at": attempt.started_at,
        "lease_until": fold.lease_until if attempt.number == fold.attempt else None,
        "ended_at": attempt.ended_at,
        "outcome": attempt.outcome,
        "failure_kind": attempt.failure_kind,
        "reason": attempt.reason,
        "log_messages": fold.log_messages
        if attempt.number == fold.attempt
        else attempt.log_messages or "",
        "hash_files": attempt.hash_files,
        "measures": attempt.measures,
    }


def dump_event(event: FoldEvent) -> dict[str, Any]:
    """Show a change of a fold's state, as the data of a Server-Sent Event."""
    return {
        "databoard_sf_id": event.databoard_sf_id,
        "databoard_s": event.databoard_s,
        "state": event.state,
        "failure_kind": event.failure_kind,
        "attempt": event.attempt,
        "created_at": event.created_at,
    }


def dump_webhook(webhook: Webhook) -> dict[str, Any]:
    """Show a webhook as in `WebhookSchema`."""
    return {
        "id": webhook.id,
        "url": webhook.url,
        "states": webhook.states,
        "failing_since": webhook.failing_since,
        "disabled_at": webhook.disabled_at,
        "created_at": webhook.created_at,
    }


def dump_delivery(delivery: WebhookDelivery, event: FoldEvent) -> dict[str, Any]:
    """Show a delivery as in `DeliverySchema`."""
    return {
        "webhook_id": event.message_id,
        "databoard_sf_id": event.databoard_sf_id,
        "state": event.state,
        "n_tries": delivery.n_tries,
        "tried_at": delivery.tried_at,
        "delivered_at": delivery.delivered_at,
        "next_try_at": delivery.next_try_at,
        "status": delivery.status,
        "error": delivery.error,
    }


def dump_posted_fold(fold: SubmissionFold) -> dict[str, Any]:
    """Show a fold that was posted, with its job."""
    return {**dump_fold(fold), "task_id": fold.job_id}


def dump_upload(upload: Upload, life: float) -> dict[str, Any]:
    """Show an upload as in `UploadSchema`.

    Parameters
    ----------
    upload : Upload
    life : float
        Seconds for which it is kept after its last part.
    """
    return {
        "upload_id": upload.id,
        "size": upload.size,
        "received": upload.received,
        "sha256": upload.sha256,
        "expires_at": upload.used_at + timedelta(seconds=life),
    }


def dump_fold_claim(fold: SubmissionFold, lease: float) -> dict[str, Any]:
    """Show a worker the fold that it was given, as in `FoldClaimSchema`."""
    raw_data = fold.submission.raw_data
    return {
        "owner": fold.owner_id,
        "databoard_sf_id": fold.databoard_sf_id,
        "attempt": fold.attempt,
        "lease": lease,
        "train_is": _encode(fold.train_is),
        "raw_data": {
            "id": raw_data.id,
            "workflow_elements": find_workflow_elements(raw_data.workflow_elements),
            "target_column": raw_data.target_column,
            "reader": raw_data.reader,
            "time_limit": raw_data.time_limit,
            "memory_limit": raw_data.memory_limit,
            "n_train": raw_data.n_train,
            "n_test": raw_data.n_test,
        },
        "submission": {
            "databoard_s_id": fold.databoard_s,
            "hash_files": fold.submission.hash_files,
            "files": fold.submission.files,
        },
        "data": list_inputs(fold),
    }


def dump_split_claim(raw_data: RawData, lease: float) -> dict[str, Any]:
    """Show a worker the split that it was given, as in `SplitClaimSchema`."""
    return {
        "raw_data": raw_data.id,
        "attempt": raw_data.split_attempt,
        "lease": lease,
        "reader": raw_data.reader,
        "target_column": raw_data.target_column,
        "workflow_elements": find_workflow_elements(raw_data.workflow_elements),
        "held_out_test": raw_data.held_out_test,
        "random_state": raw_data.random_state,
        "time_limit": raw_data.time_limit,
        "memory_limit": raw_data.memory_limit,
        "files": raw_data.files,
    }


def _dump(row: RawData | SubmissionFold, names: Sequence[str]) -> dict[str, Any]:
    """Show a row's fields."""
    (entry,) = dump_rows(names, [[getattr(row, name) for name in names]])
    return entry


def _encode(packed: bytes | None) -> str | None:
    """Write a zlib stream of the database as wire text."""
    return None if packed is None else encode_base64(packed)
