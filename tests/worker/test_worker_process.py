"""Workers of their own: how they start, stop, and what a plain RQ worker does with our jobs."""

import signal
import tempfile
from pathlib import Path

import pytest
from posts import (
    FOLD_TASK,
    SLOW,
    SPLIT_TASK,
    enqueue,
    get_fold,
    is_alive,
    post_data_set,
    post_fold,
    post_split,
    wait_for_end,
    wait_for_split,
    wait_for_words,
)
from redis import Redis
from rq.registry import FailedJobRegistry
from rq.serializers import JSONSerializer

import datarun_worker.worker
from datarun_client.exit_codes import ExitCode
from datarun_worker.config import Settings
from datarun_worker.spool import Spool
from datarun_worker.work_horse import open_spool
from datarun_worker.worker import Worker
from tests.conftest import wait_until


def test_the_command_line_cannot_make_it_read_pickles(platform, redis, start_worker):
    start_worker("-w", "datarun_worker.Worker", "-S", "pickle", "-j", "rq.job.Job")
    raw_data = post_data_set(platform)
    post_split(platform, raw_data)
    post_fold(platform, raw_data)

    assert wait_for_end(platform)["state"] == "TESTED"


def test_a_worker_that_is_told_to_stop_finishes_its_fold(platform, redis, start_worker):
    worker = start_worker()
    raw_data = post_data_set(platform)
    post_split(platform, raw_data)
    post_fold(platform, raw_data, SLOW.format(2))
    wait_until(lambda: "begun" in get_fold(platform)["log_messages"], "the fold to begin")

    assert worker.stop() == 0

    assert get_fold(platform)["state"] == "TESTED"


@pytest.mark.parametrize("options", [(), ("-S", "json")])
def test_a_plain_rq_worker_refuses_clearly(platform, redis, start_worker, options):
    """It can't run our jobs: it fails them, says who could, and the fold stays to be run."""
    raw_data = post_data_set(platform)
    worker = start_worker("--worker-class", "rq.worker.Worker", *options)

    post_split(platform, raw_data)

    registry = FailedJobRegistry("high", connection=redis, serializer=JSONSerializer)
    wait_until(lambda: registry.get_job_ids(), "the job to fail")
    wait_for_words(worker, "rq worker -w datarun_worker.Worker high low")
    (data_set,) = platform.get("rawdata/").json
    assert data_set["split_state"] == "TODO"


def test_a_worker_without_settings_says_what_is_missing(redis, start_worker):
    worker = start_worker(DATARUN_TOKEN="")

    assert worker.process.wait(30) == ExitCode.CONFIGURATION

    wait_for_words(worker, "DATARUN_TOKEN is not set")


def test_a_stopped_worker_leaves_no_process(redis, start_worker):
    worker = start_worker()
    wait_for_words(worker, "cleaning registries")  # by then it hears signals
    pid = worker.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()

    assert children
    assert worker.stop() == 0

    for child in children:
        wait_until(lambda child=child: not is_alive(int(child)), "the zygote to end")


def list_left(folder: Path) -> list[Path]:
    """List the folders that workers have made below one."""
    return [*folder.glob("datarun-scratch-*"), *folder.glob("cache-spool/*/worker-*")]


def test_a_worker_that_is_stopped_while_it_starts_leaves_nothing(redis, start_worker, tmp_path):
    worker = start_worker()
    wait_until(lambda: len(list_left(tmp_path)) == 2, "its folders")

    assert worker.stop() == 0
    assert "Listening on" not in worker.output
    assert list_left(tmp_path) == []


def test_a_stop_waits_for_the_spool_that_is_being_opened(redis, tmp_path, monkeypatch):
    """Half a spool would stay for ever."""

    def open_and_be_stopped(settings: Settings) -> Spool:
        spool = open_spool(settings)
        signal.raise_signal(signal.SIGTERM)
        return spool

    settings = {"URL": "http://127.0.0.1:1", "TOKEN": "t", "CACHE": str(tmp_path / "cache")}
    for name, value in settings.items():
        monkeypatch.setenv(f"DATARUN_{name}", value)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(datarun_worker.worker, "open_spool", open_and_be_stopped)
    before = signal.getsignal(signal.SIGTERM)

    try:
        with pytest.raises(SystemExit) as exit:
            Worker(["high"], connection=redis).bootstrap()
    finally:
        signal.signal(signal.SIGTERM, before)

    assert exit.value.code == 0
    assert list_left(tmp_path) == []


def test_a_fold_outlives_an_outage_of_redis(platform, start_worker, own_redis):
    """Its result goes another way; and once Redis is back the worker takes the next fold."""
    url = f"redis://127.0.0.1:{own_redis.port}/0"
    worker = start_worker(RQ_REDIS_URL=url)
    raw_data = post_data_set(platform)
    post_split(platform, raw_data)
    with Redis.from_url(url) as redis:
        enqueue(redis, SPLIT_TASK, raw_data, 1)
        wait_for_split(platform)
        post_fold(platform, raw_data, SLOW.format(2), number=10)
        post_fold(platform, raw_data, number=11)
        enqueue(redis, FOLD_TASK, platform.id, 10, queue="low")
    wait_until(lambda: "begun" in get_fold(platform, 10)["log_messages"], "the fold to begin")

    own_redis.stop()

    assert wait_for_end(platform, 10)["state"] == "TESTED", worker.output
    wait_for_words(worker, "could not connect to Redis")
    own_redis.start()
    with Redis.from_url(url) as redis:
        enqueue(redis, FOLD_TASK, platform.id, 11, queue="low")
        assert wait_for_end(platform, 11)["state"] == "TESTED", worker.output
    assert worker.process.poll() is None
