"""Files that come raw, in parts or in forms, and go out again: as they came, and to nobody else."""

import base64
import hashlib
import io
import json
import os
import time
import uuid
from datetime import timedelta

import pytest
from sqlalchemy import func, update

from datarun_api import garbage
from datarun_api.extensions import db, get_storage
from datarun_api.garbage import collect_files
from datarun_api.manifests import list_used
from datarun_api.models import RawData, Upload
from datarun_client.codec import encode_bytes
from datarun_client.states import Role
from tests.api.payloads import CSV, SOURCE, make_fold, make_raw_data
from tests.conftest import count_rows

CONTENT = bytes(range(256)) * 40
BYTES = "application/octet-stream"
READER = b"def prepare_data(path): ...\n"


def hash_hex(content):
    return hashlib.sha256(content).hexdigest()


def make_digest(content):
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    return {"Content-Digest": f"sha-256=:{digest}:"}


def send_whole(platform, content=CONTENT, headers=None):
    return platform.post("uploads/", data=content, content_type=BYTES, headers=headers)


def upload(platform, content=CONTENT):
    """Upload a file in one piece, and say its number."""
    response = send_whole(platform, content)
    assert response.status_code == 201, response.json
    return response.json["upload_id"]


def begin(platform, content=CONTENT, **changes):
    response = platform.post("uploads/", {"size": len(content), **changes})
    assert response.status_code == 201, response.json
    return response.json["upload_id"]


def send_part(platform, upload_id, offset, content, headers=None):
    return platform.call(
        "PUT",
        f"uploads/{upload_id}/parts/{offset}/",
        headers=make_digest(content) if headers is None else headers,
        data=content,
        content_type=BYTES,
    )


def post_form(platform, path, payload, files):
    """Post a form as browsers and `requests` do; `files` are names and contents."""
    data = {"json": json.dumps(payload), "files": [(io.BytesIO(c), n) for n, c in files]}
    return platform.post(path, data=data, content_type="multipart/form-data")


@pytest.fixture
def leftovers(app):
    """Say which temporary files there are that weren't there when the test began."""

    def list_files():
        root = app.extensions["datarun_storage"].root
        return {*root.glob("incoming/*"), *root.glob("partial/*")}

    before = list_files()
    return lambda: list_files() - before


# In one piece


def test_a_file_comes_in_one_piece(platform, context):
    response = send_whole(platform)

    assert response.status_code == 201
    answer = response.json
    assert answer["sha256"] == hash_hex(CONTENT)
    assert answer["size"] == answer["received"] == len(CONTENT)
    assert get_storage().find(answer["sha256"]).read_bytes() == CONTENT
    assert platform.get(f"uploads/{answer['upload_id']}/").json == answer
    assert platform.get("uploads/").json == [answer]


@pytest.mark.parametrize("content", [b"", b"x"])
def test_a_file_may_be_small(platform, content):
    assert send_whole(platform, content).json["sha256"] == hash_hex(content)


def test_a_file_with_another_hash_than_announced_is_refused(platform, context):
    response = send_whole(platform, headers=make_digest(b"another"))

    assert response.status_code == 400
    assert "send them again" in response.json["errors"]["sha256"][0]
    assert count_rows(Upload, platform.id) == 0


@pytest.mark.parametrize(
    "header", ["", "md5=:eA==:", "sha-256=:eA==:", "sha-256=:" + "é" * 9 + ":"]
)
def test_a_digest_that_is_none_is_refused(platform, header):
    response = send_whole(platform, headers={"Content-Digest": header.encode().decode("latin-1")})

    assert response.status_code == 400
    assert "Content-Digest" in response.json["errors"]


def test_a_file_that_is_too_large_is_refused(platform, app, monkeypatch, leftovers):
    monkeypatch.setitem(app.config, "MAX_UPLOAD", len(CONTENT) - 1)

    whole, announced = send_whole(platform), platform.post("uploads/", {"size": len(CONTENT)})

    assert whole.status_code == announced.status_code == 413
    assert str(len(CONTENT) - 1) in whole.json["error"]
    assert platform.get("uploads/").json == []
    assert leftovers() == set()


# In parts


