import numpy as np
import pytest
from sqlalchemy import func, update

from datarun_api import schemas
from datarun_api.extensions import db, get_queues
from datarun_api.models import Submission, SubmissionFold
from datarun_api.queues import JOB_TTL
from datarun_api.reconciler import queue_retries
from datarun_client.codec import decode_indices, encode_bytes, encode_indices, encode_predictions
from tests.api.payloads import (
    N_TEST,
    N_TRAIN,
    SOURCE,
    claim_fold,
    deliver,
    fail_split,
    finish_split,
    make_failure,
    make_fold,
    make_result,
    post_raw_data,
    post_result,
    prepare,
    request_split,
    run_fold,
)
from tests.conftest import count_rows

PREDICTION_FIELDS = {
    "databoard_sf_id",
    "databoard_s",
    "test_predictions",
    "full_train_predictions",
    "full_train_dtype",
    "full_train_shape",
    "full_train_sha256",
    "test_dtype",
    "test_shape",
    "test_sha256",
    "state",
    "log_messages",
    "train_time",
    "validation_time",
    "test_time",
    "train_cpu_time",
    "test_cpu_time",
    "train_memory",
    "test_memory",
}
FIELDS = PREDICTION_FIELDS | {
    "train_is",
    "test_is",
    "priority",
    "new",
    "failure_kind",
    "attempt",
    "created_at",
    "started_at",
    "finished_at",
    "hash_files",
}
OTHER_SOURCE = {"classifier.py": encode_bytes(SOURCE + b"# changed\n")}


def post_fold(platform, *args, **changes):
    return platform.post("submissionfold/", make_fold(*args, **changes))


def get_fold(platform, number=10):
    return platform.get(f"submissionfold/{number}/").json


def test_a_fold_is_accepted_with_its_submission(platform, raw_data):
    response = post_fold(platform, raw_data)

    assert response.status_code == 201
    assert set(response.json) == FIELDS | {"task_id"}
    assert response.json["task_id"] == f"fold-{platform.id}-10-1"
    assert response.json["state"] == "TODO"
    assert response.json["new"] is True
    assert response.json["full_train_predictions"] is None
    np.testing.assert_array_equal(decode_indices(response.json["train_is"]), np.arange(20))


@pytest.mark.parametrize(("priority", "queue"), [("L", "low"), ("H", "high")])
def test_its_job_waits_on_the_queue_of_its_priority(platform, raw_data, context, priority, queue):
    task_id = post_fold(platform, raw_data, priority=priority).json["task_id"]

    connection = get_queues().connection
    assert task_id.encode() in connection.lrange(f"rq:queue:{queue}", 0, -1)


def test_a_job_that_nobody_ends_is_forgotten_in_time(platform, raw_data, context):
    task_id = post_fold(platform, raw_data).json["task_id"]

    assert 0 < get_queues().connection.ttl(f"rq:job:{task_id}") <= JOB_TTL


def test_the_next_fold_of_a_submission_needs_no_files(platform, raw_data, context):
    post_fold(platform, raw_data)

    response = post_fold(platform, number=11)

    assert response.status_code == 201
    assert count_rows(Submission, platform.id) == 1


def test_the_same_post_again_starts_nothing(platform, raw_data, context):
    first = post_fold(platform, raw_data)
    get_queues().connection.flushall()

    again = post_fold(platform, raw_data)

    assert again.status_code == 200
    assert again.json == first.json
    assert get_queues().connection.keys("rq:job:*") == []


def test_the_same_rows_in_another_compression_are_the_same(platform, raw_data):
    import base64
    import zlib

    post_fold(platform, raw_data)
    packed = zlib.compress(np.arange(20, dtype="<i8").tobytes(), 9)

    again = post_fold(platform, raw_data, train_is=base64.b64encode(packed).decode())

    assert again.status_code == 200


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"train_is": encode_indices([1])}, "databoard_sf_id"),
        ({"test_is": encode_indices([1])}, "databoard_sf_id"),
        ({"priority": "H"}, "databoard_sf_id"),
        ({"files": OTHER_SOURCE}, "files"),
    ],
)
def test_another_post_is_a_conflict(platform, raw_data, changes, field):
    first = post_fold(platform, raw_data)

    response = post_fold(platform, raw_data, **changes)

    assert response.status_code == 409
    assert field in response.json["errors"]
    assert {**first.json, "progress": None, "timings": None, "scores": None} == {
        **get_fold(platform),
        "task_id": first.json["task_id"],
        "progress": None,
        "timings": None,
    }


