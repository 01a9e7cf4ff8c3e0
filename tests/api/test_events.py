import contextlib
import json
import threading
from datetime import timedelta

import pytest
import requests
from sqlalchemy import func, select, text, update

from datarun_api.events import Place, find_place, list_events, trim_events
from datarun_api.extensions import db
from datarun_api.models import FoldEvent, SubmissionFold, User
from datarun_api.views.events import follow_events
from datarun_api.waiting import Waiter
from datarun_client.states import State
from tests.api.payloads import claim_fold, make_failure, make_fold, post_result, prepare, run_fold
from tests.conftest import wait_until

LONG = 60
"""Seconds after which a test gives up; none waits that long."""


@pytest.fixture
def follow(api_url):
    """Follow an account's events over HTTP, as (id, name, data)."""
    with contextlib.ExitStack() as stack:

        def open_stream(caller, **headers):
            headers = caller.headers | headers
            address = f"{api_url}runapp/events/"
            response = requests.get(address, headers=headers, stream=True, timeout=LONG)
            stack.enter_context(response)
            response.raise_for_status()
            return parse(response.iter_lines(decode_unicode=True))

        yield open_stream


def parse(lines):
    """Read Server-Sent Events; comments are left out."""
    event = {}
    for line in lines:
        if line.startswith(":"):
            continue
        if not line:
            if event:
                yield event.get("id"), event.get("event"), json.loads(event.get("data", "null"))
            event = {}
            continue
        name, _, value = line.partition(": ")
        event[name] = value


def list_states(owner_id, last_id=0):
    return [event.state for event in list_events(owner_id, last_id)]


def test_every_change_of_a_state_is_an_event(platform, worker, fold, context):
    claim_fold(worker, platform)
    path = f"worker/folds/{platform.id}/10/1/phase/"
    for state in ("TRAINED", "TRAINED", "VALIDATED"):
        assert worker.post(path, {"state": state}).status_code == 200
    post_result(worker, platform, make_failure())

    assert list_states(platform.id) == ["TRAINED", "VALIDATED", "ERROR"]
    event = list_events(platform.id, 0)[-1]
    assert (event.databoard_sf_id, event.databoard_s, event.attempt) == (10, 1, 1)
    assert event.failure_kind == "submission_error"


def test_a_change_that_is_rolled_back_is_none(platform, fold, context):
    db.session.execute(set_state(platform, State.TRAINED))
    db.session.rollback()

    assert list_states(platform.id) == []


def set_state(platform, state, number=10):
    return (
        update(SubmissionFold)
        .where(SubmissionFold.owner_id == platform.id, SubmissionFold.databoard_sf_id == number)
        .values(state=state)
    )


def test_what_commits_later_has_the_larger_number(platform, worker, fold, context):
    platform.post("submissionfold/", make_fold(number=11))
    with db.engine.connect() as slow, db.engine.connect() as quick:
        # Given a change that is made first and committed last
        slow.execute(set_state(platform, State.TRAINED, 10))
        quick.execute(set_state(platform, State.TRAINED, 11))
        quick.commit()
        (seen,) = list_events(platform.id, 0)
        slow.commit()

    # Then a reader who has seen the other one doesn't miss it
    (later,) = list_events(platform.id, seen.id)
    assert (seen.databoard_sf_id, later.databoard_sf_id) == (11, 10)


