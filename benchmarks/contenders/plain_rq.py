"""RQ as it comes: two workers that fork a work horse for each job and isolate nothing."""

import sys
import time
from collections.abc import Sequence
from typing import ClassVar

from redis import Redis
from rq import Queue
from rq.job import Job, JobStatus

from benchmarks.contenders.contender import Contender, Run
from benchmarks.fold_work import PRELOAD, Predictions, run_job
from benchmarks.site import N_WORKERS, BenchError, Patience, run_process
from benchmarks.workloads import Kit

_INTERVAL = 0.001
"""Seconds; a question costs Valkey 0.1 ms."""


class PreloadedRQ(Contender):
    """Its workers have imported scikit-learn, so their work horses have it too."""

    key = "rq"
    title = "plain RQ, preloaded"
    preload: ClassVar[tuple[str, ...]] = (*PRELOAD, "benchmarks.fold_work")

    def start(self) -> None:
        """Start the workers."""
        name = f"{self.key}-{self.codec}"
        connection = self.resources.enter_context(Redis.from_url(self.site.redis_url))
        self._queue = Queue(name, connection=connection)
        self._patience = Patience(_INTERVAL)
        for _ in range(N_WORKERS):
            command = [sys.executable, "-m", "benchmarks.workers.rq_worker"]
            self.resources.enter_context(
                run_process([*command, self.site.redis_url, name, *self.preload])
            )

    def run(self, kit: Kit, numbers: Sequence[int]) -> Run:
        """Enqueue all folds at once and wait for the last."""
        calls = [
            Queue.prepare_data(run_job, args=(str(kit.folder), number, str(self.codec)))
            for number in numbers
        ]
        start = time.perf_counter()
        jobs = self._queue.enqueue_many(calls)
        waiting = list(jobs)
        seconds = self._patience.wait(
            (kit.workload.name, len(jobs)), start, lambda: _have_ended(waiting)
        )
        made = {number: _read_result(job) for number, job in zip(numbers, jobs, strict=True)}
        for job in jobs:
            job.delete()
        return Run(seconds, made)


class ColdRQ(PreloadedRQ):
    """Its work horses import everything, each for its one job."""

    key = "rq_cold"
    title = "plain RQ, cold"
    is_slow = True
    preload = ()


def _read_result(job: Job) -> Predictions:
    made = job.return_value()
    if made is None:
        raise BenchError(f"Job {job.id} of plain RQ lost its result.")
    return Predictions(*made)


def _have_ended(waiting: list[Job]) -> bool:
    """Strike off the jobs that have ended, from the last one on, and tell whether none is left."""
    while waiting:
        status = waiting[-1].get_status()
        if status is JobStatus.FAILED:
            raise BenchError(f"A job of plain RQ failed: {waiting[-1].latest_result()}")
        if status is not JobStatus.FINISHED:
            return False
        waiting.pop()
    return True
