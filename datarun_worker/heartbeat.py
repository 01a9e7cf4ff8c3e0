"""Tells the API that this worker lives, idle or busy, from a thread of its own."""

import logging
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from datarun_client import __version__
from datarun_worker.api import Api
from datarun_worker.disk import read_free_disk
from datarun_worker.errors import ApiError
from datarun_worker.isolation import Isolation

BEATS_PER_LEASE = 4
"""Two in the half lease after which the API takes the silence of all workers for its own."""

FIRST_INTERVAL = 1.0
"""Seconds between two tries while the API isn't heard; each is twice the one before."""

DEFAULT_LEASE = 30.0
"""Seconds; until the API says how long its leases last."""

logger = logging.getLogger("rq.worker.datarun")


class Heartbeat:
    """A worker's heartbeat.

    Parameters
    ----------
    api : Api
    queues : sequence of str
    isolation : Isolation
    cache : Path
        The folder whose file system's free space is told.
    """

    def __init__(self, api: Api, queues: Sequence[str], isolation: Isolation, cache: Path) -> None:
        self._api = api
        self._queues = list(queues)
        self._isolation = isolation
        self._cache = cache
        self._interval = DEFAULT_LEASE / BEATS_PER_LEASE
        self._trouble: type[ApiError] | None = None
        self._is_heard = threading.Event()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; a heartbeat that hangs isn't waited for."""
        self._is_over.set()

    def wait_until_heard(self, seconds: float) -> bool:
        """Wait until the API has answered the newest heartbeat; False if it doesn't."""
        return self._is_heard.wait(seconds)

    def doubt(self) -> None:
        """Hold what was heard for out of date: whoever waits, waits for the next heartbeat."""
        self._is_heard.clear()

    def _run(self) -> None:
        pause = 0.0
        while not self._is_over.wait(pause):
            pause = (
                self._interval if self._beat() else min(2 * pause or FIRST_INTERVAL, self._interval)
            )

    def _beat(self) -> bool:
        try:
            lease = self._api.send_heartbeat(self._describe(), timeout=self._interval)
        except ApiError as error:
            self._is_heard.clear()
            # Said once for each kind: after an upgrade, one that is away comes back as another.
            if self._trouble is not type(error):
                logger.warning("nothing is taken while the API doesn't hear this worker: %s", error)
            self._trouble = type(error)
            return False
        if self._trouble is not None:
            logger.warning("the API hears this worker again")
            self._trouble = None
        self._interval = lease / BEATS_PER_LEASE
        self._is_heard.set()
        return True

    def _describe(self) -> dict[str, Any]:
        return {
            "host": socket.gethostname(),
            "queues": self._queues,
            "version": __version__,
            "isolation": self._isolation,
            "free_disk": read_free_disk(self._cache),
            "free_memory": psutil.virtual_memory().available,
        }
