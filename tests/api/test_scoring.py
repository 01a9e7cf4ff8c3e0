import math
import statistics
import sys

import pytest
from sqlalchemy import update

from datarun_api.extensions import db, get_queues
from datarun_api.models import Scoring
from datarun_api.reconciler import enqueue_lost_scorings
from datarun_client import PROTOCOL_HEADER
from datarun_client.codec import encode_bytes
from tests.api.payloads import (
    N_TRAIN,
    PAST,
    beat,
    claim_fold,
    deliver,
    finish_split,
    make_failure,
    make_fold,
    make_raw_data,
    post_raw_data,
    post_result,
    prepare,
    run_fold,
)
from tests.api.payloads import make_result as make_fold_result

METRICS = ["accuracy", "neg_log_loss"]


@pytest.fixture
def raw_data(platform, worker):
    """A data set that is split and has metrics."""
    return prepare(platform, worker, metrics=METRICS)


@pytest.fixture
def tested(platform, worker, raw_data):
    """Two folds with results."""
    for number in (10, 11):
        platform.post("submissionfold/", make_fold(raw_data, number))
        run_fold(worker, platform, number)
    return [10, 11]


def claim(worker, platform, attempt=1):
    payload = {"owner": platform.id, "databoard_s": 1, "attempt": attempt, "worker": "w1"}
    return worker.post("worker/scorings/claim/", payload)


def make_scores(value):
    parts = {"train": value, "validation": value / 2, "test": value / 4}
    return {metric: dict(parts) for metric in METRICS}


def make_result(*folds, **changes):
    return {
        "state": "DONE",
        "folds": [
            {"databoard_sf_id": number, "attempt": 1, "scores": make_scores(value)}
            for number, value in folds
        ],
        "bagged": {metric: {"validation": 0.5, "test": 0.25} for metric in METRICS},
    } | changes


def finish(worker, platform, result, attempt=1):
    return deliver(worker, f"worker/scorings/{platform.id}/1/{attempt}/result/", result)


def summarize(platform):
    response = platform.get("submission/1/")
    assert response.status_code == 200, response.json
    return response.json


def list_jobs(platform):
    """List the account's jobs, each once: two folds that end at once ask for the same."""
    keys = get_queues().connection.lrange("rq:queue:high", 0, -1)
    own = f"score-{platform.id}-"
    return list(dict.fromkeys(key.decode() for key in keys if key.decode().startswith(own)))


def test_without_metrics_nothing_is_scored(platform, worker, context):
    platform.post("submissionfold/", make_fold(prepare(platform, worker)))
    run_fold(worker, platform)

    assert claim(worker, platform).status_code == 204
    assert list_jobs(platform) == []
    summary = summarize(platform)
    assert (summary["scores"], summary["scoring_state"]) == ({}, None)
    assert platform.get("submissionfold/10/").json["scores"] is None


def test_a_tested_fold_asks_for_its_scores(platform, worker, raw_data, context):
    platform.post("submissionfold/", make_fold(raw_data))
    assert claim(worker, platform).status_code == 204

    run_fold(worker, platform)

    assert list_jobs(platform) == [f"score-{platform.id}-1-1"]
    assert summarize(platform)["scoring_state"] == "TODO"


def test_a_worker_gets_labels_and_folds(platform, worker, tested):
    claimed = claim(worker, platform)

    assert claimed.status_code == 200
    assert claimed.json["metrics"] == METRICS
    assert claimed.json["folds"] == [{"databoard_sf_id": number, "attempt": 1} for number in tested]
    assert {file["name"] for file in claimed.json["files"]} == {"y_train", "y_test"}
    path = f"worker/scorings/{platform.id}/1/1"
    for file in claimed.json["files"]:
        assert worker.get(f"{path}/files/{file['sha256']}/").data.startswith(b"y_t")
    fold = worker.get(f"{path}/folds/10/").json
    assert fold["full_train_shape"] == [N_TRAIN, 2]
    assert fold["train_is"] == make_fold()["train_is"]
    assert worker.get(f"{path}/folds/12/").status_code == 404
    assert worker.post(f"{path}/lease/").status_code == 200
    assert claim(worker, platform).status_code == 204


KIT = {"problem.py": encode_bytes(b""), "data/train.csv": encode_bytes(b"x")}
SCORE_TYPES = ["weighted error [1]", "acc"]


