"""The table of `docs/faults.md`, row by row, on one real stack."""

import hashlib
import json
import re
import signal
import socket
import struct
import threading
import time
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from datarun_client import PROTOCOL, PROTOCOL_HEADER, Client
from datarun_client.codec import encode_bytes
from tests.api.receiver import receiving
from tests.faults.challenge import Challenge, write_model, write_table
from tests.faults.chaos import run_chaos
from tests.faults.stack import ACCOUNT, GRACE, LEASE, RECONCILE, ROOT, Stack, is_dead, wait_for

TABLE = ROOT / "docs" / "faults.md"

SLACK = 20.0
"""Seconds by which a busy machine may be late: its silence may even pass for an outage, which gives
every lease one more. RQ alone would take 13 minutes; without slack it is measured in the soak."""

HUNGRY = """\
class Classifier:
    def fit(self, X, y):
        # Its own bound: a machine that doesn't stop it comes to no harm.
        self.hoard = [bytearray(b"x" * (1 << 20)) for _ in range(600)]

    def predict_proba(self, X):
        raise AssertionError("never asked")
"""


@pytest.fixture
def kept(challenge, expected):
    """Wait for a fold's end, and see that exactly one right result was kept."""

    def look(number: int, attempts: int | None = None, seconds: float = 60) -> list[str]:
        fold = challenge.wait_for_end(number, seconds)
        outcomes = challenge.list_outcomes(number)
        assert fold["state"] == "TESTED", (fold["log_messages"], challenge.list_attempts(number))
        assert {name: fold[name] for name in expected} == expected
        assert outcomes.count("tested") == 1
        assert outcomes[-1] == "tested"
        if attempts is not None:
            assert len(outcomes) == attempts, challenge.list_attempts(number)
        return outcomes

    return look


def test_row_01_api_killed_between_commit_and_enqueue(stack, challenge, kept):
    with stack.connect_redis() as redis, ThreadPoolExecutor() as pool:
        # What writes to Valkey waits, so the API can't enqueue what it has committed.
        redis.client_pause(20_000, all=False)
        payload = challenge.describe(write_model())
        number = payload["databoard_sf_id"]
        posting = pool.submit(challenge.insist, "POST", "submissionfold/", json=payload)
        rows = "SELECT 1 FROM submission_fold WHERE databoard_sf_id = %s"
        wait_for(lambda: stack.query(rows, number), "the commit")

        stack.kill_group("web")
        redis.client_unpause()

        kept(number, attempts=1)
        # The client sends it again, and learns that it is there.
        assert posting.result().status_code == 200
    assert stack.says("enqueuing 1 folds whose jobs were lost", "reconciler")


def test_row_02_redis_down_when_a_fold_is_posted(stack, challenge, kept):
    with stack.away("valkey"):
        number = challenge.post(write_model())

    kept(number, attempts=1)


def test_row_03_redis_restarts_empty(stack, challenge, kept):
    running = [challenge.post(write_model(3), priority="H") for _ in stack.workers]
    for number in running:
        challenge.wait_for_begin(number)
    queued = [challenge.post(write_model()) for _ in range(3)]

    with stack.away("valkey"):
        stack.empty_valkey()

    for number in running + queued:
        kept(number, attempts=1)


@pytest.mark.parametrize("seconds", [LEASE, pytest.param(60, marks=pytest.mark.soak)])
@pytest.mark.parametrize("way", ["gone", "frozen"])
def test_row_04_redis_unreachable_while_a_fold_runs(stack, challenge, kept, way, seconds):
    number = challenge.post(write_model(4))
    challenge.wait_for_begin(number)
    began = time.monotonic()

    with stack.away("valkey") if way == "gone" else stack.frozen("valkey"):
        kept(number, attempts=1)
        wait_for(lambda: time.monotonic() > began + seconds, "the outage to be over", seconds + 1)

    kept(challenge.post(write_model()))


def test_row_05_postgresql_restarts(stack, challenge, kept):
    web = stack.find_program("web")
    running = challenge.post(write_model(4))
    challenge.wait_for_begin(running)
    over = threading.Event()
    numbers = []

    def post() -> None:
        while not over.is_set():
            payload = challenge.describe(write_model(0.3))
            # `insist` checks that it is told when to come again.
            answer = challenge.insist("POST", "submissionfold/", json=payload)
            assert answer.status_code in (200, 201), answer.text
            numbers.append(payload["databoard_sf_id"])
            over.wait(0.1)

    def wait_for_posts() -> None:
        n_posts = len(numbers) + 3
        wait_for(lambda: len(numbers) >= n_posts, "some folds to be posted")

    with ThreadPoolExecutor() as pool:
        posting = pool.submit(post)
        for number in (signal.SIGINT, signal.SIGKILL):
            wait_for_posts()
            old = stack.wait_for_program("postgresql")
            old.send_signal(number)
            stack.wait_for_program("postgresql", other_than=old)
        wait_for_posts()
        over.set()
        posting.result()

    for number in [running, *numbers]:
        kept(number)
    assert stack.find_program("web") == web


