"""Everything breaks at random: ``python -m tests.faults.chaos --seed 1 --folds 500 --faults 100``.

A whole stack runs folds while processes are killed, frozen and stopped and servers restarted or
emptied. A seed draws the faults, their times and the folds; what they meet is the machine's to say.
At the end:

lost
    folds that are not final after all faults are over;
doubled
    folds for which more than one result was kept, by the word of a trigger in the database;
wrong
    folds whose result isn't, bit for bit, that of the same fold before the first fault;
leftovers
    processes, leases, attempts, jobs, results in the spool and scratch folders that are still
    there when nothing is left to do.

One line tells them; the exit code is 1 unless all four are none.
"""

import contextlib
import logging
import math
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import psutil
import psycopg
import requests

from datarun_client.states import State
from tests.faults.challenge import BROKEN, Challenge, write_model, write_table
from tests.faults.stack import LEASE, Stack, wait_for

logger = logging.getLogger(__name__)

KINDS = 12
"""Different folds, each of which is run once before the first fault."""

SLOW_SHARE = 0.1
SLOW_TIMES = (0.5, 1.0, 2.5)
"""How many folds are slow, and how long they take, in seconds."""

BACKLOG = 40
"""Folds that wait at most, so that they are posted all through the faults."""

DATA_SET_SHARE = 0.02
"""How often there is a new data set, whose folds then wait for its split."""

REPEATED_SHARE = 0.1
"""How often a platform sends the same again."""

LONGEST_GAP = 1.5
"""Seconds between two faults; half of it on average."""

LONGEST_FREEZE = 1.5 * LEASE
"""Seconds."""

LONGEST_LAG = 10.0
"""Seconds for which a fault waits for the folds that should have been posted before it."""

END_TIME = 180.0
"""Seconds in which all must be over once nothing breaks any more."""

QUIET_TIME = 30.0
"""Seconds in which workers that were killed last are back, and have cleared what they left."""

TRIGGER = """
CREATE TABLE kept_result (databoard_sf_id integer);
CREATE FUNCTION note_result() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO kept_result VALUES (NEW.databoard_sf_id); RETURN NULL; END $$;
CREATE TRIGGER note_result AFTER UPDATE ON submission_fold FOR EACH ROW
    WHEN (NEW.state IN ('TESTED', 'ERROR') AND (
        NEW.state IS DISTINCT FROM OLD.state OR NEW.attempt IS DISTINCT FROM OLD.attempt
        OR NEW.test_predictions IS DISTINCT FROM OLD.test_predictions
        OR NEW.full_train_predictions IS DISTINCT FROM OLD.full_train_predictions))
    EXECUTE FUNCTION note_result();
"""

LAST_ATTEMPTS = """
SELECT 1 FROM submission_fold WHERE state NOT IN ('TESTED', 'ERROR') AND n_losses = 2
"""

RESULT = ("state", "failure_kind", "log_messages", "full_train_predictions", "test_predictions")