def test_the_folds_of_a_request_share_the_limit_of_files(platform, raw_data, app, monkeypatch):
    monkeypatch.setitem(app.config, "MAX_UPLOAD", 1500)
    folds = [
        make_fold(
            raw_data,
            number=number,
            databoard_s_id=number,
            files={"classifier.py": encode_bytes(bytes([number]) * 1000)},
        )
        for number in (10, 11)
    ]

    response = platform.post("submissionfold/", folds)

    assert response.status_code == 400
    assert "becomes larger" in response.json["errors"]["1"]["files"][0]
    assert platform.get("submissionfold/").json == []


def test_the_folds_of_a_request_share_the_limit_of_row_numbers(platform, raw_data, monkeypatch):
    monkeypatch.setattr(schemas, "MAX_UNPACKED", 8 * 70)
    folds = [make_fold(raw_data, number=number) for number in (10, 11, 12, 13)]

    response = platform.post("submissionfold/", folds)

    assert response.status_code == 400
    assert list(response.json["errors"]) == ["2", "3"]
    assert "post fewer folds" in response.json["errors"]["3"]["test_is"][0]


def test_a_fold_does_not_move_to_another_submission(platform, raw_data):
    post_fold(platform, raw_data)

    moved = post_fold(platform, raw_data, databoard_s_id=2, force="submission_fold")

    assert moved.status_code == 409
    assert "belongs to submission 1" in moved.json["error"]


def test_a_submission_does_not_move_to_another_data_set(platform, worker, raw_data):
    post_fold(platform, raw_data)
    other = prepare(platform, worker, name="other")

    moved = post_fold(platform, other, number=11)

    assert moved.status_code == 409
    assert "raw_data" in moved.json["errors"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("databoard_sf_id", -1, "greater than"),
        ("databoard_sf_id", 2**31, "less than"),
        ("databoard_sf_id", 2**63, "less than"),
        ("databoard_sf_id", "1", "Not a valid integer"),
        ("databoard_sf_id", 1.5, "Not a valid integer"),
        ("databoard_sf_id", True, "Not a valid integer"),
        ("databoard_sf_id", None, "null"),
        ("databoard_s_id", -1, "greater than"),
        ("databoard_s_id", "1", "Not a valid integer"),
        ("raw_data", -1, "greater than"),
        ("raw_data", "1", "Not a valid integer"),
        ("priority", "M", "Must be one of"),
        ("priority", 1, "Must be one of"),
        ("train_is", "§", "not base64"),
        ("train_is", "", "cut off"),
        ("train_is", None, "null"),
        ("train_is", [1, 2], "Not a valid string"),
        ("train_is", encode_bytes(b"1234567"), "multiple of 8"),
        ("train_is", encode_indices([]), "at least one"),
        ("train_is", encode_indices([-1, 0]), "negative"),
        ("train_is", encode_indices([0, N_TRAIN]), "out of range"),
        ("train_is", encode_bytes(bytes(50_000_000)), "larger than"),
        ("test_is", encode_indices([2**62]), "out of range"),
        ("test_is", encode_indices([-1]), "negative"),
        ("files", {}, "at least one"),
        ("files", {"../classifier.py": "x"}, "relative path"),
        ("files", {"classifier.py": "x"}, "not base64"),
        ("files", {"classifier.py": "AAAA"}, "not a zlib stream"),
        ("force", "everything", "Must be"),
        ("force", "submission", "Must be"),
        ("force", True, "Not a valid string"),
        ("colour", "red", "Unknown field"),
    ],
)
def test_bad_input_names_its_field_and_writes_nothing(
    platform, raw_data, context, field, value, message
):
    payload = make_fold(raw_data) | {field: value}

    response = platform.post("submissionfold/", payload)

    assert response.status_code == 400
    assert set(response.json) == {"error", "errors"}
    assert message in str(response.json["errors"][field])
    assert count_rows(Submission, platform.id) == count_rows(SubmissionFold, platform.id) == 0


