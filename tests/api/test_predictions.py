"""Predictions with their type and shape: one as .npy, many as .npz, and what JSON says of them."""

import hashlib
import io
import json

import numpy as np
import psycopg
import pytest
from sqlalchemy import func, literal, select, true

from datarun_api.extensions import db
from datarun_api.models import SubmissionFold
from datarun_client.codec import decode_predictions, encode_predictions
from datarun_client.states import Role
from tests.api.payloads import (
    N_TEST,
    N_TRAIN,
    claim_fold,
    make_failure,
    make_fold,
    make_result,
    post_result,
)

TEST = np.linspace(0, 1, 2 * N_TEST).reshape(N_TEST, 2)
FULL_TRAIN = np.linspace(-1, 1, N_TRAIN)
NPY = {"Accept": "application/x-npy"}
ZIP = {"Accept": "application/zip"}


@pytest.fixture
def folds(platform, worker, raw_data):
    """Folds 10 and 11 are tested, 12 has failed, 13 waits."""
    platform.post("submissionfold/", make_fold(raw_data, number=10))
    for number in (11, 12, 13):
        platform.post("submissionfold/", make_fold(number=number))
    result = make_result(
        full_train_predictions=encode_predictions(FULL_TRAIN),
        full_train_shape=[N_TRAIN],
        test_predictions=encode_predictions(TEST),
        test_shape=[N_TEST, 2],
    )
    for number, payload in ((10, result), (11, make_result()), (12, make_failure())):
        assert claim_fold(worker, platform, number).status_code == 200
        assert post_result(worker, platform, payload, number).status_code == 200


@pytest.fixture
def large_folds(platform, folds, context):
    """Thirty-two folds more with predictions of a MiB, as packed as can be; their numbers."""
    table = SubmissionFold.__table__
    numbers = func.generate_series(101, 132).table_valued("number").render_derived("numbers")
    packed = literal(np.random.default_rng(0).bytes(1 << 20))
    changed = {"databoard_sf_id": numbers.c.number, "test_predictions": packed}
    columns = [changed.get(column.name, column) for column in table.columns]
    rows = select(*columns).join_from(table, numbers, true())
    rows = rows.where(table.c.owner_id == platform.id, table.c.databoard_sf_id == 10)
    db.session.execute(table.insert().from_select(table.columns.keys(), rows))
    db.session.commit()
    return list(range(101, 133))


def test_new_predictions_are_never_in_memory_together(app, platform, large_folds):
    with app.app_context():
        response = app.test_client().post(
            "/runapp/testpredictions/new/", json={}, headers=platform.headers, buffered=False
        )
        pieces = list(response.iter_encoded())
        response.close()

    shown = [entry["databoard_sf_id"] for entry in json.loads(b"".join(pieces))]
    assert shown == [10, 11, *large_folds]
    assert max(map(len, pieces)) < 2 << 20
    assert platform.post("testpredictions/new/", {}).json == []


def test_predictions_that_cant_be_read_stay_new(platform, folds, monkeypatch):
    def fail(connection, query, values):
        raise psycopg.OperationalError("away")

    with monkeypatch.context() as patch:
        patch.setattr("datarun_api.listing._fetch_all", fail)
        assert platform.post("testpredictions/new/", {}).status_code == 503

    entries = platform.post("testpredictions/new/", {}).json
    assert [entry["databoard_sf_id"] for entry in entries] == [10, 11]


def load(response):
    return np.load(io.BytesIO(response.data), allow_pickle=False)


@pytest.mark.parametrize(("part", "expected"), [("test", TEST), ("full_train", FULL_TRAIN)])
@pytest.mark.parametrize("headers", [NPY, {}, {"Accept": "*/*"}])
def test_predictions_come_with_type_and_shape(platform, folds, part, expected, headers):
    response = platform.get(f"submissionfold/10/predictions/{part}/", headers=headers)

    assert response.status_code == 200
    assert response.mimetype == "application/x-npy"
    assert response.content_length == len(response.data)
    array = load(response)
    assert array.dtype == np.dtype("<f8")
    np.testing.assert_array_equal(array, expected)


def test_the_same_predictions_come_as_json(platform, folds):
    answer = platform.get(
        "submissionfold/10/predictions/test/", headers={"Accept": "application/json"}
    ).json

    assert answer["dtype"] == "<f8"
    assert answer["shape"] == [N_TEST, 2]
    assert answer["sha256"] == hashlib.sha256(TEST.tobytes()).hexdigest()
    np.testing.assert_array_equal(decode_predictions(answer["predictions"], answer["shape"]), TEST)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "submissionfold/10/predictions/test/"), ("POST", "testpredictions/list/")],
)
def test_another_type_is_refused(platform, folds, method, path):
    body = {"json": {"list_submission_fold": [10]}} if method == "POST" else {}

    response = platform.call(method, path, headers={"Accept": "text/csv"}, **body)

    assert response.status_code == 406
    assert "application/json" in response.json["error"]
    assert platform.get("submissionfold/10/").json["new"] is True