def test_row_06_api_down_when_a_worker_has_a_result(stack, challenge, kept):
    number = challenge.post(write_model(4))
    challenge.wait_for_begin(number)

    with stack.away("web"):
        (result,) = wait_for(stack.list_spooled, "the result on the disk")
        assert f"-{number}-1.json" in result.name
        began = time.monotonic()
        wait_for(lambda: time.monotonic() > began + LEASE + 1, "a lease to be over")

    kept(number, attempts=1)
    wait_for(lambda: not stack.list_spooled(), "the spool to be empty")


def test_row_07_api_down_and_worker_restarted_before_delivery(stack, challenge, kept):
    number = challenge.post(write_model(4))
    worker = challenge.wait_for_begin(number)

    with stack.away("web"):
        wait_for(stack.list_spooled, "the result on the disk")
        old = stack.kill(worker)
        stack.wait_for_program(worker, other_than=old)

    kept(number, attempts=1)
    wait_for(lambda: not stack.list_spooled(), "the spool to be empty")


def test_row_08_sandbox_killed(stack, challenge, kept):
    number = challenge.post(write_model(4))
    worker = challenge.wait_for_begin(number)

    for sandbox in stack.wait_for_sandboxes(worker):
        sandbox.kill()

    assert kept(number, attempts=2) == ["error", "tested"]
    assert challenge.list_attempts(number)[0]["failure_kind"] == "platform_error"


def test_row_08_sandbox_over_its_own_cap(challenge):
    raw_data = challenge.add_data(write_table(), memory_limit=400 << 20)

    fold = challenge.run(HUNGRY, raw_data=raw_data)

    assert fold["failure_kind"] == "memory_limit"
    assert fold["attempt"] == 1


def test_row_09_work_horse_killed(stack, challenge, kept):
    number = challenge.post(write_model(4))
    worker = challenge.wait_for_begin(number)
    sandboxes = stack.wait_for_sandboxes(worker)

    killed = time.time()
    stack.kill(worker)

    wait_for(lambda: all(map(is_dead, sandboxes)), "its sandbox to die", 2)
    assert kept(number, attempts=2) == ["lost", "tested"]
    again = challenge.list_attempts(number)[1]["started_at"]
    assert datetime.fromisoformat(again).timestamp() - killed < LEASE + RECONCILE + SLACK


def test_row_10_whole_worker_killed(stack, challenge, kept):
    number = challenge.post(write_model(4))
    worker = challenge.wait_for_begin(number)
    old = stack.find_program(worker)
    family = old.children(recursive=True)
    (own,) = [
        path.parent for path in stack.home.glob("cache-spool/*/*/lock") if has_open(old, path)
    ]
    scratch = (own / "scratch").readlink()
    assert scratch.exists()

    killed = time.time()
    stack.kill_group(worker)

    assert all(map(is_dead, family))
    assert kept(number, attempts=2) == ["lost", "tested"]
    first, second = challenge.list_attempts(number)
    assert first["worker"] != second["worker"]
    # What it had told of its log isn't lost with it.
    assert first["log_messages"] == "begun\n"
    again = datetime.fromisoformat(second["started_at"]).timestamp()
    assert again - killed < LEASE + RECONCILE + SLACK
    stack.wait_for_program(worker, other_than=old)
    wait_for(lambda: not own.exists() and not scratch.exists(), "what it left to be removed")


@pytest.mark.soak
def test_row_10_costs_less_than_a_lease_and_a_period(stack, challenge, kept):
    costs = []
    for _ in range(3):
        number = challenge.post(write_model(4))
        worker = challenge.wait_for_begin(number)
        old = stack.find_program(worker)
        killed = time.time()
        stack.kill_group(worker)
        kept(number, attempts=2)
        again = datetime.fromisoformat(challenge.list_attempts(number)[1]["started_at"])
        costs.append(again.timestamp() - killed)
        stack.wait_for_program(worker, other_than=old)

    # The machine may have been busy with something else for a moment.
    assert min(costs) < LEASE + RECONCILE, costs