def test_a_kit_is_scored_by_the_score_types_that_its_split_found(platform, worker):
    number = post_raw_data(platform, files=KIT)
    assert platform.post("rawdata/customsplit/", {"raw_data_id": number}).status_code == 201
    files = ("kit_files", "train_files", "test_files")
    finish_split(worker, number, more=files, metrics=SCORE_TYPES)
    platform.post("submissionfold/", make_fold(number))
    given = claim_fold(worker, platform)
    post_result(worker, platform, make_fold_result())

    claimed = claim(worker, platform)

    assert [entry["metrics"] for entry in platform.get("rawdata/").json] == [SCORE_TYPES]
    assert platform.post("rawdata/", make_raw_data(files=KIT)).status_code == 200
    parts = {"X_train", "y_train", "X_test", "specific.py", *files}
    assert {file["name"] for file in given.json["data"]} == parts
    assert (claimed.json["reader"], claimed.json["metrics"]) == ("kit", SCORE_TYPES)
    needed = {"y_train", "y_test", "kit_files", "specific.py"}
    assert {file["name"] for file in claimed.json["files"]} == needed
    path = f"worker/scorings/{platform.id}/1/1/files"
    for file in claimed.json["files"]:
        assert worker.get(f"{path}/{file['sha256']}/").status_code == 200
    scores = {name: {"train": 0.5, "validation": 0.25, "test": None} for name in SCORE_TYPES}
    folds = [{"databoard_sf_id": 10, "attempt": 1, "scores": scores}]
    assert finish(worker, platform, make_result(folds=folds, bagged=scores)).status_code == 200
    summary = summarize(platform)
    assert list(summary["scores"]) == SCORE_TYPES
    assert summary["scores"]["acc"]["validation"]["bagged"] == 0.25
    (listed,) = platform.get("submissionfold/?fields=databoard_sf_id,scores").json
    assert listed == {"databoard_sf_id": 10, "scores": scores}


@pytest.mark.parametrize("metrics", [["a"] * 2, [""], ["a\n"], ["x" * 61], ["1", 2]])
def test_a_splits_score_types_have_names(platform, worker, metrics):
    number = post_raw_data(platform, files=KIT)
    platform.post("rawdata/customsplit/", {"raw_data_id": number})

    with pytest.raises(AssertionError, match="metrics"):
        finish_split(worker, number, metrics=metrics)


def test_scores_stand_in_the_fold_and_in_the_summary(platform, worker, tested):
    claim(worker, platform)

    response = finish(worker, platform, make_result((10, 0.8), (11, 0.4)))

    assert response.status_code == 200
    assert platform.get("submissionfold/10/").json["scores"] == make_scores(0.8)
    summary = summarize(platform)
    assert (summary["n_folds"], summary["n_tested"]) == (2, 2)
    assert (summary["scoring_state"], summary["scoring_error"]) == ("DONE", None)
    assert list(summary["scores"]) == METRICS
    assert summary["scores"]["accuracy"] == {
        part: {
            "mean": statistics.fmean([0.8 / share, 0.4 / share]),
            "std": statistics.pstdev([0.8 / share, 0.4 / share]),
            "bagged": bagged,
        }
        for part, share, bagged in (
            ("train", 1, None),
            ("validation", 2, 0.5),
            ("test", 4, 0.25),
        )
    }


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_refused(platform, worker, tested, value):
    claim(worker, platform)

    assert finish(worker, platform, make_result((10, value))).status_code == 400
    assert platform.get("submissionfold/10/").json["scores"] is None


@pytest.mark.parametrize("value", [1e20, -sys.float_info.max])
def test_huge_scores_are_shown_with_their_mean(platform, worker, tested, value):
    claim(worker, platform)

    finish(worker, platform, make_result((10, value), (11, value)))

    assert platform.get("submissionfold/10/").json["scores"] == make_scores(value)
    shown = summarize(platform)["scores"]["accuracy"]["train"]
    assert (shown["mean"], shown["std"]) == (value, 0)


def test_a_fold_that_ends_meanwhile_asks_once_more(platform, worker, raw_data, tested, context):
    claim(worker, platform)
    platform.post("submissionfold/", make_fold(raw_data, 12))
    run_fold(worker, platform, 12)
    assert list_jobs(platform) == [f"score-{platform.id}-1-1"]

    finish(worker, platform, make_result((10, 0.8), (11, 0.4)))

    assert list_jobs(platform)[-1] == f"score-{platform.id}-1-2"
    assert len(claim(worker, platform, 2).json["folds"]) == 3


@pytest.mark.parametrize("way", ["failure", "cancel"])
def test_a_fold_that_fails_asks_too(platform, worker, tested, way):
    claim(worker, platform)
    finish(worker, platform, make_result((10, 0.8), (11, 0.4)))
    platform.post("submissionfold/", make_fold(number=11, force="submission_fold"))
    assert platform.get("submissionfold/11/").json["scores"] is None

    if way == "cancel":
        platform.call("DELETE", "submissionfold/11/")
    else:
        claim_fold(worker, platform, 11)
        post_result(worker, platform, make_failure(), 11, attempt=2)

    assert [fold["databoard_sf_id"] for fold in claim(worker, platform, 2).json["folds"]] == [10]


def test_scores_of_an_attempt_that_was_replaced_are_dropped(platform, worker, tested):
    claim(worker, platform)
    platform.post("submissionfold/", make_fold(number=11, force="submission_fold"))
    run_fold(worker, platform, 11, attempt=2)

    finish(worker, platform, make_result((10, 0.8), (11, 0.4)))

    assert platform.get("submissionfold/10/").json["scores"] == make_scores(0.8)
    assert platform.get("submissionfold/11/").json["scores"] is None
    assert claim(worker, platform, 2).json["folds"][1]["attempt"] == 2


