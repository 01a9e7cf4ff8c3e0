"""Where a fold's time went: the spans that its detail shows."""

import time
from datetime import datetime

import pytest

from datarun_api.extensions import db
from datarun_client.states import Span
from tests.api.payloads import claim_fold, make_fold, make_result, post_result

MEASURED = {"inputs": 0.0001, "start": 0.0002, "train": 0.0003}
"""Less than the requests around them take: nothing of it can have happened otherwise."""


def get_fold(platform):
    return platform.get("submissionfold/10/").json


@pytest.mark.parametrize("others", [[], [11, 12]], ids=["alone", "in a list"])
def test_the_spans_add_up_to_the_time_from_the_post_to_the_result(
    app, platform, worker, raw_data, others
):
    # Given a fold that is posted and claimed, by statements that are yet to be put together
    with app.app_context():
        db.engine.clear_compiled_cache()
    fold = make_fold(raw_data)
    more = [make_fold(raw_data, number) for number in others]
    started = time.monotonic()
    platform.post("submissionfold/", [fold, *more] if more else fold)
    claim_fold(worker, platform)

    # When its result comes with what the worker measured
    post_result(worker, platform, make_result(timings=MEASURED))
    passed = time.monotonic() - started

    # Then they fill the time between its POST and its end
    fold = get_fold(platform)
    timings = fold["timings"]
    assert set(timings) == {"accept", "pick_up", "deliver", *MEASURED}
    assert {name: timings[name] for name in MEASURED} == MEASURED
    created, finished = (
        datetime.fromisoformat(fold[name]) for name in ("created_at", "finished_at")
    )
    # The database notes microseconds, and `created_at` when the request's transaction began.
    assert (finished - created).total_seconds() - 1e-6 <= sum(timings.values()) <= passed


def test_a_fold_that_waits_tells_what_is_known(platform, worker, raw_data):
    platform.post("submissionfold/", make_fold(raw_data))

    posted = get_fold(platform)["timings"]
    claim_fold(worker, platform)
    claimed = get_fold(platform)["timings"]

    assert list(posted) == ["accept"]
    assert set(claimed) == {"accept", "pick_up"}


def test_a_worker_that_tells_nonsense_makes_no_time_negative(platform, worker, raw_data):
    platform.post("submissionfold/", make_fold(raw_data))
    claim_fold(worker, platform)

    post_result(worker, platform, make_result(timings={"train": 1e6}))

    assert get_fold(platform)["timings"]["deliver"] == 0


def test_force_starts_the_spans_anew(platform, worker, raw_data):
    # Given a fold with its spans
    platform.post("submissionfold/", make_fold(raw_data))
    claim_fold(worker, platform)
    post_result(worker, platform, make_result(timings=MEASURED))

    # When it is forced, then only the new POST counts
    platform.post("submissionfold/", make_fold(raw_data, force="submission_fold"))

    assert list(get_fold(platform)["timings"]) == ["accept"]


@pytest.mark.parametrize(
    "timings", [{"accept": 1.0}, {"train": -1.0}, {"lunch": 1.0}, {"train": "1"}]
)
def test_spans_that_a_worker_cant_measure_are_refused(platform, worker, raw_data, timings):
    platform.post("submissionfold/", make_fold(raw_data))
    claim_fold(worker, platform)

    response = post_result(worker, platform, make_result(timings=timings))

    assert response.status_code == 400
    assert "timings" in response.json["errors"]
    assert get_fold(platform)["state"] == "TODO"


def test_every_span_is_the_workers_or_the_apis():
    assert [span for span in Span if not span.is_workers] == ["accept", "pick_up", "deliver"]