def test_row_11_zygote_killed(stack, challenge, kept):
    old = [
        wait_for(lambda name=name: stack.find_zygote(name), "a zygote") for name in stack.workers
    ]
    for zygote in old:
        zygote.kill()

    numbers = [challenge.post(write_model(0.5)) for _ in stack.workers]

    for number in numbers:
        kept(number, attempts=1)
    wait_for(lambda: all(map(is_dead, old)), "the old zygotes to be dead")


def test_row_12_worker_stopped_finishes_its_fold(stack, challenge, kept):
    number = challenge.post(write_model(GRACE / 2))
    worker = challenge.wait_for_begin(number)
    old = stack.find_program(worker)

    old.terminate()

    assert kept(number, attempts=1) == ["tested"]
    stack.wait_for_program(worker, other_than=old)


def test_row_12_worker_stopped_gives_its_fold_back(stack, challenge):
    number = challenge.post(write_model(30))
    worker = challenge.wait_for_begin(number)
    old = stack.find_program(worker)

    old.terminate()

    challenge.wait_for_begin(number, attempt=2)
    assert challenge.list_outcomes(number) == ["released", None]
    query = "SELECT n_losses FROM submission_fold WHERE databoard_sf_id = %s"
    assert stack.query(query, number) == [(0,)]
    assert challenge.call("DELETE", f"submissionfold/{number}/").status_code == 200
    stack.wait_for_program(worker, other_than=old)


def test_row_13_worker_frozen_past_its_lease(stack, challenge, kept):
    number = challenge.post(write_model(4))
    worker = challenge.wait_for_begin(number)

    with stack.frozen(worker):
        assert kept(number, attempts=2) == ["lost", "tested"]
        fold = challenge.get(number)

    refused = f"/{number}/1 is "
    wait_for(lambda: stack.says(refused, worker), "the late write to be refused")
    kept(number, attempts=2)
    assert challenge.get(number) == fold


def test_row_14_same_job_delivered_twice(stack, challenge, kept):
    number = challenge.post(write_model(4))
    challenge.wait_for_begin(number)
    job = f"fold-{challenge.owner}-{number}-1"

    with stack.connect_redis() as redis:
        redis.rpush("rq:queue:low", job, job)
        kept(number, attempts=1)
        redis.rpush("rq:queue:low", job)
        wait_for(lambda: not redis.llen("rq:queue:low"), "the jobs to be taken")

    kept(challenge.post(write_model()))
    kept(number, attempts=1)
    assert stack.says(f"fold {number} of account {challenge.owner}: nothing to do")


def test_row_15_same_post_sent_twice(stack, challenge, kept):
    payload = challenge.describe(write_model())

    first = challenge.call("POST", "submissionfold/", json=payload)
    with ThreadPoolExecutor() as pool:
        again = list(
            pool.map(lambda _: challenge.call("POST", "submissionfold/", json=payload), range(4))
        )
    kept(payload["databoard_sf_id"], attempts=1)
    late = challenge.call("POST", "submissionfold/", json=payload)

    assert first.status_code == 201
    assert [answer.status_code for answer in [*again, late]] == [200] * 5
    same = ("databoard_sf_id", "databoard_s", "task_id")
    assert {tuple(answer.json()[name] for name in same) for answer in [first, *again, late]} == {
        tuple(first.json()[name] for name in same)
    }
    kept(payload["databoard_sf_id"], attempts=1)


def test_row_16_two_posts_of_the_same_new_submission_at_once(stack, challenge, kept):
    numbers = []
    for _ in range(5):
        one, other = (challenge.describe(write_model()) for _ in range(2))
        other["databoard_s_id"] = one["databoard_s_id"]
        barrier = threading.Barrier(2)

        def post(payload, barrier=barrier):
            barrier.wait(10)
            return challenge.call("POST", "submissionfold/", json=payload)

        with ThreadPoolExecutor() as pool:
            answers = list(pool.map(post, (one, other)))

        assert [answer.status_code for answer in answers] == [201, 201], answers[0].text
        found = stack.query(
            "SELECT count(*) FROM submission WHERE databoard_s_id = %s", one["databoard_s_id"]
        )
        assert found == [(1,)]
        numbers += [one["databoard_sf_id"], other["databoard_sf_id"]]
    for number in numbers:
        kept(number, attempts=1)