@dataclass
class Report:
    """What came of a run."""

    folds: int = 0
    faults: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost, doubled, wrong or left over."""
        return not (self.lost or self.doubled or self.wrong or self.leftovers)

    def __str__(self) -> str:
        return (
            f"{self.folds} folds, {self.faults} faults injected, {len(self.lost)} lost, "
            f"{len(self.doubled)} doubled, {len(self.wrong)} wrong, {len(self.leftovers)} leftovers"
        )

    def explain(self) -> str:
        """Tell each case, a line each."""
        return "\n".join(
            f"{name}: {text}"
            for name in ("lost", "doubled", "wrong", "leftovers")
            for text in getattr(self, name)
        )


class Chaos:
    """Breaks a stack at random.

    Parameters
    ----------
    stack : Stack
        Started.
    rng : random.Random
    """

    def __init__(self, stack: Stack, rng: random.Random) -> None:
        self._stack = stack
        self._rng = rng
        self._frozen: list[tuple[float, list[psutil.Process]]] = []
        self._servers = ["postgresql", "valkey", "web", "reconciler"]
        self._costly: list[Callable[[], str | None]] = [
            *[self._kill_worker, self._kill_whole_worker, self._freeze_worker] * 2,
            *[self._kill_zygote] * 2,
            *[self._kill_sandbox] * 3,
        ]
        """These cost a fold an attempt."""
        self._faults: list[Callable[[], str | None]] = [
            *self._costly,
            *[self._stop_worker, self._freeze_sandbox] * 2,
            *[self._kill_server, self._freeze_server] * 4,
            *[self._stop_server, self._kill_web_process, self._freeze_web_process] * 2,
            *[self._empty_valkey] * 2,
        ]

    def inject(self) -> str:
        """Break something that is there, and say what.

        A fold's third attempt is spared: if it were lost, too, the fold would end in `ERROR`, and
        rightly so.
        """
        while True:
            self.thaw(time.monotonic())
            fault = self._rng.choice(self._faults)
            if fault not in self._costly or not self._may_be_anyones_last_attempt():
                with contextlib.suppress(psutil.NoSuchProcess):
                    told = fault()
                    if told is not None:
                        return told
            time.sleep(0.02)

    def _may_be_anyones_last_attempt(self) -> bool:
        postgres = self._stack.find_program("postgresql")
        if postgres is None or any(postgres in processes for _, processes in self._frozen):
            return True
        try:
            return bool(self._stack.query(LAST_ATTEMPTS))
        except psycopg.Error:
            return True

    def thaw(self, moment: float) -> None:
        """Let those go on whose time has come."""
        for entry in [entry for entry in self._frozen if entry[0] <= moment]:
            self._frozen.remove(entry)
            for process in entry[1]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()

    def end(self) -> None:
        """Let all go on."""
        self.thaw(math.inf)

    def _freeze(self, processes: list[psutil.Process], longest: float) -> str:
        seconds = self._rng.uniform(0.2, longest)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        self._frozen.append((time.monotonic() + seconds, processes))
        return f"frozen for {seconds:.1f} s"

    def _pick(self, names: list[str]) -> tuple[str, psutil.Process | None]:
        name = self._rng.choice(names)
        return name, self._stack.find_program(name)

    def _kill_worker(self) -> str | None:
        name, process = self._pick(self._stack.workers)
        if process is None:
            return None
        process.kill()
        return f"{name} killed"

    def _kill_whole_worker(self) -> str | None:
        name, process = self._pick(self._stack.workers)
        if process is None:
            return None
        for member in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        return f"{name} killed with all its descendants"

    def _freeze_worker(self) -> str | None:
        name, process = self._pick(self._stack.workers)
        if process is None:
            return None
        whole = self._rng.random() < 0.5
        family = process.children(recursive=True) if whole else []
        return f"{name} {self._freeze([process, *family], LONGEST_FREEZE)}"

    def _stop_worker(self) -> str | None:
        name, process = self._pick(self._stack.workers)
        if process is None:
            return None
        process.terminate()
        return f"{name} told to stop"

    def _kill_zygote(self) -> str | None:
        name = self._rng.choice(self._stack.workers)
        zygote = self._stack.find_zygote(name)
        if zygote is None:
            return None
        zygote.kill()
        return f"zygote of {name} killed"

    def _kill_sandbox(self) -> str | None:
        name = self._rng.choice(self._stack.workers)
        sandboxes = self._stack.find_sandboxes(name)
        for sandbox in sandboxes:
            sandbox.kill()
        return f"sandbox of {name} killed" if sandboxes else None

    def _freeze_sandbox(self) -> str | None:
        name = self._rng.choice(self._stack.workers)
        sandboxes = self._stack.find_sandboxes(name)
        return f"sandbox of {name} {self._freeze(sandboxes, 2.0)}" if sandboxes else None

    def _kill_server(self) -> str | None:
        name, process = self._pick(self._servers)
        if process is None:
            return None
        process.kill()
        return f"{name} killed"

    def _freeze_server(self) -> str | None:
        name, process = self._pick(self._servers)
        if process is None:
            return None
        family = [process, *process.children(recursive=True)]
        return f"{name} {self._freeze(family, LONGEST_FREEZE)}"

    def _stop_server(self) -> str | None:
        name, process = self._pick(self._servers)
        if process is None:
            return None
        # PostgreSQL's fast shutdown; the one on SIGTERM waits for its clients.
        process.send_signal(signal.SIGINT if name == "postgresql" else signal.SIGTERM)
        return f"{name} told to stop"

    def _kill_web_process(self) -> str | None:
        process = self._find_web_process()
        if process is None:
            return None
        process.kill()
        return "a process of web killed"

    def _freeze_web_process(self) -> str | None:
        process = self._find_web_process()
        return f"a process of web {self._freeze([process], LONGEST_FREEZE)}" if process else None

    def _find_web_process(self) -> psutil.Process | None:
        web = self._stack.find_program("web")
        children = web.children() if web else []
        return self._rng.choice(children) if children else None

    def _empty_valkey(self) -> str | None:
        if self._stack.find_program("valkey") is None:
            return None
        self._stack.hold("valkey")
        try:
            self._stack.kill("valkey")
            self._stack.empty_valkey()
        finally:
            self._stack.release("valkey")
        return "valkey killed and emptied"


class Platform(threading.Thread):
    """Posts folds as long as there are some to post, and data sets now and then.

    Parameters
    ----------
    challenge : Challenge
    folds : int
        How many to post.
    rng : random.Random

    Attributes
    ----------
    posted : dict of int to int
        The kind of each fold by its number.
    error : BaseException or None
        Why it ended early.
    """

    def __init__(self, challenge: Challenge, folds: int, rng: random.Random) -> None:
        super().__init__(name="platform", daemon=True)
        self._challenge = challenge
        self._folds = folds
        self._rng = rng
        self.posted: dict[int, int] = {}
        self.error: BaseException | None = None

    def run(self) -> None:
        """Post."""
        try:
            while len(self.posted) < self._folds:
                self._post_some()
                while len(self._challenge.list_unfinished()) > BACKLOG:
                    time.sleep(0.2)
        except BaseException as error:
            self.error = error

    def _post_some(self) -> None:
        if self._rng.random() < DATA_SET_SHARE:
            self._challenge.raw_data = self._challenge.add_data(write_table(), waits=False)
        size = min(self._rng.choice((1, 1, 1, 5, 20)), self._folds - len(self.posted))
        kinds = {}
        payloads = []
        for _ in range(size):
            kind = self._rng.randrange(KINDS)
            slow = self._rng.random() < SLOW_SHARE
            source = write_kind(kind, self._rng.choice(SLOW_TIMES) if slow else 0)
            payload = self._challenge.describe(source, priority=self._rng.choice("HLL"))
            kinds[payload["databoard_sf_id"]] = kind
            payloads.append(payload)
        body = payloads if size > 1 else payloads[0]
        for _ in range(2 if self._rng.random() < REPEATED_SHARE else 1):
            answer = self._challenge.insist("POST", "submissionfold/", END_TIME, json=body)
            if answer.status_code not in (requests.codes.ok, requests.codes.created):
                raise RuntimeError(f"folds were refused: {answer.status_code} {answer.text}")
        self.posted.update(kinds)


def write_kind(kind: int, seconds: float = 0) -> str:
    """Write a fold's source: its kind says what it comes to, whatever time it takes."""
    return write_model(seconds, seed=kind) if kind else BROKEN


