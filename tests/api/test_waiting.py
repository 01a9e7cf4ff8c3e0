import contextlib
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from sqlalchemy import func, select, text, update

import datarun_api.waiting
from datarun_api.errors import BusyError
from datarun_api.extensions import db
from datarun_api.models import SubmissionFold
from datarun_api.waiting import CHANNEL, Listener, Waiter, get_listener, make_connect
from datarun_client.states import State
from tests.api.payloads import claim_fold, make_fold, run_fold
from tests.conftest import wait_until

LONG = 50
"""Seconds that a test's request asks to wait; none does, or the suite's deadline ends it."""


@pytest.fixture
def threads():
    with ThreadPoolExecutor() as pool:
        yield pool


@pytest.fixture
def is_waiting(context, platform):
    """Wait until some requests of the account wait."""

    def wait(number=1):
        wait_until(lambda: count_waiters(platform) == number, "a waiting request")

    return wait


def count_waiters(platform):
    waiting = get_listener()._waiters.copy().items()
    return sum(len(waiters) for (owner_id, _), waiters in waiting if owner_id == platform.id)


@pytest.fixture
def listener(context, monkeypatch, wakes):
    """The application's listener, new and connected."""
    monkeypatch.setattr(datarun_api.waiting, "TICK", 0.1)
    listener = Listener(make_connect(context), max_waiters=8)
    monkeypatch.setitem(context.extensions, "datarun_listener", listener)
    with listener.waiting(0) as first:
        wait_until(lambda: first in wakes, "the connection")
    yield listener
    listener.close()


@pytest.fixture
def wakes(monkeypatch):
    """Every waiter that was woken, in order, as often as it was."""
    wakes = []
    wake = Waiter.wake

    def note(waiter):
        wakes.append(waiter)
        wake(waiter)

    monkeypatch.setattr(Waiter, "wake", note)
    return wakes


def test_a_fold_is_shown_when_its_state_changes(platform, worker, fold, threads, is_waiting):
    answer = threads.submit(platform.get, f"submissionfold/10/?wait={LONG}")
    is_waiting()
    claim_fold(worker, platform)

    worker.post(f"worker/folds/{platform.id}/10/1/phase/", {"state": "TRAINED"})

    assert answer.result().json["state"] == "TRAINED"


def set_state(platform, number, state):
    db.session.execute(
        update(SubmissionFold)
        .where(SubmissionFold.owner_id == platform.id, SubmissionFold.databoard_sf_id == number)
        .values(state=state)
    )
    db.session.commit()


def test_who_waits_for_a_fold_is_woken_by_no_other(
    platform, fold, listener, threads, is_waiting, wakes
):
    # Given a request that waits for a fold, and one that waits for any
    platform.post("submissionfold/", make_fold(number=11))
    answer = threads.submit(platform.get, f"submissionfold/10/?wait={LONG}")
    is_waiting()
    (own,) = listener._waiters[platform.id, 10]
    with listener.waiting(platform.id) as every:
        # When another changes, twice: with the second notification the first is done with
        for state in (State.TRAINED, State.VALIDATED):
            set_state(platform, 11, state)
        wait_until(lambda: wakes.count(every) == 2, "the other fold's notifications")
        assert own not in wakes

        # Then its own wakes it, once
        set_state(platform, 10, State.TRAINED)
        set_state(platform, 11, State.TRAINED)
        wait_until(lambda: wakes.count(every) == 4, "all notifications")
    assert wakes.count(own) == 1
    assert answer.result().json["state"] == "TRAINED"


def test_all_folds_that_one_transaction_changes_are_told(platform, fold, listener, wakes):
    numbers = range(10, 40)
    platform.post("submissionfold/", [make_fold(number=number) for number in numbers[1:]])
    with contextlib.ExitStack() as places:
        listener._max_waiters = 2 * len(numbers)
        waiters = [
            places.enter_context(listener.waiting(platform.id, number)) for number in numbers
        ]

        db.session.execute(
            update(SubmissionFold)
            .where(SubmissionFold.owner_id == platform.id)
            .values(state=State.TRAINED)
        )
        db.session.commit()

        wait_until(lambda: set(waiters) <= set(wakes), "all notifications")
    assert len(wakes) == 1 + len(numbers)


@pytest.mark.parametrize("payload", ["", "7", "7:", "7:10:1", "x:10"])
def test_a_notification_that_cant_be_read_wakes_everybody(platform, fold, listener, wakes, payload):
    """Such as another release's."""
    with listener.waiting(platform.id, 10) as own, listener.waiting(0, 77) as other:
        db.session.execute(select(func.pg_notify(CHANNEL, payload)))
        db.session.commit()
        wait_until(lambda: {own, other} <= set(wakes), "the notification")

        # And the next one is heard
        set_state(platform, 10, State.TRAINED)
        wait_until(lambda: wakes.count(own) == 2, "the fold's notification")
    assert wakes.count(other) == 1


