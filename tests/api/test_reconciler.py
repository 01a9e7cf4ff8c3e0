import pytest

from datarun_api.extensions import db, get_queues, get_storage
from datarun_api.garbage import collect_files
from datarun_api.leases import get_lease
from datarun_api.models import RawData
from datarun_api.reconciler import Reconciler
from tests.api.payloads import (
    beat,
    claim_fold,
    claim_split,
    expire_leases,
    make_fold,
    make_result,
    post_raw_data,
    post_result,
    prepare,
    request_split,
    run_fold,
    silence,
)
from tests.conftest import wait_until


def post_fold(platform, *args, **changes):
    return platform.post("submissionfold/", make_fold(*args, **changes)).json["task_id"]


def get_fold(platform, number=10):
    return platform.get(f"submissionfold/{number}/").json


def lose_jobs():
    get_queues().connection.flushall()


def list_jobs(queue="low"):
    return get_queues().list_waiting(queue, 99)


def test_a_fold_whose_job_was_lost_is_enqueued_again(platform, raw_data, reconciler):
    task_id = post_fold(platform, raw_data)
    lose_jobs()

    reconciler.do_round()

    assert list_jobs() == [task_id]


def test_a_fold_with_a_job_is_left_alone(platform, raw_data, reconciler):
    task_id = post_fold(platform, raw_data)

    reconciler.do_round()

    assert list_jobs() == [task_id]


def test_a_queue_needs_as_many_jobs_as_folds_whichever_they_name(
    platform, worker, raw_data, reconciler
):
    """A job may have woken a worker that took another fold: its own fold then waits without."""
    first, second = post_fold(platform, raw_data), post_fold(platform, number=11)
    get_queues().connection.lrem("rq:queue:low", 1, first)
    claim_fold(worker, platform, number=11)

    reconciler.do_round()

    assert list_jobs() == [second]


def test_a_fold_that_runs_or_waits_for_its_split_gets_no_job(
    platform, worker, raw_data, reconciler
):
    beat(worker)
    post_fold(platform, raw_data)
    claim_fold(worker, platform)
    unsplit = post_raw_data(platform, name="unsplit")
    request_split(platform, unsplit)
    post_fold(platform, unsplit, number=11, databoard_s_id=2)
    lose_jobs()

    reconciler.do_round()

    assert list_jobs() == []


def test_a_split_whose_job_was_lost_is_enqueued_again(platform, reconciler):
    number = post_raw_data(platform)
    request_split(platform, number)
    lose_jobs()

    reconciler.do_round()

    assert list_jobs("high") == [f"split-{number}-1"]


def test_a_fold_whose_lease_is_over_runs_again(platform, worker, raw_data, reconciler):
    beat(worker)
    post_fold(platform, raw_data)
    claim_fold(worker, platform)
    lose_jobs()
    expire_leases()

    reconciler.do_round()

    assert list_jobs() == [f"fold-{platform.id}-10-2"]
    assert post_result(worker, platform, make_result()).status_code == 409
    run_fold(worker, platform, attempt=2)
    outcomes = [
        (attempt["number"], attempt["outcome"])
        for attempt in platform.get("submissionfold/10/attempts/").json
    ]
    assert outcomes == [(1, "lost"), (2, "tested")]


def test_the_third_lost_attempt_ends_a_fold(platform, worker, raw_data, reconciler):
    beat(worker)
    post_fold(platform, raw_data)

    for attempt in (1, 2, 3):
        assert claim_fold(worker, platform).json["attempt"] == attempt
        expire_leases()
        reconciler.do_round()

    fold = get_fold(platform)
    assert (fold["state"], fold["failure_kind"]) == ("ERROR", "platform_error")
    assert fold["log_messages"].count("fell silent") == 3


def test_a_split_whose_lease_is_over_runs_again_and_the_third_time_fails(
    platform, worker, reconciler
):
    beat(worker)
    number = post_raw_data(platform)
    request_split(platform, number)
    post_fold(platform, number)

    for attempt in (1, 2, 3):
        assert claim_split(worker, number, attempt).status_code == 200
        expire_leases()
        reconciler.do_round()

    (row,) = platform.get("rawdata/").json
    fold = get_fold(platform)
    assert row["split_state"] == "ERROR"
    assert (fold["state"], fold["failure_kind"]) == ("ERROR", "platform_error")


def test_after_an_outage_every_lease_gets_one_more(platform, worker, raw_data, reconciler):
    beat(worker)
    post_fold(platform, raw_data)
    claim_fold(worker, platform)
    expire_leases()
    reconciler.note_outage()

    reconciler.do_round()
    reconciler.do_round()

    assert get_fold(platform)["attempt"] == 1
    assert post_result(worker, platform, make_result()).status_code == 200


def test_nothing_is_taken_away_while_no_worker_is_heard_at_all(
    platform, worker, raw_data, reconciler
):
    """Then it is rather we who were away; once one is heard, leases count anew."""
    beat(worker)
    post_fold(platform, raw_data)
    claim_fold(worker, platform)
    silence("w1")
    expire_leases()

    reconciler.do_round()
    beat(worker, "w2")
    reconciler.do_round()
    reconciler.do_round()
    assert get_fold(platform)["attempt"] == 1
    expire_leases()
    reconciler.do_round()

    assert get_fold(platform)["attempt"] == 2


def test_an_outage_of_less_than_a_lease_is_noticed_too(platform, worker, raw_data, reconciler):
    """What a worker has kept meanwhile may still be on its way when its lease is over."""
    beat(worker)
    post_fold(platform, raw_data)
    claim_fold(worker, platform)
    silence("w1", get_lease() * 0.6)
    reconciler.do_round()
    expire_leases()

    beat(worker, "w2")
    reconciler.do_round()

    assert post_result(worker, platform, make_result()).status_code == 200


def test_a_second_reconciler_waits_until_the_first_is_gone(platform, worker, raw_data, reconciler):
    beat(worker)
    second = Reconciler()
    reconciler.do_round()
    task_id = post_fold(platform, raw_data)
    lose_jobs()

    second.do_round()
    assert list_jobs() == []
    reconciler.close()

    def takes_over():
        second.do_round()
        return list_jobs() == [task_id]

    # PostgreSQL lets go of the lock when it notices that the session is gone.
    wait_until(takes_over, "the second one's turn")
    second.close()


def test_files_that_nothing_refers_to_are_deleted(platform, worker, raw_data, context):
    other = prepare(platform, worker, name="other")
    (part,) = [
        part for part in db.session.get(RawData, raw_data).parts if part["name"] == "X_train"
    ]
    (kept,) = [part for part in db.session.get(RawData, other).parts if part["name"] == "X_train"]
    platform.call("DELETE", f"rawdata/{raw_data}/")

    assert collect_files() == 0
    assert collect_files(min_age=-1) > 0

    assert get_storage().find(kept["sha256"])
    with pytest.raises(FileNotFoundError):
        get_storage().find(part["sha256"])
