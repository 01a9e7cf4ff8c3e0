"""How much a fold or a data job may use."""

import os

from datarun_worker.claims import Claim
from datarun_worker.config import Settings
from datarun_worker.confine import Limits


def make_limits(claim: Claim, settings: Settings) -> Limits:
    """Make the limits of a job: the data set's own, else the worker's."""
    return Limits(
        time=claim.time_limit or settings.time_limit,
        memory=claim.memory_limit or settings.memory_limit,
        processes=settings.process_limit,
        scratch=settings.scratch_limit,
        log=settings.log_limit,
        threads=settings.threads or os.cpu_count() or 1,
    )