def test_who_waits_for_a_fold_is_woken_when_the_connection_is_made_anew(platform, listener, wakes):
    with listener.waiting(platform.id, 10) as waiter:
        db.session.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
            )
        )
        db.session.commit()

        wait_until(lambda: waiter in wakes, "the next connection")


def test_a_place_can_be_given_back_twice(listener):
    first, second = listener.add(7, 10), listener.add(7, 10)

    listener.remove(first)
    listener.remove(first)
    assert listener._waiters == {(7, 10): {second}}

    listener.remove(second)
    listener.remove(second)
    assert listener._waiters == {}


def test_a_final_fold_is_shown_at_once(platform, worker, fold):
    run_fold(worker, platform)

    assert platform.get(f"submissionfold/10/?wait={LONG}").json["state"] == "TESTED"


def test_what_doesnt_change_is_shown_when_the_time_is_over(platform, fold):
    assert platform.get("submissionfold/10/?wait=1").json["state"] == "TODO"


def test_a_fold_that_isnt_there_is_not_waited_for(platform):
    assert platform.get(f"submissionfold/404/?wait={LONG}").status_code == 404


def test_a_fold_that_is_deleted_meanwhile_is_not_found(platform, worker, fold, threads, is_waiting):
    answer = threads.submit(platform.get, "submissionfold/10/?wait=2")
    is_waiting()

    assert platform.call("DELETE", "submission/1/").status_code == 204

    assert answer.result().status_code == 404


@pytest.mark.parametrize("payload", [{}, {"ack": ""}])
def test_new_predictions_are_waited_for(
    platform, worker, fold, listener, threads, is_waiting, wakes, payload
):
    answer = threads.submit(platform.post, f"testpredictions/new/?wait={LONG}", payload)
    is_waiting()
    ((waiter,),) = listener._waiters.values()

    run_fold(worker, platform)

    answered = answer.result().json
    entries = answered if payload == {} else answered["predictions"]
    assert [entry["databoard_sf_id"] for entry in entries] == [10]
    assert waiter in wakes


def test_no_new_predictions_are_an_answer_too(platform):
    assert platform.post("testpredictions/new/?wait=1", {}).json == []


@pytest.mark.parametrize("wait", ["-1", "61", "x", "1.5"])
@pytest.mark.parametrize("path", ["submissionfold/10/", "testpredictions/new/"])
def test_what_is_no_time_is_refused(platform, path, wait):
    method = "GET" if "fold" in path else "POST"

    response = platform.call(method, f"{path}?wait={wait}", json={} if method == "POST" else None)

    assert response.status_code == 400
    assert "wait" in response.json["errors"]


def test_a_key_doesnt_go_with_waiting(platform):
    headers = {"Idempotency-Key": str(uuid.uuid4())}

    response = platform.post("testpredictions/new/?wait=5", {}, headers=headers)

    assert response.status_code == 400
    assert "ack" in response.json["errors"]["wait"][0]


def test_too_many_are_told_to_come_back(platform, fold, context, monkeypatch):
    listener = get_listener()
    monkeypatch.setattr(listener, "_max_waiters", 0)

    waiting = platform.get("submissionfold/10/?wait=5")
    following = platform.get("events/")

    assert waiting.status_code == following.status_code == 503
    assert waiting.headers["Retry-After"] == "5"
    assert set(waiting.json) == {"error", "errors"}
    assert platform.get("submissionfold/10/").status_code == 200


def test_one_account_leaves_places_to_others(context):
    listener = Listener(make_connect(context), max_waiters=4)
    greedy = [listener.add(1), listener.add(1)]

    with pytest.raises(BusyError):
        listener.add(1)
    others = [listener.add(2), listener.add(3)]
    with pytest.raises(BusyError):
        listener.add(4)

    for waiter in greedy + others:
        listener.remove(waiter)
    listener.remove(listener.add(1))
    listener.close()


def test_a_waiting_request_holds_no_connection(platform, fold, threads, is_waiting, context):
    answers = [threads.submit(platform.get, "submissionfold/10/?wait=2") for _ in range(3)]
    is_waiting(3)

    wait_until(lambda: db.engine.pool.checkedout() == 0, "the connections to be given back", 1.5)
    for answer in answers:
        assert answer.result().status_code == 200


def test_a_place_is_given_back_by_a_stream_that_never_began(app, platform):
    with app.app_context():
        assert platform.call("HEAD", "events/").status_code == 200

        assert count_waiters(platform) == 0


def test_a_server_that_is_away_is_asked_again(monkeypatch):
    monkeypatch.setattr(datarun_api.waiting, "TICK", 0.01)
    tried = threading.Event()
    n_tries = []

    def connect():
        n_tries.append(1)
        if len(n_tries) > 2:
            tried.set()
        raise psycopg.OperationalError("away")

    listener = Listener(connect, 1)
    with listener.waiting(1):
        assert tried.wait(30)
    listener.close()
