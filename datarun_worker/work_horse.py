"""The work horse: the trusted code that carries out one job.

It claims the job from the API, brings the inputs together, has a sandbox do the work, and
delivers what it came to. Folds follow one another, as `fold_series` tells.

Whose fault a failure is decides its way: what a submission or a data set did wrong is a result;
what we, the machine or the API did wrong is a `platform_error`, and the API has it tried again. An
attempt that is lost meanwhile is dropped without a word; one that the worker can't finish, because
it stops, is given back.
"""

import contextlib
import contextvars
import hashlib
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from datarun_client.file_names import FOLD_PARTS
from datarun_client.states import FailureKind, Queue, Span
from datarun_worker.api import Api
from datarun_worker.attempts import Attempt
from datarun_worker.cache import Cache, FetchFile, Folder, hash_file
from datarun_worker.claims import Claim, FileEntry, FoldClaim, ScoredFold, ScoringClaim, SplitClaim
from datarun_worker.config import Settings
from datarun_worker.delivery import Delivery, FoldJob
from datarun_worker.disk import find_full
from datarun_worker.errors import (
    ApiError,
    ApiTooLargeError,
    AttemptLostError,
    AttemptReleasedError,
    ProgramError,
    ProtocolError,
    WorkerError,
)
from datarun_worker.fold_run import FoldRun, check_train_rows, open_inputs
from datarun_worker.fold_series import FinishedFold, FoldSeries, TakeJob
from datarun_worker.heartbeat import Heartbeat
from datarun_worker.laps import Laps
from datarun_worker.limits import make_limits
from datarun_worker.reporting import Reporter
from datarun_worker.results import FoldResult, ScoringResult, SplitResult
from datarun_worker.sandbox import Engine, Sandbox, SandboxError, SubmissionFailure
from datarun_worker.scoring_run import run_scoring
from datarun_worker.split_run import count_rows, name_parts, run_split
from datarun_worker.spool import Spool

PATROL = 2.0
"""Seconds between two looks at whether a worker that takes nothing may go on."""

logger = logging.getLogger("rq.worker.datarun")

_current: contextvars.ContextVar["WorkHorse"] = contextvars.ContextVar("work_horse")


def get_work_horse() -> "WorkHorse":
    """Give the work horse of the worker that runs this task.

    Raises
    ------
    WorkerError
        If the worker is none of ours.
    """
    try:
        return _current.get()
    except LookupError:
        raise WorkerError(
            "This job is for datarun's own worker; "
            "run `rq worker -w datarun_worker.Worker high low`."
        ) from None


def open_spool(settings: Settings) -> Spool:
    """Open the spool of the workers that have the same API.

    The token stands for the API, whose address may change: what was made for one is never
    delivered to another.
    """
    return Spool(settings.spool / hashlib.sha256(settings.token.encode()).hexdigest()[:16])


