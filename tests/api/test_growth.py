"""With many finished folds in the tables, nothing that is done often reads them.

The plan of every statement that the API sends is asked for at the moment it is sent, with the
values it is sent with. So no copy of a query is tested, and none is forgotten.
"""

import json
from datetime import UTC, datetime

import pytest
from sqlalchemy import delete, event, text

from datarun_api.events import find_place, list_events, trim_events
from datarun_api.extensions import db
from datarun_api.models import FoldEvent
from tests.api.payloads import (
    beat,
    claim_fold,
    expire_leases,
    make_failure,
    make_fold,
    make_result,
    post_result,
)

MANY = 100_000

LARGE = {"submission_fold", "attempt", "fold_event"}
"""The tables that grow with every fold."""

MAX_COST = 1000.0
"""What PostgreSQL may expect of a statement, in its unit, a page read in turn. Reading all of the
smallest index takes more."""

FINISHED = (
    # What other tests never fetched would seem to be this account's.
    "UPDATE submission_fold SET new = false WHERE new AND owner_id <> :owner",
    "INSERT INTO submission_fold (owner_id, databoard_sf_id, databoard_s, train_is, test_is, "
    "max_index, priority, state, attempt, n_losses, log_messages, new, train_time, "
    "validation_time, test_time, train_cpu_time, test_cpu_time, train_memory, test_memory) "
    "SELECT owner_id, 1000 + n, databoard_s, train_is, test_is, max_index, priority, 'TESTED', 1, "
    "0, '', false, 0, 0, 0, 0, 0, 0, 0 FROM submission_fold, generate_series(1, :many) n "
    "WHERE owner_id = :owner AND databoard_sf_id = 10",
    # Else each attempt's fold may be looked for in the whole table, which was empty a moment ago.
    "ANALYZE submission_fold",
    "INSERT INTO attempt (owner_id, databoard_sf_id, number, worker, queue, hash_files, "
    "started_at, ended_at, outcome) SELECT owner_id, databoard_sf_id, 1, 'w1', 'low', '', "
    "now() - interval '2 days', now() - interval '1 day' - databoard_sf_id * interval '1 s', "
    "'tested' FROM submission_fold WHERE owner_id = :owner AND databoard_sf_id > 1000",
    "INSERT INTO fold_event (owner_id, databoard_sf_id, databoard_s, state, attempt) "
    "SELECT owner_id, databoard_sf_id, databoard_s, state, 1 "
    "FROM submission_fold WHERE owner_id = :owner AND databoard_sf_id > 1000",
    "ANALYZE submission_fold, attempt, fold_event",
)


