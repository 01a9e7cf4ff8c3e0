"""RQ as it comes: two workers that fork a work horse for each job and isolate nothing."""

import sys
import time
from collections.abc import Sequence
from typing import ClassVar

from redis import Redis
from rq import Queue
from rq.job import Job
from rq.results import Result

from benchmarks.contenders.contender import Contender, Run
from benchmarks.fold_work import PRELOAD, Predictions, run_job
from benchmarks.site import DEADLINE, N_WORKERS, STOP_TIME, BenchError, run_process
from benchmarks.workloads import Kit


class PreloadedRQ(Contender):
    """Its workers have imported scikit-learn, so their work horses have it too."""

    key = "rq"
    title = "plain RQ, preloaded"
    preload: ClassVar[tuple[str, ...]] = (*PRELOAD, "benchmarks.fold_work")

    def start(self) -> None:
        """Start the workers."""
        name = f"{self.key}-{self.codec}"
        # It waits as long for an answer as Redis is asked to wait for a result.
        redis = Redis.from_url(self.site.redis_url, socket_timeout=DEADLINE + STOP_TIME)
        connection = self.resources.enter_context(redis)
        self._queue = Queue(name, connection=connection)
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
        # From the last one on, which mostly ends last: nobody asks while they work.
        for job in reversed(jobs):
            _wait_for(job)
        seconds = time.perf_counter() - start
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


def _wait_for(job: Job) -> None:
    """Wait, as RQ offers it, until Redis has the job's result."""
    result = job.latest_result(timeout=int(DEADLINE))
    if result is None or result.type is not Result.Type.SUCCESSFUL:
        raise BenchError(f"A job of plain RQ failed: {result}")
