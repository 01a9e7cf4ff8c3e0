import json

import pytest
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.serializers import JSONSerializer

from datarun_worker.jobs import FAILURE_TTL, RESULT_TTL, TASKS, OurJob, OurQueue

FOLD_TASK = "datarun_worker.tasks.train_test_submission_fold"


def put(redis, job_id: str, **fields) -> None:
    redis.hset(f"rq:job:{job_id}", mapping={"status": "queued", "origin": "high", **fields})


def test_the_tasks_are_those_that_the_api_names():
    assert set(TASKS) == {
        FOLD_TASK,
        "datarun_worker.tasks.prepare_data",
        "datarun_worker.tasks.custom_prepare_data",
        "datarun_worker.tasks.score_submission",
    }


@pytest.mark.parametrize(("args", "kwargs"), [((1, 2), {}), ((1,), {"databoard_sf_id": 2})])
def test_one_of_our_jobs_is_read(redis, args, kwargs):
    queue = Queue("high", connection=redis, serializer=JSONSerializer)
    sent = queue.enqueue(FOLD_TASK, args=args, kwargs=kwargs, result_ttl=10**6, retry=None)

    job = OurJob.fetch(sent.id, connection=redis, serializer=JSONSerializer)

    assert job.func is TASKS[FOLD_TASK]
    assert (job.result_ttl, job.failure_ttl, job.timeout) == (RESULT_TTL, FAILURE_TTL, -1)


def test_fields_that_we_do_not_use_are_not_believed(redis):
    put(
        redis,
        "kept",
        data=json.dumps([FOLD_TASK, None, [1, 2], {}]),
        retries_left=1000,
        repeats_left=1000,
        repeat_intervals="[0]",
        rate_limit_key="x",
        rate_limit_concurrency=1,
        timeout=1,
    )

    job = OurJob.fetch("kept", connection=redis, serializer=JSONSerializer)

    assert not job.retries_left
    assert not job.repeats_left
    assert not job.has_rate_limit
    assert job.timeout == -1


def test_a_refused_job_does_not_hide_the_others(redis):
    put(redis, "bad", data=json.dumps(["os.system", None, ["true"], {}]))
    put(redis, "good", data=json.dumps([FOLD_TASK, None, [1, 2], {}]))

    jobs = OurJob.fetch_many(["bad", "gone", "good"], redis, JSONSerializer)

    assert [job and job.id for job in jobs] == [None, None, "good"]
    with pytest.raises(NoSuchJobError):
        OurJob.fetch("bad", connection=redis, serializer=JSONSerializer)


@pytest.fixture(params=[True, False])
def redis_of_any_age(redis, request):
    """Redis as it is, and without the command that came with version 7."""
    if not request.param:
        redis.acl_setuser("default", commands=["-lmpop"])
    yield redis
    redis.acl_setuser("default", commands=["+lmpop"])


def test_jobs_are_taken_from_the_first_queue_that_has_one(redis_of_any_age):
    # Given two queues with jobs, the first of the second queue posted first
    redis = redis_of_any_age
    # Not our own, which a worker may serve.
    first, second = (OurQueue(name, connection=redis).key for name in ("first", "second"))
    redis.rpush(second, "c", "d")
    redis.rpush(first, "a", "b")

    # When they are taken without waiting
    taken = [OurQueue.lpop([first, second], None, connection=redis) for _ in range(5)]

    # Then those of the first queue come first, in their order, and in the end nothing
    found = [(first, "a"), (first, "b"), (second, "c"), (second, "d")]
    assert taken == [*((key.encode(), job_id.encode()) for key, job_id in found), None]