def run_chaos(stack: Stack, seed: int, folds: int, faults: int) -> Report:
    """Run folds while a stack is broken, and look at what came of it."""
    challenge = Challenge(stack)
    challenge.raw_data = challenge.add_data(write_table())
    expected = [read_result(challenge.run(write_kind(kind))) for kind in range(KINDS)]
    with stack.connect() as connection:
        connection.execute(TRIGGER)
    platform = Platform(challenge, folds, random.Random(seed))
    platform.start()
    rng = random.Random(seed + 1)
    chaos = Chaos(stack, rng)
    report = Report()
    while report.faults < faults and platform.error is None:
        break_at = time.monotonic() + rng.uniform(0, LONGEST_GAP)
        behind_at = break_at + LONGEST_LAG
        # The faults are spread over the folds.
        while time.monotonic() < break_at or (
            len(platform.posted) * faults < report.faults * folds and time.monotonic() < behind_at
        ):
            chaos.thaw(time.monotonic())
            time.sleep(0.02)
        logger.info("%.1f: %s", time.monotonic(), chaos.inject())
        report.faults += 1
    chaos.end()
    platform.join(END_TIME)
    if platform.error is not None:
        report.lost.append(f"the platform gave up: {platform.error!r}")
    report.folds = len(platform.posted)
    with contextlib.suppress(TimeoutError):
        wait_for(lambda: not challenge.list_unfinished(), "the last fold", END_TIME)
    judge_folds(stack, challenge, platform.posted, expected, report)
    with contextlib.suppress(TimeoutError):
        wait_for(lambda: not list_leftovers(stack), "the last job", QUIET_TIME)
    report.leftovers += list_leftovers(stack)
    return report


def run_alone(
    seed: int, folds: int, faults: int, workers: int = 3, log: Path | None = None
) -> Report:
    """Run it on a stack of its own, which is looked at after its stop, too."""
    stack = Stack(Path(tempfile.mkdtemp(prefix="datarun-chaos-")), workers)
    try:
        stack.start()
        report = run_chaos(stack, seed, folds, faults)
        stop_stack(stack, report)
    finally:
        stack.end()
        if log is not None:
            log.write_text(stack.output)
        stack.remove()
    return report


def stop_stack(stack: Stack, report: Report) -> None:
    """Stop a stack and look at what outlives it."""
    status = stack.stop()
    if status != 0:
        report.leftovers.append(f"the stack's end, with exit code {status}")
    report.leftovers += [f"after the stop: {process}" for process in stack.list_processes()]
    report.leftovers += [f"after the stop: {path}" for path in stack.scratch.iterdir()]