@pytest.mark.parametrize("field", ["databoard_sf_id", "databoard_s_id", "train_is", "test_is"])
def test_a_missing_field_is_named(platform, raw_data, field):
    payload = make_fold(raw_data)
    del payload[field]

    response = platform.post("submissionfold/", payload)

    assert response.status_code == 400
    assert list(response.json["errors"]) == [field]


@pytest.mark.parametrize(
    "body", [b"{", b"7", b'"fold"', b"null", b"[]", b"[7]", b"[[]]", b"[" * 9999]
)
def test_a_body_that_is_no_fold_is_refused(platform, body):
    response = platform.post("submissionfold/", data=body, content_type="application/json")

    assert response.status_code == 400
    assert set(response.json) == {"error", "errors"}


def test_a_new_submission_needs_its_files_and_data_set(platform, raw_data, context):
    response = post_fold(platform)

    assert response.status_code == 400
    assert set(response.json["errors"]) == {"raw_data", "files"}
    assert count_rows(SubmissionFold, platform.id) == 0


def test_a_data_set_of_another_account_is_404(platform, add_caller, worker):
    elsewhere = prepare(add_caller(), worker)

    response = post_fold(platform, elsewhere)

    assert response.status_code == 404
    assert "raw_data" in response.json["errors"]


def test_row_numbers_may_repeat(platform, raw_data):
    response = post_fold(platform, raw_data, train_is=encode_indices([3, 3, 3, 0]))

    assert response.status_code == 201


def test_a_fold_before_the_split_is_a_conflict(platform):
    unsplit = post_raw_data(platform)

    response = post_fold(platform, unsplit)

    assert response.status_code == 409
    assert "ask for the split first" in response.json["error"]


def test_a_fold_during_the_split_waits_for_it(platform, worker, context):
    raw_data = post_raw_data(platform)
    request_split(platform, raw_data)

    task_id = post_fold(platform, raw_data).json["task_id"]

    assert task_id not in get_queues().list_waiting("low", 99)
    assert claim_fold(worker, platform).status_code == 204
    finish_split(worker, raw_data)
    assert task_id in get_queues().list_waiting("low", 99)
    assert claim_fold(worker, platform).status_code == 200


def test_the_next_fold_during_the_split_waits_for_it_too(platform, worker, context):
    raw_data = post_raw_data(platform)
    request_split(platform, raw_data)
    post_fold(platform, raw_data)

    response = post_fold(platform, number=11)

    assert response.status_code == 201
    assert platform.get("submissionfold/11/").json["progress"]["reason"] == "waits_for_split"
    assert get_queues().list_waiting("low", 99) == []
    finish_split(worker, raw_data)
    assert response.json["task_id"] in get_queues().list_waiting("low", 99)


def test_the_next_fold_with_rows_that_are_missing_is_refused(platform, raw_data, context):
    post_fold(platform, raw_data)

    response = post_fold(platform, number=11, test_is=encode_indices([N_TRAIN]))

    assert response.status_code == 400
    assert list(response.json["errors"]) == ["test_is"]
    assert count_rows(SubmissionFold, platform.id) == 1


def test_a_fold_that_waited_for_a_split_that_failed_ends(platform, worker):
    raw_data = post_raw_data(platform)
    request_split(platform, raw_data)
    post_fold(platform, raw_data)

    fail_split(worker, raw_data, "no such column")

    fold = get_fold(platform)
    assert (fold["state"], fold["failure_kind"]) == ("ERROR", "data_error")
    assert "no such column" in fold["log_messages"]


def test_a_fold_after_a_split_that_failed_ends_at_once(platform, worker):
    raw_data = post_raw_data(platform)
    request_split(platform, raw_data)
    fail_split(worker, raw_data, "no such column")

    response = post_fold(platform, raw_data)

    assert response.status_code == 201
    assert (response.json["state"], response.json["failure_kind"]) == ("ERROR", "data_error")


