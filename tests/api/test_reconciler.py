import pytest

from datarun_api.extensions import db, get_queues
from datarun_api.models import RawData
from datarun_api.reconciler import reconcile
from tests.api.payloads import claim_fold, make_fold, post_raw_data, prepare, request_split


@pytest.fixture
def lose_jobs(context, monkeypatch):
    """Forget all jobs, and look at folds at once instead of a round later."""
    monkeypatch.setitem(context.config, "RECONCILE", 0)

    return get_queues().connection.flushall


def test_a_fold_whose_job_was_lost_is_enqueued_again(platform, worker, lose_jobs):
    raw_data = prepare(platform, worker)
    task_id = platform.post("submissionfold/", make_fold(raw_data)).json["task_id"]
    lose_jobs()

    reconcile()

    assert get_queues().find_live([task_id]) == {task_id}


def test_a_fold_with_a_live_job_is_left_alone(platform, worker, lose_jobs):
    raw_data = prepare(platform, worker)
    task_id = platform.post("submissionfold/", make_fold(raw_data)).json["task_id"]
    reconcile()

    reconcile()

    waiting = get_queues().connection.lrange("rq:queue:low", 0, -1)
    assert waiting.count(task_id.encode()) == 1


def test_a_fold_that_runs_or_waits_for_its_split_is_left_alone(platform, worker, lose_jobs):
    raw_data = prepare(platform, worker)
    running = platform.post("submissionfold/", make_fold(raw_data)).json["task_id"]
    claim_fold(worker, platform)
    unsplit = post_raw_data(platform, name="unsplit")
    request_split(platform, unsplit)
    fold = make_fold(unsplit, number=11, databoard_s_id=2)
    waiting = platform.post("submissionfold/", fold).json["task_id"]
    lose_jobs()

    reconcile()

    assert get_queues().find_live([running, waiting]) == set()


def test_a_split_whose_job_was_lost_is_enqueued_again(platform, lose_jobs):
    raw_data = post_raw_data(platform)
    request_split(platform, raw_data)
    lose_jobs()

    reconcile()

    assert get_queues().find_live([f"split-{raw_data}-1"])
    assert db.session.get(RawData, raw_data).split_attempt == 1
