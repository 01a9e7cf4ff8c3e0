import io
import json
import threading
import uuid

import pytest
from sqlalchemy import func, select, text, update

from datarun_api.extensions import db, get_queues
from datarun_api.idempotency import LIFE, forget_keys
from datarun_api.models import IdempotencyKey, RawData, SubmissionFold
from tests.api.payloads import make_fold, make_raw_data, run_fold
from tests.conftest import count_rows, wait_until


@pytest.fixture
def key():
    return {"Idempotency-Key": str(uuid.uuid4())}


def test_the_same_request_gets_the_same_answer(platform, key, context):
    first = platform.post("rawdata/", make_raw_data(), headers=key)

    again = platform.post("rawdata/", make_raw_data(), headers=key)

    assert first.status_code == again.status_code == 201
    assert first.data == again.data
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.mimetype == "application/json"
    assert count_rows(RawData, platform.id) == 1


def test_without_a_key_nothing_is_remembered(platform):
    platform.post("rawdata/", make_raw_data())

    assert platform.post("rawdata/", make_raw_data()).status_code == 200


@pytest.mark.parametrize(
    ("path", "payload"),
    [("rawdata/", make_raw_data(name="other")), ("testpredictions/new/", make_raw_data())],
)
def test_another_request_with_the_same_key_is_a_conflict(platform, key, path, payload, context):
    platform.post("rawdata/", make_raw_data(), headers=key)

    response = platform.post(path, payload, headers=key)

    assert response.status_code == 409
    assert "Idempotency-Key" in response.json["errors"]
    assert count_rows(RawData, platform.id) == 1


def test_predictions_whose_answer_was_lost_can_be_had_again(platform, worker, raw_data, key):
    platform.post("submissionfold/", make_fold(raw_data))
    run_fold(worker, platform)

    lost = platform.post("testpredictions/new/", {}, headers=key)
    again = platform.post("testpredictions/new/", {}, headers=key)

    assert len(lost.json) == 1
    assert again.json == lost.json
    assert platform.post("testpredictions/new/", {}).json == []


def test_a_list_that_is_streamed_can_be_had_again(platform, worker, raw_data, key):
    platform.post("submissionfold/", make_fold(raw_data))
    run_fold(worker, platform)
    wanted = {"list_submission_fold": [10]}

    first = platform.post("testpredictions/list/", wanted, headers=key)
    platform.call("DELETE", "submission/1/")
    again = platform.post("testpredictions/list/", wanted, headers=key)

    assert [entry["databoard_sf_id"] for entry in first.json] == [10]
    assert again.json == first.json


def test_a_form_counts_with_its_files(platform, key):
    def post(table):
        payload = json.dumps(make_raw_data() | {"files": None})
        parts = {"json": payload, "files": (io.BytesIO(table), "data.csv")}
        # With another boundary each time, as clients make it.
        form = {"data": parts, "content_type": "multipart/form-data"}
        return platform.post("rawdata/", headers=key, **form)

    first, again, other = (
        post(b"x,target\n1,2\n"),
        post(b"x,target\n1,2\n"),
        post(b"x,target\n3,4\n"),
    )

    assert (first.status_code, again.status_code, other.status_code) == (201, 201, 409)
    assert again.headers["Idempotency-Replayed"] == "true"


