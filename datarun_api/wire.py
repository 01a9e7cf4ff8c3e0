"""Rows as the wire shows them; `schemas` says the same to `/openapi.json`."""

from typing import Any

from datarun_api.folds import list_inputs
from datarun_api.models import MEASURES, Attempt, RawData, SubmissionFold
from datarun_api.progress import describe_progress
from datarun_client.codec import encode_base64
from datarun_client.workflow_elements import parse_workflow_elements


def dump_raw_data(raw_data: RawData) -> dict[str, Any]:
    """Show a data set as in `RawDataSchema`."""
    return {
        "id": raw_data.id,
        "name": raw_data.name,
        "files_path": raw_data.files_path,
        "workflow_elements": raw_data.workflow_elements,
        "target_column": raw_data.target_column,
        "time_limit": raw_data.time_limit,
        "memory_limit": raw_data.memory_limit,
        "split_state": raw_data.split_state,
        "split_error": raw_data.split_error,
        "n_train": raw_data.n_train,
        "n_test": raw_data.n_test,
        "created_at": raw_data.created_at,
    }


def dump_prediction(fold: SubmissionFold) -> dict[str, Any]:
    """Show a fold's predictions and measures as in `PredictionSchema`."""
    return {
        "databoard_sf_id": fold.databoard_sf_id,
        "databoard_s": fold.databoard_s,
        "full_train_predictions": _encode(fold.full_train_predictions),
        "test_predictions": _encode(fold.test_predictions),
        "state": fold.state,
        "log_messages": fold.log_messages,
        **{measure: getattr(fold, measure) for measure in MEASURES},
    }


def dump_fold(fold: SubmissionFold) -> dict[str, Any]:
    """Show a fold with all its fields as in `SubmissionFoldSchema`."""
    return {
        **dump_prediction(fold),
        "train_is": _encode(fold.train_is),
        "test_is": _encode(fold.test_is),
        "priority": fold.priority,
        "new": fold.new,
        "failure_kind": fold.failure_kind,
        "attempt": fold.attempt,
        "hash_files": fold.hash_files,
        "created_at": fold.created_at,
        "started_at": fold.started_at,
        "finished_at": fold.finished_at,
    }


def dump_fold_detail(fold: SubmissionFold) -> dict[str, Any]:
    """Show a fold and how far it is, as in `SubmissionFoldDetailSchema`."""
    return {**dump_fold(fold), "progress": describe_progress(fold)}


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


def dump_posted_fold(fold: SubmissionFold) -> dict[str, Any]:
    """Show a fold that was posted, with its job."""
    return {**dump_fold(fold), "task_id": fold.job_id}


def dump_light_fold(fold: SubmissionFold) -> dict[str, Any]:
    """Show a fold's state as in `SubmissionFoldLightSchema`."""
    return {
        "databoard_sf_id": fold.databoard_sf_id,
        "databoard_s": fold.databoard_s,
        "state": fold.state,
        "new": fold.new,
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
            "workflow_elements": parse_workflow_elements(raw_data.workflow_elements),
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
        "workflow_elements": parse_workflow_elements(raw_data.workflow_elements),
        "held_out_test": raw_data.held_out_test,
        "random_state": raw_data.random_state,
        "time_limit": raw_data.time_limit,
        "memory_limit": raw_data.memory_limit,
        "files": raw_data.files,
    }


def _encode(packed: bytes | None) -> str | None:
    """Write a zlib stream of the database as wire text."""
    return None if packed is None else encode_base64(packed)
