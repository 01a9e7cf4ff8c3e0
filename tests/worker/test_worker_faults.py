"""Workers that are killed, frozen and stopped, and servers that go away while they work."""

import os
import re
import shutil
import signal
from pathlib import Path

import psutil
import pytest
from posts import (
    FOLD_TASK,
    SLOW,
    SPLIT_TASK,
    enqueue,
    get_fold,
    is_alive,
    list_attempts,
    post_data_set,
    post_fold,
    post_folds,
    post_split,
    wait_for_end,
    wait_for_split,
    wait_for_words,
    wait_until_begun,
)
from redis import Redis
from test_folds import FOREST

from datarun_api import views
from datarun_api.extensions import db, get_storage
from datarun_api.models import RawData
from datarun_client import PROTOCOL
from datarun_client.states import Role, SplitState
from tests.conftest import wait_until

MEBIBYTE = 1 << 20


def post_slow_fold(platform, seconds: float, number: int = 10) -> int:
    """Post a fold that says when it has begun, and takes that many seconds."""
    raw_data = post_data_set(platform)
    post_split(platform, raw_data)
    post_fold(platform, raw_data, SLOW.format(seconds), number=number)
    return raw_data


def list_kept(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "cache-spool").rglob("*.json"))


def list_tree(worker) -> list[int]:
    children = psutil.Process(worker.process.pid).children(recursive=True)
    return [child.pid for child in children]


def kill_zygote(worker) -> None:
    """Kill a worker's zygote, and wait until it is dead."""
    (zygote,) = psutil.Process(worker.process.pid).children()
    zygote.kill()
    wait_until_dead([zygote.pid])


def wait_until_dead(pids: list[int]) -> None:
    wait_until(lambda: not any(map(is_alive, pids)), "all processes to be dead")


def test_a_cancelled_fold_is_stopped(platform, start_worker):
    worker = start_worker()
    raw_data = post_slow_fold(platform, 600)
    wait_until_begun(platform)

    assert platform.call("DELETE", "submissionfold/10/").status_code == 200

    wait_for_words(worker, "is dropped")
    post_fold(platform, raw_data, number=11)
    assert wait_for_end(platform, 11)["state"] == "TESTED", worker.output
    assert get_fold(platform)["failure_kind"] == "cancelled"


def test_a_thawed_worker_drops_what_is_not_its_own_any_more(platform, start_worker):
    worker = start_worker()
    post_slow_fold(platform, 2)
    wait_until_begun(platform)
    worker.process.send_signal(signal.SIGSTOP)
    platform.call("DELETE", "submissionfold/10/")

    worker.process.send_signal(signal.SIGCONT)

    wait_for_words(worker, "is dropped")
    assert get_fold(platform)["failure_kind"] == "cancelled"


@pytest.mark.parametrize("fault", ["stop", "freeze"])
def test_a_result_waits_for_the_api(platform, start_worker, own_api, tmp_path, fault):
    worker = start_worker(DATARUN_URL=own_api.url, DATARUN_READ_TIMEOUT="1")
    post_slow_fold(platform, 1)
    wait_until_begun(platform)

    getattr(own_api, fault)()

    wait_for_words(worker, "wait to be delivered")
    assert list_kept(tmp_path)
    own_api.start()
    assert wait_for_end(platform)["state"] == "TESTED", worker.output
    wait_until(lambda: not list_kept(tmp_path), "the spool to be empty")
    assert [attempt["outcome"] for attempt in list_attempts(platform)] == ["tested"]


def test_a_result_outlives_its_worker(platform, start_worker, own_api, tmp_path):
    worker = start_worker(DATARUN_URL=own_api.url)
    post_slow_fold(platform, 1)
    wait_until_begun(platform)
    own_api.stop()
    wait_for_words(worker, "wait to be delivered")
    worker.process.kill()
    worker.process.wait()

    own_api.start()
    successor = start_worker(DATARUN_URL=own_api.url)

    assert wait_for_end(platform)["state"] == "TESTED", successor.output
    wait_for_words(successor, "is taken over")
    (attempt,) = list_attempts(platform)
    assert attempt["outcome"] == "tested"
    wait_until(lambda: not list_kept(tmp_path), "the spool to be empty")


def test_a_worker_that_stops_leaves_its_result_to_the_next(
    platform, start_worker, own_api, tmp_path
):
    worker = start_worker(DATARUN_URL=own_api.url)
    post_slow_fold(platform, 1)
    wait_until_begun(platform)
    own_api.stop()
    wait_for_words(worker, "wait to be delivered")

    assert worker.stop() == 0

    assert list_kept(tmp_path)
    own_api.start()
    start_worker(DATARUN_URL=own_api.url)
    assert wait_for_end(platform)["state"] == "TESTED"


