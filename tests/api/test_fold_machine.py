"""No sequence of events brings a fold into a state that the table doesn't know."""

import itertools

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import select

from datarun_api.extensions import db
from datarun_api.models import Attempt, SubmissionFold
from datarun_api.reconciler import Reconciler
from tests.api.payloads import (
    beat,
    claim_fold,
    expire_leases,
    make_failure,
    make_fold,
    make_result,
    post_result,
    prepare,
)

FINAL = ("TESTED", "ERROR")
numbers = itertools.count(1000)


@pytest.fixture
def fold_machine(platform, worker, context, monkeypatch):
    monkeypatch.setitem(context.config, "RECONCILE", 0)
    raw_data = prepare(platform, worker)

    class FoldMachine(RuleBasedStateMachine):
        """A fold, what may happen to it, and what must be so whatever happens."""

        def __init__(self):
            super().__init__()
            self.number = next(numbers)
            self.kept = None
            self.claimed = 0
            self.reconciler = Reconciler()
            self.reconciler._was_outage = False
            beat(worker)
            assert self.post().status_code == 201

        def post(self, **changes):
            fold = make_fold(raw_data, number=self.number, **changes)
            return platform.post("submissionfold/", fold)

        def get(self):
            return platform.get(f"submissionfold/{self.number}/").json

        def teardown(self):
            platform.call("DELETE", f"submissionfold/{self.number}/")
            self.reconciler.close()

        @rule()
        def claim(self):
            response = claim_fold(worker, platform, self.number)
            if response.status_code == 200 and response.json["databoard_sf_id"] == self.number:
                assert response.json["attempt"] > self.claimed
                self.claimed = response.json["attempt"]

        @rule(late=st.integers(0, 1))
        def finish(self, late):
            attempt = max(1, self.claimed - late)
            response = post_result(worker, platform, make_result(), self.number, attempt)
            assert response.status_code in (200, 409)

        @rule()
        def fail(self):
            post_result(worker, platform, make_failure(), self.number, max(1, self.claimed))

        @rule()
        def fail_by_our_fault(self):
            failure = make_failure("platform_error")
            post_result(worker, platform, failure, self.number, max(1, self.claimed))

        @rule()
        def report(self):
            path = f"worker/folds/{platform.id}/{self.number}/{max(1, self.claimed)}/phase/"
            assert worker.post(path, {"state": "TRAINED"}).status_code in (200, 409)

        @rule()
        def release(self):
            path = f"worker/folds/{platform.id}/{self.number}/{max(1, self.claimed)}/release/"
            assert worker.post(path, {"reason": "stops"}).status_code in (200, 409)

        @rule()
        def fall_silent(self):
            expire_leases()
            beat(worker)
            self.reconciler.do_round()

        @rule()
        def cancel(self):
            response = platform.call("DELETE", f"submissionfold/{self.number}/")
            assert response.status_code in (200, 409)

        @rule()
        def repeat(self):
            assert self.post().status_code == 200

        @rule()
        def change(self):
            assert self.post(priority="H").status_code == 409

        @rule()
        @precondition(lambda self: self.claimed < 5)
        def force(self):
            assert self.post(force="submission_fold").status_code == 201
            self.kept = None

        @invariant()
        def is_in_exactly_one_known_state(self):
            db.session.rollback()
            row = db.session.get(SubmissionFold, (platform.id, self.number), populate_existing=True)
            marks = [row.lease_until, row.queued_at, row.retry_at]
            n_marks = sum(mark is not None for mark in marks)
            final = row.state in FINAL
            assert n_marks == (0 if final else 1)
            assert (row.state == "TESTED") == (row.test_predictions is not None)
            assert (row.state == "ERROR") == (row.failure_kind is not None)
            assert (row.finished_at is not None) == final
            running = select(Attempt).filter_by(
                owner_id=platform.id, databoard_sf_id=self.number, ended_at=None
            )
            assert len(db.session.scalars(running).all()) == (row.lease_until is not None)
            assert row.n_losses <= 3

        @invariant()
        def an_end_state_stays_until_it_is_forced(self):
            fold = self.get()
            if self.kept is not None:
                assert fold == self.kept
            elif fold["state"] in FINAL:
                self.kept = fold

    return FoldMachine


def test_no_sequence_of_events_reaches_an_undefined_state(fold_machine):
    fold_machine.TestCase.settings = settings(
        max_examples=25,
        stateful_step_count=12,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    fold_machine.TestCase().runTest()