def test_a_file_comes_in_parts(platform, context, leftovers):
    upload_id = begin(platform, sha256=hash_hex(CONTENT))

    first = send_part(platform, upload_id, 0, CONTENT[:100])
    second = send_part(platform, upload_id, 100, CONTENT[100:5000])
    last = send_part(platform, upload_id, 5000, CONTENT[5000:])

    assert [answer.status_code for answer in (first, second, last)] == [200] * 3
    assert [answer.json["received"] for answer in (first, second, last)] == [
        100,
        5000,
        len(CONTENT),
    ]
    assert [answer.json["sha256"] for answer in (first, second)] == [None, None]
    assert last.json["sha256"] == hash_hex(CONTENT)
    assert get_storage().find(hash_hex(CONTENT)).read_bytes() == CONTENT
    assert leftovers() == set()


def test_the_same_part_may_be_sent_twice(platform, leftovers):
    upload_id = begin(platform)
    for _ in range(2):
        assert send_part(platform, upload_id, 0, CONTENT[:100]).json["received"] == 100
    for _ in range(2):
        answer = send_part(platform, upload_id, 100, CONTENT[100:]).json
        assert answer["sha256"] == hash_hex(CONTENT)
    assert send_part(platform, upload_id, 0, CONTENT[:100]).status_code == 200
    assert leftovers() == set()


def test_other_bytes_in_the_place_of_a_part_are_a_conflict(platform):
    upload_id = begin(platform)
    send_part(platform, upload_id, 0, CONTENT[:100])

    other = send_part(platform, upload_id, 50, b"other")
    longer = send_part(platform, upload_id, 50, CONTENT[50:150])

    assert other.status_code == longer.status_code == 409
    assert platform.get(f"uploads/{upload_id}/").json["received"] == 100


def test_a_part_that_comes_too_early_is_told_what_is_missing(platform):
    upload_id = begin(platform)
    send_part(platform, upload_id, 0, CONTENT[:100])

    response = send_part(platform, upload_id, 200, CONTENT[200:])

    assert response.status_code == 409
    assert response.json["errors"]["offset"] == ["100 bytes have arrived; send what follows them."]


def test_a_part_with_another_hash_doesnt_count(platform):
    upload_id = begin(platform)
    send_part(platform, upload_id, 0, CONTENT[:100])

    damaged = send_part(platform, upload_id, 100, CONTENT[101:201], make_digest(CONTENT[100:200]))
    missing = send_part(platform, upload_id, 100, CONTENT[100:200], headers={})

    assert damaged.status_code == missing.status_code == 400
    assert send_part(platform, upload_id, 100, CONTENT[100:]).json["sha256"] == hash_hex(CONTENT)


def test_a_part_that_broke_off_is_sent_again(platform, context):
    upload_id = begin(platform)
    send_part(platform, upload_id, 0, CONTENT[:100])
    # What a process that died in the middle of a part has left.
    with get_storage().open_partial(uuid.UUID(upload_id)) as partial:
        partial.write(100, [b"rubbish"])

    assert platform.get(f"uploads/{upload_id}/").json["received"] == 100
    assert send_part(platform, upload_id, 100, CONTENT[100:]).json["sha256"] == hash_hex(CONTENT)


def test_a_crash_between_the_files_new_name_and_its_row_costs_the_file_only(platform, context):
    upload_id = begin(platform)
    send_part(platform, upload_id, 0, CONTENT[:100])
    get_storage().find_partial(uuid.UUID(upload_id)).unlink()

    late = send_part(platform, upload_id, 100, CONTENT[100:])

    assert late.status_code == 409
    assert platform.get(f"uploads/{upload_id}/").json["received"] == 0
    assert send_part(platform, upload_id, 0, CONTENT).json["sha256"] == hash_hex(CONTENT)


def test_more_bytes_than_were_announced_are_refused(platform):
    upload_id = begin(platform)

    response = send_part(platform, upload_id, 0, CONTENT + b"x")
    far = send_part(platform, upload_id, 2**40, b"x")

    assert response.status_code == far.status_code == 409
    assert platform.get(f"uploads/{upload_id}/").json["received"] == 0


def test_a_whole_file_with_another_hash_than_announced_begins_anew(platform):
    upload_id = begin(platform, sha256=hash_hex(b"another"))
    send_part(platform, upload_id, 0, CONTENT[:100])

    response = send_part(platform, upload_id, 100, CONTENT[100:])

    assert response.status_code == 400
    assert platform.get(f"uploads/{upload_id}/").json["received"] == 0


