"""All of RQ: what the API puts on Redis, and how it looks at it.

A job is a dotted name and ids, as JSON; never a pickle. Its id holds the attempt, so that a job of
an earlier attempt is another job. Redis is only the way to a worker: what is lost here is found
again by the reconciler, so that failing to enqueue is logged and not raised.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue as RQQueue
from rq.queue import EnqueueData
from rq.serializers import JSONSerializer

from datarun_api.models import RawData, Scoring, SubmissionFold
from datarun_client import states

RUN_FOLD = "datarun_worker.tasks.train_test_submission_fold"
PREPARE_DATA = "datarun_worker.tasks.prepare_data"
CUSTOM_PREPARE_DATA = "datarun_worker.tasks.custom_prepare_data"

SCORE = "datarun_worker.tasks.score_submission"

HINT = "run by `rq worker -w datarun_worker.Worker high low`"
"""Every job's description says who can run it: a plain RQ worker prints it when it can't."""

NO_TIMEOUT = -1
"""RQ's own timeout is an exception inside the job; a fold's limits are kept from outside it."""

RESULT_TTL = 60
FAILURE_TTL = 600
"""Seconds for which Redis remembers a job that ended; PostgreSQL remembers what matters."""

JOB_TTL = 24 * 3600
"""Seconds for which Redis remembers a job that nobody ends, because the worker that took it from
the queue was killed at that moment. Of one that waits longer the reconciler makes another."""

N_FIRST_JOBS = 8
"""Of many jobs so many go ahead: workers begin with them while Redis is told of the others."""

FOLD_JOB = "fold-"
"""What the ids of folds' jobs begin with."""

Held = list[tuple[str, list[EnqueueData]]]

_held: ContextVar[Held | None] = ContextVar("held", default=None)

logger = logging.getLogger(__name__)


class Queues:
    """The queues on Redis.

    Parameters
    ----------
    url : str
        Redis's address.
    data_queue : str
        The queue for data jobs.
    """

    def __init__(self, url: str, data_queue: str) -> None:
        self.connection = Redis.from_url(
            url, socket_connect_timeout=2, socket_timeout=5, health_check_interval=30
        )
        self.data_queue = data_queue

    def enqueue_folds(self, folds: Sequence[SubmissionFold]) -> None:
        """Wake workers for folds; each goes to its priority's queue."""
        for name in states.Queue:
            self._enqueue(
                name,
                [
                    _describe_job(
                        RUN_FOLD,
                        (fold.owner_id, fold.databoard_sf_id),
                        fold.job_id,
                        f"fold {fold.databoard_sf_id} of account {fold.owner_id}",
                    )
                    for fold in folds
                    if fold.priority.queue is name
                ],
            )

    def enqueue_split(self, raw_data: RawData) -> None:
        """Wake a worker for the split of a data set."""
        task = CUSTOM_PREPARE_DATA if raw_data.reader.is_own else PREPARE_DATA
        job = _describe_job(
            task,
            (raw_data.id, raw_data.split_attempt),
            raw_data.split_job_id,
            f"split of data set {raw_data.id}",
        )
        self._enqueue(self.data_queue, [job])

    def enqueue_scoring(self, scoring: Scoring) -> None:
        """Wake a worker for the scores of a submission."""
        job = _describe_job(
            SCORE,
            (scoring.owner_id, scoring.databoard_s, scoring.attempt),
            scoring.job_id,
            f"scores of submission {scoring.databoard_s} of account {scoring.owner_id}",
        )
        self._enqueue(self.data_queue, [job])

    def list_waiting(self, name: str, limit: int) -> list[str]:
        """List the ids of the jobs that wait on a queue, the next one first.

        Raises
        ------
        RedisError
            If Redis can't be asked.
        """
        queue = RQQueue(name, connection=self.connection, serializer=JSONSerializer)
        job_ids: list[str] = queue.get_job_ids(0, limit)
        return job_ids

    @contextmanager
    def holding_jobs(self) -> Iterator[None]:
        """Put the jobs of a block on the queues at its end; none after an error."""
        held: Held = []
        token = _held.set(held)
        try:
            yield
        finally:
            _held.reset(token)
        for name, jobs in held:
            self._enqueue(name, jobs)

    def _enqueue(self, name: str, jobs: Iterable[EnqueueData]) -> None:
        jobs = list(jobs)
        if not jobs:
            return
        held = _held.get()
        if held is not None:
            held.append((name, jobs))
            return
        queue = RQQueue(name, connection=self.connection, serializer=JSONSerializer)
        try:
            queue.enqueue_many(jobs[:N_FIRST_JOBS])
            if len(jobs) > N_FIRST_JOBS:
                queue.enqueue_many(jobs[N_FIRST_JOBS:])
        except RedisError as error:
            logger.warning(
                "could not enqueue %d jobs on %s (%s); the reconciler will", len(jobs), name, error
            )


def _describe_job(task: str, ids: tuple[int, ...], job_id: str, what: str) -> EnqueueData:
    return RQQueue.prepare_data(
        task,
        args=ids,
        job_id=job_id,
        timeout=NO_TIMEOUT,
        ttl=JOB_TTL,
        result_ttl=RESULT_TTL,
        failure_ttl=FAILURE_TTL,
        description=f"{what}, {HINT}",
    )