def test_a_fold_whose_rows_turn_out_to_be_missing_ends(platform, worker):
    raw_data = post_raw_data(platform)
    request_split(platform, raw_data)
    post_fold(platform, raw_data, train_is=encode_indices([N_TRAIN]))

    finish_split(worker, raw_data)

    fold = get_fold(platform)
    assert (fold["state"], fold["failure_kind"]) == ("ERROR", "data_error")
    assert "has 30 rows" in fold["log_messages"]


def test_a_list_of_folds_is_accepted_whole(platform, raw_data, context):
    folds = [make_fold(raw_data, number=10), make_fold(number=11), make_fold(number=12)]

    response = platform.post("submissionfold/", folds)

    assert response.status_code == 201
    assert [fold["databoard_sf_id"] for fold in response.json] == [10, 11, 12]
    task_ids = [fold["task_id"] for fold in response.json]
    assert get_queues().list_waiting("low", 99) == task_ids
    assert platform.post("submissionfold/", folds).status_code == 200


def test_a_list_with_one_bad_fold_is_refused_whole(platform, raw_data, context):
    folds = [
        make_fold(raw_data, number=10),
        make_fold(number=11, priority="X"),
        make_fold(number=-1),
    ]

    response = platform.post("submissionfold/", folds)

    assert response.status_code == 400
    assert set(response.json["errors"]) == {"1", "2"}
    assert "priority" in response.json["errors"]["1"]
    assert count_rows(SubmissionFold, platform.id) == 0


def test_a_list_with_one_conflict_is_refused_whole(platform, raw_data, context):
    post_fold(platform, raw_data)
    folds = [make_fold(number=11), make_fold(number=10, priority="H")]

    response = platform.post("submissionfold/", folds)

    assert response.status_code == 409
    assert set(response.json["errors"]) == {"1"}
    assert count_rows(SubmissionFold, platform.id) == 1


def test_a_list_with_a_fold_that_is_there_starts_the_others(platform, raw_data, context):
    first = post_fold(platform, raw_data).json

    response = platform.post("submissionfold/", [make_fold(number=12), make_fold(number=10)])

    assert response.status_code == 201
    assert [fold["databoard_sf_id"] for fold in response.json] == [12, 10]
    assert response.json[1] == first
    assert len(get_queues().list_waiting("low", 99)) == 2


def test_a_list_that_names_a_fold_twice_is_refused(platform, raw_data):
    response = platform.post("submissionfold/", [make_fold(raw_data), make_fold(raw_data)])

    assert response.status_code == 400
    assert "databoard_sf_id" in response.json["errors"]["1"]


def test_folds_are_accepted_when_redis_is_away(platform, raw_data, context, monkeypatch):
    from datarun_api.queues import Queues

    away = Queues("redis://127.0.0.1:1", "high")
    monkeypatch.setitem(platform.app.extensions, "datarun_queues", away)

    response = post_fold(platform, raw_data)

    assert response.status_code == 201
    assert get_fold(platform)["state"] == "TODO"


def test_two_accounts_use_the_same_numbers_and_never_meet(platform, add_caller, worker, raw_data):
    other = add_caller()
    other_data = prepare(other, worker)
    post_fold(platform, raw_data)
    post_fold(other, other_data, priority="H")

    run_fold(worker, platform)

    assert get_fold(platform)["state"] == "TESTED"
    assert get_fold(other)["state"] == "TODO"
    assert len(platform.get("submissionfold/").json) == 1
    assert len(other.get("submissionfold-light/").json) == 1
    assert other.post("testpredictions/new/", {}).json == []
    assert (
        other.post("testpredictions/list/", {"list_submission_fold": [10]}).json[0][
            "test_predictions"
        ]
        is None
    )


def test_a_fold_that_does_not_exist_is_404(platform):
    for number in (10, 2**31, 2**63):
        response = platform.get(f"submissionfold/{number}/")
        assert response.status_code == 404
        assert set(response.json) == {"error", "errors"}


