"""How calls travel: what is tried again, what isn't, and what a refusal says."""

import json
import pickle
import socket

import pytest

from datarun_client import (
    AnswerError,
    BadInputError,
    Client,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    RefusedError,
    TooLargeError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
    UnreachableError,
)
from tests.conftest import find_free_port
from tests.small_server import Answer

REFUSAL = json.dumps({"error": "No.", "errors": {"name": ["is taken"]}}).encode()
STATUSES = {
    400: BadInputError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    413: TooLargeError,
    418: RefusedError,
    429: TooManyRequestsError,
    503: UnavailableError,
}


@pytest.fixture
def client(server):
    with Client(server.url, ("Zoë", "pässword ☃"), retries=2, timeout=(5, 5)) as client:
        yield client


@pytest.mark.parametrize(("status", "kind"), STATUSES.items())
def test_a_refusal_is_an_error_that_names_the_field(server, status, kind):
    server.answers += [Answer(status, REFUSAL)]

    with Client(server.url, "token", retries=0) as client, pytest.raises(kind) as caught:
        client.list_raw_data()

    assert caught.value.status == status
    assert caught.value.errors == {"name": ["is taken"]}
    assert str(caught.value) == "No.\n  name: is taken"
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_refused_list_names_each_place_and_field(server, client):
    errors = {"0": {"train_is": ["is empty"]}, "3": {"test_is": ["has a mask", "is long"]}}
    server.answers += [Answer(400, json.dumps({"error": "Bad.", "errors": errors}).encode())]

    with pytest.raises(BadInputError) as caught:
        client.list_raw_data()

    assert str(caught.value).splitlines() == [
        "Bad.",
        "  0.train_is: is empty",
        "  3.test_is: has a mask",
        "  3.test_is: is long",
    ]


def test_name_and_password_travel_as_utf_8(server, client):
    server.answers += [Answer(body=b"[]")]

    client.list_raw_data()

    authorization = server.requests[0].headers["Authorization"]
    assert authorization == "Basic Wm/Dqzpww6Rzc3dvcmQg4piD"


@pytest.mark.parametrize(
    "trouble",
    [
        Answer(cut_off=True, body=b"[" + b" " * 1000 + b"]"),
        Answer(502, b"bad gateway"),
        Answer(503, REFUSAL, {"Retry-After": "0"}),
        Answer(429, REFUSAL, {"Retry-After": "0"}),
        Answer(409, REFUSAL, {"Retry-After": "0"}),
    ],
    ids=["cut off", "502", "503", "429", "409 in flight"],
)
def test_what_is_away_for_a_moment_is_asked_again(server, client, trouble):
    server.answers += [trouble, Answer(201, b'{"task_id": "split:1"}')]

    task = client.split_raw_data(1, 0.3)

    assert task == "split:1"
    first, second = server.requests
    assert (first.method, first.path, first.body) == (second.method, second.path, second.body)


def test_a_refusal_that_says_nothing_of_later_is_not_asked_again(server, client):
    server.answers += [Answer(409, REFUSAL)]

    with pytest.raises(ConflictError):
        client.split_raw_data(1, 0.3)

    assert len(server.requests) == 1


def test_what_stays_away_is_an_error(server, client):
    server.answers += [Answer(503, b"<html>")] * 3

    with pytest.raises(UnavailableError, match="503"):
        client.list_raw_data()

    assert len(server.requests) == 3


@pytest.mark.parametrize("trouble", [Answer(cut_off=True, body=b"[    ]"), Answer(502, b"gone")])
def test_new_predictions_are_never_asked_for_twice(server, client, trouble):
    """The answer that was lost has marked what it held as handed out."""
    server.answers += [trouble]

    with pytest.raises((UnreachableError, UnavailableError)):
        client.take_new_predictions()

    assert len(server.requests) == 1


def test_a_forced_post_is_repeated_with_the_same_key(server, client):
    server.answers += [Answer(503, REFUSAL), Answer(400, REFUSAL), Answer(400, REFUSAL)]

    for _ in range(2):
        with pytest.raises(BadInputError):
            client.post_fold(1, 1, [0], [1], force="submission_fold")

    first, again, other = (request.headers["Idempotency-Key"] for request in server.requests)
    assert first == again != other


def test_an_api_that_is_not_there_is_unreachable():
    url = f"http://127.0.0.1:{find_free_port()}/"

    with Client(url, "token", retries=1) as client, pytest.raises(UnreachableError) as caught:
        client.list_raw_data()

    assert url in str(caught.value)
    assert "Connection refused" in str(caught.value)


def test_an_api_that_never_answers_is_unreachable():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        client = Client(url, "token", retries=0, timeout=(5, 0.1))

        with client, pytest.raises(UnreachableError, match="timed out"):
            client.list_raw_data()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(200, b"<html>hello</html>"), "JSON"),
        (Answer(404, b"<html>nothing here</html>"), "right address"),
        (Answer(301, b"", {"Location": "https://here/"}), "redirects to https://here/"),
        (Answer(200, b'[{"id": 1}]'), "same release"),
        (Answer(200, b'{"id": 1}'), "same release"),
    ],
    ids=["page", "no datarun", "redirect", "fields missing", "no list"],
)
def test_what_is_no_datarun_is_said(server, client, answer, message):
    server.answers += [answer]

    with pytest.raises(AnswerError, match=message):
        client.list_raw_data()
