"""Folds that are cancelled, given back or deleted."""

import pytest

from datarun_api.extensions import get_queues
from datarun_api.models import RawData, Submission, SubmissionFold
from tests.api.payloads import (
    claim_fold,
    claim_split,
    make_fold,
    make_result,
    post_raw_data,
    post_result,
    request_split,
    run_fold,
)
from tests.conftest import count_rows


@pytest.fixture
def fold(platform, raw_data):
    """A fold that waits."""
    return platform.post("submissionfold/", make_fold(raw_data)).json


def test_a_fold_that_waits_is_cancelled(platform, worker, fold):
    response = platform.call("DELETE", "submissionfold/10/")

    assert response.status_code == 200
    assert (response.json["state"], response.json["failure_kind"]) == ("ERROR", "cancelled")
    assert response.json["progress"] is None
    assert claim_fold(worker, platform).status_code == 204


def test_a_fold_that_runs_is_cancelled_and_its_worker_told(platform, worker, fold):
    claim_fold(worker, platform)
    lease = f"worker/folds/{platform.id}/10/1/lease/"
    assert worker.post(lease, {}).json["lease"] > 0

    platform.call("DELETE", "submissionfold/10/")

    assert worker.post(lease, {}).status_code == 409
    assert post_result(worker, platform, make_result()).status_code == 409
    (attempt,) = platform.get("submissionfold/10/attempts/").json
    assert attempt["outcome"] == "cancelled"


def test_a_fold_that_has_ended_is_not_cancelled(platform, worker, fold):
    run_fold(worker, platform)

    response = platform.call("DELETE", "submissionfold/10/")

    assert response.status_code == 409
    assert platform.get("submissionfold/10/").json["state"] == "TESTED"


def test_another_accounts_fold_is_not_cancelled(add_caller, fold):
    assert add_caller().call("DELETE", "submissionfold/10/").status_code == 404


def test_a_fold_that_is_given_back_runs_again_uncharged(platform, worker, fold, context):
    for attempt in range(1, 6):
        assert claim_fold(worker, platform).json["attempt"] == attempt
        path = f"worker/folds/{platform.id}/10/{attempt}/release/"
        assert worker.post(path, {"reason": "the worker stops"}).status_code == 200

    assert get_queues().list_waiting("low", 99)[-1] == f"fold-{platform.id}-10-6"
    attempts = platform.get("submissionfold/10/attempts/").json
    assert {attempt["outcome"] for attempt in attempts} == {"released"}
    assert attempts[0]["reason"] == "the worker stops"
    run_fold(worker, platform, attempt=6)


def test_a_split_that_is_given_back_runs_again_uncharged(platform, worker):
    number = post_raw_data(platform)
    request_split(platform, number)
    assert claim_split(worker, number).status_code == 200

    released = worker.post(f"worker/splits/{number}/1/release/", {"reason": "stopping"})

    assert released.status_code == 200
    assert worker.post(f"worker/splits/{number}/1/lease/", {}).status_code == 409
    assert claim_split(worker, number, attempt=2).status_code == 200
    assert worker.post(f"worker/splits/{number}/2/lease/", {}).status_code == 200


def test_a_submission_is_deleted_with_its_folds(platform, worker, fold, context):
    claim_fold(worker, platform)

    assert platform.call("DELETE", "submission/1/").status_code == 204

    assert count_rows(Submission, platform.id) == count_rows(SubmissionFold, platform.id) == 0
    assert post_result(worker, platform, make_result()).status_code == 409
    assert platform.call("DELETE", "submission/1/").status_code == 404


def test_a_data_set_is_deleted_with_all_that_hangs_on_it(
    platform, worker, fold, raw_data, add_caller, context
):
    run_fold(worker, platform)
    stranger = add_caller()

    assert stranger.call("DELETE", f"rawdata/{raw_data}/").status_code == 404
    assert platform.call("DELETE", f"rawdata/{raw_data}/").status_code == 204

    for model in (RawData, Submission, SubmissionFold):
        assert count_rows(model, platform.id) == 0


def test_a_data_set_is_deleted_while_it_is_split(platform, worker):
    number = post_raw_data(platform)
    request_split(platform, number)
    claim_split(worker, number)

    assert platform.call("DELETE", f"rawdata/{number}/").status_code == 204

    assert worker.post(f"worker/splits/{number}/1/lease/", {}).status_code == 409


def test_the_attempts_of_a_fold_stay_readable(platform, worker, fold, raw_data):
    claim_fold(worker, platform)
    log = f"worker/folds/{platform.id}/10/1/log/"
    worker.post(log, {"offset": 0, "text": "half way\n"})
    platform.post("submissionfold/", make_fold(raw_data, force="submission_fold"))
    run_fold(worker, platform, attempt=2)

    first, second = platform.get("submissionfold/10/attempts/").json

    assert (first["number"], first["outcome"]) == (1, "superseded")
    assert [first["log_messages"], second["log_messages"]] == ["half way\n", "trained\n"]
    assert (second["number"], second["outcome"]) == (2, "tested")
    assert second["measures"]["train_time"] == 1.5
    assert second["worker"] == "w1"
    assert platform.get("submissionfold/77/attempts/").status_code == 404