def test_the_lists_show_all_fields_and_the_light_ones(platform, raw_data):
    post_fold(platform, raw_data)

    (full,) = platform.get("submissionfold/").json
    (light,) = platform.get("submissionfold-light/").json

    assert set(full) == FIELDS
    detail = get_fold(platform)
    more = {name: detail[name] for name in ("progress", "timings", "scores")}
    assert full | more == detail
    assert light == {"databoard_sf_id": 10, "databoard_s": 1, "state": "TODO", "new": True}


def test_a_claim_holds_what_a_fold_may_see_and_no_label_of_the_test_set(platform, worker, raw_data):
    post_fold(platform, raw_data)

    claim = claim_fold(worker, platform).json

    assert claim["attempt"] == 1
    assert claim["lease"] > 0
    assert [file["name"] for file in claim["data"]] == ["X_train", "y_train", "X_test"]
    assert [file["name"] for file in claim["submission"]["files"]] == ["classifier.py"]
    assert claim["raw_data"]["workflow_elements"] == ["classifier"]
    assert "y_test" not in str(claim)


def test_a_worker_fetches_only_the_files_of_its_claim(platform, worker, raw_data, context):
    post_fold(platform, raw_data)
    claim = claim_fold(worker, platform).json
    path = f"worker/folds/{platform.id}/10/1/files/"
    (source,) = claim["submission"]["files"]
    labels = next(
        part["sha256"]
        for part in db.session.get(Submission, (platform.id, 1)).raw_data.parts
        if part["name"] == "y_test"
    )

    assert worker.get(f"{path}{source['sha256']}/").data == SOURCE
    assert worker.get(f"{path}{labels}/").status_code == 404
    assert worker.get(f"{path}../../../etc/passwd/").status_code == 404


def test_a_fold_is_claimed_once(platform, worker, raw_data):
    post_fold(platform, raw_data)

    assert claim_fold(worker, platform).status_code == 200
    assert claim_fold(worker, platform).status_code == 204
    assert claim_fold(worker, platform, number=77).status_code == 204
    assert get_fold(platform)["started_at"] is not None


def test_a_worker_that_missed_an_answer_is_given_its_fold_again(platform, worker, raw_data):
    # Given two folds, one of which a worker was given without hearing of it
    post_fold(platform, raw_data)
    post_fold(platform, number=11)
    given = claim_fold(worker, platform).json

    # When it asks for that
    again = claim_fold(worker, platform, 11, resumes=True)

    # Then it is the same attempt, and another worker that asks gets the other fold
    assert again.json == given
    assert len(platform.get("submissionfold/10/attempts/").json) == 1
    assert claim_fold(worker, platform, 11, name="w2", resumes=True).json["databoard_sf_id"] == 11


def test_a_worker_that_missed_nothing_is_given_the_next_fold(platform, worker, raw_data):
    post_fold(platform, raw_data)
    claim_fold(worker, platform)
    post_result(worker, platform, make_result())
    post_fold(platform, number=11)

    assert claim_fold(worker, platform, 11, resumes=True).json["databoard_sf_id"] == 11


def test_phases_show_on_the_wire_and_never_go_back(platform, worker, raw_data):
    post_fold(platform, raw_data)
    claim_fold(worker, platform)
    path = f"worker/folds/{platform.id}/10/1/phase/"

    for state in ("TRAINED", "VALIDATED", "TRAINED"):
        assert worker.post(path, {"state": state}).status_code == 200

    assert get_fold(platform)["state"] == "VALIDATED"
    assert worker.post(path, {"state": "TESTED"}).status_code == 400


def test_the_log_grows_by_offset_and_a_piece_sent_twice_stands_once(platform, worker, raw_data):
    post_fold(platform, raw_data)
    claim_fold(worker, platform)
    path = f"worker/folds/{platform.id}/10/1/log/"

    worker.post(path, {"offset": 0, "text": "épo"})
    worker.post(path, {"offset": 4, "text": "que 1\n"})
    again = worker.post(path, {"offset": 4, "text": "que 1\n"})
    gap = worker.post(path, {"offset": 99, "text": "lost"})
    nul = worker.post(path, {"offset": 0, "text": "\x00"})

    assert again.json == {"length": 10}
    assert get_fold(platform)["log_messages"] == "époque 1\n"
    assert gap.status_code == nul.status_code == 400


