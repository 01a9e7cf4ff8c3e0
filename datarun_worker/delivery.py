"""Delivers results: each is on the disk before it is sent, and until the API has said yes or no.

So a result outlives its worker's process at any moment. A power cut of the machine it outlives once
it has waited: while all goes well nothing waits for the disk itself, as what is lost in these few
milliseconds costs what the machine loses anyway, an attempt whose lease runs out.

=================================  =============================================================
what the API says                  what becomes of the result
=================================  =============================================================
yes                                it is delivered
409: the attempt is over           it is dropped; another attempt counts
413, of a fold                     an `output_limit` takes its place: only predictions are large
another refusal for good           a `platform_error` takes its place, once; if that is refused
                                   too, the lease will tell
no answer, or "not now"            it is sent again after a pause, after a restart too
=================================  =============================================================
"""

import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from datarun_client.states import FailureKind, Span
from datarun_worker.api import FIRST_PAUSE, LONGEST_PAUSE, Api, ResultAnswer
from datarun_worker.claims import FoldClaim
from datarun_worker.errors import (
    ApiAwayError,
    ApiError,
    ApiRefusalError,
    ApiTooLargeError,
    AttemptLostError,
)
from datarun_worker.laps import Laps
from datarun_worker.results import FoldResult, ScoringResult, SplitResult
from datarun_worker.spool import KeptResult, Spool

logger = logging.getLogger("rq.worker.datarun")


@dataclass(frozen=True)
class FoldJob:
    """A job on Redis that wakes a worker for a fold.

    Attributes
    ----------
    owner, databoard_sf_id : int
        The fold that it names.
    queue : str
        Where it was taken from.
    """

    owner: int
    databoard_sf_id: int
    queue: str


@dataclass(frozen=True)
class Delivered:
    """What came of a delivery besides.

    Attributes
    ----------
    job : FoldJob or None
        The job that was taken meanwhile.
    has_claimed : bool
        Whether the API has answered what that job is good for.
    claim : FoldClaim or None
        Its answer; None if there is nothing to do.
    """

    job: FoldJob | None = None
    has_claimed: bool = False
    claim: FoldClaim | None = None


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

    def keep(self, path: str, result: Mapping[str, Any], laps: Laps | None = None) -> KeptResult:
        """Keep a result, which is then to be delivered.

        Parameters
        ----------
        path : str
            The attempt's, as of `Claim.path`.
        result : mapping
            As the API takes it.
        laps : Laps, optional
            Of a fold; goes with the result.
        """
        if laps is not None:
            laps.end(Span.COLLECT)
            result = {**result, "timings": laps.spans}
        return self._spool.keep(path, _write_json(result))

    def deliver(
        self,
        kept: KeptResult,
        take_job: Callable[[], FoldJob | None] | None = None,
        ahead: bool = False,
    ) -> Delivered:
        """Deliver a result.

        Parameters
        ----------
        kept : KeptResult
        take_job : callable, optional
            Takes another fold's job if there is one; what it wakes for is claimed with the result.
            May take long if Redis hangs.
        ahead : bool, optional
            Whether a fold runs meanwhile. Then an answer without a claim leaves the job as it is:
            there may be something to do once this worker is free.
        """
        job = take_job() if take_job is not None else None
        try:
            answer = self._send(kept, job, ahead)
        except ApiError as error:
            # It may have to wait for long.
            self._spool.sync(kept)
            if not self._is_stopping.wait(_choose_pause(error, FIRST_PAUSE, 1)):
                self._deliver_kept()
            return Delivered(job)
        if answer is None:
            # A refused result left an apology behind.
            self._deliver_kept()
            return Delivered(job)
        has_claimed = job is not None and (answer.claim is not None or not ahead)
        return Delivered(job, has_claimed, answer.claim)

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
                if self._is_stopping.wait(_choose_pause(error, pause, len(results))):
                    return
                pause = min(2 * pause, LONGEST_PAUSE)

    def _send(
        self, result: KeptResult, job: FoldJob | None = None, ahead: bool = False
    ) -> ResultAnswer | None:
        """Send a result once; it stays where it is if it can't be delivered now.

        Returns
        -------
        ResultAnswer or None
            None if it wasn't taken.
        """
        answer = None
        body = result.read()
        queue = None if job is None else job.queue
        try:
            answer = self._api.send_result(result.path, body, queue, ahead)
        except AttemptLostError as error:
            logger.warning("%s is dropped: %s", result.path, error)
        except ApiRefusalError as error:
            logger.error("the result of %s is refused: %s", result.path, error)
            if not _blames_platform(body):
                instead = _explain_refusal(result.path, error)
                self._spool.keep(result.path, _write_json(instead))
                return None
        self._spool.remove(result)
        return answer


def _write_json(result: Mapping[str, Any]) -> bytes:
    """Write a result; megabytes of predictions take orjson a hundredth of json's time."""
    try:
        return orjson.dumps(result, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        # What a kit calls its metrics, or scores, may be what only json writes: halves of
        # characters, numbers beyond 64 bits. The API says what is wrong with it.
        return json.dumps(result).encode()


def _choose_pause(error: ApiError, pause: float, n_results: int) -> float:
    """Say, and log, in how many seconds undelivered results are sent again."""
    retry_after = error.retry_after if isinstance(error, ApiAwayError) else 0.0
    seconds = min(max(pause, retry_after), LONGEST_PAUSE)
    logger.warning(
        "%d results wait to be delivered; trying again in %.1f s: %s", n_results, seconds, error
    )
    return seconds


def _blames_platform(body: bytes) -> bool:
    try:
        return bool(json.loads(body)["failure_kind"] == FailureKind.PLATFORM_ERROR)
    except (ValueError, KeyError, TypeError):
        return False


def _explain_refusal(path: str, error: ApiRefusalError) -> dict[str, Any]:
    """Make the result that takes a refused one's place."""
    if isinstance(error, ApiTooLargeError) and path.startswith("folds/"):
        text = "The predictions have more bytes than the API takes; see DATARUN_MAX_JSON."
        return FoldResult(FailureKind.OUTPUT_LIMIT, text).to_wire()
    text = "The platform failed: the API refused the result."
    if path.startswith("splits/"):
        return SplitResult(text, failure_kind=FailureKind.PLATFORM_ERROR).to_wire()
    if path.startswith("scorings/"):
        return ScoringResult(text, FailureKind.PLATFORM_ERROR).to_wire()
    return FoldResult(FailureKind.PLATFORM_ERROR, text).to_wire()