def test_what_a_metric_says_is_shown(platform, worker, tested):
    claim(worker, platform)
    scores = make_scores(0.8) | {"accuracy": dict.fromkeys(("train", "validation", "test"))}
    folds = [{"databoard_sf_id": 10, "attempt": 1, "scores": scores}]

    finish(worker, platform, make_result(state="ERROR", error="accuracy: no", folds=folds))

    summary = summarize(platform)
    assert (summary["scoring_state"], summary["scoring_error"]) == ("ERROR", "accuracy: no")
    assert summary["scores"]["accuracy"]["test"]["mean"] is None
    assert summary["scores"]["neg_log_loss"]["test"]["mean"] == 0.2


def test_a_lost_job_is_found_again(platform, worker, tested, context):
    get_queues().connection.flushall()

    enqueue_lost_scorings()
    enqueue_lost_scorings()

    jobs = get_queues().connection.lrange("rq:queue:high", 0, -1)
    assert jobs.count(f"score-{platform.id}-1-1".encode()) == 1


def test_a_lost_worker_is_noticed_and_the_third_ends_it(
    platform, worker, tested, reconciler, context
):
    for attempt in (1, 2, 3):
        assert claim(worker, platform, attempt).status_code == 200
        db.session.execute(update(Scoring).values(lease_until=Scoring.lease_until - PAST))
        db.session.commit()
        beat(worker)
        reconciler.do_round()
    summary = summarize(platform)
    assert summary["scoring_state"] == "ERROR"
    assert "the fault is the platform's" in summary["scoring_error"]
    late = finish(worker, platform, make_result((10, 0.8)), attempt=3)
    assert late.status_code == 409


def test_a_failure_of_ours_is_tried_again(platform, worker, tested):
    claim(worker, platform)
    result = {"state": "ERROR", "error": "disk full", "failure_kind": "platform_error"}

    assert finish(worker, platform, result).status_code == 200

    assert claim(worker, platform, 2).status_code == 200


def test_what_is_given_back_costs_no_attempt(platform, worker, tested):
    for attempt in (1, 2, 3, 4):
        assert claim(worker, platform, attempt).status_code == 200
        path = f"worker/scorings/{platform.id}/1/{attempt}/release/"
        assert worker.post(path, {"reason": "stopping"}).status_code == 200

    assert summarize(platform)["scoring_state"] == "TODO"


@pytest.mark.parametrize("protocol", ["0", "99"])
def test_a_worker_of_another_release_may_give_it_back(platform, worker, tested, protocol):
    claim(worker, platform)

    path = f"worker/scorings/{platform.id}/1/1/release/"
    response = worker.post(path, {"reason": "x"}, headers={PROTOCOL_HEADER: protocol})

    assert response.status_code == 200
    assert claim(worker, platform, 2).status_code == 200


def test_labels_are_for_data_jobs_alone(platform, worker, tested, add_caller):
    compute = add_caller("worker", runs_data_jobs=False)

    assert claim(compute, platform).status_code == 403
    claimed = claim(worker, platform).json
    path = f"worker/scorings/{platform.id}/1/1"
    assert compute.get(f"{path}/files/{claimed['files'][0]['sha256']}/").status_code == 403
    assert compute.get(f"{path}/folds/10/").status_code == 403
    assert finish(compute, platform, make_result()).status_code == 403


@pytest.mark.parametrize(
    "changes",
    [
        {"bagged": {"r2": {"test": 1.0}}},
        {"bagged": {"nonsense": {"test": 1.0}}},
        {"bagged": {"accuracy": {"elsewhere": 1.0}}},
        {"bagged": {"accuracy": {"test": "1"}}},
        {"state": "TODO"},
    ],
)
def test_scores_that_nobody_asked_for_are_refused(platform, worker, tested, changes):
    claim(worker, platform)

    assert finish(worker, platform, make_result(**changes)).status_code == 400


@pytest.mark.parametrize(
    "metrics", [["nonsense"], ["accuracy", "accuracy"], "accuracy", METRICS * 6, [1]]
)
def test_metrics_that_are_none_are_refused(platform, metrics):
    response = platform.post("rawdata/", make_raw_data(metrics=metrics))

    assert response.status_code == 400
    assert "metrics" in response.json["errors"]


def test_the_same_data_set_with_other_metrics_is_another(platform, raw_data):
    same = platform.post("rawdata/", make_raw_data(metrics=METRICS))
    other = platform.post("rawdata/", make_raw_data(metrics=["accuracy"]))

    assert (same.status_code, other.status_code) == (200, 409)
    assert same.json["metrics"] == METRICS


def test_a_submission_that_isnt_there_is_not_found(platform):
    assert platform.get("submission/1/").status_code == 404


def test_scores_go_with_their_submission(platform, worker, tested):
    assert platform.call("DELETE", "submission/1/").status_code == 204
    assert platform.get("submission/1/").status_code == 404
