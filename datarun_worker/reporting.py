"""Tells the API how a running job is doing, from a thread of its own.

A fold never waits for its reports. A job that ends within `PATIENCE` isn't reported on at all:
its result says everything. The reports are also the attempt's sign of life; when the API answers
that the attempt is lost (cancelled, or given to another worker), the sandbox is killed.
"""

import logging
import threading
from types import TracebackType
from typing import Self

from datarun_worker.api import Api
from datarun_worker.claims import FoldClaim
from datarun_worker.errors import ApiError, AttemptLostError
from datarun_worker.results import Phase
from datarun_worker.sandbox import Sandbox

PATIENCE = 0.2
"""Seconds for which nothing is reported."""

INTERVAL = 1.5
"""Seconds between two reports of a fold that has no news; so long a cancelled fold may run on."""

SIGNS_OF_LIFE_PER_LEASE = 3

logger = logging.getLogger("rq.worker.datarun")


class Reporter:
    """Reports on one fold; a context manager around its running.

    Parameters
    ----------
    api : Api
        Used by the reporter's thread alone.
    claim : FoldClaim
    sandbox : Sandbox
    """

    def __init__(self, api: Api, claim: FoldClaim, sandbox: Sandbox) -> None:
        self._api = api
        self._claim = claim
        self._sandbox = sandbox
        self._phase: Phase | None = None
        self._reported: Phase | None = None
        self._sent = ""
        self._length = 0
        self._interval = min(INTERVAL, claim.lease / SIGNS_OF_LIFE_PER_LEASE)
        self._news = threading.Event()
        self._is_over = threading.Event()
        self._is_lost = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self._news.set()
        self._thread.join()
        # What the killed sandbox says then is only a consequence.
        if self.is_lost and (kind is None or issubclass(kind, Exception)):
            raise AttemptLostError("The attempt was given up while it ran.") from error

    @property
    def is_lost(self) -> bool:
        """Whether the API has said that the attempt is lost."""
        return self._is_lost.is_set()

    def end_phase(self, phase: Phase) -> None:
        """Note that a phase has ended well; never waits."""
        self._phase = phase
        self._news.set()

    def _run(self) -> None:
        if self._is_over.wait(PATIENCE):
            return
        while not self._is_over.is_set():
            self._news.clear()
            if not self._report():
                return
            self._news.wait(self._interval)

    def _report(self) -> bool:
        """Send what is new; False once there is nothing more to report."""
        try:
            phase = self._phase
            if phase is not None and phase is not self._reported and not self._is_over.is_set():
                self._api.report_phase(self._claim, phase.state)
                self._reported = phase
            self._send_log()
        except AttemptLostError as error:
            logger.warning("%s is stopped: %s", self._claim.path, error)
            self._is_lost.set()
            self._sandbox.kill()
            return False
        except ApiError as error:
            # The next round tries again; the result doesn't depend on it.
            logger.warning("%s can't be reported on: %s", self._claim.path, error)
        return True

    def _send_log(self) -> None:
        log = self._sandbox.read_log()
        # A log that is cut in the middle, or whose last line is being overwritten, no longer
        # begins with what was sent. The result brings it whole.
        text = log[len(self._sent) :] if log.startswith(self._sent) else ""
        # An empty text is a sign of life, and learns whether the attempt is still wanted.
        length = self._api.append_log(self._claim, self._length, text)
        if length == self._length + len(text.encode()):
            self._length = length
            self._sent += text
