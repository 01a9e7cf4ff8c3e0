"""Which of a RAMP kit's files the sandbox of a submission is given, and when.

RAMP runs where all of a kit lies: `problem.py` may read files and import modules of the kit, and X
may name files, such as images, that the workflow opens while it trains and predicts. A sandbox
with a submission in it must never hold labels of the test set, nor its features before training
has ended. So it gets, in a folder that looks like the kit's,

=============== ========================================================= =======================
part            files                                                     given
=============== ========================================================= =======================
``kit_files``   outside ``data/``: the kit's modules, and what            before training
                `problem.py` reads on its import
``train_files`` those that X of the train set names                       before training
``test_files``  those that only X of the test set names                   once training has ended
=============== ========================================================= =======================

and nothing else. The data job that splits the kit finds out which these are.

**Named** is a file by its path, as text anywhere in X; or, as RAMP's image workflows have it, by X
being a tuple of a folder's path and of the names in it, which may be numbers.

**Read** is what the kernel says was read, by the files' access times, whichever library did it.
What `get_train_data` and `get_test_data` read may hold labels of the test set, and so may all of
``data/`` that is read on the import, whose content they find in memory then. None of it is ever
given: if `problem.py` needs it on its import, or X names it, that is the kit's error. Where the
file system keeps no access times, only the kit's modules are given.
"""

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datarun_client.file_names import READER_FILE
from datarun_client.states import FailureKind
from datarun_client.workflow_elements import KIT_FILE
from datarun_worker.errors import ProgramError

DATA = "data/"
"""What the names of a kit's data files begin with; the others are the kit's own."""

OUTSIDE = f"Put what is needed of it into a file outside {DATA} that get_test_data doesn't read."
NAMED = "Let X name only files that get_train_data and get_test_data leave to the workflow."

MAX_DEPTH = 4
"""Containers within containers of X in which names are looked for."""


@dataclass(frozen=True)
class GivenFiles:
    """Names of a kit's files, by the part that they go to.

    Attributes
    ----------
    kit, train, test : frozenset of str
    """

    kit: frozenset[str]
    train: frozenset[str] = frozenset()
    test: frozenset[str] = frozenset()


class KitReading:
    """Looks at what is read of a kit's files.

    Parameters
    ----------
    folder : Path
        The kit's, with all its files and its reader.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._begin()
        (folder / READER_FILE).read_bytes()
        self._keeps_access_times = bool(self._list_read())
        self._of_import: frozenset[str] = frozenset()

    def end_import(self) -> None:
        """Note that what was read until now was read on the import of `problem.py`."""
        self._of_import = self._list_read() - {READER_FILE}
        self._begin()

    def choose_files(self, X_train: Any, X_test: Any) -> GivenFiles:
        """Choose the files that submissions are given; right after the data was read.

        Parameters
        ----------
        X_train, X_test : object
            As the kit gave them.

        Raises
        ------
        ProgramError
            `data_error`, if one is needed that may hold labels of the test set.
        """
        names = frozenset(list_names(self._folder)) - {READER_FILE}
        modules = frozenset(name for name in names if is_module(name))
        if not self._keeps_access_times:
            return GivenFiles(modules)
        hidden = self._list_read() - modules
        hidden |= {name for name in self._of_import if name.startswith(DATA)}
        _refuse(self._of_import & hidden, f"{KIT_FILE} reads {{}} when it is imported", OUTSIDE)
        train, test = (find_named(X, names, self._folder) for X in (X_train, X_test))
        _refuse((train | test) & hidden, f"X names {{}}, which {KIT_FILE} itself reads", NAMED)
        return GivenFiles((self._of_import & names) | modules, train, test - train)

    def _begin(self) -> None:
        """Make the files look as if nobody had ever read them."""
        for name in list_names(self._folder):
            path = self._folder / name
            os.utime(path, ns=(0, path.stat().st_mtime_ns))

    def _list_read(self) -> frozenset[str]:
        names = list_names(self._folder)
        return frozenset(name for name in names if (self._folder / name).stat().st_atime_ns)


def list_names(folder: Path) -> list[str]:
    """List a folder's files, by their names in it."""
    return [
        path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    ]


def is_module(name: str) -> bool:
    """Tell whether a kit's file is a module of it, by its name."""
    return name.endswith(".py") and not name.startswith(DATA)


def find_named(X: Any, names: Collection[str], folder: Path) -> frozenset[str]:
    """Find the files that X names.

    Parameters
    ----------
    X : object
    names : collection of str
        Those that there are.
    folder : Path
        The kit's, where relative paths begin.
    """
    if not names:
        return frozenset()
    places = {_find_place(text, folder) for text in _list_words(X)}
    if isinstance(X, tuple):
        words = _list_words(X, with_numbers=True)
        for base in X:
            if isinstance(base, str) and (folder / base).is_dir():
                places |= {_find_place(f"{base}/{word}", folder) for word in words}
    return frozenset(names) & places


def _list_words(value: Any, with_numbers: bool = False, depth: int = 0) -> set[str]:
    """List the texts in a value, and its whole numbers as texts."""
    if isinstance(value, str):
        return {value}
    if isinstance(value, int | np.integer):
        return {str(value)} if with_numbers else set()
    if depth == MAX_DEPTH:
        return set()
    items: Iterable[Any] = ()
    if isinstance(value, dict):
        items = value.values()
    elif isinstance(value, list | tuple | set):
        items = value
    elif hasattr(value, "columns") and hasattr(value, "items"):
        items = [column for _, column in value.items()]
    elif hasattr(value, "__array__") and hasattr(value, "ndim"):
        array = np.asarray(value)
        if array.dtype.kind in "OUT" or (with_numbers and array.dtype.kind in "iu"):
            items = set(array.ravel().tolist()) if array.dtype.kind != "O" else array.ravel()
    return {word for item in items for word in _list_words(item, with_numbers, depth + 1)}


def _find_place(text: str, folder: Path) -> str:
    """Give the name in a folder that a path leads to; none that is there if it leads out."""
    return os.path.relpath(os.path.normpath(folder / text), folder)


def _refuse(names: Collection[str], what: str, remedy: str) -> None:
    if names:
        raise ProgramError(
            FailureKind.DATA_ERROR,
            f"{what.format(min(names))}: it may hold labels of the test set, so no submission is "
            f"given it. {remedy}",
        )
