from datetime import timedelta

import pytest
from sqlalchemy import func, update

from datarun_api.extensions import db
from datarun_api.models import SubmissionFold
from tests.api.payloads import beat, expire_leases, make_failure, make_fold, post_result, prepare


def claim(worker, queue="low", name="w1", **wishes):
    """Claim whatever is next, and say whose and which fold it is."""
    payload = {"owner": 0, "databoard_sf_id": 0, "queue": queue, "worker": name, **wishes}
    response = worker.post("worker/folds/claim/", payload)
    if response.status_code == 204:
        return None
    return response.json["owner"], response.json["databoard_sf_id"]


def post_folds(platform, worker, numbers, **changes):
    raw_data = prepare(platform, worker)
    folds = [make_fold(raw_data, number=number, **changes) for number in numbers]
    assert platform.post("submissionfold/", folds).status_code == 201


def test_one_accounts_many_folds_do_not_make_anothers_wait(platform, worker, add_caller):
    """Three accounts, the first with ten folds: the others' come after one each of the others."""
    second, third = add_caller(), add_caller()
    post_folds(platform, worker, range(10))
    post_folds(second, worker, [1])
    post_folds(third, worker, [1, 2])

    owners = [claim(worker)[0] for _ in range(7)]

    assert set(owners[:3]) == {platform.id, second.id, third.id}
    assert owners.count(third.id) == 2
    assert owners[5:] == [platform.id, platform.id]


def test_of_one_account_the_fold_that_waited_longest_comes_first(platform, worker):
    raw_data = prepare(platform, worker)
    for number in (5, 3, 4):
        platform.post("submissionfold/", make_fold(raw_data, number=number))

    assert [claim(worker)[1] for _ in range(3)] == [5, 3, 4]
    assert claim(worker) is None


def test_queues_are_served_apart(platform, worker):
    post_folds(platform, worker, [1], priority="H")

    assert claim(worker, "low") is None
    assert claim(worker, "high") == (platform.id, 1)


def test_a_worker_that_lost_a_fold_does_not_get_it_while_another_is_there(
    platform,
    worker,
    reconciler,
):
    post_folds(platform, worker, [1])
    beat(worker, "w1")
    beat(worker, "w2")
    claim(worker, name="w1")
    expire_leases()
    reconciler.do_round()

    assert claim(worker, name="w1") is None
    assert claim(worker, name="w2") == (platform.id, 1)


def test_a_worker_that_lost_a_fold_gets_it_again_if_it_is_alone(
    platform,
    worker,
    reconciler,
):
    post_folds(platform, worker, [1])
    beat(worker, "w1")
    beat(worker, "w2", queues=["high"])
    claim(worker, name="w1")
    expire_leases()
    reconciler.do_round()

    assert claim(worker, name="w1") == (platform.id, 1)


def test_a_worker_that_lost_a_fold_gets_it_again_if_nobody_takes_it_for_a_lease(
    platform,
    worker,
    reconciler,
    context,
):
    post_folds(platform, worker, [1])
    beat(worker, "w1")
    beat(worker, "w2")
    claim(worker, name="w1")
    expire_leases()
    reconciler.do_round()
    long_ago = func.now() - timedelta(hours=1)
    waiting = update(SubmissionFold).where(SubmissionFold.queued_at.is_not(None))
    db.session.execute(waiting.values(queued_at=long_ago))
    db.session.commit()

    assert claim(worker, name="w1") == (platform.id, 1)


@pytest.mark.parametrize("kind", ["submission_error", "time_limit", "memory_limit"])
def test_what_is_the_submissions_fault_is_never_tried_again(platform, worker, kind):
    post_folds(platform, worker, [1])
    claim(worker)

    post_result(worker, platform, make_failure(kind), 1)

    assert claim(worker) is None
    assert platform.get("submissionfold/1/").json["failure_kind"] == kind


def test_a_fold_that_was_lost_is_given_to_nobody_who_is_busy(platform, worker, reconciler):
    """Whatever its worker died of, the next one begins with it at once."""
    post_folds(platform, worker, [1])
    assert claim(worker, ahead=True) == (platform.id, 1)
    expire_leases()
    beat(worker, "w2")
    reconciler.apply_rules()

    assert claim(worker, name="w2", ahead=True) is None

    assert claim(worker, name="w2") == (platform.id, 1)
