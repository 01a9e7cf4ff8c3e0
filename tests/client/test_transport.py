"""How calls travel: what is tried again, what isn't, and what a refusal says."""

import json
import pickle
import socket

import pytest

from datarun_api.embedded import find_free_port
from datarun_client import (
    AnswerError,
    BadInputError,
    Client,
    ConflictError,
    EventsLostError,
    ForbiddenError,
    NotFoundError,
    RefusedError,
    TooLargeError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
    UnreachableError,
)
from datarun_client.codec import encode_indices
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


CUT_OFF = Answer(cut_off=True, body=b"[    ]")
CANCELLED = {
    **dict.fromkeys(("train_time", "validation_time", "test_time", "train_memory"), 0),
    **dict.fromkeys(("train_cpu_time", "test_cpu_time", "test_memory"), 0),
    **{"databoard_sf_id": 10, "databoard_s": 1, "priority": "L", "state": "ERROR"},
    **{"train_is": encode_indices([0]), "test_is": encode_indices([1]), "log_messages": ""},
    **{"new": True, "attempt": 1, "hash_files": None, "created_at": "2026-01-01T00:00:00+00:00"},
    **{"started_at": None, "finished_at": None, "failure_kind": "cancelled"},
}


@pytest.mark.parametrize("trouble", [CUT_OFF, Answer(502, b"gone"), Answer(504, b"late")])
def test_a_delete_whose_answer_was_lost_was_carried_out(server, client, trouble):
    server.answers += [trouble, Answer(404, REFUSAL)]
    client.delete_submission(7)
    server.answers += [trouble, Answer(409, REFUSAL), Answer(body=json.dumps(CANCELLED).encode())]

    assert client.cancel_fold(10).failure_kind == "cancelled"

    assert [request.method for request in server.requests] == ["DELETE"] * 4 + ["GET"]


def test_a_delete_that_is_refused_at_once_is_an_error(server, client):
    tested = json.dumps(CANCELLED | {"state": "TESTED", "failure_kind": None}).encode()
    server.answers += [Answer(404, REFUSAL), Answer(409, REFUSAL)]
    server.answers += [CUT_OFF, Answer(409, REFUSAL), Answer(body=tested)]

    with pytest.raises(NotFoundError):
        client.delete_submission(7)
    for _ in range(2):
        with pytest.raises(ConflictError):
            client.cancel_fold(10)


def write_events(*blocks):
    return Answer(body="".join(f"{block}\n\n" for block in blocks).encode())


def write_event(number, state="TESTED", **changes):
    event = {"databoard_sf_id": 10, "databoard_s": 1, "state": state, "failure_kind": None}
    event |= {"attempt": 1, "created_at": "2026-01-01T00:00:00+00:00"} | changes
    return f"id: {number}\nevent: fold\ndata: {json.dumps(event)}"


def test_events_go_on_where_a_stream_ended_or_broke_off(server, client):
    server.answers += [
        write_events("retry: 2000\nid: 4", ":\n\n:", write_event(5, "TRAINED"), write_event(6)),
        Answer(503, REFUSAL),
        Answer(cut_off=True, body=f"id: 6\n\n{write_event(7)}\n\n".encode() + b":" * 2000),
        write_events("id: 7", write_event(9, "ERROR", failure_kind="time_limit")),
        write_events("id: 9\nevent: reset\ndata: {}"),
    ]
    events = client.iter_events()

    found = [next(events) for _ in range(4)]

    assert [(event.id, event.state) for event in found] == [
        (5, "TRAINED"),
        (6, "TESTED"),
        (7, "TESTED"),
        (9, "ERROR"),
    ]
    assert found[-1].failure_kind == "time_limit"
    with pytest.raises(EventsLostError, match="look at the folds"):
        next(events)
    known = [request.headers.get("Last-Event-ID") for request in server.requests]
    assert known == [None, "6", "6", "7", "9"]


@pytest.mark.parametrize("block", ["id: x", "id: 1\n\ndata: 5", "id: 1\n\ndata: {}", "data: <"])
def test_what_is_no_event_is_said(server, client, block):
    server.answers += [write_events(block)]

    with pytest.raises(AnswerError, match="same release"):
        next(client.iter_events())


def test_events_of_an_api_that_stays_away_are_an_error(server, client):
    server.answers += [Answer(503, REFUSAL)]

    with pytest.raises(UnavailableError):
        next(client.iter_events(silence=0))


@pytest.mark.parametrize(("status", "redis"), [(200, "ok"), (503, "no answer")])
def test_health_is_told_at_once_and_is_no_error(server, client, status, redis):
    word = "ok" if status == 200 else "unavailable"
    body = json.dumps({"status": word, "postgresql": "ok", "redis": redis}).encode()
    server.answers += [Answer(status, body)]

    health = client.get_health()

    assert (health.is_ok, health.redis) == (status == 200, redis)
    assert server.requests[0].path == "/health"


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