def read_result(fold: dict[str, Any]) -> dict[str, Any]:
    """Take from a fold what must be the same each time it is run."""
    return {name: fold[name] for name in RESULT}


def judge_folds(
    stack: Stack,
    challenge: Challenge,
    posted: dict[int, int],
    expected: list[dict[str, Any]],
    report: Report,
) -> None:
    """Look at every fold that was accepted."""
    kept = Counter(number for (number,) in stack.query("SELECT databoard_sf_id FROM kept_result"))
    for number, kind in posted.items():
        fold = challenge.get(number)
        if not State(fold["state"]).is_final:
            report.lost.append(f"fold {number}: {fold['state']}, {fold['progress']}")
        elif read_result(fold) != expected[kind]:
            attempts = challenge.list_attempts(number)
            differing = [name for name in RESULT if fold[name] != expected[kind][name]]
            report.wrong.append(
                f"fold {number}: {fold['state']} {fold['log_messages']} {differing} {attempts}"
            )
        if kept[number] > 1:
            report.doubled.append(f"fold {number}: {kept[number]} results")
        elif not kept[number] and State(fold["state"]).is_final:
            report.lost.append(f"fold {number}: final, but no result was kept")


def list_leftovers(stack: Stack) -> list[str]:
    """List what is there though nothing is left to do."""
    return [*_list_rows(stack), *_list_jobs(stack), *_list_files(stack), *_list_processes(stack)]


def _list_rows(stack: Stack) -> Iterator[str]:
    for what, query in (
        (
            "fold that runs or waits",
            "submission_fold WHERE num_nonnulls(lease_until, queued_at, retry_at) > 0",
        ),
        ("attempt without an end", "attempt WHERE ended_at IS NULL"),
        ("split", "raw_data WHERE split_state = 'TODO' OR split_lease_until IS NOT NULL"),
    ):
        for row in stack.query(f"SELECT * FROM {query}"):
            yield f"{what}: {row[:3]}"


def _list_jobs(stack: Stack) -> Iterator[str]:
    with stack.connect_redis() as redis:
        for key in redis.scan_iter("rq:queue:*"):
            for job in redis.lrange(key, 0, -1):
                yield f"job {job.decode()} on {key.decode()}"
        kept = set()
        for key in redis.scan_iter("rq:wip:*"):
            kept |= {entry.split(b":")[0] for entry in redis.zrange(key, 0, -1)}
        for key in redis.scan_iter("rq:job:*"):
            # What a registry knows is forgotten in time, as is what has a time to live.
            if redis.ttl(key) == -1 and key.removeprefix(b"rq:job:") not in kept:
                yield f"{key.decode()}: {redis.hget(key, 'status')!r}, kept for ever"


def _list_files(stack: Stack) -> Iterator[str]:
    for path in stack.list_spooled():
        yield f"undelivered {path.name}"
    for path in (stack.home / "cache").rglob("*.part"):
        yield f"half a file: {path.name}"
    scratch = {(path / "scratch").readlink() for path in stack.home.glob("cache-spool/*/worker-*")}
    if len(scratch) > len(stack.workers):
        yield f"{len(scratch)} folders of {len(stack.workers)} workers in the spool"
    for path in stack.scratch.iterdir():
        if path not in scratch or list(path.iterdir()):
            yield f"scratch: {path}"


def _list_processes(stack: Stack) -> Iterator[str]:
    processes = {process.pid: process for process in stack.list_processes()}
    for process in processes.values():
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.pid != stack.pid and process.ppid() not in processes:
                yield f"orphan: {process.cmdline()}"
    for worker in stack.workers:
        # The newest is for the next fold.
        for sandbox in stack.find_sandboxes(worker)[:-1]:
            yield f"sandbox of {worker}, which has nothing to do: {sandbox}"


@click.command()
@click.option("--seed", default=1, show_default=True, help="Which run.")
@click.option("--folds", default=500, show_default=True, help="How many folds are posted.")
@click.option("--faults", default=100, show_default=True, help="How many faults are injected.")
@click.option("--workers", default=3, show_default=True, help="How many workers run.")
@click.option(
    "--log", type=click.Path(path_type=Path), help="The file for all that the stack says."
)
def main(seed: int, folds: int, faults: int, workers: int, log: Path | None) -> None:
    """Run folds while everything breaks; the exit code tells whether all came out right."""
    report = run_alone(seed, folds, faults, workers, log)
    click.echo(f"seed {seed}: {report}")
    if not report.is_good:
        click.echo(report.explain(), err=True)
        sys.exit(1)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
