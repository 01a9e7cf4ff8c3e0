"""The worker's settings: one table, the only reader of the environment in this package.

Times are in seconds, sizes in bytes.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from datarun_client.errors import SettingError
from datarun_client.settings import (
    Setting,
    parse_bytes,
    parse_count,
    parse_seconds,
    read_settings,
)
from datarun_worker.isolation import Isolation

T = TypeVar("T")


@dataclass(frozen=True)
class ByQueue(Generic[T]):
    """A limit, and what it is on queues that have their own.

    Attributes
    ----------
    default : object
        What holds where nothing else is said.
    queues : mapping of str to object
    """

    default: T
    queues: Mapping[str, T] = field(default_factory=dict)

    def on(self, queue: str | None) -> T:
        """Say what holds on a queue; None for no queue at all."""
        return self.default if queue is None else self.queues.get(queue, self.default)


def parse_by_queue(parse: Callable[[str], T]) -> Callable[[str], ByQueue[T]]:
    """Make a reader of texts such as ``3600`` or ``3600, high=600``.

    Parameters
    ----------
    parse : callable
        Reads one value.
    """

    def read(text: str) -> ByQueue[T]:
        default, *others = (part.strip() for part in text.split(","))
        pairs = [other.partition("=") for other in others]
        if "=" in default or not all(queue and equals for queue, equals, _ in pairs):
            raise ValueError("write a value for all queues first, then others: 3600, high=600")
        return ByQueue(
            parse(default), {queue.strip(): parse(value.strip()) for queue, _, value in pairs}
        )

    return read


def parse_folder(text: str) -> Path:
    """Read a folder's name; ``~`` is the home of the worker's user."""
    return Path(text).expanduser().absolute()


def parse_optional_folder(text: str) -> Path | None:
    """Read a folder's name; an empty text names none."""
    return parse_folder(text) if text else None


def parse_names(text: str) -> tuple[str, ...]:
    """Read a comma-separated list of names.

    Raises
    ------
    ValueError
        If one is no dotted name.
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not all(part.isidentifier() for name in names for part in name.split(".")):
        raise ValueError("write dotted names of modules, separated by commas")
    return names


def parse_isolation(text: str) -> Isolation:
    """Read an isolation level.

    Raises
    ------
    ValueError
        If there is no such level.
    """
    try:
        return Isolation(text)
    except ValueError:
        raise ValueError(f"choose from {', '.join(Isolation)}") from None


SETTINGS = (
    Setting("DATARUN_URL", None, str, "The API's address, such as http://127.0.0.1:8000/."),
    Setting("DATARUN_TOKEN", None, str, "The token of an account of role `worker`."),
    Setting(
        "DATARUN_CACHE",
        "~/.cache/datarun",
        parse_folder,
        "The folder for files that the API has; the workers of a machine share it.",
    ),
    Setting("DATARUN_CACHE_SIZE", "10G", parse_bytes, "Bytes that the cache may hold."),
    Setting(
        "DATARUN_SPOOL",
        "",
        parse_optional_folder,
        "The folder for results that aren't delivered yet; beside the cache if it isn't set. The "
        "workers of a machine share it.",
    ),
    Setting(
        "DATARUN_MIN_FREE_DISK",
        "512M",
        parse_bytes,
        "Bytes that must be free for cache, spool and scratch; with less, nothing is taken.",
    ),
    Setting(
        "DATARUN_TIME_LIMIT",
        "3600",
        parse_by_queue(parse_seconds),
        "Seconds that a whole fold or data job may take, unless its data set says otherwise.",
    ),
    Setting(
        "DATARUN_MEMORY_LIMIT",
        "4G",
        parse_by_queue(parse_bytes),
        "Bytes of memory that a fold or data job may use, unless its data set says otherwise.",
    ),
    Setting(
        "DATARUN_LOG_LIMIT",
        "64K",
        parse_by_queue(parse_bytes),
        "Bytes that are kept of a fold's output.",
    ),
    Setting(
        "DATARUN_SCRATCH_LIMIT",
        "1G",
        parse_by_queue(parse_bytes),
        "Bytes that a fold may write into its scratch folder.",
    ),
    Setting(
        "DATARUN_PREDICTIONS_LIMIT",
        "256M",
        parse_bytes,
        "Bytes that predictions of a phase may have.",
    ),
    Setting(
        "DATARUN_PROCESS_LIMIT",
        "256",
        parse_by_queue(parse_count),
        "Processes and threads of a fold.",
    ),
    Setting(
        "DATARUN_ISOLATION",
        Isolation.FULL,
        parse_isolation,
        "How folds are confined: `full`, `namespaces` (without Landlock), `landlock` (without "
        "namespaces) or `none`, which is for trusted code only; `datarun worker check` tells "
        "what the machine offers.",
    ),
    Setting(
        "DATARUN_THREADS",
        "0",
        parse_count,
        "Threads of a fold; 0 for all cores. `datarun up` gives each worker its share.",
    ),
    Setting(
        "DATARUN_PRELOAD",
        "",
        parse_names,
        "More modules, separated by commas, that are imported once, before the first fold.",
    ),
    Setting("DATARUN_CONNECT_TIMEOUT", "10", parse_seconds, "Seconds to wait for a connection."),
    Setting("DATARUN_READ_TIMEOUT", "60", parse_seconds, "Seconds to wait for the API's answer."),
    Setting(
        "DATARUN_RETRY_TIME",
        "300",
        parse_seconds,
        "Seconds for which a file is asked for again while the API can't be reached. Claims and "
        "results wait for as long as it takes.",
    ),
    Setting(
        "DATARUN_GRACE",
        "60",
        parse_seconds,
        "Seconds that a running fold may still take after SIGTERM; then it is given back.",
    ),
)

NO_API = "none"
"""Address and token where there is no API."""

ARITHMETIC = (
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "NPY_DISABLE_CPU_FEATURES",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
)
"""Variables of numerical libraries that choose among a processor's ways to calculate."""


def read_arithmetic(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Read which of the `ARITHMETIC` variables are set: they hold in sandboxes too.

    They choose the last digits of results, and keep a library from what a processor does wrong.
    """
    return {name: environ[name] for name in ARITHMETIC if name in environ}


@dataclass(frozen=True)
class Settings:
    """The settings' values; see `SETTINGS` for what each is."""

    url: str
    token: str = field(repr=False)
    cache: Path
    cache_size: int
    spool: Path
    min_free_disk: int
    time_limit: ByQueue[float]
    memory_limit: ByQueue[int]
    log_limit: ByQueue[int]
    scratch_limit: ByQueue[int]
    predictions_limit: int
    process_limit: ByQueue[int]
    isolation: Isolation
    threads: int
    preload: tuple[str, ...]
    connect_timeout: float
    read_timeout: float
    retry_time: float
    grace: float


def load_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings.

    Parameters
    ----------
    environ : mapping of str to str

    Raises
    ------
    SettingError
        If a value can't be read or a necessary one is missing.
    """
    values = read_settings(SETTINGS, environ)
    if values["spool"] is None:
        values["spool"] = values["cache"].with_name(f"{values['cache'].name}-spool")
    for setting in SETTINGS:
        if values[setting.key] is None:
            raise SettingError(f"{setting.name} is not set. {setting.help}")
    return Settings(**values)


def load_local_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings of a run without an API; parameters and errors as of `load_settings`."""
    return load_settings({**environ, "DATARUN_URL": NO_API, "DATARUN_TOKEN": NO_API})