def test_row_17_force_while_the_old_attempt_runs(stack, challenge, kept):
    payload = challenge.describe(write_model(30))
    number = payload["databoard_sf_id"]
    assert challenge.call("POST", "submissionfold/", json=payload).status_code == 201
    worker = challenge.wait_for_begin(number)
    sandboxes = stack.wait_for_sandboxes(worker)

    payload["files"] = {"classifier.py": encode_bytes(write_model().encode())}
    payload["force"] = "submission, submission_fold"
    assert challenge.call("POST", "submissionfold/", json=payload).status_code == 201

    wait_for(lambda: all(map(is_dead, sandboxes)), "the old attempt to be stopped", 3)
    assert kept(number, attempts=2) == ["superseded", "tested"]
    log = f"folds/{challenge.owner}/{number}/1/log/"
    assert call_as_worker(stack, log, {"offset": 0, "text": "late"}).status_code == 409


def test_row_18_cancel_a_queued_and_a_running_fold(stack, challenge):
    running = [challenge.post(write_model(30)) for _ in stack.workers]
    workers = [challenge.wait_for_begin(number) for number in running]
    queued = challenge.post(write_model())
    assert challenge.get_progress(queued)["reason"] == "queued"
    sandboxes = [sandbox for worker in workers for sandbox in stack.wait_for_sandboxes(worker)]
    assert len(sandboxes) == len(workers)

    answers = [challenge.call("DELETE", f"submissionfold/{n}/") for n in [queued, *running]]

    wait_for(lambda: all(map(is_dead, sandboxes)), "the sandboxes to die", 2)
    assert [answer.status_code for answer in answers] == [200] * 3
    for number in [queued, *running]:
        fold = challenge.get(number)
        assert (fold["state"], fold["failure_kind"]) == ("ERROR", "cancelled")
        assert challenge.call("DELETE", f"submissionfold/{number}/").status_code == 409
    assert challenge.list_attempts(queued) == []
    assert all(queue["depth"] == 0 for queue in challenge.call("GET", "queues/").json())


def test_row_19_disk_full(stack, challenge, tmp_path):
    """A third worker has a disk on which the data have no room; the others have no time."""
    raw_data = challenge.add_data(write_table(20_000, 30))
    cache = tmp_path / "cache"
    cache.mkdir()
    disk = ("tests.faults.small_disk", str(cache), str(3 << 20), str(9 << 18))
    settings = {"DATARUN_CACHE": str(cache), "DATARUN_MIN_FREE_DISK": "1M"}
    with stack.extra_worker("small", "high", "low", prefix=disk, **settings) as worker:
        wait_for(lambda: worker.says("nothing is taken: less than"), "it to take nothing")
        with stack.frozen(*stack.workers):
            number = challenge.post(write_model(), raw_data=raw_data)
            assert challenge.list_attempts(number) == []
            Path(f"/proc/{worker.process.pid}/root{cache}/ballast").unlink()
            wait_for(lambda: worker.says("there is room on the disk again"), "it to go on")
            wait_for(lambda: challenge.list_outcomes(number)[:1] == ["error"], "no room")

        assert challenge.wait_for_end(number)["state"] == "TESTED"
        first, *_, last = challenge.list_attempts(number)
        assert (first["worker"], first["failure_kind"]) == ("small", "platform_error")
        assert last["worker"] != "small"


def test_row_20_corrupted_file_in_the_cache(stack, challenge, kept):
    kept(challenge.post(write_model()))
    parts = [path for path in (stack.home / "cache" / "folds").iterdir() if path.is_file()]
    for path in parts:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.chmod(0o600)
        path.write_bytes(content)
        assert hashlib.sha256(path.read_bytes()).hexdigest() != path.name

    kept(challenge.post(write_model()), attempts=1)

    right = [
        hashlib.sha256(path.read_bytes()).hexdigest() == path.name
        for path in parts
        if path.exists()
    ]
    assert any(right)


def test_row_21_client_disconnects_while_predictions_are_sent(stack, challenge, expected, kept):
    number = challenge.post(write_model())
    kept(number)
    host, port = stack.url.removeprefix("http://").strip("/").split(":")
    secret = b64encode(":".join(ACCOUNT).encode()).decode()
    with socket.create_connection((host, int(port))) as client:
        client.sendall(
            b"POST /runapp/testpredictions/new/ HTTP/1.1\r\nHost: localhost\r\n"
            b"Authorization: Basic " + secret.encode() + b"\r\n"
            b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        )
        # Reset: what the server sends is refused.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_for(lambda: not challenge.get(number)["new"], "the results to be handed out")

    asked = {"list_submission_fold": [number]}
    (entry,) = challenge.call("POST", "testpredictions/list/", json=asked).json()

    assert {name: entry[name] for name in expected} == expected
    assert number not in [
        entry["databoard_sf_id"]
        for entry in challenge.call("POST", "testpredictions/new/", json={}).json()
    ]


