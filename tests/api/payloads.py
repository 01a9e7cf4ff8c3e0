"""What tests post, and how a worker's part of it is played."""

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import func, update

from datarun_api.extensions import db
from datarun_api.models import RawData, SubmissionFold, Worker
from datarun_client.codec import encode_bytes, encode_indices, encode_predictions

CSV = b"x,target\n1,a\n2,b\n3,a\n4,b\n"
SOURCE = b"class Classifier:\n    pass\n"
N_TRAIN, N_TEST = 30, 12
PAST = timedelta(minutes=5)


def make_raw_data(**changes: Any) -> dict[str, Any]:
    """A data set that is accepted."""
    payload = {
        "name": "iris",
        "target_column": "target",
        "workflow_elements": "classifier",
        "files": {"iris.csv": encode_bytes(CSV)},
    }
    return payload | changes


def make_fold(raw_data: int | None = None, number: int = 10, **changes: Any) -> dict[str, Any]:
    """A fold that is accepted; with a data set, one of a new submission."""
    payload = {
        "databoard_sf_id": number,
        "databoard_s_id": 1,
        "train_is": encode_indices(np.arange(20)),
        "test_is": encode_indices(np.arange(20, 30)),
        "priority": "L",
    }
    if raw_data is not None:
        payload |= {"raw_data": raw_data, "files": {"classifier.py": encode_bytes(SOURCE)}}
    return payload | changes


def post_raw_data(platform, **changes: Any) -> int:
    """Post a data set and say its number."""
    response = platform.post("rawdata/", make_raw_data(**changes))
    assert response.status_code == 201, response.json
    return response.json["id"]


def request_split(platform, raw_data: int) -> None:
    """Ask for a split."""
    payload = {"raw_data_id": raw_data, "held_out_test": 0.3}
    response = platform.post("rawdata/split/", payload)
    assert response.status_code == 201, response.json


def claim_split(worker, raw_data: int, attempt: int = 1):
    """Claim a split as a worker does."""
    return worker.post(
        "worker/splits/claim/", {"raw_data": raw_data, "attempt": attempt, "worker": "w1"}
    )


def put_part(worker, raw_data: int, name: str, content: bytes, attempt: int = 1) -> dict[str, Any]:
    """Upload a part as a worker does, and say its line of the manifest."""
    sha256 = hashlib.sha256(content).hexdigest()
    path = f"worker/splits/{raw_data}/{attempt}/files/{sha256}/"
    response = worker.call("PUT", path, data=content)
    assert response.status_code == 200, response.json
    return {"name": name, "sha256": sha256, "size": len(content)}


def finish_split(
    worker, raw_data: int, attempt: int = 1, more: tuple[str, ...] = (), **changes: Any
) -> None:
    """Claim a split and deliver its parts, and some more."""
    assert claim_split(worker, raw_data, attempt).status_code == 200
    parts = [
        put_part(worker, raw_data, name, f"{name} of {raw_data}".encode(), attempt)
        for name in ("X_train", "y_train", "X_test", "y_test", *more)
    ]
    payload = {"state": "DONE", "n_train": N_TRAIN, "n_test": N_TEST, "files": parts} | changes
    response = deliver(worker, f"worker/splits/{raw_data}/{attempt}/result/", payload)
    assert response.status_code == 200, response.json


def deliver(worker, path: str, payload: Any):
    """Post a result as a worker does, with its digest."""
    body = json.dumps(payload).encode()
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    headers = {"Repr-Digest": f"sha-256=:{digest}:"}
    return worker.call("POST", path, headers, data=body, content_type="application/json")


def fail_split(worker, raw_data: int, error: str) -> None:
    """Claim a split and report that it failed."""
    assert claim_split(worker, raw_data).status_code == 200
    payload = {"state": "ERROR", "error": error}
    response = deliver(worker, f"worker/splits/{raw_data}/1/result/", payload)
    assert response.status_code == 200, response.json


def prepare(platform, worker, **changes: Any) -> int:
    """Post a data set and have it split."""
    raw_data = post_raw_data(platform, **changes)
    request_split(platform, raw_data)
    finish_split(worker, raw_data)
    return raw_data


def claim_fold(
    worker, platform, number: int = 10, queue: str = "low", name: str = "w1", **wishes: Any
):
    """Claim a fold as a worker does, when it is that fold's turn."""
    with platform.app.app_context():
        db.session.execute(
            update(SubmissionFold)
            .where(
                SubmissionFold.owner_id == platform.id,
                SubmissionFold.databoard_sf_id == number,
                SubmissionFold.queued_at.is_not(None),
            )
            .values(queued_at=datetime(2000, 1, 1, tzinfo=UTC))
        )
        db.session.commit()
    payload = {"owner": platform.id, "databoard_sf_id": number, "queue": queue, "worker": name}
    return worker.post("worker/folds/claim/", payload | wishes)


def make_result(**changes: Any) -> dict[str, Any]:
    """A result that is accepted."""
    payload = {
        "state": "TESTED",
        "log_messages": "trained\n",
        "full_train_predictions": encode_predictions(np.full((N_TRAIN, 2), 0.5)),
        "full_train_shape": [N_TRAIN, 2],
        "test_predictions": encode_predictions(np.full((N_TEST, 2), 0.5)),
        "test_shape": [N_TEST, 2],
        "train_time": 1.5,
        "train_memory": 2048.0,
    }
    return payload | changes


def make_failure(kind: str = "submission_error", log: str = "it broke") -> dict[str, Any]:
    """A failure that is accepted."""
    return {"state": "ERROR", "failure_kind": kind, "log_messages": log}


def post_result(worker, platform, payload: Any, number: int = 10, attempt: int = 1):
    """Deliver a result as a worker does."""
    return deliver(worker, f"worker/folds/{platform.id}/{number}/{attempt}/result/", payload)


def run_fold(worker, platform, number: int = 10, attempt: int = 1) -> None:
    """Claim a fold and deliver its result."""
    assert claim_fold(worker, platform, number).status_code == 200
    response = post_result(worker, platform, make_result(), number, attempt)
    assert response.status_code == 200, response.json


def beat(worker, name="w1", queues=("high", "low")):
    payload = {
        "worker": name,
        "host": "here",
        "queues": list(queues),
        "version": "0.1.0",
        "isolation": "full",
        "free_disk": 1 << 30,
        "free_memory": 1 << 30,
    }
    response = worker.post("worker/heartbeat/", payload)
    assert response.status_code == 200, response.json


def silence(name, since=PAST):
    """Let a worker have been heard last a while ago."""
    statement = update(Worker).where(Worker.name == name)
    db.session.execute(statement.values(last_seen=func.now() - since))
    db.session.commit()


def expire_leases():
    """Let all leases be over."""
    db.session.execute(
        update(SubmissionFold)
        .where(SubmissionFold.lease_until.is_not(None))
        .values(lease_until=func.now() - PAST)
    )
    db.session.execute(
        update(RawData)
        .where(RawData.split_lease_until.is_not(None))
        .values(split_lease_until=func.now() - PAST)
    )
    db.session.commit()
