"""Real `rq worker` processes, a real Valkey, the real API behind a real HTTP server."""

import json
import pickle
import zlib
from pathlib import Path

import numpy as np
from posts import (
    FOLD_TASK,
    SLOW,
    enqueue,
    forge,
    get_fold,
    post_data_set,
    post_fold,
    post_folds,
    post_split,
    wait_for_end,
    wait_for_split,
    wait_for_words,
)
from rq.job import JobStatus
from test_folds import FOREST

from datarun_client.codec import decode_predictions, encode_bytes, encode_indices
from datarun_client.states import Span
from tests.conftest import wait_until


def test_a_data_set_is_split_and_a_fold_tested(platform, redis, shared_worker):
    raw_data = post_data_set(platform)
    post_split(platform, raw_data)
    # The split runs; the fold waits for it.
    post_fold(platform, raw_data)

    fold = wait_for_end(platform)

    assert fold["state"] == "TESTED", fold["log_messages"]
    full_train = decode_predictions(fold["full_train_predictions"], (105, 3))
    test = decode_predictions(fold["test_predictions"], (45, 3))
    for predictions in (full_train, test):
        np.testing.assert_allclose(predictions.sum(axis=1), 1)
    assert fold["train_time"] > 0


def test_folds_follow_one_another_and_every_job_is_done_with(platform, redis, shared_worker):
    """The result of one brings the claim of the next; their spans are all there."""
    raw_data = post_data_set(platform)
    post_split(platform, raw_data)
    wait_for_split(platform)
    numbers = range(10, 18)
    post_folds(platform, raw_data, dict.fromkeys(numbers, FOREST))

    folds = [wait_for_end(platform, number) for number in numbers]

    assert [fold["state"] for fold in folds] == ["TESTED"] * len(numbers), shared_worker.output
    for fold in folds:
        assert set(fold["timings"]) | {Span.AHEAD} == set(Span)
        assert fold["timings"]["train"] >= fold["train_time"]
    # While more waited than this worker could begin with, it had the next one at hand.
    assert any(Span.AHEAD in fold["timings"] for fold in folds)
    wait_until(lambda: not redis.llen("rq:queue:low"), "all jobs to be taken")


def test_a_reader_splits_its_data_set(platform, redis, shared_worker):
    reader = b"""
import numpy as np

def prepare_data(path):
    pass

def get_train_data(path):
    return np.arange(40.0).reshape(20, 2), np.arange(20) % 2

def get_test_data(path):
    return np.arange(20.0).reshape(10, 2), np.arange(10) % 2
"""
    raw_data = post_data_set(platform, {"reader.py": reader, "a.txt": b"a", "b.txt": b"b"})
    assert platform.post("rawdata/customsplit/", {"raw_data_id": raw_data}).status_code == 201
    post_fold(platform, raw_data, rows=20)

    fold = wait_for_end(platform)

    assert fold["state"] == "TESTED", fold["log_messages"]


def test_a_broken_data_set_ends_its_split_and_its_folds(platform, redis, shared_worker):
    raw_data = post_data_set(platform, {"iris.csv": b"a,target\n1,2\n3,4,5,6\n"})
    post_split(platform, raw_data)
    post_fold(platform, raw_data)

    fold = wait_for_end(platform)

    assert fold["failure_kind"] == "data_error"
    (data_set,) = platform.get("rawdata/").json
    assert "can't be read as CSV" in data_set["split_error"]


def test_rows_that_are_not_there_are_a_data_error(platform, redis, shared_worker):
    raw_data = post_data_set(platform)
    post_split(platform, raw_data)
    post_fold(platform, raw_data, rows=1000)

    fold = wait_for_end(platform)

    assert (fold["state"], fold["failure_kind"]) == ("ERROR", "data_error")
    assert "999" in fold["log_messages"]


def test_a_running_fold_tells_its_log_and_phase(platform, redis, shared_worker):
    source = (
        SLOW.format(0)
        .replace(
            "return self.model.predict_proba", "time.sleep(3); return self.model.predict_proba"
        )
        .replace("class Classifier", "import time\n\nclass Classifier")
    )
    raw_data = post_data_set(platform)
    post_split(platform, raw_data)
    post_fold(platform, raw_data, source)

    wait_until(
        lambda: (
            (fold := get_fold(platform))["state"] == "TRAINED" and "begun" in fold["log_messages"]
        ),
        "a report of the phase and the log",
    )

    assert wait_for_end(platform)["log_messages"] == "begun"