def test_row_22_no_worker_at_all(stack, challenge, kept):
    with stack.frozen(*stack.workers):
        number = challenge.post(write_model())
        wait_for(lambda: challenge.get_progress(number)["reason"] == "no_live_worker", "the reason")
        assert "no live worker" in challenge.get_progress(number)["message"]
        assert not any(row["live"] for row in challenge.call("GET", "workers/").json())

    kept(number)


def test_row_22_no_worker_on_that_queue(stack, challenge):
    """The worker that serves only the other queue doesn't count."""
    with stack.frozen(*stack.workers), stack.extra_worker("high-only", "high"):
        number = challenge.post(write_model(), priority="L")
        wait_for(lambda: challenge.get_progress(number)["reason"] == "no_live_worker", "the reason")
        live = wait_for(
            lambda: [row for row in challenge.call("GET", "workers/").json() if row["live"]],
            "the other worker",
        )
        assert [(row["name"], row["queues"]) for row in live] == [("high-only", ["high"])]
        assert challenge.get_progress(number)["reason"] == "no_live_worker"

    assert challenge.wait_for_end(number)["state"] == "TESTED"


def test_row_24_clock_of_a_worker_wrong(stack, challenge, kept):
    """The second worker's clock is an hour fast: it keeps its leases, and loses them no later."""
    numbers = [challenge.post(write_model(LEASE + 1)) for _ in stack.workers]
    assert {challenge.wait_for_begin(number) for number in numbers} == set(stack.workers)
    for number in numbers:
        kept(number, attempts=1)

    number = run_on("worker-2", stack, challenge, write_model(4))
    killed = time.time()
    stack.kill("worker-2")

    assert kept(number, attempts=2) == ["lost", "tested"]
    again = datetime.fromisoformat(challenge.list_attempts(number)[1]["started_at"]).timestamp()
    assert again - killed < LEASE + RECONCILE + SLACK


def test_row_25_three_platform_errors_in_a_row(stack, challenge, kept):
    number = challenge.post(write_model(30))
    for attempt in (1, 2, 3):
        worker = challenge.wait_for_begin(number, attempt)
        for sandbox in stack.wait_for_sandboxes(worker):
            sandbox.kill()
        wait_for(
            lambda n=attempt: challenge.list_outcomes(number)[:n].count("error") == n, "the end"
        )
        # Its next attempt waits for ten seconds in the end; here it needn't.
        stack.execute("UPDATE submission_fold SET retry_at = now() WHERE retry_at > now()")
        # Nobody waits for it.
        kept(challenge.post(write_model()), attempts=1)

    fold = challenge.wait_for_end(number)

    assert (fold["state"], fold["failure_kind"]) == ("ERROR", "platform_error")
    for attempt in challenge.list_attempts(number):
        assert f"Attempt {attempt['number']}, {attempt['worker']}" in fold["log_messages"]


def test_row_26_poisoned_job(stack, challenge, kept, tmp_path):
    workers = [stack.find_program(name) for name in stack.workers]
    canary = tmp_path / "canary"
    jobs = {
        "unknown": json.dumps(["os.system", None, [f"touch {canary}"], {}]).encode(),
        "no-json": b"\x80\x04cos\nsystem\n.",
        "huge": b"[" * (8 << 20),
    }
    with stack.connect_redis() as redis:
        for name, data in jobs.items():
            fields = {"status": "queued", "origin": "high", "data": data}
            redis.hset(f"rq:job:{name}", mapping=fields)
            redis.rpush("rq:queue:high", name)

        kept(challenge.post(write_model(), priority="H"))

        for name in jobs:
            wait_for(lambda name=name: stack.says(f"job {name} is refused"), "the refusal")
            assert not redis.exists(f"rq:job:{name}")
    assert not canary.exists()
    assert [stack.find_program(name) for name in stack.workers] == workers