def test_a_body_that_is_larger_than_json_may_be_counts_too(platform, key, context, monkeypatch):
    monkeypatch.setitem(context.config, "MAX_CONTENT_LENGTH", 1000)
    raw = {"data": bytes(100_000), "content_type": "application/octet-stream"}

    answers = [platform.post("uploads/", headers=key, **raw) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json == answers[1].json


def test_a_refusal_leaves_its_key_free(platform, key):
    refused = platform.post("rawdata/", make_raw_data(target_column=1), headers=key)

    accepted = platform.post("rawdata/", make_raw_data(), headers=key)

    assert (refused.status_code, accepted.status_code) == (400, 201)


def test_a_conflict_inside_the_view_is_answered_as_without_a_key(platform, key):
    platform.post("rawdata/", make_raw_data())

    same = platform.post("rawdata/", make_raw_data(), headers=key)
    other = platform.post("rawdata/", make_raw_data(workflow_elements="regressor"))

    assert (same.status_code, other.status_code) == (200, 409)


def test_two_accounts_may_take_the_same_key(add_caller, key):
    answers = [add_caller().post("rawdata/", make_raw_data(), headers=key) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json["id"] != answers[1].json["id"]


@pytest.mark.parametrize("key", ["", "k" * 256, "two words", "clé"])
def test_what_is_no_key_is_refused(platform, key):
    response = platform.post("rawdata/", make_raw_data(), headers={"Idempotency-Key": key})

    assert response.status_code == 400
    assert "Idempotency-Key" in response.json["errors"]


def test_a_request_that_is_being_carried_out_is_told_to_come_back(platform, key, context):
    db.session.add(RawData(**make_row(platform)))
    db.session.flush()
    answers = []

    def post():
        answers.append(platform.post("rawdata/", make_raw_data(), headers=key))

    # Given a request that waits for another one with the same data set's name
    first = threading.Thread(target=post)
    first.start()
    wait_until(count_blocked, "the first request to wait")

    # When it is sent again
    second = platform.post("rawdata/", make_raw_data(), headers=key)

    # Then it is told to come back, and gets the answer once there is one
    db.session.rollback()
    first.join()
    assert second.status_code == 409
    assert second.headers["Retry-After"] == "1"
    assert answers[0].status_code == 201
    third = platform.post("rawdata/", make_raw_data(), headers=key)
    assert third.json == answers[0].json


def make_row(platform):
    return {
        "owner_id": platform.id,
        "name": "iris",
        "target_column": "target",
        "workflow_elements": "classifier",
        "files": [],
        "reader": "csv",
    }


def count_blocked():
    with db.engine.connect() as connection:
        return connection.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted"))


def test_what_dies_before_its_answer_is_kept_has_changed_nothing(
    platform, raw_data, key, context, monkeypatch
):
    get_queues().connection.flushall()

    def die(*args):
        raise SystemExit("killed")

    with monkeypatch.context() as patch:
        patch.setattr("datarun_api.idempotency._keep", die)
        with pytest.raises(SystemExit):
            platform.post("submissionfold/", make_fold(raw_data), headers=key)

    assert count_rows(SubmissionFold, platform.id) == 0
    assert get_queues().connection.keys("rq:job:*") == []
    # And sent again it is carried out
    response = platform.post("submissionfold/", make_fold(raw_data), headers=key)
    assert response.status_code == 201
    assert len(get_queues().connection.keys("rq:job:*")) == 1


def test_an_answer_that_is_too_large_is_refused_and_nothing_is_written(
    platform, key, context, monkeypatch
):
    monkeypatch.setitem(context.config, "MAX_KEPT_ANSWER", 10)

    response = platform.post("rawdata/", make_raw_data(), headers=key)

    assert response.status_code == 413
    assert count_rows(RawData, platform.id) == 0


def test_after_a_day_a_key_is_free_again(platform, key, context):
    platform.post("rawdata/", make_raw_data(), headers=key)
    db.session.execute(
        update(IdempotencyKey)
        .where(IdempotencyKey.account_id == platform.id)
        .values(created_at=func.now() - LIFE)
    )
    db.session.commit()

    assert platform.post("rawdata/", make_raw_data(), headers=key).status_code == 200


def test_old_keys_are_forgotten(platform, context):
    for name in ("old", "young"):
        platform.post("testpredictions/new/", {}, headers={"Idempotency-Key": name})
    db.session.execute(
        update(IdempotencyKey)
        .where(IdempotencyKey.account_id == platform.id, IdempotencyKey.key == "old")
        .values(created_at=func.now() - LIFE)
    )
    db.session.commit()

    forget_keys()

    keys = select(IdempotencyKey.key).where(IdempotencyKey.account_id == platform.id)
    assert db.session.scalars(keys).all() == ["young"]


def test_an_answer_that_shows_a_secret_is_not_kept(platform, key, context, monkeypatch):
    from datarun_api.views import predictions

    def show_secret(*args):
        response = context.response_class(b'"secret"', mimetype="application/json")
        response.cache_control.no_store = True
        return response

    monkeypatch.setattr(predictions, "jsonify", show_secret)

    first = platform.post("testpredictions/new/", {}, headers=key)
    again = platform.post("testpredictions/new/", {}, headers=key)

    assert first.data == b'"secret"'
    assert again.status_code == 409
    assert "isn't kept" in again.json["error"]


def test_the_openapi_document_names_the_key_on_every_post_but_the_workers(app):
    paths = app.test_client().get("/openapi.json").json["paths"]

    posts = {path: calls["post"] for path, calls in paths.items() if "post" in calls}
    with_key = {
        path
        for path, call in posts.items()
        if "Idempotency-Key" in {parameter["name"] for parameter in call.get("parameters", [])}
    }
    assert with_key == {path for path in posts if "/worker/" not in path}