def test_two_parts_at_once_do_not_mix(platform, context):
    upload_id = begin(platform)
    with get_storage().open_partial(uuid.UUID(upload_id)):
        other = send_part(platform, upload_id, 0, CONTENT)
        deletion = platform.call("DELETE", f"uploads/{upload_id}/")

    for response in (other, deletion):
        assert response.status_code == 409
        assert "being received" in response.json["error"]


def test_no_connection_to_the_database_is_held_while_bytes_come(platform, app):
    upload_id = begin(platform)
    held = []

    class Body(io.BytesIO):
        def readinto(self, buffer):
            held.append(db.engine.pool.checkedout())
            return super().readinto(buffer)

    for path, method in ((f"uploads/{upload_id}/parts/0/", "PUT"), ("uploads/", "POST")):
        response = platform.call(
            method,
            path,
            headers=make_digest(CONTENT),
            input_stream=Body(CONTENT),
            content_type=BYTES,
            content_length=len(CONTENT),
        )
        assert response.json["sha256"] == hash_hex(CONTENT)
    assert set(held) == {0}, held


def test_an_upload_can_be_forgotten(platform, app, leftovers):
    upload_id = begin(platform)
    send_part(platform, upload_id, 0, CONTENT[:100])

    assert platform.call("DELETE", f"uploads/{upload_id}/").status_code == 204

    assert platform.get(f"uploads/{upload_id}/").status_code == 404
    assert send_part(platform, upload_id, 100, CONTENT[100:]).status_code == 404
    assert leftovers() == set()


def test_an_account_has_so_many_uploads_and_no_more(platform, monkeypatch):
    monkeypatch.setattr("datarun_api.uploads.MAX_UPLOADS", 1)
    upload(platform)

    assert send_whole(platform).status_code == 409
    assert platform.post("uploads/", {"size": 1}).status_code == 409


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({}, "size"),
        ({"size": 0}, "size"),
        ({"size": "9"}, "size"),
        ({"size": 1, "sha256": "x"}, "sha256"),
        ({"size": 1, "name": "x"}, "name"),
    ],
)
def test_a_bad_announcement_is_refused_by_name(platform, payload, field):
    response = platform.post("uploads/", payload)

    assert response.status_code == 400
    assert field in response.json["errors"]


def test_uploads_of_another_account_are_not_there(add_caller, platform):
    upload_id = begin(platform)
    stranger = add_caller()

    assert stranger.get(f"uploads/{upload_id}/").status_code == 404
    assert send_part(stranger, upload_id, 0, CONTENT).status_code == 404
    assert stranger.call("DELETE", f"uploads/{upload_id}/").status_code == 404
    response = stranger.post("rawdata/", make_raw_data(files=None) | {"uploads": {"a": upload_id}})
    assert response.status_code == 400


# What refers to them


def without_files(payload, **changes):
    return {name: value for name, value in payload.items() if name != "files"} | changes


def test_a_data_set_refers_to_uploads(platform, context):
    whole, reader = upload(platform, CSV), upload(platform, READER)

    uploads = {"data/iris.csv": whole, "problem.py": reader}
    response = platform.post("rawdata/", without_files(make_raw_data(), uploads=uploads))

    assert response.status_code == 201
    assert platform.get(f"rawdata/{response.json['id']}/files/").json == [
        {"name": "data/iris.csv", "sha256": hash_hex(CSV), "size": len(CSV)},
        {"name": "specific.py", "sha256": hash_hex(READER), "size": len(READER)},
    ]


def test_files_come_in_several_ways_at_once(platform):
    uploads = {"iris.csv": upload(platform, CSV)}
    files = {"reader.py": encode_bytes(READER)}

    posted = platform.post("rawdata/", make_raw_data(uploads=uploads, files=files)).json

    names = [file["name"] for file in platform.get(f"rawdata/{posted['id']}/files/").json]
    assert names == ["iris.csv", "specific.py"]


def test_the_same_data_set_is_the_same_however_it_came(platform):
    first = platform.post("rawdata/", make_raw_data())
    by_upload = without_files(make_raw_data(), uploads={"iris.csv": upload(platform, CSV)})

    again = platform.post("rawdata/", by_upload)
    form = post_form(platform, "rawdata/", without_files(make_raw_data()), [("iris.csv", CSV)])

    assert [again.status_code, form.status_code] == [200, 200]
    assert first.json == again.json == form.json


