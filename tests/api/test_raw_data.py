import pytest

from datarun_api.extensions import db, get_queues, get_storage
from datarun_api.models import RawData
from datarun_client.codec import encode_bytes
from datarun_client.states import Reader
from tests.api.payloads import (
    CSV,
    claim_split,
    deliver,
    fail_split,
    finish_split,
    make_fold,
    make_raw_data,
    post_raw_data,
    prepare,
    put_part,
    request_split,
)
from tests.conftest import count_rows

READER = encode_bytes(b"def prepare_data(path):\n    pass\n")


def test_a_data_set_is_created_and_listed(platform):
    created = platform.post("rawdata/", make_raw_data())

    assert created.status_code == 201
    assert created.json["files_path"] == f"rawdata/{created.json['id']}"
    assert created.json["split_state"] == "NONE"
    assert platform.get("rawdata/").json == [created.json]


def test_its_files_are_stored_by_their_hash(platform, context):
    number = post_raw_data(platform)

    (file,) = db.session.get(RawData, number).files

    assert (file["name"], file["size"]) == ("iris.csv", len(CSV))
    assert get_storage().find(file["sha256"]).read_bytes() == CSV


def test_a_slash_at_the_end_is_optional(platform):
    assert platform.get("rawdata").status_code == 200


def test_the_same_post_again_gets_the_same_data_set(platform):
    first = platform.post("rawdata/", make_raw_data())

    again = platform.post("rawdata/", make_raw_data(workflow_elements="Classifier"))

    assert again.status_code == 200
    assert again.json == first.json


@pytest.mark.parametrize(
    "changes",
    [
        {"target_column": "species"},
        {"workflow_elements": "regressor"},
        {"files": {"iris.csv": encode_bytes(b"other")}},
        {"files": {"other.csv": encode_bytes(CSV)}},
        {"time_limit": 10},
        {"memory_limit": 1 << 30},
    ],
)
def test_another_data_set_of_the_same_name_is_a_conflict(platform, changes):
    post_raw_data(platform)

    response = platform.post("rawdata/", make_raw_data(**changes))

    assert response.status_code == 409
    assert response.json == {
        "error": "RawData with this name already exists.",
        "errors": {"name": ["RawData with this name already exists."]},
    }


def test_two_accounts_may_use_the_same_name(platform, add_caller):
    other = add_caller()
    post_raw_data(platform)

    post_raw_data(other)

    assert len(platform.get("rawdata/").json) == len(other.get("rawdata/").json) == 1


def test_a_reader_is_kept_as_specific_and_other_files_keep_their_names(platform, context):
    number = post_raw_data(
        platform, files={"my_reader.py": READER, "a/b.csv.gz": encode_bytes(b"")}
    )

    files = db.session.get(RawData, number).files
    assert [file["name"] for file in files] == ["a/b.csv.gz", "specific.py"]


KIT = {"problem.py": READER, "data/train.csv": encode_bytes(b"x"), "data/tools.py": READER}


def test_a_kits_problem_is_its_reader_and_its_elements_may_have_any_names(platform, context):
    elements = "image_preprocessor, external_data.csv"

    number = post_raw_data(platform, files=KIT, workflow_elements=elements)

    raw_data = db.session.get(RawData, number)
    assert [file["name"] for file in raw_data.files] == [
        "data/tools.py",
        "data/train.csv",
        "specific.py",
    ]
    assert raw_data.reader is Reader.KIT
    same = make_raw_data(files=KIT, workflow_elements=elements)
    assert platform.post("rawdata/", same).status_code == 200


def test_no_file_of_a_kit_takes_the_place_of_its_reader(platform):
    response = platform.post("rawdata/", make_raw_data(files={**KIT, "specific.py": READER}))

    assert response.status_code == 400
    assert "problem.py is kept as specific.py" in response.json["errors"]["files"][0]


