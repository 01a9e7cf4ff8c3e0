"""The API's settings: one table, the only reader of the environment in this package."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

import limits

from datarun_api.outbound import parse_networks
from datarun_client.errors import SettingError
from datarun_client.settings import (
    Setting,
    parse_bytes,
    parse_count,
    parse_seconds,
    read_settings,
)


def parse_database_url(text: str) -> str:
    """Name the driver (psycopg 3) in a PostgreSQL address that doesn't."""
    scheme, separator, rest = text.partition("://")
    if scheme.partition("+")[0] not in ("postgres", "postgresql") or not separator:
        raise ValueError("write an address such as postgresql://user:password@host/database")
    return f"postgresql+psycopg://{rest}"


def parse_rate(text: str) -> str:
    """Read how often something may happen, such as ``10 per minute``."""
    try:
        limits.parse_many(text)
    except ValueError:
        raise ValueError("write a number and a time, such as 10 per minute") from None
    return text


SETTINGS = (
    Setting(
        "DATABASE_URL",
        None,
        parse_database_url,
        "PostgreSQL; `datarun up` starts one by itself.",
        is_secret=True,
    ),
    Setting(
        "REDIS_URL",
        None,
        str,
        "Redis or Valkey; `datarun up` starts one by itself.",
        is_secret=True,
    ),
    Setting("DATARUN_STORAGE", "storage", str, "The folder that holds uploaded files."),
    Setting(
        "DATARUN_DATA_QUEUE",
        "high",
        str,
        "The queue of the jobs that see held-out labels; `data` keeps them off compute machines.",
    ),
    Setting("DATARUN_LEASE", "30", parse_seconds, "Seconds until a silent worker loses its fold."),
    Setting("DATARUN_RECONCILE", "5", parse_seconds, "Seconds between the reconciler's rounds."),
    Setting("DATARUN_MAX_JSON", "256M", parse_bytes, "Bytes that a JSON request may have."),
    Setting(
        "DATARUN_MAX_UPLOAD",
        "1G",
        parse_bytes,
        "Bytes that a request's files may have, unpacked.",
    ),
    Setting(
        "DATARUN_MAX_FILES",
        "500",
        parse_count,
        "Files that a data set or a submission may have.",
    ),
    Setting(
        "DATARUN_KEEP_UPLOADS",
        "86400",
        parse_seconds,
        "Seconds for which an upload is kept after its last part has arrived.",
    ),
    Setting(
        "DATARUN_MAX_KEPT_ANSWER",
        "16M",
        parse_bytes,
        "Bytes of an answer that is kept for its `Idempotency-Key`; larger ones are refused.",
    ),
    Setting(
        "DATARUN_MAX_WAITERS",
        "32",
        parse_count,
        "Requests of a process that may wait, half of them of one account; each takes a thread.",
    ),
    Setting(
        "DATARUN_KEEP_EVENTS",
        "604800",
        parse_seconds,
        "Seconds for which the events of folds are kept.",
    ),
    Setting(
        "DATARUN_WEBHOOK_NETWORKS",
        "",
        parse_networks,
        "Networks that webhooks may call though they aren't public, such as `10.1.0.0/16,::1`.",
    ),
    Setting(
        "DATARUN_PASSWORD_CACHE",
        "60",
        parse_seconds,
        "Seconds for which a verified password or token is remembered in memory.",
    ),
    Setting(
        "DATARUN_FAILED_LOGINS",
        "10 per minute",
        parse_rate,
        "Failed logins after which an account, and an address, must wait.",
    ),
    Setting(
        "DATARUN_RATE_LIMIT",
        None,
        parse_rate,
        "Requests that an address may send, such as `6000 per minute`; any number if it isn't set.",
    ),
    Setting(
        "DATARUN_PROXIES",
        "0",
        parse_count,
        "Reverse proxies in front of the API, to believe `X-Forwarded-For` and `-Proto` of.",
    ),
)

STANDALONE_SETTINGS = (
    Setting("DATARUN_HOME", None, str, "The folder of `datarun up`, if `--home` doesn't name one."),
    Setting("DATARUN_USERNAME", None, str, "Its first account; `admin` if it isn't set."),
    Setting("DATARUN_PASSWORD", None, str, "Its password; made and shown once if it isn't set."),
)
"""What `datarun up` reads besides."""


def load_config(environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Read the settings as Flask wants them.

    Parameters
    ----------
    environ : mapping of str to str

    Returns
    -------
    dict
        Upper-case keys: the settings' names without the prefix ``DATARUN_``.

    Raises
    ------
    SettingError
        If a value can't be read.
    """
    return {key.upper(): value for key, value in read_settings(SETTINGS, environ).items()}


def require_settings(config: Mapping[str, Any], names: Iterable[str]) -> None:
    """Check that settings without a default were given.

    Raises
    ------
    SettingError
        If one is missing.
    """
    for name in names:
        if not config[name]:
            raise SettingError(f"{name} is not set; give it, or start all with `datarun up`.")
