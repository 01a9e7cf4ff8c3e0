"""Files of storage that nothing refers to any more."""

import logging
import time

from sqlalchemy import select

from datarun_api.extensions import db, get_storage
from datarun_api.models import RawData, Submission

MIN_AGE = 3600.0
"""Seconds for which a file is left alone: an upload stores its files before its rows."""

logger = logging.getLogger(__name__)


def collect_files(min_age: float = MIN_AGE) -> int:
    """Delete the files that no data set and no submission refers to.

    Parameters
    ----------
    min_age : float, optional
        Seconds since a file was stored last.

    Returns
    -------
    int
        How many were deleted.
    """
    # The files are listed first: what is stored from now on is too young.
    candidates = get_storage().list_older(time.time() - min_age)
    if not candidates:
        return 0
    used: set[str] = set()
    for column in (RawData.files, RawData.parts, Submission.files):
        for manifest in db.session.scalars(select(column).execution_options(yield_per=1000)):
            used.update(file["sha256"] for file in manifest)
    unused = [path for path in candidates if path.name not in used]
    for path in unused:
        path.unlink(missing_ok=True)
    if unused:
        logger.info("deleted %d files that nothing refers to", len(unused))
    return len(unused)
