"""Files of storage that nothing refers to any more."""

import logging
import time

from flask import current_app

from datarun_api.extensions import db, get_storage
from datarun_api.manifests import list_used, may_delete_files
from datarun_api.uploads import forget_uploads

MIN_AGE = 3600.0
"""Seconds for which a file is left alone: a post stores its files before its rows."""

logger = logging.getLogger(__name__)


def collect_files(min_age: float = MIN_AGE) -> int:
    """Delete the files that no data set, no submission and no upload refers to, and old uploads.

    Does nothing while somebody needs them all (`manifests.hold_files`).

    Parameters
    ----------
    min_age : float, optional
        Seconds since a file was stored last.

    Returns
    -------
    int
        How many were deleted.
    """
    forget_uploads()
    life = max(min_age, current_app.config["KEEP_UPLOADS"])
    for path in get_storage().list_abandoned(time.time() - life):
        path.unlink(missing_ok=True)
    # The files are listed first: what is stored from now on is too young.
    moment = time.time() - min_age
    candidates = get_storage().list_older(moment)
    if not candidates:
        return 0
    connection = db.session.connection()
    if not may_delete_files(connection):
        return 0
    used = {file["sha256"] for file in list_used(connection)}
    unused = [path for path in candidates if path.name not in used]
    n_deleted = sum(get_storage().delete_older(path, moment) for path in unused)
    db.session.commit()
    if n_deleted:
        logger.info("deleted %d files that nothing refers to", n_deleted)
    return n_deleted
