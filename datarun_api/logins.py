"""Failed logins, slowed: who guesses passwords soon has to wait.

Failures are counted for the account's name, whether or not there is such an account, and for the
address that they came from. When either count is full, no password is looked at until its time is
over, and the answer is 429. The counts are on Redis, so that all processes share them; while Redis
is away, each process counts for itself.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TypeVar

from flask import Flask, current_app, request
from limits import RateLimitItem, parse_many
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import FixedWindowRateLimiter
from redis import Redis

from datarun_api.errors import TooManyRequestsError

IPV6_NETWORK = 64
"""Who has one IPv6 address has all of its network of this prefix."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class FailedLogins:
    """The counts of failed logins.

    Parameters
    ----------
    limits : sequence of RateLimitItem
        How many may fail in which time; all of them hold.
    connection : Redis
    """

    def __init__(self, limits: Sequence[RateLimitItem], connection: Redis) -> None:
        storage = RedisStorage(
            "redis://",
            connection_pool=connection.connection_pool,
            key_prefix="datarun-logins",
            wrap_exceptions=True,
        )
        self._limits = limits
        self._shared = FixedWindowRateLimiter(storage)
        self._own = FixedWindowRateLimiter(MemoryStorage())

    def check(self, name: str) -> None:
        """Refuse to look at a password when too many logins failed.

        Raises
        ------
        TooManyRequestsError
            With the seconds to wait.
        """
        for key in make_keys(name):
            wait = self._ask(self._find_wait, key)
            if wait:
                raise TooManyRequestsError(
                    "Too many failed logins; try again later.", retry_after=wait
                )

    def note(self, name: str) -> None:
        """Count a login that failed."""
        for key in make_keys(name):
            self._ask(self._add, key)

    def _find_wait(self, counts: FixedWindowRateLimiter, key: str) -> int:
        """Say how many seconds to wait; 0 if no count is full."""
        full = [limit for limit in self._limits if not counts.test(limit, key)]
        ends = [counts.get_window_stats(limit, key).reset_time for limit in full]
        return max(1, round(max(ends) - time.time())) if ends else 0

    def _add(self, counts: FixedWindowRateLimiter, key: str) -> None:
        for limit in self._limits:
            counts.hit(limit, key)

    def _ask(self, question: Callable[[FixedWindowRateLimiter, str], T], key: str) -> T:
        try:
            return question(self._shared, key)
        except StorageError:
            logger.warning("Redis is away: this process counts failed logins for itself")
            return question(self._own, key)


def init_logins(app: Flask) -> None:
    """Give the application its counts of failed logins."""
    app.extensions["datarun_failed_logins"] = FailedLogins(
        parse_many(app.config["FAILED_LOGINS"]), app.extensions["datarun_queues"].connection
    )


def get_failed_logins() -> FailedLogins:
    """Find the application's counts of failed logins."""
    failed_logins: FailedLogins = current_app.extensions["datarun_failed_logins"]
    return failed_logins


def make_keys(name: str) -> tuple[str, str]:
    """Name the counts of an account and of the address that asks."""
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
    return f"account:{digest}", f"address:{find_network()}"


def find_network() -> str:
    """Say where a request comes from: an IPv4 address, or an IPv6 network."""
    try:
        address = ip_address(request.remote_addr or "")
    except ValueError:  # a Unix socket has none
        return str(request.remote_addr)
    if isinstance(address, IPv6Address):
        return str(ip_network((address, IPV6_NETWORK), strict=False))
    return str(address)
