"""The RQ worker: takes our jobs and nothing else, and outlives Redis.

RQ's own classes wouldn't do. `Worker` forks for each job, which costs more than a quick fold;
`SimpleWorker` sends no heartbeat while a job runs; both end when Redis is away for half a minute,
take commands from whoever can publish on Redis, and run any function that a job names.

Threads: jobs run in the main thread, which also gets the signals. While one runs, a second thread
sends RQ's heartbeats (`_Heartbeats`). The sandbox's and the reporter's threads are theirs.

Stopping: on SIGTERM or SIGINT a worker finishes its job and ends; on a second one it drops the job.
"""

import contextlib
import logging
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq import Queue, worker_registration
from rq.executions import Execution
from rq.job import Job
from rq.timeouts import BaseDeathPenalty
from rq.utils import now, utcformat
from rq.worker import BaseWorker, WorkerStatus

from datarun_client.errors import SettingError
from datarun_worker.check import EX_CONFIG, IsolationError, start_engine
from datarun_worker.config import load_settings
from datarun_worker.jobs import RESULT_TTL, SERIALIZER, OurJob
from datarun_worker.sandbox import Engine
from datarun_worker.work_horse import WorkHorse

WORKER_TTL = 60
"""Seconds after which Redis forgets a silent idle worker."""

HEARTBEAT_INTERVAL = 10
"""Seconds between two heartbeats while a job runs."""

_UNREACHABLE = (RedisConnectionError, RedisTimeoutError)

logger = logging.getLogger("rq.worker.datarun")


class Worker(BaseWorker):
    """Runs datarun's jobs in its own process: ``rq worker -w datarun_worker.Worker high low``.

    Parameters
    ----------
    queues : sequence of Queue or str
    name : str, optional
    **options
        RQ's. Those for serializer and job class have no effect: jobs are JSON, and ours.
    """

    def __init__(
        self, queues: str | Queue | Sequence[str | Queue], name: str | None = None, **options: Any
    ) -> None:
        if isinstance(queues, str | Queue):
            queues = [queues]
        options |= {
            "job_class": OurJob,
            "serializer": SERIALIZER,
            "default_result_ttl": RESULT_TTL,
            "job_monitoring_interval": HEARTBEAT_INTERVAL,
            "worker_ttl": WORKER_TTL,
        }
        options.pop("default_worker_ttl", None)
        # The command line makes queues that read pickles.
        names = [queue if isinstance(queue, str) else queue.name for queue in queues]
        connection = options.pop("connection", None) or next(
            queue.connection for queue in queues if isinstance(queue, Queue)
        )
        super().__init__(names, name, connection=connection, **options)
        self.death_penalty_class = _NoDeathPenalty
        self._engine: Engine | None = None
        self._work_horse: WorkHorse | None = None

    def bootstrap(self, *args: Any, **options: Any) -> None:
        """Start the engine, then RQ.

        Raises
        ------
        SystemExit
            If a setting is missing or can't be read, or if submissions can't be confined here.
        """
        try:
            settings = load_settings()
        except SettingError as error:
            raise SystemExit(f"The worker can't start: {error}") from None
        # The engine mounts it, so it must be there.
        settings.cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._engine = start_engine(
                settings.isolation, preload=settings.preload, cache_folder=settings.cache
            )
        except IsolationError as error:
            logger.critical("The worker can't start: %s", error)
            sys.exit(EX_CONFIG)
        self._work_horse = WorkHorse(settings, self._engine, self.name)
        super().bootstrap(*args, **options)

    def teardown(self) -> None:
        """Stop the engine and take leave of Redis, if it is there."""
        if self._engine is not None:
            self._engine.stop()
        if self._work_horse is not None:
            self._work_horse.close()
        with self._surviving("take leave"):
            super().teardown()

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Carry out one job in this process."""
        with self._surviving(f"keep the books of job {job.id}"):
            execution = self.prepare_execution(job)
            try:
                with _Heartbeats(self, job, execution), self._require_work_horse().serving():
                    self.perform_job(job, queue, execution)
            finally:
                self.executions.pop(execution.id, None)
                self._state = WorkerStatus.IDLE

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Tell Redis that this worker lives; if Redis was restarted empty, who it is."""
        if pipeline is not None:
            super().heartbeat(timeout, pipeline)
            return
        with self._surviving("send a heartbeat"):
            self.last_heartbeat = now()
            is_new = self.connection.hset(
                self.key, "last_heartbeat", utcformat(self.last_heartbeat)
            )
            if is_new:
                with self.connection.pipeline() as transaction:
                    transaction.hset(self.key, mapping=self.serialize())
                    worker_registration.register(self, transaction)
                    transaction.execute()
            self.connection.expire(self.key, timeout or self.worker_ttl + 60)

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:
        """Give the seconds until Redis takes a silent job for abandoned; a job has no timeout."""
        return int(self.job_monitoring_interval) + 60

    def set_state(self, state: str, pipeline: Any = None) -> None:
        """Note what the worker does, on Redis too if it is there."""
        self._state = state
        with self._surviving("note its state"):
            super().set_state(state, pipeline)

    def set_shutdown_requested_date(self) -> None:
        """Note on Redis that the worker will stop, if Redis is there.

        Runs in a signal's handler: an error here would come up in the middle of a fold.
        """
        with self._surviving("note that it stops"):
            super().set_shutdown_requested_date()

    def check_for_suspension(self, burst: bool) -> None:
        """Wait while the operator has suspended the workers; not known without Redis."""
        with self._surviving("ask whether it is suspended"):
            super().check_for_suspension(burst)

    def run_maintenance_tasks(self) -> None:
        """Clean RQ's registries, if Redis is there."""
        with self._surviving("clean up"):
            super().run_maintenance_tasks()

    def get_redis_server_version(self) -> tuple[int, int, int]:
        """Give Redis's version; a job that is taken already mustn't be lost for it."""
        try:
            return super().get_redis_server_version()
        except _UNREACHABLE:
            return (0, 0, 0)

    def subscribe(self) -> None:
        """Take no commands: whoever can publish on Redis could stop a worker or its job."""

    def procline(self, message: str) -> None:
        """Leave the process's name alone."""

    def _require_work_horse(self) -> WorkHorse:
        if self._work_horse is None:
            raise RuntimeError("a job came before the worker was started")
        return self._work_horse

    @contextlib.contextmanager
    def _surviving(self, act: str) -> Iterator[None]:
        """Outlive an outage of Redis: what is kept there can be lost, a fold can't."""
        try:
            yield
        except _UNREACHABLE as error:
            logger.warning("Worker %s couldn't %s: %s", self.name, act, error)


class _NoDeathPenalty(BaseDeathPenalty):
    """RQ's timeout, which is an exception raised in the job: ours are kept from outside."""

    def setup_death_penalty(self) -> None:
        """Set no alarm."""

    def cancel_death_penalty(self) -> None:
        """Have none to cancel."""


class _Heartbeats:
    """Sends a running job's heartbeats from a thread; a context manager around the job."""

    def __init__(self, worker: Worker, job: Job, execution: Execution) -> None:
        self._worker = worker
        self._job = job
        self._execution = execution
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeats", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exc_info: object) -> None:
        self._is_over.set()
        # A heartbeat that hangs because Redis does isn't waited for.
        self._thread.join(timeout=1)

    def _run(self) -> None:
        while not self._is_over.wait(self._worker.job_monitoring_interval):
            try:
                self._worker.maintain_heartbeats(self._job, self._execution)
            except RedisError as error:
                logger.warning("no heartbeat of job %s: %s", self._job.id, error)