@pytest.mark.parametrize("number", [12, 13, 99])
def test_a_fold_without_predictions_has_none_to_send(platform, folds, number):
    response = platform.get(f"submissionfold/{number}/predictions/test/")

    assert response.status_code == 404
    assert f"{number}" in response.json["error"]


def test_there_are_two_sets_of_predictions(platform, folds):
    assert platform.get("submissionfold/10/predictions/train/").status_code == 404


def test_predictions_of_another_account_are_not_there(add_caller, platform, folds):
    path = "submissionfold/10/predictions/test/"

    assert add_caller().get(path).status_code == 404
    assert add_caller(Role.VIEWER, views=platform).get(path).status_code == 200
    assert add_caller(Role.WORKER).get(path).status_code == 403


def test_reading_an_array_hands_nothing_out(platform, folds):
    platform.get("submissionfold/10/predictions/test/")

    assert platform.get("submissionfold/10/").json["new"] is True


def test_predictions_that_are_known_are_not_sent_again(platform, folds):
    path = "submissionfold/10/predictions/test/"
    first = platform.get(path)

    again = platform.get(path, headers={"If-None-Match": first.headers["ETag"]})

    assert again.status_code == 304
    assert again.data == b""


def test_a_part_of_the_bytes_is_sent_when_it_is_asked_for(platform, folds):
    path = "submissionfold/10/predictions/test/"
    whole = platform.get(path)

    part = platform.get(path, headers={"Range": "bytes=100-149"})
    changed = platform.get(path, headers={"Range": "bytes=100-149", "If-Range": '"another"'})
    beyond = platform.get(path, headers={"Range": f"bytes={len(whole.data)}-"})

    assert part.status_code == 206
    assert part.data == whole.data[100:150]
    assert part.headers["Content-Range"] == f"bytes 100-149/{len(whole.data)}"
    assert (changed.status_code, changed.data) == (200, whole.data)
    assert beyond.status_code == 416
    assert set(beyond.json) == {"error", "errors"}


def test_the_predictions_of_many_come_in_an_archive_that_numpy_reads(platform, folds):
    numbers = {"list_submission_fold": [13, 12, 11, 10, 99]}

    response = platform.post("testpredictions/list/", numbers, headers=ZIP)

    assert response.status_code == 200
    assert response.mimetype == "application/zip"
    archive = load(response)
    assert archive.files == ["10/full_train", "10/test", "11/full_train", "11/test"]
    np.testing.assert_array_equal(archive["10/test"], TEST)
    np.testing.assert_array_equal(archive["10/full_train"], FULL_TRAIN)
    assert archive["11/test"].shape == (N_TEST, 2)


def test_an_archive_of_nothing_is_an_archive(platform):
    response = platform.post("testpredictions/list/", {"list_submission_fold": []}, headers=ZIP)

    assert load(response).files == []


def test_what_an_archive_holds_is_handed_out(platform, folds):
    platform.post("testpredictions/list/", {"list_submission_fold": [10]}, headers=ZIP)

    assert platform.get("submissionfold/10/").json["new"] is False
    new = platform.post("testpredictions/new/", {}).json
    assert [entry["databoard_sf_id"] for entry in new] == [11]


def test_json_tells_type_shape_and_hash(platform, folds):
    tested, failed = platform.post("testpredictions/list/", {"list_submission_fold": [10, 12]}).json

    assert tested["test_dtype"] == tested["full_train_dtype"] == "<f8"
    assert tested["test_shape"] == [N_TEST, 2]
    assert tested["full_train_shape"] == [N_TRAIN]
    assert tested["test_sha256"] == hashlib.sha256(TEST.tobytes()).hexdigest()
    assert tested["full_train_sha256"] == hashlib.sha256(FULL_TRAIN.tobytes()).hexdigest()
    kinds = [
        f"{part}_{kind}" for part in ("test", "full_train") for kind in ("dtype", "shape", "sha256")
    ]
    assert [failed[kind] for kind in kinds] == [None] * 6
    (listed, *_) = platform.get("submissionfold/").json
    assert {kind: listed[kind] for kind in kinds} == {kind: tested[kind] for kind in kinds}


def test_a_list_of_any_length_is_handed_out(platform, folds):
    numbers = {"list_submission_fold": list(range(10, 100_010))}

    response = platform.post("testpredictions/list/", numbers)

    assert [entry["databoard_sf_id"] for entry in response.json] == [10, 11, 12, 13]


def test_a_fold_that_runs_again_has_no_predictions_left(platform, folds):
    platform.post("submissionfold/", make_fold(number=10, force="submission_fold"))

    fold = platform.get("submissionfold/10/").json
    assert fold["test_sha256"] is fold["test_shape"] is fold["test_dtype"] is None
    assert platform.get("submissionfold/10/predictions/test/").status_code == 404
