"""Folds one after the other, and what goes on beside the one that runs.

Theory of operation
-------------------
::

    main thread   │ run 1   │ run 2              │ run 3              │ ...
    beside it     │ claim 2 │ deliver 1, claim 3 │ deliver 2, claim 4 │ ...

A quick fold takes no longer than the way of its result. So while one runs, a second thread delivers
the result of the one before, and claims with the same request the one after: as long as there are
folds, their worker waits for nobody. Where nothing could be claimed ahead, the result is delivered
and the next fold claimed before anything else runs.

A fold that is claimed ahead waits for one worker, when any could take it. So that this delays none:

- it is done only while folds are quick, and more jobs wait than there are workers (`TakeJob`);
- it is given back if the fold that runs takes longer than `LONGEST_WAIT` after all;
- a worker that dies loses both. The API gives none ahead that was lost before, so that this costs
  a fold no more than one of its attempts;
- a worker that stops, or that failed by our fault, begins with none.

Two things hold at any time. A result is in the spool before anything else is done. And a claim by
itself, which may ask for what an answer that was lost had given, is made only by a worker that
holds no fold.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from datarun_client.states import Span
from datarun_worker.api import Api
from datarun_worker.claims import FoldClaim
from datarun_worker.delivery import Delivered, Delivery, FoldJob
from datarun_worker.errors import ApiError
from datarun_worker.laps import Laps
from datarun_worker.late import late_starter
from datarun_worker.spool import KeptResult

QUICK = 1.0
"""Seconds; after a fold that took longer none is claimed ahead."""

LONGEST_WAIT = 1.0
"""Seconds until a fold that was claimed ahead is given back; a lease is longer, see below."""

WAITS_PER_LEASE = 3
"""In a lease that is short: nobody renews that of a fold which waits."""

logger = logging.getLogger("rq.worker.datarun")


class TakeJob(Protocol):
    """Takes the next job from Redis, if this worker may and it is a fold's."""

    def __call__(self, *, ends_one: bool, ahead: bool) -> FoldJob | None:
        """Take it.

        Parameters
        ----------
        ends_one : bool
            Whether, of the folds' jobs that this worker holds, the oldest has ended.
        ahead : bool
            Whether a fold runs meanwhile; then none is taken that another worker could have.
        """


@dataclass(frozen=True)
class FinishedFold:
    """A fold that has run.

    Attributes
    ----------
    kept : KeptResult
        Its result.
    holding : ExitStack
        Its attempt, held until the result is delivered.
    words : str
        What came of it, for the log.
    """

    kept: KeptResult
    holding: contextlib.ExitStack
    words: str


class ClaimedFold:
    """A fold that this worker was given, and that nobody has begun with.

    Parameters
    ----------
    job : FoldJob
    claim : FoldClaim
    """

    def __init__(self, job: FoldJob, claim: FoldClaim) -> None:
        self.job = job
        self.claim = claim
        self.laps = Laps()
        self._lock = threading.Lock()
        self._is_gone = threading.Event()

    def wait(self, give_back: Callable[[FoldClaim, str], None]) -> None:
        """Have it wait for the fold that runs, but not for long."""
        patience = min(LONGEST_WAIT, self.claim.lease / WAITS_PER_LEASE)

        def lose_patience() -> None:
            if self.take():
                give_back(self.claim, "The worker had taken it ahead, and is busy for longer.")

        late_starter.start(patience, self._is_gone, lose_patience, "ahead")

    def take(self) -> bool:
        """Take it, for whatever is to be done with it; False if somebody else has."""
        with self._lock:
            is_first = not self._is_gone.is_set()
            self._is_gone.set()
        return is_first


@dataclass(frozen=True)
class Following:
    """What comes after the fold that runs.

    Attributes
    ----------
    job : FoldJob or None
        A job that is held and not yet good for anything.
    fold : ClaimedFold or None
    """

    job: FoldJob | None = None
    fold: ClaimedFold | None = None


class FoldRunner(Protocol):
    """What a series needs of whoever runs folds."""

    def run_claimed(self, claim: FoldClaim, queue: str, laps: Laps) -> FinishedFold | None:
        """Run a fold and keep its result; None if its attempt was dropped."""

    def may_begin(self) -> bool:
        """Tell whether a fold may be begun with, by what this worker knows of itself."""

    def prepare(self) -> None:
        """Hear that another fold follows the one that runs at once."""

    def give_back(self, claim: FoldClaim, reason: str) -> None:
        """Give a fold back to the API."""


