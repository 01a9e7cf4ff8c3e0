"""Whether there is room on the disk."""

import shutil
from collections.abc import Iterable
from pathlib import Path


def read_free_disk(folder: Path) -> int:
    """Read how many bytes are free in a folder's file system; 0 if it can't be asked."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0


def find_full(folders: Iterable[Path], needed: int) -> Path | None:
    """Find a folder whose file system has less room than needed; None if there is none.

    Parameters
    ----------
    folders : iterable of Path
    needed : int
        Bytes.
    """
    return next((folder for folder in folders if read_free_disk(folder) < needed), None)