def test_nothing_is_taken_while_the_api_is_away(platform, redis, start_worker, own_api):
    own_api.stop()
    worker = start_worker(DATARUN_URL=own_api.url)
    wait_for_words(worker, "nothing is taken while the API doesn't hear")
    raw_data = post_data_set(platform)
    post_split(platform, raw_data)
    post_fold(platform, raw_data)

    assert redis.llen("rq:queue:high") == 1
    own_api.start()

    assert wait_for_end(platform)["state"] == "TESTED", worker.output


def test_a_fold_that_outlasts_the_grace_is_given_back(platform, start_worker):
    worker = start_worker(DATARUN_GRACE="1")
    post_slow_fold(platform, 600)
    wait_until_begun(platform)
    pids = list_tree(worker)

    assert worker.stop() == 0

    fold = get_fold(platform)
    assert (fold["state"], fold["attempt"]) == ("TODO", 2)
    (attempt,) = list_attempts(platform)
    assert attempt["outcome"] == "released"
    assert "told to stop" in attempt["reason"]
    wait_until_dead(pids)


def test_a_second_signal_gives_the_fold_back_at_once(platform, start_worker):
    worker = start_worker(DATARUN_GRACE="600")
    post_slow_fold(platform, 600)
    wait_until_begun(platform)
    worker.process.send_signal(signal.SIGTERM)
    wait_for_words(worker, "the worker stops")

    def has_ended() -> bool:
        worker.process.send_signal(signal.SIGINT)
        return worker.process.poll() is not None

    wait_until(has_ended, "the worker to end")

    assert worker.process.returncode == 0
    (attempt,) = list_attempts(platform)
    assert attempt["outcome"] == "released"
    assert "twice" in attempt["reason"]


SLOW_FOLD, NEXT_FOLD = 14, 15
"""Of `post_quick_and_slow`."""


def post_quick_and_slow(platform, seconds: float) -> None:
    """Post quick folds, a slow one, and more than a worker may take ahead."""
    raw_data = post_data_set(platform)
    post_split(platform, raw_data)
    wait_for_split(platform)
    sources = dict.fromkeys(range(10, 19), FOREST)
    post_folds(platform, raw_data, sources | {SLOW_FOLD: SLOW.format(seconds)})


def test_a_slow_fold_does_not_hold_up_what_was_claimed_ahead(platform, start_worker):
    worker = start_worker()
    post_quick_and_slow(platform, 600)
    wait_until_begun(platform, SLOW_FOLD)

    (attempt,) = wait_until(
        lambda: [row for row in list_attempts(platform, NEXT_FOLD) if row["ended_at"]],
        "the next fold to be given back",
    )

    assert attempt["outcome"] == "released", worker.output
    assert "ahead" in attempt["reason"]
    # Any worker could take it now; this one does once it is free.
    platform.call("DELETE", f"submissionfold/{SLOW_FOLD}/")
    assert wait_for_end(platform, NEXT_FOLD)["state"] == "TESTED", worker.output


def test_a_worker_that_stops_begins_with_nothing_that_it_holds(platform, start_worker):
    worker = start_worker()
    post_quick_and_slow(platform, 2)
    wait_until_begun(platform, SLOW_FOLD)

    assert worker.stop() == 0

    assert get_fold(platform, SLOW_FOLD)["state"] == "TESTED", worker.output
    assert get_fold(platform, NEXT_FOLD)["state"] == "TODO"
    assert all(row["outcome"] == "released" for row in list_attempts(platform, NEXT_FOLD))


def test_a_split_is_given_back_too(platform, start_worker):
    reader = (
        b"import time\ndef prepare_data(path): time.sleep(600)\n"
        b"def get_train_data(path): pass\ndef get_test_data(path): pass\n"
    )
    worker = start_worker(DATARUN_GRACE="0.1")
    raw_data = post_data_set(platform, {"reader.py": reader, "a.txt": b"a"})
    assert platform.post("rawdata/customsplit/", {"raw_data_id": raw_data}).status_code == 201
    wait_for_words(worker, "split of data set")
    wait_until(lambda: len(list_tree(worker)) > 1, "the sandbox")

    assert worker.stop() == 0

    wait_for_words(worker, "is given back")
    assert platform.get("rawdata/").json[0]["split_state"] == "TODO"


