"""The RQ worker: takes our jobs and nothing else, and outlives Redis.

RQ's own classes wouldn't do. `Worker` forks for each job, which costs more than a quick fold;
`SimpleWorker` sends no heartbeat while a job runs; both end when Redis is away for half a minute,
take commands from whoever can publish on Redis, and run any function that a job names.

One fold after the other: the work horse asks for the next job whenever one request can bring a
result and claim a fold (`fold_series`), so that a worker may hold the jobs of two folds. Every job
is still taken from Redis, in RQ's order (`_take_fold_job`); only what RQ would write about a job
that is over in no time isn't written (`_Held`).

Threads: jobs run in the main thread, which also gets the signals. While a long one runs, a second
thread sends RQ's heartbeats to Redis. Those to the API (`heartbeat`), the lease's (`attempts`), the
reporter's, the stopper's and the sandbox's threads are theirs.

Stopping: on SIGTERM or SIGINT a worker ends; a job that runs may be finished within DATARUN_GRACE
seconds, and is given back then, or at once on a second signal (`stopping`).
"""

import collections
import contextlib
import inspect
import logging
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any, NoReturn, Self

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rq import Queue, worker_registration
from rq.exceptions import StopRequested
from rq.executions import Execution
from rq.job import Job, JobStatus
from rq.timeouts import BaseDeathPenalty
from rq.utils import now, utcformat
from rq.worker import BaseWorker

from datarun_client.errors import SettingError
from datarun_client.exit_codes import ExitCode
from datarun_worker import tasks
from datarun_worker.check import IsolationError, start_engine
from datarun_worker.config import load_settings
from datarun_worker.delivery import FoldJob
from datarun_worker.jobs import RESULT_TTL, SERIALIZER, OurJob, OurQueue
from datarun_worker.late import late_starter
from datarun_worker.sandbox import Engine
from datarun_worker.stopping import Stopper
from datarun_worker.work_horse import WorkHorse, open_spool

WORKER_TTL = 60
"""Seconds after which Redis forgets a silent idle worker."""

HEARTBEAT_INTERVAL = 10
"""Seconds between two heartbeats while a job runs."""

WAIT_FOR_JOB = 10
"""Seconds that a worker waits for a job before it looks at itself again."""

GO_ON = 5.0
"""Seconds for which one job follows the other; then RQ's own loop has its turn, which looks after
more: whether workers are suspended, what of Redis must be cleaned up, whether there is room."""

BOOKS_AFTER = 3.0
"""Seconds for which a job is held before Redis is told that it runs; a fold's may wait for one of
them."""

QUICK_TIMEOUT = 2.0
"""Seconds that Redis may take to say whether there is another job."""

LONGEST_REDIS_PAUSE = 5.0
"""Seconds between two tries to reach Redis; each pause is twice the one before."""

SAME_STOP = 1.0
"""Seconds within which a second signal is the same wish to stop: Ctrl-C in a terminal comes to
the worker, and again from whoever started it."""