def test_a_result_makes_a_fold_tested(platform, worker, raw_data):
    post_fold(platform, raw_data)

    run_fold(worker, platform)

    fold = get_fold(platform)
    assert fold["state"] == "TESTED"
    assert fold["failure_kind"] is None
    assert fold["log_messages"] == "trained\n"
    assert fold["train_time"] == 1.5
    assert fold["train_memory"] == 2048.0
    assert fold["test_predictions"] == make_result()["test_predictions"]
    assert fold["finished_at"] >= fold["started_at"]
    assert len(fold["hash_files"]) == 64


def test_a_failure_makes_a_fold_an_error_with_its_kind(platform, worker, raw_data):
    post_fold(platform, raw_data)
    claim_fold(worker, platform)

    post_result(worker, platform, make_failure("time_limit", "killed after 5 s"))

    fold = get_fold(platform)
    assert (fold["state"], fold["failure_kind"]) == ("ERROR", "time_limit")
    assert fold["log_messages"] == "killed after 5 s"
    assert fold["test_predictions"] is None


def test_the_same_result_may_come_twice_and_no_other(platform, worker, raw_data):
    post_fold(platform, raw_data)
    run_fold(worker, platform)
    before = get_fold(platform)

    assert post_result(worker, platform, make_result()).status_code == 200
    assert post_result(worker, platform, make_result(train_time=9)).status_code == 409
    assert post_result(worker, platform, make_failure()).status_code == 409
    assert get_fold(platform) == before


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"test_shape": [N_TEST + 1, 2]}, "test_predictions"),
        ({"test_shape": [N_TEST, 3]}, "test_predictions"),
        ({"full_train_shape": [N_TRAIN]}, "full_train_predictions"),
        (
            {"test_predictions": encode_predictions(np.full((N_TEST, 2), np.nan))},
            "test_predictions",
        ),
        ({"test_predictions": "§"}, "test_predictions"),
        ({"test_predictions": None}, "test_predictions"),
        ({"test_shape": [1, 2, 3]}, "test_shape"),
        ({"train_time": -1}, "train_time"),
        ({"state": "TRAINED"}, "state"),
        ({"state": "ERROR"}, "failure_kind"),
        ({"failure_kind": "tired"}, "failure_kind"),
        ({"log_messages": "\x00"}, "log_messages"),
    ],
)
def test_a_result_that_is_not_what_it_should_be_is_refused(
    platform, worker, raw_data, changes, field
):
    post_fold(platform, raw_data)
    claim_fold(worker, platform)

    response = post_result(worker, platform, make_result(**changes))

    assert response.status_code == 400
    assert field in response.json["errors"]
    assert get_fold(platform)["state"] == "TODO"


def test_a_failure_of_ours_is_tried_again_twice_and_then_ends(platform, worker, raw_data, context):
    post_fold(platform, raw_data)

    def let_retry():
        due = update(SubmissionFold).where(SubmissionFold.retry_at.is_not(None))
        db.session.execute(due.values(retry_at=func.now()))
        queue_retries()
        assert get_queues().list_waiting("low", 99)[-1] == f"fold-{platform.id}-10-{attempt + 1}"

    for attempt in (1, 2, 3):
        claim = claim_fold(worker, platform, name=f"w{attempt}")
        assert claim.json["attempt"] == attempt
        failure = make_failure("platform_error", "the disk is full")
        assert post_result(worker, platform, failure, attempt=attempt).status_code == 200
        fold = get_fold(platform)
        if attempt < 3:
            assert (fold["state"], fold["attempt"]) == ("TODO", attempt + 1)
            assert fold["progress"]["reason"] == "waits_for_retry"
            let_retry()

    assert (fold["state"], fold["failure_kind"]) == ("ERROR", "platform_error")
    assert "the disk is full" in fold["log_messages"]