def test_folds_refer_to_uploads(platform, raw_data):
    uploads = {"classifier.py": upload(platform, SOURCE)}
    folds = [
        without_files(make_fold(raw_data, number=number), uploads=uploads) for number in (10, 11)
    ]

    assert platform.post("submissionfold/", folds).status_code == 201

    (file,) = platform.get("submission/1/files/").json
    assert file == {"name": "classifier.py", "sha256": hash_hex(SOURCE), "size": len(SOURCE)}
    assert platform.post("submissionfold/", make_fold(raw_data, number=10)).status_code == 200


@pytest.mark.parametrize(
    ("uploads", "message"),
    [
        ({"iris.csv": str(uuid.uuid4())}, "no upload"),
        ({"iris.csv": "{unfinished}"}, "0 of 10240 bytes"),
        ({"iris.csv": "iris"}, "Not a valid UUID"),
        ({"iris.csv": hash_hex(CSV)}, "Not a valid UUID"),
        ({"../iris.csv": "{unfinished}"}, "no relative path"),
        ({}, "at least one file"),
    ],
)
def test_what_is_no_upload_is_refused(platform, raw_data, context, uploads, message):
    unfinished = begin(platform)
    uploads = {name: text.format(unfinished=unfinished) for name, text in uploads.items()}
    n_rows = count_rows(RawData, platform.id)

    new = platform.post("rawdata/", without_files(make_raw_data(name="new"), uploads=uploads))
    fold = platform.post("submissionfold/", without_files(make_fold(raw_data), uploads=uploads))

    for response in (new, fold):
        assert response.status_code == 400
        assert message in str(response.json["errors"])
    assert count_rows(RawData, platform.id) == n_rows


def test_names_are_checked_together(platform):
    uploads = {"IRIS.csv": upload(platform, CSV)}

    response = platform.post("rawdata/", make_raw_data(uploads=uploads))

    assert response.status_code == 400
    assert "same file" in response.json["errors"]["files"][0]


def test_all_files_together_are_bounded(platform, app, monkeypatch):
    uploads = {"b.csv": upload(platform, CSV), "a.py": upload(platform, READER)}
    monkeypatch.setitem(app.config, "MAX_UPLOAD", len(CSV) + len(READER) - 1)

    response = platform.post("rawdata/", without_files(make_raw_data(), uploads=uploads))

    assert response.status_code == 413


# Forms


def test_a_data_set_comes_as_a_form(platform, app, leftovers):
    files = [("iris.csv", CSV), ("é/reader.py", READER)]

    response = post_form(platform, "rawdata/", without_files(make_raw_data()), files)

    assert response.status_code == 201
    listed = platform.get(f"rawdata/{response.json['id']}/files/").json
    assert [(file["name"], file["sha256"]) for file in listed] == [
        ("iris.csv", hash_hex(CSV)),
        ("specific.py", hash_hex(READER)),
    ]
    assert leftovers() == set()


@pytest.mark.parametrize("filename", ["", "payload.json"])
def test_the_json_of_a_form_may_have_a_file_name(platform, leftovers, filename):
    payload = json.dumps(without_files(make_raw_data()))
    files = write_part(CSV.decode(), name="files", filename="iris.csv")

    response = platform.post(
        "rawdata/",
        data=files + write_part(payload, filename=filename) + "--x--\r\n",
        content_type="multipart/form-data; boundary=x",
    )

    assert response.status_code == 201
    assert leftovers() == set()


def test_a_fold_comes_as_a_form(platform, raw_data):
    payload = without_files(make_fold(raw_data))

    response = post_form(platform, "submissionfold/", payload, [("classifier.py", SOURCE)])

    assert response.status_code == 201
    assert platform.get("submission/1/files/classifier.py").data == SOURCE


def test_a_form_without_files_is_as_good_as_json(platform, raw_data):
    response = post_form(platform, "submissionfold/", [make_fold(raw_data)], [])

    assert response.status_code == 201
    assert len(response.json) == 1


