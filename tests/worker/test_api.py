"""The worker's HTTP side against a small real server that misbehaves."""

import base64
import hashlib
import io
import json
import queue
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from datarun_api.embedded import find_free_port
from datarun_client import PROTOCOL, PROTOCOL_HEADER
from datarun_client.codec import encode_indices
from datarun_client.states import FailureKind, State
from datarun_worker.api import Api
from datarun_worker.claims import FileEntry, FoldClaim
from datarun_worker.config import load_settings
from datarun_worker.errors import (
    ApiAwayError,
    ApiError,
    ApiRefusalError,
    AttemptLostError,
    CacheError,
    ProtocolError,
)
from datarun_worker.results import FoldResult
from tests.small_server import Answer, Server

CONTENT = b"content" * 1000
ENTRY = FileEntry("X_train", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
CLAIM = {
    "owner": 1,
    "databoard_sf_id": 2,
    "attempt": 3,
    "lease": 30,
    "train_is": encode_indices(np.arange(5)),
    "raw_data": {
        "id": 1,
        "workflow_elements": ["classifier"],
        "target_column": "y",
        "reader": "csv",
        "time_limit": None,
        "memory_limit": None,
        "n_train": 10,
        "n_test": 5,
    },
    "submission": {"databoard_s_id": 1, "hash_files": "x", "files": []},
    "data": [{"name": ENTRY.name, "sha256": ENTRY.sha256, "size": ENTRY.size}],
}


def make_api(url: str, **environ: str) -> Api:
    return Api(load_settings({"DATARUN_URL": url, "DATARUN_TOKEN": "secret", **environ}), "w1")


@pytest.fixture
def api(server) -> Iterator[Api]:
    api = make_api(server.url)
    yield api
    api.close()


@pytest.fixture
def claim() -> FoldClaim:
    return FoldClaim.from_wire(CLAIM)


def test_a_claim_is_read(api, server):
    server.answers = [Answer(body=json.dumps(CLAIM).encode())]

    claim = api.claim_fold(1, 2, "high")

    assert claim.path == "folds/1/2/3"
    np.testing.assert_array_equal(claim.train_is, np.arange(5))
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/runapp/worker/folds/claim/")
    assert request.headers["Authorization"] == "Bearer secret"
    assert json.loads(request.body) == {
        "owner": 1,
        "databoard_sf_id": 2,
        "queue": "high",
        "worker": "w1",
    }


def test_nothing_to_do_is_no_claim(api, server):
    server.answers = [Answer(204, b"")]

    assert api.claim_fold(1, 2, "high") is None


@pytest.mark.parametrize("missing", ["lease", "train_is", "raw_data", "data"])
def test_a_claim_of_another_release_says_so(api, server, missing):
    body = {name: value for name, value in CLAIM.items() if name != missing}
    server.answers = [Answer(body=json.dumps(body).encode())]

    with pytest.raises(ApiError, match="same release"):
        api.claim_fold(1, 2, "high")


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_server_at_fault_is_asked_again(api, server, claim, status):
    server.answers = [
        Answer(status),
        Answer(status, headers={"Retry-After": "0"}),
        Answer(body=CONTENT),
    ]

    api.fetch_file(claim, ENTRY, io.BytesIO())

    assert len(server.requests) == 3


def test_a_report_is_sent_once(api, server, claim):
    server.answers = [Answer(503)]

    with pytest.raises(ApiAwayError):
        api.report_phase(claim, State.TRAINED)

    assert len(server.requests) == 1


def test_a_server_that_is_not_there_is_waited_for(server, claim):
    server.stop()
    api = make_api(server.url, DATARUN_RETRY_TIME="0.3")

    with pytest.raises(ApiAwayError, match="can't be reached"):
        api.fetch_file(claim, ENTRY, io.BytesIO())
    api.close()


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 413])
def test_a_refusal_is_not_repeated(api, server, claim, status):
    body = b'{"error": "It is so."}'
    server.answers = [Answer(status, body, {"Location": "/elsewhere"})]

    with pytest.raises(ApiError, match=f"answered {status}: It is so"):
        api.report_phase(claim, State.TRAINED)

    assert len(server.requests) == 1


def test_a_conflict_means_that_the_attempt_is_lost(api, server, claim):
    server.answers = [Answer(409, b'{"error": "Attempt 4 is newer."}')]

    with pytest.raises(AttemptLostError, match="Attempt 4"):
        api.report_phase(claim, State.TRAINED)


def test_every_call_names_the_protocol(api, server, claim):
    server.answers = [Answer(204, b""), Answer(body=CONTENT), Answer(), Answer()]

    api.claim_fold(1, 2, "high")
    api.fetch_file(claim, ENTRY, io.BytesIO())
    api.report_phase(claim, State.TRAINED)
    api.send_result(claim.path, b"{}")

    assert [r.headers["Datarun-Protocol"] for r in server.requests] == [str(PROTOCOL)] * 4


def list_wishes(server) -> list[bool]:
    """Tell of each request whether it asked for what was given before."""
    return [json.loads(request.body).get("resumes", False) for request in server.requests]


