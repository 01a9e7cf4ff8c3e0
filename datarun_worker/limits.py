"""How much a fold or a data job may use."""

import os

from datarun_worker.claims import Claim
from datarun_worker.config import Settings
from datarun_worker.confine import Limits


def make_limits(claim: Claim, settings: Settings, queue: str | None = None) -> Limits:
    """Make the limits of a job: the data set's own, else the worker's on the job's queue."""
    return Limits(
        time=claim.time_limit or settings.time_limit.on(queue),
        memory=claim.memory_limit or settings.memory_limit.on(queue),
        processes=settings.process_limit.on(queue),
        scratch=settings.scratch_limit.on(queue),
        log=settings.log_limit.on(queue),
        threads=settings.threads or os.cpu_count() or 1,
    )