def test_a_kit_has_metrics_of_its_own(platform):
    response = platform.post("rawdata/", make_raw_data(files=KIT, metrics=["accuracy"]))

    assert response.status_code == 400
    assert "score types of its problem.py" in response.json["errors"]["metrics"][0]


@pytest.mark.parametrize("elements", ["", "a,", "../a", "a b/c", "a" * 61, ".a"])
def test_a_kits_elements_are_names(platform, elements):
    response = platform.post("rawdata/", make_raw_data(files=KIT, workflow_elements=elements))

    assert response.status_code == 400
    assert list(response.json["errors"]) == ["workflow_elements"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "", "between 1 and 200"),
        ("name", "x" * 201, "between 1 and 200"),
        ("name", "a\x00b", "control"),
        ("name", 7, "Not a valid string"),
        ("target_column", None, "null"),
        ("target_column", "a\x1b[0m", "control"),
        ("workflow_elements", "clasifier", "no workflow element"),
        ("workflow_elements", ["classifier"], "Not a valid string"),
        ("files", {}, "at least one"),
        ("files", [], "Not a valid mapping"),
        ("files", {"../up.csv": "x"}, "relative path"),
        ("files", {"/etc/passwd": "x"}, "relative path"),
        ("files", {"A.csv": "x", "a.csv": "x"}, "same file"),
        ("files", {f"{i}.csv": "x" for i in range(1000)}, "at most"),
        ("files", {"iris.csv": "§§"}, "not base64"),
        ("files", {"iris.csv": "AAAA"}, "not a zlib stream"),
        ("files", {"iris.csv": None}, "null"),
        ("files", {"a.csv": encode_bytes(b""), "b.csv": encode_bytes(b"")}, "one .py file"),
        ("files", {"a.py": READER, "b.py": READER}, "one .py file"),
        ("time_limit", 0, "greater than"),
        ("time_limit", "60", "Not a valid number"),
        ("time_limit", 1e9, "less than"),
        ("memory_limit", -1, "greater than"),
        ("memory_limit", 1.5, "Not a valid integer"),
        ("memory_limit", 2**63, "less than"),
        ("colour", "red", "Unknown field"),
    ],
)
def test_bad_input_names_its_field_and_writes_nothing(platform, field, value, message):
    stored = list_storage(platform)

    response = platform.post("rawdata/", make_raw_data(**{field: value}))

    assert response.status_code == 400
    assert message in str(response.json["errors"][field])
    assert platform.get("rawdata/").json == []
    assert list_storage(platform) == stored


def list_storage(platform):
    with platform.app.app_context():
        return sorted(path for path in get_storage().root.rglob("*") if path.is_file())


