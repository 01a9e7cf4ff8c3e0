"""An attempt's lease, and what ends it early."""

import dataclasses
import threading

import numpy as np
import pytest

from datarun_client.states import Reader
from datarun_worker.api import Api
from datarun_worker.attempts import Attempt
from datarun_worker.claims import FoldClaim
from datarun_worker.config import load_settings
from datarun_worker.errors import AttemptLostError, AttemptReleasedError
from tests.conftest import wait_until
from tests.small_server import Answer

CLAIM = FoldClaim(
    owner=1,
    databoard_sf_id=2,
    attempt=3,
    lease=0.3,
    train_is=np.arange(5),
    workflow_elements=(),
    reader=Reader.CSV,
    time_limit=None,
    memory_limit=None,
    n_train=10,
    n_test=5,
    source=(),
    data=(),
)


class Killable:
    """Stands where a sandbox is."""

    def __init__(self) -> None:
        self.is_killed = threading.Event()

    def kill(self) -> None:
        self.is_killed.set()


@pytest.fixture
def api(server):
    settings = {"DATARUN_URL": server.url, "DATARUN_TOKEN": "x", "DATARUN_RETRY_TIME": "0.1"}
    api = Api(load_settings(settings), "w1")
    yield api
    api.close()


def test_the_lease_is_renewed_from_the_claim_on(server, api):
    server.answers = [Answer(), Answer(503), Answer(), *[Answer(409)]]

    with Attempt(api, CLAIM) as attempt:
        assert attempt.is_dropped.wait(20)

    assert {request.path for request in server.requests} == {"/runapp/worker/folds/1/2/3/lease/"}
    assert len(server.requests) == 4


def test_a_lost_attempt_kills_its_sandbox(server, api):
    server.answers = [Answer(409)]
    sandbox = Killable()

    with Attempt(api, CLAIM) as attempt, attempt.inside(sandbox):
        assert sandbox.is_killed.wait(20)
        with pytest.raises(AttemptLostError):
            attempt.check()


def test_an_attempt_that_is_lost_before_its_sandbox_gets_none(server, api):
    server.answers = [Answer(409)]

    with Attempt(api, CLAIM) as attempt:
        assert attempt.is_dropped.wait(20)
        with pytest.raises(AttemptLostError), attempt.inside(Killable()):
            pytest.fail("the sandbox was entered")


def test_an_attempt_that_is_given_back_says_why(api):
    sandbox = Killable()

    with Attempt(api, dataclasses.replace(CLAIM, lease=3000)) as attempt:
        with attempt.inside(sandbox):
            attempt.give_back("because")
        attempt.lose(AttemptLostError("too late"))
        with pytest.raises(AttemptReleasedError, match="because"):
            attempt.check()

    assert sandbox.is_killed.is_set()


def test_an_attempt_that_is_over_is_not_dropped(api):
    with Attempt(api, dataclasses.replace(CLAIM, lease=3000)) as attempt:
        pass

    attempt.give_back("too late")

    attempt.check()


def test_a_hanging_renewal_is_not_waited_for(server, api):
    answers = threading.Event()
    server.answers = [Answer(waits_for=answers)]

    with Attempt(api, CLAIM):
        wait_until(lambda: server.requests, "the renewal")

    answers.set()
