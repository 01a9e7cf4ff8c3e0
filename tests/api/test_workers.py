"""What is known of workers and queues, and why a fold isn't finished yet."""

import pytest

from datarun_client import PROTOCOL, PROTOCOL_HEADER
from tests.api.payloads import (
    beat,
    claim_fold,
    make_failure,
    make_fold,
    make_result,
    post_raw_data,
    post_result,
    prepare,
    request_split,
    run_fold,
    silence,
)


def find_progress(platform, number=10):
    return platform.get(f"submissionfold/{number}/").json["progress"]


def test_a_worker_is_known_by_what_it_tells(platform, worker):
    beat(worker, "w1")
    beat(worker, "w2", queues=["low"])
    raw_data = prepare(platform, worker)
    platform.post("submissionfold/", make_fold(raw_data))
    platform.post("submissionfold/", make_fold(number=11))
    run_fold(worker, platform)
    claim_fold(worker, platform, number=11)

    rows = {row["name"]: row for row in platform.get("workers/").json}

    assert rows["w2"]["queues"] == ["low"]
    assert rows["w2"]["fold"] is None
    assert rows["w1"]["live"] is True
    assert rows["w1"]["n_done"] == 1
    assert rows["w1"]["isolation"] == "full"
    assert rows["w1"]["fold"] == {"owner": platform.id, "databoard_sf_id": 11, "attempt": 1}


def test_of_two_folds_that_a_worker_holds_the_first_is_running(platform, worker):
    beat(worker, "w1")
    raw_data = prepare(platform, worker)
    for number in (12, 11):
        platform.post("submissionfold/", make_fold(raw_data, number=number))
        claim_fold(worker, platform, number, ahead=number == 11)

    (row,) = platform.get("workers/").json

    assert row["fold"]["databoard_sf_id"] == 12


@pytest.mark.parametrize(
    ("field", "value"),
    [("worker", ""), ("queues", []), ("free_disk", -1), ("free_memory", "much"), ("mood", "fine")],
)
def test_a_heartbeat_that_makes_no_sense_is_refused(worker, field, value):
    payload = {
        "worker": "w",
        "host": "here",
        "queues": ["low"],
        "version": "1",
        "isolation": "full",
        "free_disk": 1,
        "free_memory": 1,
    }

    response = worker.post("worker/heartbeat/", payload | {field: value})

    assert response.status_code == 400
    assert field in response.json["errors"]


def test_the_queues_tell_their_length_and_pace(platform, worker):
    beat(worker, "w1", queues=["low"])
    raw_data = prepare(platform, worker)
    for number in (10, 11, 12):
        platform.post("submissionfold/", make_fold(raw_data, number=number))
    run_fold(worker, platform)

    high, low = platform.get("queues/").json

    assert (high["name"], high["depth"], high["live_workers"]) == ("high", 0, 0)
    assert (low["name"], low["depth"], low["live_workers"]) == ("low", 2, 1)
    assert low["oldest_wait"] > 0
    assert low["done_last_hour"] >= 1


def test_a_fold_waits_for_its_split(platform):
    raw_data = post_raw_data(platform)
    request_split(platform, raw_data)
    platform.post("submissionfold/", make_fold(raw_data))

    assert find_progress(platform)["reason"] == "waits_for_split"


def test_a_fold_waits_because_nobody_is_there(platform, worker):
    platform.post("submissionfold/", make_fold(prepare(platform, worker)))
    beat(worker, "w1", queues=["high"])

    progress = find_progress(platform)

    assert progress["phase"] == "waiting"
    assert progress["reason"] == "no_live_worker"
    assert "low" in progress["message"]


def test_a_fold_waits_behind_others_and_says_for_how_long(platform, worker):
    beat(worker)
    raw_data = prepare(platform, worker)
    for number in (10, 11, 12):
        platform.post("submissionfold/", make_fold(raw_data, number=number))
    platform.post("submissionfold/", make_fold(number=13, priority="H"))

    assert find_progress(platform, 13)["position"] == 0
    assert find_progress(platform, 10)["position"] == 1
    progress = find_progress(platform, 12)
    assert (progress["reason"], progress["position"]) == ("queued", 3)
    assert "3 folds ahead" in progress["message"]
    run_fold(worker, platform, 10)
    assert find_progress(platform, 12)["estimated_wait"] > 0


def test_a_fold_runs_or_its_worker_is_silent(platform, worker, context):
    beat(worker)
    platform.post("submissionfold/", make_fold(prepare(platform, worker)))
    claim_fold(worker, platform)

    running = find_progress(platform)
    worker.post(f"worker/folds/{platform.id}/10/1/phase/", {"state": "TRAINED"})
    validating = find_progress(platform)
    silence("w1")
    silent = find_progress(platform)

    assert (running["phase"], running["reason"], running["worker"]) == ("training", "runs", "w1")
    assert validating["phase"] == "validating"
    assert silent["reason"] == "worker_silent"
    assert "silent since" in silent["message"]


def test_a_fold_waits_for_its_next_attempt(platform, worker):
    beat(worker)
    platform.post("submissionfold/", make_fold(prepare(platform, worker)))
    claim_fold(worker, platform)
    post_result(worker, platform, make_failure("platform_error"))

    progress = find_progress(platform)

    assert (progress["reason"], progress["attempt"]) == ("waits_for_retry", 2)


def test_a_finished_fold_has_no_progress(platform, worker):
    platform.post("submissionfold/", make_fold(prepare(platform, worker)))
    run_fold(worker, platform)

    assert find_progress(platform) is None


@pytest.mark.parametrize(
    ("protocol", "side"), [("0", "worker"), ("", "worker"), ("x", "worker"), ("99", "API")]
)
def test_a_worker_of_another_release_is_told_which_side_to_upgrade(worker, protocol, side):
    response = worker.post("worker/folds/claim/", {}, headers={PROTOCOL_HEADER: protocol})

    assert response.status_code == 400
    assert f"upgrade the {side}" in response.json["error"]
    assert str(PROTOCOL) in response.json["error"]
    assert response.headers[PROTOCOL_HEADER] == str(PROTOCOL)


@pytest.mark.parametrize("protocol", ["0", "99"])
def test_a_worker_of_another_release_may_give_back_what_it_runs(platform, worker, protocol):
    platform.post("submissionfold/", make_fold(prepare(platform, worker)))
    claim_fold(worker, platform)

    path = f"worker/folds/{platform.id}/10/1/release/"
    response = worker.post(path, {"reason": "x"}, headers={PROTOCOL_HEADER: protocol})

    assert response.status_code == 200
    assert platform.get("submissionfold/10/").json["state"] == "TODO"


@pytest.mark.parametrize("digest", [None, "", "sha-256=:AAAA:"])
def test_a_result_that_did_not_arrive_whole_is_refused(platform, worker, digest):
    platform.post("submissionfold/", make_fold(prepare(platform, worker)))
    claim_fold(worker, platform)
    headers = {} if digest is None else {"Repr-Digest": digest}

    path = f"worker/folds/{platform.id}/10/1/result/"
    response = worker.post(path, make_result(), headers=headers)

    assert response.status_code == 400
    assert "Repr-Digest" in response.json["error"]