def test_force_runs_a_fold_again_with_the_stored_source(platform, worker, raw_data):
    post_fold(platform, raw_data)
    run_fold(worker, platform)
    first = get_fold(platform)
    platform.post("testpredictions/new/", {})

    forced = post_fold(platform, raw_data, files=OTHER_SOURCE, force="submission_fold")

    assert forced.status_code == 201
    assert (forced.json["state"], forced.json["attempt"], forced.json["new"]) == ("TODO", 2, True)
    assert forced.json["test_predictions"] is None
    assert forced.json["train_time"] == 0
    run_fold(worker, platform, attempt=2)
    assert get_fold(platform)["hash_files"] == first["hash_files"]


@pytest.mark.parametrize("force", ["submission, submission_fold", "submission_fold,submission"])
def test_force_can_replace_the_source_and_other_folds_keep_their_results(
    platform, worker, raw_data, force
):
    post_fold(platform, raw_data)
    post_fold(platform, number=11)
    run_fold(worker, platform, 10)
    run_fold(worker, platform, 11)

    forced = post_fold(platform, files=OTHER_SOURCE, force=force)
    run_fold(worker, platform, 10, attempt=2)

    assert forced.status_code == 201
    assert get_fold(platform, 11)["state"] == "TESTED"
    assert get_fold(platform, 10)["hash_files"] != get_fold(platform, 11)["hash_files"]


def test_force_on_something_new_is_a_plain_create(platform, raw_data):
    response = post_fold(platform, raw_data, force="submission, submission_fold")

    assert response.status_code == 201
    assert response.json["attempt"] == 1


def test_force_while_an_attempt_runs_makes_it_the_older_one(platform, worker, raw_data):
    post_fold(platform, raw_data)
    claim_fold(worker, platform)

    forced = post_fold(platform, raw_data, force="submission_fold")

    assert forced.json["attempt"] == 2
    assert post_result(worker, platform, make_result()).status_code == 409
    assert get_fold(platform)["state"] == "TODO"
    run_fold(worker, platform, attempt=2)


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        ("phase", {"state": "TRAINED"}),
        ("log", {"offset": 0, "text": "late"}),
        ("lease", {}),
        ("release", {"reason": "late"}),
        ("result", make_result()),
        ("result", make_failure("platform_error")),
    ],
)
def test_every_write_of_an_older_attempt_is_refused(platform, worker, raw_data, action, payload):
    post_fold(platform, raw_data)
    claim_fold(worker, platform)
    post_fold(platform, raw_data, force="submission_fold")
    claim_fold(worker, platform)

    response = deliver(worker, f"worker/folds/{platform.id}/10/1/{action}/", payload)

    assert response.status_code == 409
    assert get_fold(platform)["attempt"] == 2
    assert get_fold(platform)["log_messages"] == ""


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        ("phase", {"state": "TRAINED"}),
        ("log", {"offset": 0, "text": "x"}),
        ("result", make_result()),
    ],
)
def test_nothing_can_be_written_to_a_fold_that_was_not_claimed(
    platform, worker, raw_data, action, payload
):
    post_fold(platform, raw_data)

    for number in (10, 99):
        path = f"worker/folds/{platform.id}/{number}/1/{action}/"
        assert deliver(worker, path, payload).status_code == 409


def test_predictions_of_a_list_come_again_and_again(platform, worker, raw_data):
    post_fold(platform, raw_data)
    post_fold(platform, number=11)
    run_fold(worker, platform)
    payload = {"list_submission_fold": [11, 10, 99, 10]}

    first = platform.post("testpredictions/list/", payload)
    again = platform.post("testpredictions/list/", payload)

    assert first.status_code == 200
    assert [entry["databoard_sf_id"] for entry in first.json] == [10, 11]
    assert set(first.json[0]) == PREDICTION_FIELDS
    assert first.json == again.json
    assert get_fold(platform, 10)["new"] is False
    assert get_fold(platform, 11)["new"] is True


