"""An attempt while it runs: its lease is renewed, and it can be dropped at any time.

A thread of its own renews the lease, so that neither a large file nor a slow report holds it up,
from the claim until the result is delivered. Two things end an attempt early. The API says that it
is lost: cancelled, or given to another worker. Or the worker gives it back, because it stops or
because the API was upgraded and would refuse its result. Either way its sandbox is killed at once,
and whoever works on it hears of it by `check`.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator
from typing import Self

from datarun_worker.api import Api
from datarun_worker.claims import Claim
from datarun_worker.errors import (
    ApiError,
    AttemptLostError,
    AttemptReleasedError,
    ProtocolError,
    WorkerError,
)
from datarun_worker.late import late_starter
from datarun_worker.sandbox import Sandbox

RENEWAL_INTERVAL = 1.0
"""Seconds between two renewals; about so long a cancelled fold may run on."""

RENEWALS_PER_LEASE = 3

LEAST_TIMEOUT = 1.0
"""Seconds that the API has at least to answer, however short its leases are."""

logger = logging.getLogger("rq.worker.datarun")


class Attempt:
    """A claimed attempt; a context manager around all that is done with it.

    Parameters
    ----------
    api : Api
    claim : FoldClaim, SplitClaim or ScoringClaim

    Attributes
    ----------
    claim : FoldClaim or SplitClaim
    is_dropped : threading.Event
        Set once the attempt is lost or given back.
    """

    def __init__(self, api: Api, claim: Claim) -> None:
        self.claim = claim
        self.is_dropped = threading.Event()
        self._api = api
        self._lock = threading.Lock()
        self._reason: WorkerError | None = None
        self._sandbox: Sandbox | None = None
        self._is_over = threading.Event()
        self._interval = min(RENEWAL_INTERVAL, claim.lease / RENEWALS_PER_LEASE)

    def __enter__(self) -> Self:
        late_starter.start(self._interval, self._is_over, self._renew, "lease")
        return self

    def __exit__(self, *exc_info: object) -> None:
        # Not waited for: a renewal may hang, and says nothing any more.
        self._is_over.set()

    @contextlib.contextmanager
    def inside(self, sandbox: Sandbox) -> Iterator[None]:
        """Let a sandbox be killed when the attempt is dropped; errors as of `check`."""
        with self._lock:
            self._sandbox = sandbox
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._sandbox = None

    def check(self) -> None:
        """Go on only if the attempt isn't dropped.

        Raises
        ------
        AttemptLostError
            If the API has said that it is lost.
        AttemptReleasedError
            If the worker gives it back.
        """
        if self._reason is not None:
            raise self._reason

    def lose(self, error: AttemptLostError) -> None:
        """Drop it because the API says that it is over; any thread may call it."""
        self._drop(error)

    def give_back(self, reason: str) -> None:
        """Drop it because the worker can't finish it; any thread may call it."""
        self._drop(AttemptReleasedError(reason))

    def _drop(self, reason: WorkerError) -> None:
        with self._lock:
            if self._reason is not None or self._is_over.is_set():
                return
            self._reason = reason
            self.is_dropped.set()
            # With the lock held, so that no sandbox is killed that is closed already.
            if self._sandbox is not None:
                self._sandbox.kill()
        logger.warning("%s is stopped: %s", self.claim.path, reason)

    def _renew(self) -> None:
        timeout = max(LEAST_TIMEOUT, self.claim.lease / RENEWALS_PER_LEASE)
        while not (self._is_over.is_set() or self.is_dropped.is_set()):
            try:
                self._api.renew_lease(self.claim, timeout)
            except AttemptLostError as error:
                self.lose(error)
            except ProtocolError as error:
                self.give_back(str(error))
            except ApiError as error:
                logger.warning("the lease of %s can't be renewed: %s", self.claim.path, error)
            self._is_over.wait(self._interval)
