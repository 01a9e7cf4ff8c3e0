"""Large JSON: it means what small JSON means, and its files aren't in memory."""

import base64
import io
import json
import tracemalloc
import zlib

import numpy as np
import pytest

from datarun_api import large_json
from datarun_api.extensions import get_storage
from datarun_api.large_json import LARGE, LONG, TextScanner
from datarun_client.codec import encode_bytes, encode_indices
from tests.api.payloads import make_fold, make_raw_data, post_raw_data, request_split

NOISE = np.random.default_rng(0).bytes(LARGE)


@pytest.fixture
def every_body_is_large(monkeypatch):
    monkeypatch.setattr(large_json, "LARGE", 0)


def get_file(platform, raw_data, name="iris.csv"):
    return platform.get(f"rawdata/{raw_data}/files/{name}").data


def test_a_large_file_arrives(platform):
    raw_data = post_raw_data(platform, files={"iris.csv": encode_bytes(NOISE)})

    assert get_file(platform, raw_data) == NOISE


def test_a_large_body_is_never_in_memory(platform):
    body = json.dumps(make_raw_data(files={"iris.csv": encode_bytes(NOISE * 4)})).encode()
    options = {"input_stream": io.BytesIO(body), "content_type": "application/json"}
    headers = {"Content-Length": str(len(body))}

    tracemalloc.start()
    try:
        response = platform.call("POST", "rawdata/", headers, **options)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert response.status_code == 201
    assert peak < len(body) / 2


def test_nothing_is_left_of_a_large_body(app, platform):
    post_raw_data(platform, files={"iris.csv": encode_bytes(NOISE)})

    with app.app_context():
        assert list(get_storage().incoming.iterdir()) == []


@pytest.mark.parametrize(
    "write",
    [
        lambda data: encode_bytes(data),
        # With line breaks, as `base64.encodebytes` makes them, and as PHP writes slashes.
        lambda data: base64.encodebytes(zlib.compress(data)).decode(),
    ],
)
@pytest.mark.parametrize("escape", [lambda text: text, lambda text: text.replace("/", "\\/")])
def test_a_text_means_the_same_however_it_is_written(platform, every_body_is_large, write, escape):
    content = NOISE[: 4 * LONG]
    body = escape(json.dumps(make_raw_data(files={"iris.csv": write(content)})))

    response = platform.call("POST", "rawdata/", data=body, content_type="application/json")

    assert response.status_code == 201, response.json
    assert get_file(platform, response.json["id"]) == content


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-8],
        lambda text: text + "AAAA",
        lambda text: text[:50_000] + "=" + text[50_001:],
        lambda text: text[:50_000] + "é" + text[50_001:],
        lambda text: encode_bytes(b"x") + text,
        lambda text: "A" * len(text),
    ],
)
def test_what_is_no_file_is_refused_as_in_small_json(platform, monkeypatch, spoil):
    text = spoil(encode_bytes(NOISE[: 4 * LONG]))
    answers = []

    for size in (LARGE, 0):
        monkeypatch.setattr(large_json, "LARGE", size)
        answers.append(platform.post("rawdata/", make_raw_data(files={"iris.csv": text})))

    small, large = answers
    assert small.status_code == large.status_code == 400
    assert "files" in small.json["errors"]
    assert large.json == small.json


def test_what_becomes_too_large_is_refused(platform, context, monkeypatch, every_body_is_large):
    monkeypatch.setitem(context.config, "MAX_UPLOAD", 3 * LONG)

    response = platform.post(
        "rawdata/", make_raw_data(files={"iris.csv": encode_bytes(NOISE[: 4 * LONG])})
    )

    assert response.status_code == 400
    assert "becomes larger" in response.json["errors"]["files"][0]


@pytest.mark.parametrize("is_list", [False, True])
def test_rows_and_files_of_folds_arrive(platform, every_body_is_large, is_list):
    raw_data = post_raw_data(platform)
    request_split(platform, raw_data)
    rows = np.random.default_rng(0).permutation(100_000)
    source = b"#" + base64.b64encode(NOISE[:LONG]) * 2
    fold = make_fold(
        raw_data,
        train_is=encode_indices(rows),
        files={"classifier.py": encode_bytes(source), "b.py": encode_bytes(b"")},
    )
    assert len(fold["train_is"]) > LONG

    response = platform.post("submissionfold/", [fold] if is_list else fold)

    assert response.status_code == 201, response.json
    (answer,) = response.json if is_list else [response.json]
    assert answer["train_is"] == fold["train_is"]
    assert platform.get("submission/1/files/classifier.py").data == source


@pytest.mark.parametrize("place", ["name", "target_column", "workflow_elements", "unknown"])
def test_a_long_text_elsewhere_is_refused_by_its_field(platform, every_body_is_large, place):
    response = platform.post("rawdata/", make_raw_data(**{place: "x" * (2 * LONG)}))

    assert response.status_code == 400
    assert place in response.json["errors"]


@pytest.mark.parametrize("files", [{"x" * (2 * LONG): encode_bytes(b"x")}, {}])
def test_a_long_name_is_refused(platform, every_body_is_large, files):
    payload = make_raw_data(files=files) | ({} if files else {"x" * (2 * LONG): 1})

    response = platform.post("rawdata/", payload)

    assert response.status_code == 400
    assert len(response.data) < LONG


@pytest.mark.parametrize(
    "body",
    ["", "{", '{"files": "', '{"files": "\\', "[" * 100_000, '"' + "x" * (2 * LONG) + '" 1', "1"],
)
def test_what_is_no_json_is_refused(platform, every_body_is_large, body):
    response = platform.call("POST", "rawdata/", data=body, content_type="application/json")

    assert response.status_code == 400
    assert set(response.json) == {"error", "errors"}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 20])
def test_texts_are_found_wherever_a_body_is_cut(size):
    long = 'long \\" text' * LONG
    document = {"a": 'quote " and \\', "b": [long, "", "\\"], 'c"': {"d": "é" * LONG}}
    body = json.dumps(document, ensure_ascii=False).encode()[: 100 if size < 7 else None]
    with io.BytesIO() as file:
        scanner = TextScanner(file)
        for place in range(0, len(body), size):
            scanner.feed(body[place : place + size])
        filed = file.getvalue()

    if size < 7:
        # What isn't finished is in nothing that is shown.
        assert body.startswith(bytes(scanner.document))
        return
    found = json.loads(scanner.document)
    first, second = scanner.long_texts.values()
    assert found["a"] == document["a"]
    assert found["b"][1:] == document["b"][1:]
    assert (first.has_escapes, second.has_escapes) == (True, False)
    texts = [filed[text.start : text.start + text.size] for text in (first, second)]
    assert json.loads(b'"' + texts[0] + b'"') == long
    assert texts[1].decode() == document['c"']["d"]