@pytest.mark.parametrize("field", ["name", "target_column", "workflow_elements", "files"])
def test_a_missing_field_is_named(platform, field):
    payload = make_raw_data()
    del payload[field]

    response = platform.post("rawdata/", payload)

    assert response.status_code == 400
    assert list(response.json["errors"]) == [field]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b'{"name": "\\ud800"}', "application/json"),
        (b'{"name": NaN}', "application/json"),
        (b"\xff", "application/json"),
        (b"[]", "application/json"),
        (b"7", "application/json"),
        (b"", "application/json"),
        (b"name=iris", "application/x-www-form-urlencoded"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(platform, body, content_type):
    response = platform.post("rawdata/", data=body, content_type=content_type)

    assert response.status_code == 400
    assert set(response.json) == {"error", "errors"}


def test_a_file_that_unfolds_too_far_is_refused(platform, monkeypatch):
    monkeypatch.setitem(platform.app.config, "MAX_UPLOAD", 1 << 20)

    response = platform.post(
        "rawdata/", make_raw_data(files={"bomb.csv": encode_bytes(bytes(1 << 24))})
    )

    assert response.status_code == 400
    assert "larger than" in str(response.json["errors"]["files"])


def test_a_request_that_is_too_large_is_413(platform, monkeypatch):
    monkeypatch.setitem(platform.app.config, "MAX_CONTENT_LENGTH", 1000)

    response = platform.post("rawdata/", make_raw_data(files={"iris.csv": "x" * 2000}))

    assert response.status_code == 413
    assert set(response.json) == {"error", "errors"}


def test_a_split_is_a_job_on_the_data_queue(platform, context):
    number = post_raw_data(platform)

    response = platform.post("rawdata/split/", {"raw_data_id": number, "held_out_test": 0.3})

    assert response.status_code == 201
    assert response.json == {"task_id": f"split-{number}-1"}
    assert platform.get("rawdata/").json[0]["split_state"] == "TODO"
    assert f"split-{number}-1" in get_queues().list_waiting("high", 99)


def test_the_seeds_other_address_of_the_split_works_too(platform):
    number = post_raw_data(platform)

    response = platform.post("raw_data/split/", {"raw_data_id": number, "held_out_test": 0.3})

    assert response.status_code == 201


def test_the_same_split_again_starts_nothing(platform):
    number = post_raw_data(platform)
    request_split(platform, number)

    payload = {"raw_data_id": number, "held_out_test": 0.3, "random_state": 42}
    again = platform.post("rawdata/split/", payload)

    assert again.status_code == 200
    assert again.json == {"task_id": f"split-{number}-1"}


def test_another_split_replaces_the_first_until_a_fold_relies_on_it(platform, worker):
    number = post_raw_data(platform)
    request_split(platform, number)
    other = {"raw_data_id": number, "held_out_test": 0.5}

    assert platform.post("rawdata/split/", other).status_code == 201
    finish_split(worker, number, attempt=2)
    platform.post("submissionfold/", make_fold(number))
    third = platform.post("rawdata/split/", other | {"random_state": 1})

    assert third.status_code == 409
    assert "raw_data_id" in third.json["errors"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("held_out_test", 0),
        ("held_out_test", 1),
        ("held_out_test", -0.1),
        ("held_out_test", "0.3"),
        ("held_out_test", None),
        ("held_out_test", True),
        ("random_state", -1),
        ("random_state", 2**32),
        ("random_state", 1.5),
        ("random_state", "42"),
        ("raw_data_id", -1),
        ("raw_data_id", "1"),
        ("raw_data_id", 1.5),
        ("raw_data_id", True),
        ("raw_data_id", 2**31),
        ("raw_data_id", 2**63),
        ("extra", 1),
    ],
)
def test_a_bad_split_names_its_field_and_starts_nothing(platform, field, value):
    number = post_raw_data(platform)
    payload = {"raw_data_id": number, "held_out_test": 0.3} | {field: value}

    response = platform.post("rawdata/split/", payload)

    assert response.status_code == 400
    assert field in response.json["errors"]
    assert platform.get("rawdata/").json[0]["split_state"] == "NONE"


@pytest.mark.parametrize("path", ["rawdata/split/", "rawdata/customsplit/"])
def test_the_split_of_another_accounts_data_set_is_404(platform, add_caller, path):
    number = post_raw_data(add_caller())
    payload = {"raw_data_id": number}
    if path == "rawdata/split/":
        payload["held_out_test"] = 0.3

    response = platform.post(path, payload)

    assert response.status_code == 404
    assert "raw_data_id" in response.json["errors"]


def test_each_kind_of_data_set_has_its_kind_of_split(platform):
    plain = post_raw_data(platform)
    custom = post_raw_data(
        platform, name="custom", files={"r.py": READER, "iris.csv": encode_bytes(CSV)}
    )

    wrong = platform.post("rawdata/customsplit/", {"raw_data_id": plain})
    also_wrong = platform.post("rawdata/split/", {"raw_data_id": custom, "held_out_test": 0.3})
    right = platform.post("rawdata/customsplit/", {"raw_data_id": custom})

    assert wrong.status_code == also_wrong.status_code == 400
    assert right.status_code == 201
    assert right.json == {"task_id": f"split-{custom}-1"}


