"""A platform that posts data sets and folds to the real API, and waits for what comes of them."""

from pathlib import Path

import numpy as np
from redis import Redis
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer
from test_folds import FOREST, IRIS

from datarun_client.codec import encode_bytes, encode_indices
from tests.conftest import wait_until

FOLD_TASK = "datarun_worker.tasks.train_test_submission_fold"
SPLIT_TASK = "datarun_worker.tasks.prepare_data"
FINAL = ("TESTED", "ERROR")
SLOW = FOREST.replace(
    "self.model =", "import time; print('begun', flush=True); time.sleep({}); self.model ="
)


def post_data_set(platform, files=None, **changes) -> int:
    payload = {
        "name": "iris",
        "target_column": "target",
        "workflow_elements": "classifier",
        "files": {
            name: encode_bytes(content)
            for name, content in (files or {"iris.csv": IRIS.encode()}).items()
        },
        **changes,
    }
    answer = platform.post("rawdata/", payload)
    assert answer.status_code == 201, answer.json
    return answer.json["id"]


def post_split(platform, raw_data: int) -> None:
    answer = platform.post("rawdata/split/", {"raw_data_id": raw_data, "held_out_test": 0.3})
    assert answer.status_code == 201, answer.json


def make_fold(raw_data: int, source: str = FOREST, number: int = 10, rows: int = 50):
    return {
        "databoard_sf_id": number,
        "databoard_s_id": number,
        "train_is": encode_indices(np.arange(rows)),
        "test_is": encode_indices(np.arange(5)),
        "raw_data": raw_data,
        "files": {"classifier.py": encode_bytes(source.encode())},
    }


def post_fold(platform, raw_data: int, source: str = FOREST, number: int = 10, rows=50) -> None:
    answer = platform.post("submissionfold/", make_fold(raw_data, source, number, rows))
    assert answer.status_code == 201, answer.json


def post_folds(platform, raw_data: int, sources: dict[int, str]) -> None:
    """Post folds at once, which wait in this order."""
    folds = [make_fold(raw_data, source, number) for number, source in sources.items()]
    answer = platform.post("submissionfold/", folds)
    assert answer.status_code == 201, answer.json


def get_fold(platform, number: int = 10):
    return platform.get(f"submissionfold/{number}/").json


def list_attempts(platform, number: int = 10):
    return platform.get(f"submissionfold/{number}/attempts/").json


def wait_until_begun(platform, number: int = 10) -> None:
    wait_until(
        lambda: "begun" in get_fold(platform, number)["log_messages"], f"fold {number} to begin"
    )


def wait_for_end(platform, number: int = 10):
    return wait_until(
        lambda: (fold := get_fold(platform, number))["state"] in FINAL and fold,
        f"the end of fold {number}",
    )


def wait_for_split(platform) -> None:
    wait_until(lambda: platform.get("rawdata/").json[0]["split_state"] == "DONE", "the split")


def enqueue(redis: Redis, task: str, *ids: int, queue: str = "high") -> Job:
    return Queue(queue, connection=redis, serializer=JSONSerializer).enqueue(
        task, args=ids, job_timeout=-1
    )


def forge(redis, job_id: str, **fields) -> None:
    """Put a job on the queue as somebody with a Redis client would."""
    redis.hset(f"rq:job:{job_id}", mapping={"status": "queued", "origin": "high", **fields})
    redis.rpush("rq:queue:high", job_id)


def wait_for_words(worker, words: str) -> None:
    wait_until(lambda: words in worker.output, f"{words!r} in {worker.output}")


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
