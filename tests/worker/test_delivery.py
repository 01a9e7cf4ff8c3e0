"""What becomes of a result, by what the API says."""

import json
import threading
from typing import Any

import pytest

from datarun_client import PROTOCOL, PROTOCOL_HEADER
from datarun_client.states import FailureKind, Span
from datarun_worker.api import Api
from datarun_worker.config import load_settings
from datarun_worker.delivery import Delivered, Delivery, FoldJob
from datarun_worker.laps import Laps
from datarun_worker.results import FoldResult, ScoringResult, SplitResult
from datarun_worker.spool import Spool
from tests.small_server import Answer

PATH = "folds/1/2/3"
JOB = FoldJob(1, 3, "low")
RESULT = FoldResult(FailureKind.TIME_LIMIT, "too long").to_wire()


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path / "spool")
    yield spool
    spool.close()


@pytest.fixture
def is_stopping() -> threading.Event:
    return threading.Event()


@pytest.fixture
def delivery(server, spool, is_stopping):
    api = Api(load_settings({"DATARUN_URL": server.url, "DATARUN_TOKEN": "secret"}), "w1")
    yield Delivery(api, spool, is_stopping)
    api.close()


def deliver(delivery: Delivery, *options: Any) -> Delivered:
    return delivery.deliver(delivery.keep(PATH, RESULT), *options)


def list_kinds(server) -> list[str]:
    return [json.loads(request.body)["failure_kind"] for request in server.requests]


def test_a_result_that_is_taken_is_forgotten(server, spool, delivery):
    server.answers = [Answer()]

    deliver(delivery)

    assert json.loads(server.requests[0].body) == RESULT
    assert spool.list_results() == []


def test_a_result_may_hold_what_only_a_kit_would_write(server, delivery):
    # Given names with half a character, and scores beyond 64 bits
    odd = ScoringResult("\ud800: none", bagged={"\ud800": {"test": 10**30}}).to_wire()
    server.answers = [Answer()]

    # When they are delivered, then they arrive, for the API to refuse
    delivery.deliver(delivery.keep("scorings/1/2/3", odd))

    assert json.loads(server.requests[0].body) == odd


def test_a_result_asks_for_the_next_claim_if_there_is_a_job(server, spool, delivery):
    # Given a job that is taken once the result is safe
    def take_job() -> FoldJob:
        assert len(spool.list_results()) == 1
        return JOB

    server.answers = [Answer(body=b'{"claim": null}')]

    # When the result is delivered
    delivered = deliver(delivery, take_job)

    # Then the same request asked what the job is good for, and got an answer
    (request,) = server.requests
    assert request.path == f"/runapp/worker/{PATH}/result/?queue=low&worker=w1&ahead=false"
    assert delivered == Delivered(JOB, has_claimed=True, claim=None)


def test_a_worker_that_asked_ahead_in_vain_may_ask_again(server, delivery):
    server.answers = [Answer(body=b'{"claim": null}')]

    delivered = deliver(delivery, lambda: JOB, True)

    assert server.requests[0].path.endswith("&ahead=true")
    assert delivered == Delivered(JOB, has_claimed=False)


@pytest.mark.parametrize("first", [Answer(503), Answer(409)])
def test_a_job_whose_claim_was_not_answered_is_handed_on(server, spool, delivery, first):
    server.answers = [first, Answer()]

    delivered = deliver(delivery, lambda: JOB)

    assert delivered == Delivered(JOB, has_claimed=False)
    assert all("queue" not in request.path for request in server.requests[1:])
    assert spool.list_results() == []


def test_a_folds_spans_go_with_its_result(server, delivery):
    server.answers = [Answer()]
    laps = Laps()
    laps.end(Span.START)

    delivery.deliver(delivery.keep(PATH, RESULT, laps))

    timings = json.loads(server.requests[0].body)["timings"]
    assert list(timings) == ["start", "collect"]
    assert all(seconds >= 0 for seconds in timings.values())


@pytest.mark.parametrize("status", [401, 404, 429, 500, 502, 503])
def test_a_result_is_sent_until_there_is_a_yes_or_no(server, spool, delivery, status):
    server.answers = [Answer(status), Answer(cut_off=True, body=b"{    }"), Answer()]

    deliver(delivery)

    assert len({request.body for request in server.requests}) == 1
    assert len(server.requests) == 3
    assert spool.list_results() == []


def test_a_result_of_a_lost_attempt_is_dropped(server, spool, delivery):
    server.answers = [Answer(409)]

    deliver(delivery)

    assert len(server.requests) == 1
    assert spool.list_results() == []


@pytest.mark.parametrize("status", [400, 403, 413, 422])
def test_a_result_that_is_refused_for_good_becomes_our_fault_once(server, spool, delivery, status):
    server.answers = [Answer(status), Answer()]

    deliver(delivery)

    assert list_kinds(server) == ["time_limit", "platform_error"]
    assert spool.list_results() == []


def test_predictions_that_are_too_large_for_the_api_are_the_submissions_fault(
    server, spool, delivery
):
    server.answers = [Answer(413, headers={PROTOCOL_HEADER: str(PROTOCOL)}), Answer()]

    deliver(delivery)

    assert list_kinds(server) == ["time_limit", "output_limit"]
    assert spool.list_results() == []


@pytest.mark.parametrize(
    ("path", "result"),
    [("splits/7/1", SplitResult(None, 10, 5)), ("scorings/1/7/1", ScoringResult(None))],
)
def test_a_data_job_that_is_refused_for_good_becomes_our_fault(
    server, spool, delivery, path, result
):
    server.answers = [Answer(400), Answer()]

    delivery.deliver(delivery.keep(path, result.to_wire()))

    assert server.requests[1].path == f"/runapp/worker/{path}/result/"
    apology = json.loads(server.requests[1].body)
    assert (apology["state"], apology["failure_kind"]) == ("ERROR", "platform_error")


def test_a_refused_apology_is_dropped(server, spool, delivery):
    server.answers = [Answer(400), Answer(400)]

    deliver(delivery)

    assert list_kinds(server) == ["time_limit", "platform_error"]
    assert spool.list_results() == []


def test_a_worker_that_stops_leaves_its_result_on_the_disk(server, spool, delivery, is_stopping):
    server.answers = [Answer(503)]
    is_stopping.set()

    deliver(delivery)

    (kept,) = spool.list_results()
    assert json.loads(kept.read()) == RESULT


def test_all_that_is_kept_is_delivered(server, spool, delivery, tmp_path):
    dead = Spool(tmp_path / "spool")
    dead.keep("folds/1/1/1", json.dumps(RESULT).encode())
    dead.close()
    spool.keep(PATH, json.dumps(RESULT).encode())
    server.answers = [Answer(), Answer()]

    delivery.deliver_all()

    assert {request.path for request in server.requests} == {
        "/runapp/worker/folds/1/1/1/result/",
        "/runapp/worker/folds/1/2/3/result/",
    }
    assert spool.list_results() == []