def test_a_fold_that_is_forced_anew_is_stopped(platform, redis, shared_worker):
    raw_data = post_data_set(platform)
    post_split(platform, raw_data)
    post_fold(platform, raw_data, SLOW.format(60), number=11)
    wait_until(lambda: "begun" in get_fold(platform, 11)["log_messages"], "the fold to begin")

    payload = {
        "databoard_sf_id": 11,
        "databoard_s_id": 11,
        "train_is": encode_indices(np.arange(50)),
        "test_is": encode_indices(np.arange(50, 60)),
        "raw_data": raw_data,
        "files": {"classifier.py": encode_bytes(FOREST.encode())},
        "force": "submission, submission_fold",
    }
    answer = platform.post("submissionfold/", payload)

    assert answer.status_code == 201, answer.json
    assert wait_for_end(platform, 11)["state"] == "TESTED", shared_worker.output
    wait_for_words(shared_worker, "is stopped")


POISON = {
    "not-json": {"data": b"\x80\x04no"},
    "a-pickle": {"data": pickle.dumps(("os.getpid", None, (), {}))},
    "os-system": {"data": json.dumps(["os.system", None, ["true"], {}])},
    "builtins": {"data": json.dumps(["builtins.exec", None, ["1"], {}])},
    "text-argument": {"data": json.dumps([FOLD_TASK, None, ["1", "2"], {}])},
    "boolean-argument": {"data": json.dumps([FOLD_TASK, None, [True, 1], {}])},
    "large-argument": {"data": json.dumps([FOLD_TASK, None, [2**63, 1], {}])},
    "missing-argument": {"data": json.dumps([FOLD_TASK, None, [1], {}])},
    "method": {"data": json.dumps([FOLD_TASK, "x", [1, 2], {}])},
    "bomb": {"data": zlib.compress(bytes(10_000_000))},
    "huge": {"data": b"x" * 10_000_000},
    "deep": {"data": b"[" * 3000},
    "no-data": {"description": "x"},
    "no-status": {"data": json.dumps([FOLD_TASK, None, [1, 2], {}]), "status": "what"},
    "bad-date": {"data": json.dumps([FOLD_TASK, None, [1, 2], {}]), "created_at": "x"},
    "bytes": {"data": json.dumps([FOLD_TASK, None, [1, 2], {}]), "origin": b"\xff"},
    "callback": {
        "data": json.dumps([FOLD_TASK, None, [1, 2], {}]),
        "success_callback_name": "os.getpid",
    },
    "failure-callback": {
        "data": json.dumps([FOLD_TASK, None, [1, 2], {}]),
        "failure_callback_name": "os.getpid",
    },
    "webhook": {
        "data": json.dumps([FOLD_TASK, None, [1, 2], {}]),
        "webhooks": json.dumps([{"url": "http://127.0.0.1:9/", "job_status": "finished"}]),
    },
}


def test_poisoned_jobs_are_refused_and_the_worker_lives_on(platform, redis, shared_worker):
    for name, fields in POISON.items():
        forge(redis, name, **fields)
    raw_data = post_data_set(platform)
    post_split(platform, raw_data)
    post_fold(platform, raw_data)

    assert wait_for_end(platform)["state"] == "TESTED", shared_worker.output

    for name in POISON:
        wait_for_words(shared_worker, f"job {name} is refused")
        assert not redis.exists(f"rq:job:{name}")


def test_a_job_that_has_nothing_to_do_is_no_failure(redis, shared_worker):
    job = enqueue(redis, FOLD_TASK, 1, 999_999)

    wait_until(lambda: job.get_status() is JobStatus.FINISHED, "the job to finish")

    wait_for_words(shared_worker, "nothing to do")
    assert 0 < redis.ttl(job.key) <= 60


def test_redis_commands_do_not_reach_the_worker(redis, shared_worker):
    wait_for_words(shared_worker, "Listening on")
    (key,) = redis.smembers("rq:workers")
    name = key.decode().removeprefix("rq:worker:")

    assert redis.publish(f"rq:pubsub:{name}", json.dumps({"command": "shutdown"})) == 0


def test_a_worker_outlives_a_redis_that_forgot_everything(platform, redis, shared_worker):
    wait_for_words(shared_worker, "Listening on")
    redis.flushall()
    redis.client_kill_filter(_type="normal", skipme=True)
    raw_data = post_data_set(platform)
    post_split(platform, raw_data)
    post_fold(platform, raw_data)

    assert wait_for_end(platform)["state"] == "TESTED", shared_worker.output
    (key,) = wait_until(lambda: redis.smembers("rq:workers"), "the worker to be known again")
    assert redis.hget(key, "queues") == b"high,low"


def test_the_worker_process_stays_light(redis, shared_worker):
    """It only moves bytes: what is heavy is imported by the zygote."""
    wait_for_words(shared_worker, "Listening on")

    maps = Path(f"/proc/{shared_worker.process.pid}/maps").read_text()

    assert "numpy" in maps
    assert "pandas" not in maps
    assert "sklearn" not in maps