LEAVE_TIME = 2.0
"""Seconds for taking leave of Redis."""

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

    max_connection_wait_time = LONGEST_REDIS_PAUSE

    def __init__(
        self, queues: str | Queue | Sequence[str | Queue], name: str | None = None, **options: Any
    ) -> None:
        if isinstance(queues, str | Queue):
            queues = [queues]
        options |= {
            "job_class": OurJob,
            "queue_class": OurQueue,
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
        self._adjust_connections()
        self._quick_connection = self._make_quick_connection()
        self._engine: Engine | None = None
        self._work_horse: WorkHorse | None = None
        self._stopper: Stopper | None = None
        self._stopped_at: float | None = None
        self._is_busy = False
        self._is_counting = False
        # Those of the folds that run or are claimed ahead, the oldest first.
        self._held: collections.deque[_Held] = collections.deque()
        # One that isn't a fold's, and waits until they are over.
        self._put_off: _Held | None = None
        self._go_on_until = 0.0

    @property
    def dequeue_timeout(self) -> int:
        """Give the seconds that Redis is asked to wait for a job; its answer may take longer."""
        return WAIT_FOR_JOB

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
            logger.critical("The worker can't start: %s", error)
            sys.exit(ExitCode.CONFIGURATION)
        # The engine mounts it, so it must be there.
        settings.cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        # RQ listens to signals once all is there; a stop before that leaves nothing behind either.
        signal.signal(signal.SIGTERM, _end_start)
        with contextlib.ExitStack() as started:
            with _holding_back_stop():
                spool = open_spool(settings)
                started.callback(spool.close)
            # So that the next worker finds and removes what a killed one leaves.
            tempfile.tempdir = str(spool.scratch)
            try:
                self._engine = start_engine(
                    settings.isolation, preload=settings.preload, cache_folder=settings.cache
                )
            except IsolationError as error:
                logger.critical("The worker can't start: %s", error)
                sys.exit(ExitCode.CONFIGURATION)
            started.callback(self._engine.stop)
            self._stopper = Stopper(settings.grace)
            self._work_horse = WorkHorse(
                settings,
                self._engine,
                spool,
                self.name,
                self.queue_names(),
                self._stopper.is_stopping,
            )
            self._stopper.start(self._work_horse.give_back_all)
            super().bootstrap(*args, **options)
            self._work_horse.start()
            # From now on `teardown` sees to that.
            started.pop_all()

    def teardown(self) -> None:
        """Stop the engine and take leave of Redis, if it is there."""
        if self._engine is not None:
            self._engine.stop()
        if self._work_horse is not None:
            self._work_horse.close()
        # Redis may hang, and forgets a silent worker by itself.
        leave = threading.Thread(target=self._take_leave, name="leave", daemon=True)
        leave.start()
        leave.join(LEAVE_TIME)
        for number in (signal.SIGINT, signal.SIGTERM):
            # All is done; Python's own handlers would only spoil the exit status.
            signal.signal(number, signal.SIG_IGN)

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, Queue] | None:
        """Wait for a job, as long as this worker may take one; None if it shall wait no longer."""
        work_horse = self._require_work_horse()
        started = time.monotonic()
        while True:
            work_horse.get_ready()
            try:
                found = super().dequeue_job_and_maintain_ttl(timeout, WAIT_FOR_JOB)
            except RedisError as error:
                logger.error("Worker %s can't wait for a job: %s", self.name, error)
                time.sleep(LONGEST_REDIS_PAUSE)
                continue
            is_idle = max_idle_time is not None and time.monotonic() - started >= max_idle_time
            if found is not None or timeout is None or is_idle:
                return found

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Handle SIGTERM and SIGINT; whatever takes time or locks is done by the stopper."""
        moment, before = time.monotonic(), self._stopped_at
        if self._stopper is None or (before is not None and moment - before < SAME_STOP):
            return
        self._stopped_at = moment
        self._stop_requested = True
        self._stopper.request()
        is_first = before is None
        if is_first and not self._is_busy:
            raise StopRequested

    def work(self, *args: Any, **options: Any) -> bool:
        """Take jobs, see RQ; where they are counted, each is taken by itself."""
        self._is_counting = options.get("max_jobs") is not None
        return super().work(*args, **options)

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Carry out one job in this process, and those that the work horse goes on to."""
        self._is_busy = True
        self._go_on_until = time.monotonic() + GO_ON
        held: _Held | None = _Held(self, job, queue)
        try:
            while held is not None:
                self._execute(held)
                held, self._put_off = self._put_off, None
        finally:
            self._is_busy = False

    def _execute(self, held: "_Held") -> None:
        """Carry out a job; of folds' jobs also those that `_take_fold_job` takes meanwhile."""
        self._held.append(held.begin())
        try:
            with self._require_work_horse().serving(held.queue.name, self._take_fold_job):
                held.job.func(*held.job.args, **held.job.kwargs)
        except Exception as error:
            # The edge of a job, whichever of them it was.
            while self._held:
                self._held.popleft().fail(error)
        else:
            while self._held:
                self._held.popleft().succeed()

    def _take_fold_job(self, *, ends_one: bool, ahead: bool) -> FoldJob | None:
        """Take the next job for the work horse, see `fold_series.TakeJob`.

        None if there is no job, if this worker should take none, or if the next one is no fold's;
        that one comes after this.
        """
        if not self._may_go_on():
            return None
        found = None
        with self.surviving("take the next job"):
            if ahead and not self._has_plenty():
                return None
            found = self.queue_class.dequeue_any(
                self._ordered_queues,
                None,
                connection=self._quick_connection,
                job_class=self.job_class,
                serializer=self.serializer,
                death_penalty_class=self.death_penalty_class,
            )
        if found is None:
            return None
        held = _Held(self, *found)
        if held.job.func is not tasks.train_test_submission_fold:
            self._put_off = held
            return None
        if ends_one:
            # What Redis is told of it is one result early, and says nothing of the fold.
            self._held.popleft().succeed()
        self._held.append(held.begin())
        owner, databoard_sf_id = _read_ids(held.job)
        return FoldJob(owner, databoard_sf_id, held.queue.name)

    def _has_plenty(self) -> bool:
        """Tell whether more jobs wait than there are workers that could take them."""
        with self._quick_connection.pipeline(transaction=False) as pipeline:
            for queue in self.queues:
                pipeline.llen(queue.key)
                pipeline.scard(worker_registration.WORKERS_BY_QUEUE_KEY % queue.name)
            counts = pipeline.execute()
        return sum(counts[::2]) > max(counts[1::2])

    def _may_go_on(self) -> bool:
        return not (
            self._stop_requested
            or self._put_off is not None
            or self._is_counting
            or time.monotonic() > self._go_on_until
            or not self._require_work_horse().may_go_on()
        )

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Tell Redis that this worker lives; if Redis was restarted empty, who it is."""
        if pipeline is not None:
            super().heartbeat(timeout, pipeline)
            return
        with self.surviving("send a heartbeat"):
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
        with self.surviving("note its state"):
            super().set_state(state, pipeline)

    def check_for_suspension(self, burst: bool) -> None:
        """Wait while the operator has suspended the workers; not known without Redis."""
        with self.surviving("ask whether it is suspended"):
            super().check_for_suspension(burst)

    def run_maintenance_tasks(self) -> None:
        """Clean RQ's registries, if Redis is there."""
        with self.surviving("clean up"):
            super().run_maintenance_tasks()

    def get_redis_server_version(self) -> tuple[int, int, int]:
        """Give Redis's version; a job that is taken already mustn't be lost for it."""
        try:
            return super().get_redis_server_version()
        except RedisError:
            return (0, 0, 0)

    def subscribe(self) -> None:
        """Take no commands: whoever can publish on Redis could stop a worker or its job."""

    def procline(self, message: str) -> None:
        """Leave the process's name alone."""

    def _adjust_connections(self) -> None:
        """Let connections to Redis wait longer for its answer than Redis waits for a job."""
        options = self.connection.connection_pool.connection_kwargs
        if "orig_socket_timeout" in options:
            # RQ sets `socket_timeout`, but redis-py 8 goes back to this one.
            options["orig_socket_timeout"] = options["socket_timeout"]
        # redis-py would try four times, which is long if Redis is frozen.
        self.connection.set_retry(Retry(NoBackoff(), 1))
        # Those that are there already keep the old timeout, even when they connect anew.
        self.connection.connection_pool.disconnect()
        self.connection.connection_pool.reset()

    def _make_quick_connection(self) -> Redis:
        """Make a connection for a result's way, which mustn't wait long for a Redis that hangs."""
        pool = self.connection.connection_pool
        options = {**pool.connection_kwargs, "socket_timeout": QUICK_TIMEOUT}
        if "orig_socket_timeout" in options:
            options["orig_socket_timeout"] = QUICK_TIMEOUT
        return Redis(connection_pool=type(pool)(connection_class=pool.connection_class, **options))

    def _take_leave(self) -> None:
        with self.surviving("take leave"):
            super().teardown()

    def _require_work_horse(self) -> WorkHorse:
        if self._work_horse is None:
            raise RuntimeError("a job came before the worker was started")
        return self._work_horse

    @contextlib.contextmanager
    def surviving(self, act: str) -> Iterator[None]:
        """Outlive an outage of Redis: what is kept there can be lost, a fold can't."""
        try:
            yield
        except RedisError as error:
            logger.warning("Worker %s couldn't %s: %s", self.name, act, error)