def write_part(content, name="json", filename=None):
    """Write a part of a form with the boundary `x`, as a client that gets it wrong may do."""
    disposition = f'Content-Disposition: form-data; name="{name}"'
    if filename is not None:
        disposition += f'; filename="{filename}"'
    return f"--x\r\n{disposition}\r\n\r\n{content}\r\n"


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ([], None),
        (["--x\r\n"], None),
        ([write_part("{}")], "name"),
        ([write_part("{")], "json"),
        ([write_part("iris", name="name")], "json"),
        ([write_part("iris", name="files")], "json"),
        ([write_part("1", name="files", filename="a")], "json"),
        ([write_part("{}"), write_part("{}")], "json"),
        ([write_part("{}"), write_part("1", name="other", filename="a")], "json"),
        ([write_part("{}"), *2 * [write_part("1", name="files", filename="a")]], "files"),
        ([write_part("{}", name="json\udcff")], None),
    ],
)
@pytest.mark.parametrize("path", ["rawdata/", "submissionfold/"])
def test_a_bad_form_is_refused(platform, app, path, parts, field, leftovers):
    if path == "submissionfold/" and field == "name":
        field = "databoard_sf_id"
    body = "".join([*parts, "--x--\r\n"] if len(parts) else parts)

    response = platform.post(
        path,
        data=body.encode(errors="surrogateescape"),
        content_type="multipart/form-data; boundary=x",
    )

    assert response.status_code == 400
    assert field is None or field in response.json["errors"]
    assert leftovers() == set()


def test_a_form_without_a_boundary_is_refused(platform):
    response = platform.post("rawdata/", data=b"x", content_type="multipart/form-data")

    assert response.status_code == 400


@pytest.mark.parametrize("name", ["../a.csv", "/etc/passwd", "-a", "", ".", "x" * 300])
def test_a_bad_name_in_a_form_is_refused(platform, app, name, leftovers):
    payload = json.dumps(without_files(make_raw_data()))
    body = write_part(payload) + write_part("1", name="files", filename=name) + "--x--\r\n"

    response = platform.post("rawdata/", data=body, content_type="multipart/form-data; boundary=x")

    assert response.status_code == 400
    assert "files" in response.json["errors"]
    assert leftovers() == set()


def test_a_form_that_is_too_large_is_refused(platform, app, monkeypatch, leftovers):
    monkeypatch.setitem(app.config, "MAX_UPLOAD", 100)
    monkeypatch.setitem(app.config, "MAX_JSON", 1000)

    small = post_form(platform, "rawdata/", without_files(make_raw_data()), [("a.csv", bytes(101))])
    large = post_form(platform, "rawdata/", without_files(make_raw_data()), [("a.csv", CONTENT)])

    assert small.status_code == large.status_code == 413
    assert leftovers() == set()


def test_a_form_of_too_many_files_is_refused(platform, app, monkeypatch, leftovers):
    monkeypatch.setitem(app.config, "MAX_FILES", 2)
    files = [(f"{number}.csv", b"1") for number in range(3)]

    response = post_form(platform, "rawdata/", without_files(make_raw_data()), files)

    assert response.status_code == 413
    assert leftovers() == set()


def test_other_calls_take_no_forms(platform):
    response = post_form(platform, "rawdata/split/", {}, [("a", b"1")])

    assert response.status_code == 400


# Going out


def test_files_go_out_as_they_came(platform, raw_data):
    platform.post("submissionfold/", make_fold(raw_data))

    for path, content in (
        (f"rawdata/{raw_data}/files/iris.csv", CSV),
        ("submission/1/files/classifier.py", SOURCE),
    ):
        response = platform.get(path)
        assert response.status_code == 200
        assert response.data == content
        assert response.mimetype == BYTES
        assert response.headers["Content-Disposition"].startswith("attachment")
        assert response.headers["ETag"] == f'"{hash_hex(content)}"'
        part = platform.get(path, headers={"Range": "bytes=3-5"})
        assert (part.status_code, part.data) == (206, content[3:6])
        again = platform.get(path, headers={"If-None-Match": response.headers["ETag"]})
        assert again.status_code == 304
        beyond = platform.get(path, headers={"Range": "bytes=9999-"})
        assert beyond.status_code == 416
        assert set(beyond.json) == {"error", "errors"}


@pytest.mark.parametrize("name", ["", "other.csv", "../iris.csv", "X_train", "y_test", "iris.csv/"])
def test_what_is_no_file_of_it_is_not_sent(platform, raw_data, name):
    response = platform.get(f"rawdata/{raw_data}/files/{name}")

    assert response.status_code == (404 if name else 200)