def test_ctrl_c_in_a_terminal_lets_the_fold_finish(platform, start_worker):
    """It comes to the whole process group; the sandbox must not hear it."""
    worker = start_worker()
    post_slow_fold(platform, 2)
    wait_until_begun(platform)

    os.killpg(worker.process.pid, signal.SIGINT)

    assert worker.process.wait(30) == 0
    assert get_fold(platform)["state"] == "TESTED", worker.output


def test_ctrl_c_ends_an_idle_worker(start_worker):
    worker = start_worker()
    wait_for_words(worker, "cleaning registries")  # by then it hears signals

    os.killpg(worker.process.pid, signal.SIGINT)

    assert worker.process.wait(30) == 0


@pytest.mark.parametrize("isolation", ["full", "none"])
def test_a_killed_worker_leaves_nothing_after_the_restart(
    platform, start_worker, tmp_path, isolation
):
    scratch = tmp_path / "tmp"
    scratch.mkdir(mode=0o755)
    spool = tmp_path / "cache-spool"
    environ = {"TMPDIR": str(scratch), "DATARUN_ISOLATION": isolation}
    worker = start_worker(**environ)
    post_slow_fold(platform, 600)
    wait_until_begun(platform)
    pids = list_tree(worker)
    assert pids

    worker.process.kill()

    wait_until_dead(pids)
    successor = start_worker(**environ)
    wait_for_words(successor, "Listening on")
    wait_until(
        lambda: len(list(spool.glob("*/worker-*"))) == 1, "the dead worker's folder to be gone"
    )
    assert len(list(scratch.iterdir())) == 1
    assert successor.stop() == 0
    assert list(scratch.iterdir()) == []
    assert list(spool.glob("*/worker-*")) == []


def test_a_worker_without_room_takes_nothing_until_there_is(platform, redis, start_worker):
    folder = Path("/dev/shm")  # a file system of its own, on every Linux
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    hog = folder / f"datarun-test-{os.getpid()}"
    cache = folder / f"datarun-test-cache-{os.getpid()}"
    hog.write_bytes(bytes(32 * MEBIBYTE))
    try:
        worker = start_worker(
            DATARUN_CACHE=str(cache), DATARUN_MIN_FREE_DISK=str(free - 16 * MEBIBYTE)
        )
        wait_for_words(worker, "nothing is taken: less than")
        raw_data = post_data_set(platform)
        post_split(platform, raw_data)
        post_fold(platform, raw_data)
        assert redis.llen("rq:queue:high") == 1

        hog.unlink()

        assert wait_for_end(platform)["state"] == "TESTED", worker.output
        wait_for_words(worker, "there is room on the disk again")
    finally:
        hog.unlink(missing_ok=True)
        shutil.rmtree(cache, ignore_errors=True)
        shutil.rmtree(cache.with_name(f"{cache.name}-spool"), ignore_errors=True)


def test_a_worker_that_can_open_no_sandbox_takes_nothing_until_it_can(
    platform, redis, start_worker, tmp_path
):
    """Else it would fail every fold of the queue, faster than the others run them."""
    preloaded = tmp_path / "modules" / "preloaded.py"
    preloaded.parent.mkdir()
    preloaded.touch()
    path = os.pathsep.join([str(preloaded.parent), os.environ.get("PYTHONPATH", "")])
    worker = start_worker(DATARUN_PRELOAD="preloaded", PYTHONPATH=path)
    raw_data = post_data_set(platform)
    post_split(platform, raw_data)
    wait_for_split(platform)
    preloaded.unlink()
    kill_zygote(worker)

    post_fold(platform, raw_data, number=10)
    wait_for_words(worker, "nothing is taken: no sandbox can be opened")
    post_fold(platform, raw_data, number=11)
    preloaded.touch()

    assert wait_for_end(platform, 11)["state"] == "TESTED", worker.output
    assert [attempt["outcome"] for attempt in list_attempts(platform, 11)] == ["tested"]
    assert [attempt["outcome"] for attempt in list_attempts(platform, 10)][:1] == ["error"]


def test_the_api_knows_its_workers(add_caller, start_worker, own_api):
    admin = add_caller(Role.ADMIN)
    before = {row["name"] for row in admin.get("workers/").json}
    start_worker("-w", "datarun_worker.Worker", "--name", "kermit", DATARUN_URL=own_api.url)

    (row,) = wait_until(
        lambda: [row for row in admin.get("workers/").json if row["name"] not in before],
        "the worker to be known",
    )

    assert row["name"] == "kermit"
    assert row["queues"] == ["high", "low"]
    assert row["isolation"] == "full"
    assert row["live"]
    assert row["free_disk"] > 0
    assert row["free_memory"] > 0