class FoldSeries:
    """Runs folds as long as there are jobs for them.

    Parameters
    ----------
    api : Api
    delivery : Delivery
    runner : FoldRunner
    """

    def __init__(self, api: Api, delivery: Delivery, runner: FoldRunner) -> None:
        self._api = api
        self._delivery = delivery
        self._runner = runner
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="beside")
        self._beside: Future[Following] | None = None
        self._was_quick = False

    def close(self) -> None:
        """End; call it when no series runs."""
        self._executor.shutdown()

    def run(self, job: FoldJob, take_job: TakeJob) -> None:
        """Run a fold, and those that follow it.

        Parameters
        ----------
        job : FoldJob
            Names a fold; the API may give another one of the same queue.
        take_job : TakeJob

        Raises
        ------
        ApiError
            If the API can't be reached or refuses.
        """
        fold = self._claim(job)
        try:
            while fold is not None:
                fold = self._run_one(fold, take_job)
        finally:
            # Only after an error of ours is anything left.
            left = self._join().fold
            if left is not None:
                self._drop(left, "The worker failed.")

    def _run_one(self, fold: ClaimedFold, take_job: TakeJob) -> ClaimedFold | None:
        """Run a fold; gives the next one."""
        if self._beside is None and self._was_quick:
            self._beside = self._executor.submit(self._claim_ahead, take_job)
        started = time.monotonic()
        finished = self._runner.run_claimed(fold.claim, fold.job.queue, fold.laps)
        self._was_quick = time.monotonic() - started < QUICK
        try:
            following = self._join()
        except BaseException:
            # Its result is in the spool; nothing else is left to hold its attempt for.
            if finished is not None:
                finished.holding.close()
            raise
        if following.fold is None:
            return self._go_on(finished, following.job, take_job)
        if not self._runner.may_begin():
            self._drop(following.fold, "The worker begins with nothing new.")
            return self._go_on(finished, None, take_job)
        if not following.fold.take():
            return self._go_on(finished, None, take_job)
        following.fold.laps.end(Span.AHEAD)
        if finished is not None:
            self._beside = self._executor.submit(self._deliver_beside, finished, take_job)
        return following.fold

    def _go_on(
        self, finished: FinishedFold | None, job: FoldJob | None, take_job: TakeJob
    ) -> ClaimedFold | None:
        """Deliver a result and claim the next fold, for the given job or one that is taken now."""
        if finished is not None:
            # An answer that was lost is asked for by a claim, not by another result.
            take = partial(take_job, ends_one=True, ahead=False) if job is None else None
            delivered = self._deliver(finished, take)
            if delivered.job is not None and delivered.has_claimed:
                return _begin(delivered.job, delivered.claim)
            job = job or delivered.job
        return None if job is None else self._claim(job)

    def _claim(self, job: FoldJob) -> ClaimedFold | None:
        return _begin(job, self._api.claim_fold(job.owner, job.databoard_sf_id, job.queue))

    def _deliver(
        self, finished: FinishedFold, take: Callable[[], FoldJob | None] | None, ahead: bool = False
    ) -> Delivered:
        with finished.holding:
            delivered = self._delivery.deliver(finished.kept, take, ahead)
        logger.info("%s: %s", finished.kept.path, finished.words)
        return delivered

    def _deliver_beside(self, finished: FinishedFold, take_job: TakeJob) -> Following:
        take = partial(take_job, ends_one=True, ahead=True)
        delivered = self._deliver(finished, take, ahead=True)
        return self._hold(delivered.job, delivered.claim)

    def _claim_ahead(self, take_job: TakeJob) -> Following:
        """Claim the next fold by itself, where no result is on its way."""
        job = take_job(ends_one=False, ahead=True)
        if job is None:
            return Following()
        try:
            claim = self._api.claim_ahead(job.owner, job.databoard_sf_id, job.queue)
        except ApiError as error:
            # Once the fold is over that runs it is asked for again, with more patience.
            logger.warning("no fold can be claimed ahead: %s", error)
            claim = None
        return self._hold(job, claim)

    def _hold(self, job: FoldJob | None, claim: FoldClaim | None) -> Following:
        if job is None or claim is None:
            return Following(job)
        fold = ClaimedFold(job, claim)
        fold.wait(self._runner.give_back)
        self._runner.prepare()
        return Following(None, fold)

    def _drop(self, fold: ClaimedFold, reason: str) -> None:
        if fold.take():
            self._runner.give_back(fold.claim, reason)

    def _join(self) -> Following:
        """Wait for what goes on beside."""
        beside, self._beside = self._beside, None
        return Following() if beside is None else beside.result()


def _begin(job: FoldJob, claim: FoldClaim | None) -> ClaimedFold | None:
    if claim is None:
        logger.info("fold %d of account %d: nothing to do", job.databoard_sf_id, job.owner)
        return None
    return ClaimedFold(job, claim)