def test_new_predictions_come_once(platform, worker, raw_data):
    post_fold(platform, raw_data)
    post_fold(platform, number=11)
    post_fold(platform, number=12)
    run_fold(worker, platform)
    claim_fold(worker, platform, 12)
    post_result(worker, platform, make_failure(), 12)

    first = platform.post("testpredictions/new/", {})
    again = platform.post("testpredictions/new/", {})

    assert [entry["databoard_sf_id"] for entry in first.json] == [10]
    assert set(first.json[0]) == PREDICTION_FIELDS
    assert again.json == []
    assert get_fold(platform, 12)["new"] is True


def test_new_predictions_can_be_asked_for_by_data_set(platform, worker, raw_data):
    other = prepare(platform, worker, name="other")
    post_fold(platform, raw_data)
    post_fold(platform, other, number=11, databoard_s_id=2)
    run_fold(worker, platform, 10)
    run_fold(worker, platform, 11)

    found = platform.post("testpredictions/new/", {"raw_data_id": other})

    assert [entry["databoard_sf_id"] for entry in found.json] == [11]
    assert platform.post("testpredictions/new/", {"raw_data_id": 2**31 - 1}).status_code == 404


@pytest.mark.parametrize(
    ("path", "payload", "field"),
    [
        ("list", {}, "list_submission_fold"),
        ("list", {"list_submission_fold": 10}, "list_submission_fold"),
        ("list", {"list_submission_fold": ["10"]}, "list_submission_fold"),
        ("list", {"list_submission_fold": [True]}, "list_submission_fold"),
        ("list", {"list_submission_fold": [2**31]}, "list_submission_fold"),
        ("new", {"raw_data_id": "1"}, "raw_data_id"),
        ("new", {"raw_data": 1}, "raw_data"),
    ],
)
def test_a_bad_question_for_predictions_names_its_field(platform, path, payload, field):
    response = platform.post(f"testpredictions/{path}/", payload)

    assert response.status_code == 400
    assert field in response.json["errors"]


def test_a_result_may_bring_the_next_claim_back(platform, worker, raw_data):
    # Given a fold that runs and another that waits
    post_fold(platform, raw_data)
    post_fold(platform, number=11)
    claim_fold(worker, platform)
    path = f"worker/folds/{platform.id}/10/1/result/?queue=low&worker=w1"

    # When the result asks for the next fold of the queue
    answer = deliver(worker, path, make_result())
    last = deliver(worker, path.replace("/10/", "/11/"), make_result())

    # Then it is claimed as by a claim of its own, and at the end there is none
    assert answer.json["claim"]["databoard_sf_id"] == 11
    assert answer.json["claim"]["attempt"] == 1
    assert [fold["state"] for fold in (get_fold(platform), get_fold(platform, 11))] == [
        "TESTED"
    ] * 2
    assert last.json["claim"] is None
    (attempt,) = platform.get("submissionfold/11/attempts/").json
    assert (attempt["worker"], attempt["outcome"]) == ("w1", "tested")


def test_a_refused_result_claims_nothing(platform, worker, raw_data):
    post_fold(platform, raw_data)
    post_fold(platform, number=11)
    claim_fold(worker, platform)
    path = f"worker/folds/{platform.id}/10/1/result/?queue=low&worker=w1"

    stale = deliver(worker, path.replace("/10/1/", "/10/2/"), make_result())
    bad = deliver(worker, path, make_result(test_shape=[1, 2]))
    half = deliver(worker, path.replace("&worker=w1", ""), make_result())

    assert [stale.status_code, bad.status_code, half.status_code] == [409, 400, 400]
    assert get_fold(platform, 11)["started_at"] is None


def test_free_numbers_follow_the_largest_of_the_account(platform, worker, add_caller):
    assert platform.get("free-numbers/").json == {"databoard_s_id": 1, "databoard_sf_id": 1}
    raw_data = prepare(platform, worker)
    platform.post("submissionfold/", make_fold(raw_data, 70, databoard_s_id=7))
    platform.post("submissionfold/", make_fold(raw_data, 60, databoard_s_id=9))

    assert platform.get("free-numbers/").json == {"databoard_s_id": 10, "databoard_sf_id": 71}
    assert add_caller().get("free-numbers/").json["databoard_s_id"] == 1