def test_a_claim_whose_answer_is_lost_asks_for_what_was_given(api, server):
    given = json.dumps(CLAIM).encode()
    server.answers = [
        Answer(body=given, cut_off=True),
        Answer(502),
        Answer(body=given),
        Answer(204),
    ]

    claim = api.claim_fold(1, 2, "high")
    assert api.claim_fold(1, 3, "high") is None

    assert claim.path == "folds/1/2/3"
    assert list_wishes(server) == [False, True, True, False]


def test_a_result_whose_answer_is_lost_lets_the_next_claim_ask_for_what_was_given(
    api, server, claim
):
    server.answers = [Answer(cut_off=True), Answer(), Answer(204)]

    # Given a result with which a fold may have been claimed
    with pytest.raises(ApiAwayError):
        api.send_result(claim.path, b"{}", "high")
    # When it is delivered again, which claims none
    api.send_result(claim.path, b"{}")
    # Then the next claim asks for that fold
    assert api.claim_fold(1, 2, "high") is None

    assert list_wishes(server) == [False, False, True]


def test_a_split_whose_answer_is_lost_is_not_claimed_again(api, server):
    server.answers = [Answer(cut_off=True)]

    with pytest.raises(ApiAwayError):
        api.claim_split(1, 1)

    assert len(server.requests) == 1


def test_a_claim_waits_for_an_api_that_is_not_there(server):
    port = find_free_port()
    api = make_api(f"http://127.0.0.1:{port}")
    answers = queue.SimpleQueue()
    thread = threading.Thread(target=lambda: answers.put(api.claim_fold(1, 2, "high")))
    thread.start()

    with pytest.raises(queue.Empty):
        answers.get(timeout=0.3)
    late = Server(port)
    late.answers = [Answer(503), Answer(204, b"")]

    assert answers.get(timeout=20) is None
    thread.join()
    late.stop()
    api.close()


def test_a_worker_that_stops_does_not_wait_for_a_claim(server):
    server.stop()
    is_stopping = threading.Event()
    is_stopping.set()
    settings = load_settings({"DATARUN_URL": server.url, "DATARUN_TOKEN": "secret"})
    api = Api(settings, "w1", is_stopping)

    with pytest.raises(ApiAwayError):
        api.claim_fold(1, 2, "high")
    api.close()


def test_another_release_refuses_only_until_the_upgrade(api, server, claim):
    """So a result is kept until then; a refusal of the same release is for good."""
    body = b'{"error": "Upgrade the worker."}'
    server.answers = [Answer(400, body, {PROTOCOL_HEADER: str(PROTOCOL + 1)}), Answer(400, body)]

    with pytest.raises(ProtocolError, match="Upgrade the worker"):
        api.send_result(claim.path, b"{}")

    with pytest.raises(ApiRefusalError):
        api.send_result(claim.path, b"{}")


def test_an_answer_that_is_no_json_is_ours(api, server):
    server.answers = [Answer(body=b"<html>")]

    with pytest.raises(ApiError, match="no JSON"):
        api.claim_fold(1, 2, "high")


def test_a_download_that_breaks_off_begins_again(api, server, claim):
    server.answers = [Answer(body=CONTENT, cut_off=True), Answer(body=CONTENT)]
    file = io.BytesIO()

    api.fetch_file(claim, ENTRY, file)

    assert file.getvalue() == CONTENT
    assert server.requests[1].path == f"/runapp/worker/folds/1/2/3/files/{ENTRY.sha256}/"


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"x", b"x" * len(CONTENT)])
def test_a_download_of_other_bytes_is_refused(api, server, claim, content):
    server.answers = [Answer(body=content)]

    with pytest.raises(CacheError):
        api.fetch_file(claim, ENTRY, io.BytesIO())


def test_a_result_carries_what_the_seam_names(api, server, claim):
    server.answers = [Answer()]

    result = FoldResult(FailureKind.TIME_LIMIT, "too long").to_wire()
    api.send_result(claim.path, json.dumps(result).encode())

    (request,) = server.requests
    assert request.path == "/runapp/worker/folds/1/2/3/result/"
    digest = base64.b64encode(hashlib.sha256(request.body).digest()).decode()
    assert request.headers["Repr-Digest"] == f"sha-256=:{digest}:"
    assert json.loads(request.body) == {
        "state": "ERROR",
        "failure_kind": "time_limit",
        "log_messages": "too long",
        "full_train_predictions": None,
        "full_train_shape": None,
        "test_predictions": None,
        "test_shape": None,
        "train_time": 0.0,
        "validation_time": 0.0,
        "test_time": 0.0,
        "train_cpu_time": 0.0,
        "test_cpu_time": 0.0,
        "train_memory": 0.0,
        "test_memory": 0.0,
    }


def test_a_log_goes_out_by_its_offset(api, server, claim):
    server.answers = [Answer(body=b'{"length": 12}')]

    assert api.append_log(claim, 7, "hello") == 12

    assert json.loads(server.requests[0].body) == {"offset": 7, "text": "hello"}


def test_a_netrc_does_not_take_the_tokens_place(server, claim, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server.answers = [Answer()]
    api = make_api(server.url)

    api.report_phase(claim, State.TRAINED)
    api.close()

    assert server.requests[0].headers["Authorization"] == "Bearer secret"