def test_a_reader_misses_nothing_of_many_writers(app, platform, worker, fold, context):
    numbers = range(10, 16)
    for number in numbers[1:]:
        platform.post("submissionfold/", make_fold(number=number))
    n_rounds = 30

    def write(number):
        with app.app_context(), db.engine.connect() as connection:
            for turn in range(n_rounds):
                state = State.TRAINED if turn % 2 == 0 else State.TODO
                connection.execute(set_state(platform, state, number))
                connection.commit()

    threads = [threading.Thread(target=write, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    seen = []

    def read():
        new = list_events(platform.id, seen[-1].id if seen else 0)
        db.session.rollback()
        seen.extend(new)
        return len(seen) >= n_rounds * len(numbers)

    wait_until(read, "all events")
    for thread in threads:
        thread.join()
    assert len(seen) == n_rounds * len(numbers)
    for number in numbers:
        states = [event.state for event in seen if event.databoard_sf_id == number]
        assert states == [State.TRAINED, State.TODO] * (n_rounds // 2)


def test_events_come_as_they_happen(platform, worker, fold, follow):
    stream = follow(platform)
    start, name, _ = next(stream)
    assert (start, name) == ("0", None)

    run_fold(worker, platform)

    number, name, data = next(stream)
    assert name == "fold"
    assert int(number) > 0
    assert data.pop("created_at")
    assert data == {
        "databoard_sf_id": 10,
        "databoard_s": 1,
        "state": "TESTED",
        "failure_kind": None,
        "attempt": 1,
    }


def test_a_stream_goes_on_after_the_last_event_that_was_seen(platform, worker, fold, follow):
    run_fold(worker, platform)
    platform.post("submissionfold/", make_fold(number=10, force="submission_fold"))
    first = follow(platform, **{"Last-Event-ID": "0"})
    next(first)
    (seen, _, tested) = next(first)

    second = follow(platform, **{"Last-Event-ID": seen})

    assert next(second)[0] == seen
    (_, _, forced) = next(second)
    assert (tested["state"], forced["state"]) == ("TESTED", "TODO")


def test_without_a_last_event_only_new_ones_come(platform, worker, fold, follow):
    run_fold(worker, platform)

    stream = follow(platform)
    next(stream)
    platform.post("submissionfold/", make_fold(number=10, force="submission_fold"))

    assert next(stream)[2]["state"] == "TODO"


def test_others_events_are_not_shown(platform, worker, fold, follow, add_caller):
    run_fold(worker, platform)
    other = add_caller()
    own = prepare(other, worker)
    other.post("submissionfold/", make_fold(own, 77))
    run_fold(worker, other, 77)

    stream = follow(other, **{"Last-Event-ID": "0"})

    next(stream)
    assert next(stream)[2]["databoard_sf_id"] == 77


def test_a_stream_lasts_as_long_as_was_asked(platform, api_url):
    address = f"{api_url}runapp/events/"

    response = requests.get(f"{address}?wait=1", headers=platform.headers, timeout=LONG)

    assert response.text.startswith("retry: ")
    assert requests.get(f"{address}?wait=0", headers=platform.headers).status_code == 400


def test_a_client_that_does_not_read_holds_no_connection(platform, worker, fold, context):
    run_fold(worker, platform)
    db.session.remove()

    stream = follow_events(platform.id, Place(0), Waiter(platform.id))

    for beginning in (b"retry: ", b"id: "):
        assert next(stream).startswith(beginning)
        assert db.engine.pool.checkedout() == 0
    stream.close()


def test_a_viewer_follows_the_account_that_it_views(platform, worker, fold, follow, add_caller):
    run_fold(worker, platform)

    stream = follow(add_caller("viewer", views=platform), **{"Last-Event-ID": "0"})

    next(stream)
    assert next(stream)[2]["databoard_sf_id"] == 10


def test_who_comes_back_too_late_is_told(platform, worker, fold, follow, context, monkeypatch):
    monkeypatch.setitem(context.config, "KEEP_EVENTS", 3600)
    claim_fold(worker, platform)
    worker.post(f"worker/folds/{platform.id}/10/1/phase/", {"state": "TRAINED"})
    (old,) = list_events(platform.id, 0)
    age(platform)
    trim_events()
    post_result(worker, platform, make_failure())

    stream = follow(platform, **{"Last-Event-ID": str(old.id - 1)})

    number, name, _ = next(stream)
    assert (number, name) == (str(old.id), "reset")
    assert next(stream)[2]["state"] == "ERROR"
    assert not find_place(platform.id, old.id).was_lost


def test_a_number_of_another_database_is_told_too(platform, worker, fold, context):
    run_fold(worker, platform)
    (event,) = list_events(platform.id, 0)

    assert find_place(platform.id, event.id + 1).was_lost
    assert find_place(platform.id, None).last_id == event.id


def test_only_old_events_are_trimmed(platform, worker, fold, context, monkeypatch):
    monkeypatch.setitem(context.config, "KEEP_EVENTS", 3600)
    run_fold(worker, platform)
    trim_events()
    assert len(list_events(platform.id, 0)) == 1

    (event,) = list_events(platform.id, 0)
    age(platform)
    trim_events()

    assert list_states(platform.id) == []
    user = db.session.get_one(User, platform.id, populate_existing=True)
    assert user.events_trimmed_to == event.id
    trim_events()
    assert user.events_trimmed_to == event.id


def age(platform):
    db.session.execute(
        update(FoldEvent)
        .where(FoldEvent.owner_id == platform.id)
        .values(created_at=func.now() - timedelta(hours=2))
    )
    db.session.commit()


@pytest.mark.parametrize("last_id", ["-1", "x", str(2**63), ""])
def test_what_is_no_number_is_refused(platform, last_id):
    response = platform.get("events/", headers={"Last-Event-ID": last_id})

    assert response.status_code == 400
    assert "Last-Event-ID" in response.json["errors"]


def test_a_stream_lives_through_a_lost_listener(platform, worker, fold, follow, context):
    stream = follow(platform)
    next(stream)
    wait_until(lambda: find_listeners(), "the listener")

    db.session.execute(
        text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
    )
    run_fold(worker, platform)

    assert next(stream)[2]["state"] == "TESTED"


def find_listeners():
    query = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
    found = db.session.execute(text(query)).all()
    db.session.rollback()
    return found


def test_the_table_is_read_by_its_index(platform, context):
    query = select(FoldEvent.id).where(FoldEvent.owner_id == platform.id, FoldEvent.id > 1)
    db.session.execute(text("SET LOCAL enable_seqscan = off"))

    compiled = query.order_by(FoldEvent.id).compile(
        db.engine, compile_kwargs={"literal_binds": True}
    )

    plan = "\n".join(db.session.scalars(text(f"EXPLAIN {compiled}")))
    assert "ix_fold_event_owner_id" in plan
    assert "Sort" not in plan
