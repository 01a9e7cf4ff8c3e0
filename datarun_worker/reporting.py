"""Tells the API how a running fold is doing, from a thread of its own.

A fold never waits for its reports, not even for the last one to be answered. What is over within
`PATIENCE` isn't reported on at all, be it a whole fold or the phases that follow its training: the
result says everything.
"""

import logging
import threading
from typing import Self

from datarun_worker.api import Api
from datarun_worker.attempts import Attempt
from datarun_worker.claims import FoldClaim
from datarun_worker.errors import ApiError, AttemptLostError
from datarun_worker.late import late_starter
from datarun_worker.results import Phase
from datarun_worker.sandbox import Sandbox

PATIENCE = 0.2
"""Seconds for which neither a new fold nor the end of a phase is reported."""

INTERVAL = 1.5
"""Seconds between two looks at a fold's log."""

logger = logging.getLogger("rq.worker.datarun")


class Reporter:
    """Reports on one fold; a context manager around its running.

    Parameters
    ----------
    api : Api
    claim : FoldClaim
    attempt : Attempt
        Of that claim; dropped when a report is answered so.
    sandbox : Sandbox
    """

    def __init__(self, api: Api, claim: FoldClaim, attempt: Attempt, sandbox: Sandbox) -> None:
        self._api = api
        self._claim = claim
        self._attempt = attempt
        self._sandbox = sandbox
        self._phase: Phase | None = None
        self._reported: Phase | None = None
        self._sent = ""
        self._length = 0
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._is_over = threading.Event()

    def __enter__(self) -> Self:
        late_starter.start(PATIENCE, self._is_over, self._run, "reporter")
        return self

    def __exit__(self, *exc_info: object) -> None:
        # Not waited for: a report may hang, and the API refuses it once the result is there. But
        # nobody reads the log of a sandbox that is being closed.
        with self._lock:
            self._is_over.set()
        self._news.set()

    def end_phase(self, phase: Phase) -> None:
        """Note that a phase has ended well; never waits."""
        self._phase = phase
        self._news.set()

    def _run(self) -> None:
        while not self._is_over.is_set():
            self._news.clear()
            try:
                self._report_phase()
                self._send_log()
            except AttemptLostError as error:
                if not self._is_over.is_set():
                    self._attempt.lose(error)
                return
            except ApiError as error:
                # The next round tries again; the result doesn't depend on it.
                logger.warning("%s can't be reported on: %s", self._claim.path, error)
            if self._news.wait(INTERVAL):
                # Phases that follow one another at once are one report, or none.
                self._is_over.wait(PATIENCE)

    def _report_phase(self) -> None:
        phase = self._phase
        if phase is not None and phase is not self._reported:
            self._api.report_phase(self._claim, phase.state)
            self._reported = phase

    def _send_log(self) -> None:
        with self._lock:
            if self._is_over.is_set():
                return
            log = self._sandbox.read_log()
        # A log that is cut in the middle, or whose last line is being overwritten, no longer
        # begins with what was sent. The result brings it whole.
        text = log[len(self._sent) :] if log.startswith(self._sent) else ""
        if not text:
            return
        length = self._api.append_log(self._claim, self._length, text)
        if length == self._length + len(text.encode()):
            self._length = length
            self._sent += text