def _end_start(signum: int, frame: FrameType | None) -> NoReturn:
    """Handle a SIGTERM that comes before the worker is there."""
    sys.exit(0)


@contextlib.contextmanager
def _holding_back_stop() -> Iterator[None]:
    """Keep a SIGTERM until what is begun here can be undone."""
    is_told = threading.Event()
    handler = signal.signal(signal.SIGTERM, lambda *_: is_told.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
    if is_told.is_set():
        signal.raise_signal(signal.SIGTERM)


def _read_ids(job: Job) -> list[int]:
    """Give a job's arguments in the order of its task's parameters; `OurJob` has checked them."""
    return list(inspect.signature(job.func).bind(*job.args, **job.kwargs).arguments.values())


class _NoDeathPenalty(BaseDeathPenalty):
    """RQ's timeout, which is an exception raised in the job: ours are kept from outside."""

    def setup_death_penalty(self) -> None:
        """Set no alarm."""

    def cancel_death_penalty(self) -> None:
        """Have none to cancel."""


class _Held:
    """A job that this worker holds, and what Redis is told of it.

    Who looks at Redis must see what a worker does, but nobody can see what is over in no time. So
    only a job that runs longer than `BOOKS_AFTER` is entered as running, by a thread that then
    sends its heartbeats; at its end each job is noted as finished or failed.
    """

    def __init__(self, worker: Worker, job: Job, queue: Queue) -> None:
        self.job = job
        self.queue = queue
        self._worker = worker
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        self._execution: Execution | None = None

    def begin(self) -> Self:
        """Note that it runs."""
        self.job.started_at = now()
        late_starter.start(BOOKS_AFTER, self._is_over, self._keep_books, "books")
        return self

    def succeed(self) -> None:
        """Note that it is done."""
        self._end()
        job = self.job
        with (
            self._worker.surviving(f"note that job {job.id} is done"),
            self._worker.connection.pipeline(transaction=False) as pipeline,
        ):
            pipeline.hset(job.key, "status", JobStatus.FINISHED)
            pipeline.hset(job.key, "ended_at", utcformat(job.ended_at or now()))
            pipeline.expire(job.key, RESULT_TTL)
            self._worker.increment_successful_job_count(pipeline)
            if self._execution is not None:
                self._worker.cleanup_execution(job, pipeline, self._execution)
            pipeline.execute()

    def fail(self, error: Exception) -> None:
        """Note that it failed, and why."""
        self._end()
        logger.error("job %s failed", self.job.id, exc_info=error)
        with self._worker.surviving(f"note that job {self.job.id} failed"):
            text = "".join(traceback.format_exception(error))
            self._worker.handle_job_failure(
                self.job, self.queue, exc_string=text, execution=self._execution
            )

    def _end(self) -> None:
        self.job.ended_at = now()
        self._is_over.set()
        # A thread that hangs because Redis does isn't waited for.
        if self._lock.acquire(timeout=1):
            self._lock.release()

    def _keep_books(self) -> None:
        try:
            with self._lock:
                if self._is_over.is_set():
                    return
                self._execution = self._worker.prepare_execution(self.job)
            while not self._is_over.wait(self._worker.job_monitoring_interval):
                self._worker.maintain_heartbeats(self.job, self._execution)
        except RedisError as error:
            logger.warning("no heartbeat of job %s: %s", self.job.id, error)