class Plans:
    """The plans of all statements that are sent."""

    def __init__(self):
        self._seen = []

    def note(self, connection, cursor, statement, parameters, context, executemany):
        if executemany or not statement.startswith(
            ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")
        ):
            return
        with connection.connection.cursor() as asking:
            asking.execute(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
            (plan,) = asking.fetchone()
        plan = json.loads(plan) if isinstance(plan, str) else plan
        self._seen.append((statement, plan[0]["Plan"]))

    def take(self):
        """Give those that touch a large table, and forget all."""
        seen = [
            (s, plan)
            for s, plan in self._seen
            if LARGE & {n.get("Relation Name") for n in walk(plan)}
        ]
        self._seen = []
        return seen


def walk(plan):
    """Give a plan's nodes."""
    yield plan
    for part in plan.get("Plans", ()):
        yield from walk(part)


@pytest.fixture
def many(platform, worker, raw_data, context):
    """Finished folds, and after the test none."""
    platform.post("submissionfold/", make_fold(raw_data))
    for statement in FINISHED:
        db.session.execute(text(statement), {"many": MANY, "owner": platform.id})
    db.session.commit()
    yield
    platform.call("DELETE", f"rawdata/{raw_data}/")
    db.session.execute(delete(FoldEvent).where(FoldEvent.owner_id == platform.id))
    db.session.execute(text("ANALYZE submission_fold, attempt, fold_event"))
    db.session.commit()


@pytest.fixture
def plans(context):
    plans = Plans()
    event.listen(db.engine, "before_cursor_execute", plans.note)
    yield plans
    event.remove(db.engine, "before_cursor_execute", plans.note)


def check(plans, what):
    """See that each statement reads only what it looks for."""
    seen = plans.take()
    assert seen, what
    for statement, plan in seen:
        told = f"{what}: {statement}\n{json.dumps(plan, indent=1)}"
        scanned = {node["Relation Name"] for node in walk(plan) if node["Node Type"] == "Seq Scan"}
        assert not scanned & LARGE, told
        assert plan["Total Cost"] < MAX_COST, told


def check_lists(platform, raw_data, plans):
    """See that a page costs what it shows, and the events that follow one cost no more."""
    page = "submissionfold-light/?limit=10"
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    for query in (
        "",
        "&cursor=50000",
        "&state=TESTED",
        "&state=ERROR,TODO",
        "&submission=1",
        f"&since={now}",
        f"&raw_data={raw_data}",
        "&priority=H",
    ):
        assert platform.get(f"{page}{query}").status_code == 200
        check(plans, f"a page{query}")
    place = find_place(platform.id, None)
    check(plans, "where the events end")
    assert len(list_events(platform.id, place.last_id - 1)) == 1
    check(plans, "the events that follow one")
    trim_events()
    check(plans, "the events that are old")


@pytest.mark.timeout(300)
def test_nothing_that_is_done_often_reads_finished_folds(
    platform, worker, raw_data, many, reconciler, plans
):
    check_lists(platform, raw_data, plans)
    beat(worker)
    lease = f"worker/folds/{platform.id}/10/1/lease/"

    reconciler.do_round()
    check(plans, "a round that finds nothing")
    assert platform.get("submissionfold/10/").json["progress"]["reason"] == "queued"
    check(plans, "why a queued fold waits")
    assert platform.post("submissionfold/", make_fold(number=12, priority="H")).status_code == 201
    assert platform.get("submissionfold/12/").json["progress"]["reason"] == "queued"
    check(plans, "why a fold waits on a queue that had none")
    (entry,) = platform.get("submissionfold-light/?priority=H").json
    check(plans, "a list of those that go first")
    assert entry["databoard_sf_id"] == 12
    assert platform.get("queues/").status_code == 200
    check(plans, "how long the queues are")
    assert claim_fold(worker, platform).status_code == 200
    check(plans, "a claim")
    assert worker.post(lease).status_code == 200
    check(plans, "a lease's renewal")
    assert platform.get("workers/").json[0]["fold"]["databoard_sf_id"] == 10
    check(plans, "what the workers do")
    assert platform.get("submissionfold/10/").json["progress"]["reason"] == "runs"
    check(plans, "why a fold isn't ready")

    expire_leases()
    beat(worker)
    plans.take()
    reconciler.do_round()
    check(plans, "a round that finds a lost fold")

    assert claim_fold(worker, platform).status_code == 200
    failure = make_failure("platform_error")
    assert post_result(worker, platform, failure, attempt=2).status_code == 200
    db.session.execute(text("UPDATE submission_fold SET retry_at = now() WHERE retry_at > now()"))
    db.session.commit()
    plans.take()
    reconciler.do_round()
    check(plans, "a round that finds a fold to be tried again")

    assert claim_fold(worker, platform).status_code == 200
    plans.take()
    assert post_result(worker, platform, make_result(), attempt=3).status_code == 200
    check(plans, "a result")
    answer = platform.post("testpredictions/new/", {"ack": ""}).json
    check(plans, "new predictions that are to be acknowledged")
    assert len(answer["predictions"]) == 1
    (entry,) = platform.post("testpredictions/new/", {}).json
    check(plans, "new predictions")
    assert entry["databoard_sf_id"] == 10
    platform.post("testpredictions/new/", {"ack": answer["ack"]})
    check(plans, "an acknowledgement")

    assert platform.post("submissionfold/", make_fold(number=11)).status_code == 201
    check(plans, "a post")
    assert platform.call("DELETE", "submissionfold/11/").status_code == 200
    check(plans, "a cancellation")

    reconciler.note_outage()
    reconciler.do_round()
    check(plans, "a round after an outage")