@pytest.mark.timeout(400)
def test_row_27_postgresql_killed_while_events_are_followed(stack, challenge, kept):
    payload = challenge.describe(write_model())
    last = payload["databoard_sf_id"]
    seen = []
    with Client(stack.url, ACCOUNT) as client, ThreadPoolExecutor() as pool:
        with client.open_events() as stream:
            start = stream.last_event_id

        def follow() -> None:
            for event in client.iter_events(start):
                seen.append(event.id)
                if event.databoard_sf_id == last and event.state.is_final:
                    return

        following = pool.submit(follow)
        running = challenge.post(write_model(4))
        challenge.wait_for_begin(running)
        wait = f"submissionfold/{running}/?wait=30"
        waiting = pool.submit(challenge.insist, "GET", wait, timeout=40)

        restart_postgresql(stack)

        kept(running, attempts=1)
        # It was woken by what happened after the restart, or told to come again.
        assert waiting.result().json()["state"] != "TODO"
        challenge.insist("POST", "submissionfold/", json=payload)
        kept(last)
        following.result(60)
    query = "SELECT id FROM fold_event WHERE id > %s AND owner_id = %s ORDER BY id"
    assert seen == [number for (number,) in stack.query(query, start, challenge.owner)]


def test_row_28_postgresql_killed_while_webhooks_are_called(stack, challenge, kept):
    raw_data = challenge.add_data(write_table())
    with receiving() as receiver:
        # The first calls fail, so that some are on their way when it happens.
        receiver.statuses[:] = [503, 503, 204]
        hook = {"url": receiver.url}
        assert challenge.insist("POST", f"rawdata/{raw_data}/webhooks/", json=hook).ok
        numbers = [challenge.post(write_model(), raw_data=raw_data) for _ in range(2)]
        wait_for(lambda: receiver.messages, "the first call")

        restart_postgresql(stack)

        payload = challenge.describe(write_model(), raw_data=raw_data)
        assert challenge.insist("POST", "submissionfold/", json=payload).ok
        numbers.append(payload["databoard_sf_id"])
        for number in numbers:
            kept(number)
        path = f"rawdata/{raw_data}/webhooks/"
        (shown,) = challenge.insist("GET", path).json()

        def list_delivered() -> list[int]:
            log = challenge.insist("GET", f"{path}{shown['id']}/deliveries/").json()
            return sorted(entry["databoard_sf_id"] for entry in log if entry["delivered_at"])

        wait_for(lambda: list_delivered() == numbers, "all deliveries")
        messages = {message.headers["webhook-id"]: message.body for message in receiver.messages}
    # Whatever came again came by the same name.
    told = [json.loads(body)["data"]["databoard_sf_id"] for body in messages.values()]
    assert sorted(told) == numbers


def test_all_of_it_at_random(stack):
    """A short chaos run; those of `test_chaos.py` take minutes."""
    report = run_chaos(stack, seed=0, folds=80, faults=15)

    assert report.is_good, report.explain()
    assert (report.folds, report.faults) == (80, 15)


def test_every_row_of_the_table_has_its_test():
    """And every test its row; one that is elsewhere is named by its path."""
    rows = re.findall(r"^\| (\d+) \|.*\| (.*) \|$", TABLE.read_text(), re.MULTILINE)
    named = {int(number): re.findall(r"`([^`]+)`", cell) for number, cell in rows}

    assert list(named) == list(range(1, 29))
    here = [name for name in globals() if name.startswith("test_row_")]
    for number, names in named.items():
        assert names
        assert [name for name in here if name.startswith(f"test_row_{number:02}_")] == [
            name for name in names if "::" not in name
        ]
        for path, _, name in (name.partition("::") for name in names if "::" in name):
            assert f"def {name}(" in (ROOT / path).read_text()


def restart_postgresql(stack: Stack) -> None:
    """Kill PostgreSQL as a power cut would, and wait until it is back."""
    old = stack.kill("postgresql")
    stack.wait_for_program("postgresql", other_than=old)


def has_open(process: psutil.Process, path: Path) -> bool:
    """Tell whether a process holds a file open."""
    return str(path) in [file.path for file in process.open_files()]


def call_as_worker(stack: Stack, path: str, payload: dict[str, Any]) -> requests.Response:
    """Call the API as a worker does."""
    headers = {"Authorization": f"Bearer {stack.worker_token}", PROTOCOL_HEADER: str(PROTOCOL)}
    url = f"{stack.url}runapp/worker/{path}"
    return requests.post(url, json=payload, headers=headers, timeout=10)


def run_on(worker: str, stack: Stack, challenge: Challenge, source: str) -> int:
    """Have one worker run a fold, and wait until it does."""
    with stack.frozen(*(name for name in stack.workers if name != worker)):
        number = challenge.post(source)
        assert challenge.wait_for_begin(number) == worker
    return number