class WorkHorse:
    """Carries out the jobs of one worker, one after the other.

    Parameters
    ----------
    settings : Settings
    engine : Engine
        Started.
    spool : Spool
    worker_name : str
    queues : sequence of str
        Those that the worker serves.
    is_stopping : threading.Event, optional
        Set when the worker takes nothing new.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        spool: Spool,
        worker_name: str,
        queues: Sequence[str],
        is_stopping: threading.Event | None = None,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._spool = spool
        self._is_stopping = is_stopping or threading.Event()
        self._cache = Cache(settings.cache, settings.cache_size, engine.open_input)
        self._api = Api(settings, worker_name, self._is_stopping)
        self._delivery = Delivery(self._api, spool, self._is_stopping)
        self._series = FoldSeries(self._api, self._delivery, self)
        self._heartbeat = Heartbeat(self._api, queues, engine.isolation, settings.cache)
        self._lock = threading.Lock()
        self._attempt: Attempt | None = None
        self._giving_back: str | None = None
        # Whether something failed by our fault since a sandbox was opened last.
        self._is_in_doubt = False
        self._queue: str = Queue.LOW
        self._take_job: TakeJob = _take_none

    def start(self) -> None:
        """Begin to tell the API that this worker lives."""
        self._heartbeat.start()

    def close(self) -> None:
        """Close the connections to the API; what isn't delivered stays in the spool."""
        self._heartbeat.stop()
        self._series.close()
        self._api.close()
        self._spool.close()

    def get_ready(self) -> None:
        """Wait until a job may be taken, or the worker stops.

        What was kept is delivered, the API hears this worker, there is room on the disk, and after
        a failure of ours sandboxes are seen to open.
        """
        is_full = False
        while not self._is_stopping.is_set():
            self._delivery.deliver_all()
            if not self._heartbeat.wait_until_heard(PATROL):
                continue
            if self._is_in_doubt and not self._opens_sandboxes():
                self._is_stopping.wait(PATROL)
                continue
            full = self._find_full_disk()
            if full is None:
                if is_full:
                    logger.warning("there is room on the disk again")
                return
            if not is_full:
                logger.warning(
                    "nothing is taken: less than DATARUN_MIN_FREE_DISK=%d bytes are free for %s",
                    self._settings.min_free_disk,
                    full,
                )
                is_full = True
            self._is_stopping.wait(PATROL)

    def give_back_all(self, reason: str) -> None:
        """Give back the attempt that runs, and any that comes; any thread may call it."""
        with self._lock:
            self._giving_back = reason
            if self._attempt is not None:
                self._attempt.give_back(reason)

    def _opens_sandboxes(self) -> bool:
        """Try to open a sandbox: a worker that can't would fail all folds, one after the other."""
        try:
            self._engine.open_sandbox({}).close()
        except SandboxError as error:
            logger.error("nothing is taken: no sandbox can be opened: %s", error)
            return False
        self._is_in_doubt = False
        return True

    def _find_full_disk(self) -> Path | None:
        needed = self._settings.min_free_disk
        folders = (self._settings.cache, self._settings.spool, self._spool.scratch)
        if find_full(folders, needed) is not None:
            self._cache.clear_disk(needed)
        return find_full(folders, needed)

    @contextlib.contextmanager
    def serving(self, queue: str, take_job: TakeJob | None = None) -> Iterator[None]:
        """Let `get_work_horse` give this one.

        Parameters
        ----------
        queue : str
            Where the job was taken from.
        take_job : TakeJob, optional
            Takes the jobs of the folds that follow the first.
        """
        token = _current.set(self)
        self._queue, self._take_job = queue, take_job or _take_none
        try:
            yield
        finally:
            _current.reset(token)

    def may_go_on(self) -> bool:
        """Tell, without waiting, whether another job may be taken."""
        return (
            self.may_begin()
            and self._heartbeat.wait_until_heard(0)
            and self._find_full_disk() is None
        )

    def run_fold(self, owner: int, databoard_sf_id: int) -> None:
        """Run a fold, from its claim to its result, and those that follow it.

        Parameters
        ----------
        owner, databoard_sf_id : int
            The fold that the job names; the API may give another one of the same queue.

        Raises
        ------
        ApiError
            If the API can't be reached or refuses.
        """
        with self._claiming():
            self._series.run(FoldJob(owner, databoard_sf_id, self._queue), self._take_job)

    def run_claimed(self, claim: FoldClaim, queue: str, laps: Laps) -> FinishedFold | None:
        """Run a claimed fold and keep its result; None if its attempt was dropped."""
        self._queue = queue
        finished = None
        with contextlib.ExitStack() as holding:
            attempt = holding.enter_context(Attempt(self._api, claim))
            with self._running(attempt):
                result = self._try_fold(claim, attempt, laps)
                kept = self._delivery.keep(claim.path, result.to_wire(), laps)
                words = result.failure_kind or "tested"
                finished = FinishedFold(kept, holding.pop_all(), words)
        return finished

    def may_begin(self) -> bool:
        """Tell whether a fold may be begun with, by what this worker knows of itself."""
        return not (self._is_stopping.is_set() or self._is_in_doubt)

    def prepare(self) -> None:
        """Have the sandbox made for the fold that follows."""
        self._engine.prepare()

    def run_split(self, raw_data: int, attempt: int) -> None:
        """Split a data set, from its claim to its result; errors as of `run_fold`."""
        with self._claiming():
            claim = self._api.claim_split(raw_data, attempt)
        if claim is None:
            logger.info("split %d of data set %d: nothing to do", attempt, raw_data)
            return
        with Attempt(self._api, claim) as running, self._running(running):
            result = self._try_split(claim, running)
            self._delivery.deliver(self._delivery.keep(claim.path, result.to_wire()))
            logger.info("%s: %s", claim.path, result.error or "done")

    def run_scoring(self, owner: int, databoard_s: int, attempt: int) -> None:
        """Score a submission, from its claim to its result; errors as of `run_fold`."""
        with self._claiming():
            claim = self._api.claim_scoring(owner, databoard_s, attempt)
        if claim is None:
            logger.info("scores %d of submission %d: nothing to do", attempt, databoard_s)
            return
        with Attempt(self._api, claim) as running, self._running(running):
            result = self._try_scoring(claim, running)
            self._delivery.deliver(self._delivery.keep(claim.path, result.to_wire()))
            logger.info("%s: %s", claim.path, result.error or "done")

    @contextlib.contextmanager
    def _claiming(self) -> Iterator[None]:
        """Take no further job if the API was upgraded since it heard this worker."""
        try:
            yield
        except ProtocolError:
            self._heartbeat.doubt()
            raise

    @contextlib.contextmanager
    def _running(self, attempt: Attempt) -> Iterator[None]:
        """Let an attempt be dropped while it runs, and tell the API then what it should know."""
        with self._lock:
            self._attempt = attempt
            if self._giving_back is not None:
                attempt.give_back(self._giving_back)
        try:
            yield
        except AttemptLostError as error:
            logger.warning("%s is dropped: %s", attempt.claim.path, error)
        except AttemptReleasedError as error:
            # Before anything is taken again: what made us give this back may hold for it, too.
            self._heartbeat.doubt()
            self.give_back(attempt.claim, str(error))
        finally:
            with self._lock:
                self._attempt = None

    def give_back(self, claim: Claim, reason: str) -> None:
        """Give an attempt back to the API, uncharged; any thread may call it."""
        try:
            self._api.release(claim, reason)
        except ApiError as error:
            # Its lease runs out.
            logger.warning("%s can't be given back: %s", claim.path, error)
        else:
            logger.warning("%s is given back: %s", claim.path, reason)

    def _try_fold(self, claim: FoldClaim, attempt: Attempt, laps: Laps) -> FoldResult:
        try:
            check_train_rows(claim)
            return self._open_fold(claim, attempt, laps)
        except (AttemptLostError, AttemptReleasedError):
            raise
        except ProgramError as error:
            return FoldResult(error.kind, error.message)
        except Exception as error:
            # The edge of a job: a bug of ours, too, mustn't leave its fold without an end.
            self._is_in_doubt = True
            return FoldResult(FailureKind.PLATFORM_ERROR, _blame_platform(error, attempt))

    def _open_fold(self, claim: FoldClaim, attempt: Attempt, laps: Laps) -> FoldResult:
        with contextlib.ExitStack() as stack:
            files = {
                entry.name: stack.enter_context(self._open(Folder.FOLDS, attempt, entry))
                for entry in claim.data
            }
            inputs = stack.enter_context(open_inputs(claim, files))
            source = {
                entry.name: self._cache.read(Folder.FOLDS, entry, self._fetcher(attempt))
                for entry in claim.source
            }
            laps.end(Span.INPUTS)
            sandbox = stack.enter_context(self._open_sandbox(claim, attempt, source))
            laps.end(Span.START)
            run = FoldRun(claim, inputs, sandbox, self._settings.predictions_limit, laps)
            with Reporter(self._api, claim, attempt, sandbox) as reporter:
                result = run.run(reporter)
            # A submission that is killed with its attempt hasn't failed.
            attempt.check()
            return result

    @contextlib.contextmanager
    def _open_sandbox(
        self, claim: Claim, attempt: Attempt, source: Mapping[str, bytes]
    ) -> Iterator[Sandbox]:
        attempt.check()
        sandbox = self._engine.open_sandbox(source, make_limits(claim, self._settings, self._queue))
        try:
            with attempt.inside(sandbox):
                yield sandbox
        finally:
            # It dies while its result is delivered.
            sandbox.end()

    def _try_split(self, claim: SplitClaim, attempt: Attempt) -> SplitResult:
        try:
            return self._open_split(claim, attempt)
        except (AttemptLostError, AttemptReleasedError):
            raise
        except SubmissionFailure as failure:
            attempt.check()
            # In a data job the only foreign code is the data set's.
            return SplitResult(error=failure.message)
        except ProgramError as error:
            return SplitResult(error=error.message)
        except Exception as error:
            self._is_in_doubt = True
            text = _blame_platform(error, attempt)
            return SplitResult(text, failure_kind=FailureKind.PLATFORM_ERROR)

    def _open_split(self, claim: SplitClaim, attempt: Attempt) -> SplitResult:
        with contextlib.ExitStack() as stack:
            files = {
                entry.name: stack.enter_context(self._open(Folder.DATA_JOBS, attempt, entry))
                for entry in claim.files
            }
            outputs = {
                name: stack.enter_context(self._cache.create(Folder.DATA_JOBS))
                for name in name_parts(claim)
            }
            with self._open_sandbox(claim, attempt, {}) as sandbox:
                metrics = run_split(claim, sandbox, files, outputs)
                # Nobody is left who could change what is hashed now.
                sandbox.close()
            return replace(self._keep_parts(claim, attempt, outputs), metrics=metrics)

    def _keep_parts(
        self, claim: SplitClaim, attempt: Attempt, outputs: Mapping[str, BinaryIO]
    ) -> SplitResult:
        """Send the parts to the API; those that folds need stay in the cache, too."""
        n_rows = {name: count_rows(outputs[name]) for name in ("y_train", "y_test")}
        entries = []
        for name, file in outputs.items():
            attempt.check()
            entry = hash_file(name, file)
            try:
                self._api.upload_file(claim, entry, file, attempt.is_dropped)
            except ApiTooLargeError as error:
                text = f"{name} has {entry.size} bytes, too many for the API: DATARUN_MAX_UPLOAD."
                raise ProgramError(FailureKind.DATA_ERROR, text) from error
            if name in FOLD_PARTS:
                # Folders are of one file system, so that a part can be linked into the other.
                self._cache.keep(Folder.FOLDS, entry, file)
            entries.append(entry)
        return SplitResult(None, n_rows["y_train"], n_rows["y_test"], entries)

    def _try_scoring(self, claim: ScoringClaim, attempt: Attempt) -> ScoringResult:
        try:
            return self._open_scoring(claim, attempt)
        except (AttemptLostError, AttemptReleasedError):
            raise
        except SubmissionFailure as failure:
            attempt.check()
            # No submission runs here; what a reader's labels or score types do is its fault.
            return ScoringResult(failure.message)
        except Exception as error:
            self._is_in_doubt = True
            text = _blame_platform(error, attempt)
            return ScoringResult(text, FailureKind.PLATFORM_ERROR)

    def _open_scoring(self, claim: ScoringClaim, attempt: Attempt) -> ScoringResult:
        with contextlib.ExitStack() as stack:
            files = {
                entry.name: stack.enter_context(self._open(Folder.DATA_JOBS, attempt, entry))
                for entry in claim.files
            }
            sandbox = stack.enter_context(self._open_sandbox(claim, attempt, {}))
            return run_scoring(claim, sandbox, files, self._fetch_scored(claim, attempt))

    def _fetch_scored(self, claim: ScoringClaim, attempt: Attempt) -> Iterator[ScoredFold]:
        """Fetch the folds of a scoring, one after the other; those that ran again are left out."""
        for name in claim.folds:
            attempt.check()
            fold = self._api.fetch_scored_fold(claim, name, attempt.is_dropped)
            if fold is not None:
                yield fold

    def _open(
        self, folder: Folder, attempt: Attempt, entry: FileEntry
    ) -> contextlib.AbstractContextManager[int]:
        attempt.check()
        return self._cache.open(folder, entry, self._fetcher(attempt))

    def _fetcher(self, attempt: Attempt) -> FetchFile:
        def fetch(entry: FileEntry, file: BinaryIO) -> None:
            self._api.fetch_file(attempt.claim, entry, file, attempt.is_dropped)

        return fetch


def _blame_platform(error: Exception, attempt: Attempt) -> str:
    """Say what the submission's author may know of an error of ours; not if it was a drop.

    Raises
    ------
    AttemptLostError, AttemptReleasedError
        If the error only came of the attempt's being dropped.
    """
    attempt.check()
    logger.error("%s failed by our fault", attempt.claim.path, exc_info=error)
    # The message may name paths and addresses of the worker; its log has them.
    return f"The platform failed, not the submission ({type(error).__name__})."


def _take_none(*, ends_one: bool, ahead: bool) -> None:
    """Take no other job."""