def test_a_worker_claims_a_split_once(platform, worker):
    number = post_raw_data(platform)
    request_split(platform, number)

    claim = claim_split(worker, number)

    assert claim.status_code == 200
    assert claim.json["held_out_test"] == 0.3
    assert claim.json["random_state"] == 42
    assert [file["name"] for file in claim.json["files"]] == ["iris.csv"]
    assert claim_split(worker, number).status_code == 204
    assert claim_split(worker, number, attempt=2).status_code == 204


def test_a_worker_fetches_the_raw_files_of_its_split_only(platform, worker, add_caller):
    number = post_raw_data(platform)
    request_split(platform, number)
    (file,) = claim_split(worker, number).json["files"]
    path = f"worker/splits/{number}/1/files/{file['sha256']}/"

    assert worker.get(path).data == CSV
    assert worker.get(path.replace(file["sha256"], "0" * 64)).status_code == 404
    assert worker.get(path.replace("/1/", "/2/")).status_code == 409


def test_a_worker_without_the_right_gets_no_data_job(platform, add_caller):
    modest = add_caller("worker", runs_data_jobs=False)
    number = post_raw_data(platform)
    request_split(platform, number)

    assert claim_split(modest, number).status_code == 403


def test_a_part_whose_bytes_do_not_match_is_refused(platform, worker):
    number = post_raw_data(platform)
    request_split(platform, number)
    claim_split(worker, number)

    response = worker.call("PUT", f"worker/splits/{number}/1/files/{'0' * 64}/", data=b"x")

    assert response.status_code == 400
    assert "SHA-256" in response.json["error"]


def test_a_result_with_a_part_that_was_not_uploaded_is_refused(platform, worker):
    number = post_raw_data(platform)
    request_split(platform, number)
    claim_split(worker, number)
    part = put_part(worker, number, "X_train", b"bytes") | {"sha256": "0" * 64}

    payload = {"state": "DONE", "n_train": 1, "n_test": 1, "files": [part]}
    response = deliver(worker, f"worker/splits/{number}/1/result/", payload)

    assert response.status_code == 400
    assert platform.get("rawdata/").json[0]["split_state"] == "TODO"


def test_a_finished_split_says_how_many_rows_there_are(platform, worker):
    prepare(platform, worker)

    (raw_data,) = platform.get("rawdata/").json

    assert (raw_data["split_state"], raw_data["n_train"], raw_data["n_test"]) == ("DONE", 30, 12)


def test_a_failed_split_says_why_and_may_be_asked_for_again(platform, worker):
    number = post_raw_data(platform)
    request_split(platform, number)
    fail_split(worker, number, "there is no column 'target'")

    (raw_data,) = platform.get("rawdata/").json
    again = platform.post("rawdata/split/", {"raw_data_id": number, "held_out_test": 0.3})

    assert raw_data["split_state"] == "ERROR"
    assert raw_data["split_error"] == "there is no column 'target'"
    assert again.status_code == 201
    assert again.json == {"task_id": f"split-{number}-2"}


def test_a_result_of_an_older_attempt_is_refused(platform, worker):
    number = post_raw_data(platform)
    request_split(platform, number)
    claim_split(worker, number)
    platform.post("rawdata/split/", {"raw_data_id": number, "held_out_test": 0.5})

    payload = {"state": "ERROR", "error": "late"}
    late = deliver(worker, f"worker/splits/{number}/1/result/", payload)

    assert late.status_code == 409
    assert platform.get("rawdata/").json[0]["split_state"] == "TODO"


def test_nothing_is_written_when_the_insert_is_refused(platform, context):
    post_raw_data(platform)

    platform.post("rawdata/", make_raw_data(target_column="other"))

    assert count_rows(RawData, platform.id) == 1