def test_a_data_job_that_fails_by_our_fault_is_tried_again(platform, app, context, start_worker):
    """Its raw file is gone from storage."""
    raw_data = post_data_set(platform, {"a.csv": b"unique,target\n1,2\n3,4\n"})
    sha256 = db.session.get_one(RawData, raw_data).files[0]["sha256"]
    get_storage().find(sha256).unlink()
    worker = start_worker(DATARUN_RETRY_TIME="0.1")

    post_split(platform, raw_data)

    wait_for_words(worker, "failed by our fault")

    def is_to_be_tried_again() -> bool:
        db.session.rollback()
        data_set = db.session.get_one(RawData, raw_data, populate_existing=True)
        return (data_set.split_state, data_set.split_attempt) == (SplitState.TODO, 2)

    wait_until(is_to_be_tried_again, "the next attempt at the split")


def test_parts_that_are_too_large_for_the_api_are_the_data_sets_fault(
    platform, app, start_worker, monkeypatch
):
    start_worker()
    raw_data = post_data_set(platform)
    monkeypatch.setitem(app.config, "MAX_UPLOAD", 100)

    post_split(platform, raw_data)

    row = wait_until(
        lambda: [row for row in platform.get("rawdata/").json if row["split_state"] == "ERROR"],
        "the split to fail",
    )
    assert "X_train" in row[0]["split_error"]
    assert "DATARUN_MAX_UPLOAD" in row[0]["split_error"]


@pytest.mark.parametrize(("change", "side"), [(1, "worker"), (-1, "API")])
def test_a_worker_of_another_release_says_what_to_upgrade_and_waits(
    app, platform, start_worker, own_api, monkeypatch, change, side
):
    monkeypatch.setitem(app.config, "LEASE", 3.0)  # a heartbeat each second
    worker = start_worker(DATARUN_URL=own_api.url)
    post_slow_fold(platform, 600)
    wait_until_begun(platform)

    with monkeypatch.context() as upgrade:
        upgrade.setattr(views.worker, "PROTOCOL", PROTOCOL + change)

        wait_for_words(worker, "is given back")
        wait_for_words(worker, "nothing is taken")
        wait_for_words(worker, f"the API {PROTOCOL + change}: upgrade the {side}.")
        (attempt,) = list_attempts(platform)
        assert attempt["outcome"] == "released"

    # The right side is upgraded: the worker goes on by itself, and nothing was charged.
    wait_until_begun(platform)
    assert [attempt["outcome"] for attempt in list_attempts(platform)] == ["released", None]
    assert worker.output.count("nothing is taken") == 1


def test_an_idle_worker_waits_quietly(redis, start_worker):
    """Its connection must wait longer for an answer than Redis waits for a job."""
    redis.config_resetstat()
    worker = start_worker()

    wait_until(
        lambda: redis.info("commandstats").get("cmdstat_blpop", {}).get("calls", 0) >= 2,
        "two waits for a job to be over",
        40,
    )

    assert "could not connect" not in worker.output


def test_an_idle_worker_outlives_an_outage_of_redis(platform, start_worker, own_redis):
    url = f"redis://127.0.0.1:{own_redis.port}/0"
    worker = start_worker(RQ_REDIS_URL=url)
    wait_for_words(worker, "Listening on")
    own_redis.stop()
    wait_for_words(worker, "could not connect to Redis")
    raw_data = post_data_set(platform)
    post_split(platform, raw_data)

    own_redis.start()

    with Redis.from_url(url) as redis:
        enqueue(redis, SPLIT_TASK, raw_data, 1)
        wait_for_split(platform)
        post_fold(platform, raw_data)
        enqueue(redis, FOLD_TASK, platform.id, 10, queue="low")
        assert wait_for_end(platform)["state"] == "TESTED", worker.output


@pytest.mark.soak
def test_a_worker_outlives_a_frozen_redis(platform, start_worker, own_redis):
    url = f"redis://127.0.0.1:{own_redis.port}/0"
    worker = start_worker(RQ_REDIS_URL=url)
    wait_for_words(worker, "Listening on")
    with Redis.from_url(url) as redis:
        pid = redis.info("server")["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        # Whatever it asked Redis for when that froze; an answer is waited for twice.
        noticed = re.compile("could not connect|couldn't ")
        wait_until(lambda: noticed.search(worker.output), "the worker to notice", 90)
    finally:
        os.kill(pid, signal.SIGCONT)
    raw_data = post_data_set(platform)
    post_split(platform, raw_data)

    with Redis.from_url(url) as redis:
        enqueue(redis, SPLIT_TASK, raw_data, 1)
        wait_for_split(platform)
    assert worker.stop() == 0
