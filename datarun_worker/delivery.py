"""Delivers results: each is on the disk before it is sent, and until the API has said yes or no.

=================================  =============================================================
what the API says                  what becomes of the result
=================================  =============================================================
yes                                it is delivered
409: the attempt is over           it is dropped; another attempt counts
another refusal for good           a `platform_error` takes its place, once; if that is refused
                                   too, the lease will tell
no answer, or "not now"            it is sent again after a pause, after a restart too
=================================  =============================================================
"""

import json
import logging
import threading
from collections.abc import Mapping
from typing import Any

from datarun_client.states import FailureKind
from datarun_worker.api import FIRST_PAUSE, LONGEST_PAUSE, Api
from datarun_worker.errors import ApiAwayError, ApiError, ApiRefusalError, AttemptLostError
from datarun_worker.results import FoldResult, SplitResult
from datarun_worker.spool import KeptResult, Spool

logger = logging.getLogger("rq.worker.datarun")


class Delivery:
    """Delivers the results of one worker.

    Parameters
    ----------
    api : Api
    spool : Spool
    is_stopping : threading.Event
        Set when the worker stops, and leaves what isn't delivered for another one.
    """

    def __init__(self, api: Api, spool: Spool, is_stopping: threading.Event) -> None:
        self._api = api
        self._spool = spool
        self._is_stopping = is_stopping

    def deliver(self, path: str, result: Mapping[str, Any]) -> None:
        """Deliver a result.

        Parameters
        ----------
        path : str
            The attempt's, as of `Claim.path`.
        result : mapping
            As the API takes it.
        """
        self._spool.keep(path, json.dumps(result).encode())
        self._deliver_kept()

    def deliver_all(self) -> None:
        """Deliver all that is kept, that of dead workers too.

        Comes back when nothing is left, or when the worker stops.
        """
        self._spool.adopt()
        self._deliver_kept()

    def _deliver_kept(self) -> None:
        pause = FIRST_PAUSE
        while results := self._spool.list_results():
            try:
                for result in results:
                    self._send(result)
                    pause = FIRST_PAUSE
            except ApiError as error:
                retry_after = error.retry_after if isinstance(error, ApiAwayError) else 0.0
                seconds = min(max(pause, retry_after), LONGEST_PAUSE)
                logger.warning(
                    "%d results wait to be delivered; trying again in %.1f s: %s",
                    len(results),
                    seconds,
                    error,
                )
                if self._is_stopping.wait(seconds):
                    return
                pause = min(2 * pause, LONGEST_PAUSE)

    def _send(self, result: KeptResult) -> None:
        """Send a result once; it stays where it is if it can't be delivered now."""
        body = result.read()
        try:
            self._api.send_result(result.path, body)
        except AttemptLostError as error:
            logger.warning("%s is dropped: %s", result.path, error)
        except ApiRefusalError as error:
            logger.error("the result of %s is refused: %s", result.path, error)
            if not _blames_platform(body):
                self._spool.keep(result.path, json.dumps(_apologize(result.path)).encode())
                return
        self._spool.remove(result)


def _blames_platform(body: bytes) -> bool:
    try:
        return bool(json.loads(body)["failure_kind"] == FailureKind.PLATFORM_ERROR)
    except (ValueError, KeyError, TypeError):
        return False


def _apologize(path: str) -> dict[str, Any]:
    text = "The platform failed: the API refused the result."
    if path.startswith("splits/"):
        return SplitResult(text, failure_kind=FailureKind.PLATFORM_ERROR).to_wire()
    return FoldResult(FailureKind.PLATFORM_ERROR, text).to_wire()