def test_files_are_for_those_who_may_see_them(add_caller, platform, worker, raw_data):
    platform.post("submissionfold/", make_fold(raw_data))
    paths = (
        f"rawdata/{raw_data}/files/",
        f"rawdata/{raw_data}/files/iris.csv",
        "submission/1/files/",
        "submission/1/files/classifier.py",
    )

    def get(caller):
        return {caller.get(path).status_code for path in paths}

    assert get(platform) == {200}
    assert get(add_caller()) == get(add_caller(Role.ADMIN)) == {404}
    assert get(worker) == {403}


def test_a_viewer_sees_no_hidden_label(add_caller, platform, raw_data):
    platform.post("submissionfold/", make_fold(raw_data))
    viewer = add_caller(Role.VIEWER, views=platform)

    assert viewer.get(f"rawdata/{raw_data}/files/").json[0]["name"] == "iris.csv"
    assert viewer.get(f"rawdata/{raw_data}/files/iris.csv").status_code == 403
    assert viewer.get("submission/1/files/classifier.py").status_code == 200


# What is left of them


def test_an_upload_that_nobody_continues_is_collected(platform, context, app):
    old, young, whole = begin(platform), begin(platform), upload(platform, b"nobody's")
    for upload_id in (old, young):
        send_part(platform, upload_id, 0, CONTENT[:100])
    db.session.execute(
        update(Upload)
        .where(Upload.id.in_([uuid.UUID(old), uuid.UUID(whole)]))
        .values(used_at=func.now() - timedelta(days=2))
    )
    db.session.commit()

    collect_files(min_age=-1)

    assert [entry["upload_id"] for entry in platform.get("uploads/").json] == [young]
    assert not get_storage().find_partial(uuid.UUID(old)).exists()
    with pytest.raises(FileNotFoundError):
        get_storage().find(hash_hex(b"nobody's"))
    assert send_part(platform, young, 100, CONTENT[100:]).json["sha256"] == hash_hex(CONTENT)


def test_an_upload_that_waits_is_kept(platform, context):
    upload(platform)

    collect_files(min_age=-1)

    assert get_storage().find(hash_hex(CONTENT)).read_bytes() == CONTENT


def test_what_a_data_set_refers_to_outlives_its_upload(platform, context):
    upload_id = upload(platform, CSV)
    payload = without_files(make_raw_data(), uploads={"iris.csv": upload_id})
    raw_data = platform.post("rawdata/", payload).json["id"]

    platform.call("DELETE", f"uploads/{upload_id}/")
    collect_files(min_age=-1)

    assert platform.get(f"rawdata/{raw_data}/files/iris.csv").data == CSV


def test_what_goes_over_from_an_upload_to_a_data_set_is_used_all_the_time(platform, context):
    platform.post("rawdata/", make_raw_data())
    upload_id = upload(platform, b"x,y\n1,2\n")
    with db.engine.connect() as connection:
        # Given somebody who has begun to look at what is used
        used = list_used(connection)
        first = next(used)

        payload = make_raw_data(name="another")
        payload = without_files(payload, uploads={"another.csv": upload_id})
        assert platform.post("rawdata/", payload).status_code == 201
        platform.call("DELETE", f"uploads/{upload_id}/")

        hashes = {file["sha256"] for file in (first, *used)}

    assert hash_hex(b"x,y\n1,2\n") in hashes


def test_what_is_stored_anew_while_files_are_collected_is_kept(context, monkeypatch):
    # Given bytes that nothing has referred to for longer than these tests take
    path = store_old(b"again")

    # When they are sent again between the look at what is used and the deletion
    def list_used(connection):
        store(b"again")
        return []

    monkeypatch.setattr(garbage, "list_used", list_used)

    assert collect_files(min_age=time.time() / 2) == 0
    assert path.read_bytes() == b"again"


def store(content):
    get_storage().write([content], hash_hex(content))
    return get_storage().find(hash_hex(content))


def store_old(content):
    path = store(content)
    os.utime(path, (0, 0))
    return path


def test_what_a_dead_process_left_is_collected(platform, context, monkeypatch, leftovers):
    monkeypatch.setitem(context.config, "KEEP_UPLOADS", -1)
    get_storage().stage([b"half"])

    collect_files(min_age=-1)

    assert leftovers() == set()
