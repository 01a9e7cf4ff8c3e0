"""The only jobs that our worker runs.

Whoever can write to Redis can put any job there: one that names ``os.system``, one with callbacks
or webhooks, a pickle, a zlib bomb. RQ imports and calls what a job names, and an error while it
reads a job ends the worker. So a job is read by its few fields that we use, and whatever isn't
exactly one of ours is logged and dropped.
"""

import contextlib
import inspect
import json
import logging
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer

from datarun_worker import tasks

TASKS: dict[str, Callable[..., None]] = {
    f"{task.__module__}.{task.__name__}": task
    for task in (
        tasks.train_test_submission_fold,
        tasks.prepare_data,
        tasks.custom_prepare_data,
        tasks.score_submission,
    )
}

RESULT_TTL = 60
"""Seconds for which Redis remembers a job that has run; the API knows what came of it."""

FAILURE_TTL = 3600
"""Seconds for which Redis remembers a job that failed."""

MAX_DATA = 4096
"""Bytes of a job's function and arguments; ours have a hundred."""

MAX_ID = 2**63 - 1

_KEPT_FIELDS = frozenset(
    {
        "allow_dependency_failures",
        "created_at",
        "data",
        "dependency_id",
        "dependency_ids",
        "description",
        "ended_at",
        "enqueued_at",
        "last_heartbeat",
        "origin",
        "started_at",
        "status",
        "worker_name",
    }
)
_FOREIGN_FIELDS = frozenset(
    {
        "failure_callback_name",
        "stopped_callback_name",
        "success_callback_name",
        "webhooks",
    }
)

logger = logging.getLogger("rq.worker.datarun")


class RefusedJobError(ValueError):
    """A job isn't one of ours."""


class OurJob(Job):
    """A job that is one of our tasks, with ids for arguments and nothing else."""

    def restore(self, raw_data: Mapping[Any, Any]) -> None:
        """Read the job's hash.

        Raises
        ------
        NoSuchJobError
            If it isn't one of ours; RQ then goes on to the next one.
        """
        try:
            fields = {_read_name(name): value for name, value in raw_data.items()}
            data = _check_fields(fields)
            kept = {name: value for name, value in fields.items() if name in _KEPT_FIELDS}
            super().restore({**kept, "data": data})
        except Exception as error:
            # The edge: whatever RQ stumbles over in a forged hash would end the worker.
            logger.warning("job %s is refused and dropped: %s", self.id, error)
            self.connection.delete(self.key)
            raise NoSuchJobError(f"Job {self.id} was refused.") from error
        # Limits are kept from outside the job; how long Redis remembers it is ours to say.
        self.timeout = -1
        self.result_ttl, self.failure_ttl = RESULT_TTL, FAILURE_TTL

    @classmethod
    def fetch_many(
        cls, job_ids: Iterable[str], connection: Redis, serializer: Any = None
    ) -> list[Job | None]:
        """Fetch jobs; None stands for one that isn't there or was refused."""
        return [cls._find(job_id, connection, serializer) for job_id in job_ids]

    @classmethod
    def _find(cls, job_id: str, connection: Redis, serializer: Any) -> Job | None:
        try:
            return cls.fetch(job_id, connection, serializer)
        except NoSuchJobError:
            return None

    @property
    def func(self) -> Callable[..., None]:
        """The task."""
        return TASKS[str(self.func_name)]


class OurQueue(Queue):
    """A queue whose jobs are taken in one journey to Redis, however many queues there are."""

    @classmethod
    def lpop(
        cls, queue_keys: Sequence[str], timeout: int | None, connection: Redis | None = None
    ) -> tuple[Any, Any] | None:
        """Take the first job of the first queue that has one, as RQ does."""
        if timeout is None and connection is not None:
            # Redis has it since version 7.
            with contextlib.suppress(ResponseError):
                found: Any = connection.lmpop(len(queue_keys), *queue_keys, direction="LEFT")
                return None if found is None else (found[0], found[1][0])
        taken: tuple[Any, Any] | None = super().lpop(queue_keys, timeout, connection)
        return taken


def _read_name(name: bytes | str) -> str:
    return name if isinstance(name, str) else name.decode()


def _check_fields(fields: Mapping[str, Any]) -> bytes:
    """Check a job's hash and give its unpacked data.

    Raises
    ------
    RefusedJobError
        If it isn't one of our tasks with ids for arguments.
    """
    foreign = [name for name in sorted(_FOREIGN_FIELDS) if fields.get(name)]
    if foreign:
        raise RefusedJobError(f"it brings {', '.join(foreign)}")
    data = _unpack(fields.get("data", b""))
    try:
        func_name, instance, args, kwargs = json.loads(data)
    except (ValueError, TypeError, RecursionError) as error:
        raise RefusedJobError("it isn't JSON of a function and its arguments") from error
    if not isinstance(func_name, str) or func_name not in TASKS or instance is not None:
        raise RefusedJobError(f"{str(func_name)[:100]!r} is no task of ours")
    _check_arguments(TASKS[func_name], args, kwargs)
    return data


def _check_arguments(task: Callable[..., None], args: Any, kwargs: Any) -> None:
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise RefusedJobError("its arguments are none")
    try:
        values = inspect.signature(task).bind(*args, **kwargs).arguments.values()
    except TypeError as error:
        raise RefusedJobError(f"its arguments don't fit: {error}") from error
    if not all(type(value) is int and 0 <= value <= MAX_ID for value in values):
        raise RefusedJobError("its arguments aren't ids")


def _unpack(data: bytes) -> bytes:
    decompressor = zlib.decompressobj()
    try:
        unpacked = decompressor.decompress(data, MAX_DATA + 1)
    except zlib.error:
        unpacked = data
    if len(unpacked) > MAX_DATA:
        raise RefusedJobError(f"its data has more than {MAX_DATA} bytes")
    return unpacked


SERIALIZER = JSONSerializer
"""Never pickle: reading one runs what it says."""
