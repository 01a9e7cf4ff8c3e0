"""RAMP kits: folders with ``problem.py``, ``data/`` and ``submissions/``.

Whoever has the kit's folder runs its ``problem.py`` here, in that folder, as `ramp-test` would: for
the names of its workflow's elements, and for its cross-validation, which may look at X and y. The
server gives away neither; there ``problem.py`` reads the data, trains and scores in the sandboxes
of workers.
"""

import importlib.util
import os
import sys
from collections.abc import Callable
from contextlib import chdir
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from datarun_client.errors import KitError, MissingExtraError
from datarun_client.source_files import list_files, read_source_files
from datarun_client.splitters import Rows, make_folds
from datarun_client.workflow_elements import KIT_FILE

DEFAULT_TARGET = "y"
"""What the target is called if a kit doesn't say it."""

TRAINING_OUTPUT = "training_output"
"""The folder that `ramp-test` leaves in a submission."""

DATA = "data"

NOT_SENT = ("submissions", DATA)
"""Folders of a kit that aren't sent with the rest."""

PAGES = frozenset({".ipynb", ".html", ".md", ".rst", ".pdf"})
"""The ends of names of what is for people; sent only if it is in ``data/``."""

T = TypeVar("T")


class Kit:
    """A RAMP kit.

    Parameters
    ----------
    folder : path-like
    data_folder : path-like, optional
        The folder whose ``data`` is used in place of the kit's own, such as an organizer's with the
        hidden rows; as `ramp-test`'s ``--ramp-data-dir``.

    Attributes
    ----------
    folder, data_folder : Path
        Absolute.

    Raises
    ------
    KitError
        If there is none.
    """

    def __init__(
        self, folder: str | PathLike[str], data_folder: str | PathLike[str] | None = None
    ) -> None:
        self.folder = Path(folder).resolve()
        self.data_folder = self.folder if data_folder is None else Path(data_folder).resolve()
        for place, name in ((self.folder, KIT_FILE), (self.data_folder, DATA)):
            if not (place / name).exists():
                raise KitError(f"{place} is no RAMP kit: it has no {name}.")

    @classmethod
    def find(cls, submission: str | PathLike[str]) -> "Kit | None":
        """Find the kit in whose ``submissions`` a folder lies; None if it lies in none."""
        folder = Path(submission).resolve().parent
        if folder.name != "submissions" or not (folder.parent / KIT_FILE).exists():
            return None
        return cls(folder.parent)

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.folder.name

    @property
    def workflow_elements(self) -> str:
        """Its workflow's elements, separated by commas."""
        return ", ".join(self.call(lambda problem: list(problem.workflow.element_names)))

    @property
    def target_column(self) -> str:
        """What it calls its target."""
        return str(getattr(self.problem, "_target_column_name", DEFAULT_TARGET))

    @cached_property
    def problem(self) -> Any:
        """Its ``problem.py``, imported.

        Raises
        ------
        MissingExtraError
            If RAMP isn't installed.
        KitError
            If it fails.
        """
        spec = importlib.util.spec_from_file_location("problem", self.folder / KIT_FILE)
        assert spec is not None  # noqa: S101 - a .py file has a loader
        assert spec.loader is not None  # noqa: S101
        module = importlib.util.module_from_spec(spec)
        external_imports = self.folder / "external_imports"
        if external_imports.is_dir() and str(external_imports) not in sys.path:
            sys.path.append(str(external_imports))
        with chdir(self.folder):
            _run(spec.loader.exec_module, module)
        return module

    def call(self, function: Callable[[Any], T]) -> T:
        """Call something of its ``problem.py`` in its folder; errors as of `problem`."""
        problem = self.problem
        with chdir(self.folder):
            return _run(function, problem)

    def list_files(self) -> dict[str, Path]:
        """List what the server needs of it, by relative path.

        All but its submissions, its notebooks and pages of text, and what tools left.
        """
        own = [
            path
            for path in list_files(self.folder, {self.folder / name for name in NOT_SENT})
            if path.suffix not in PAGES
        ]
        data = list_files(self.data_folder / DATA)
        return {path.relative_to(self.folder).as_posix(): path for path in own} | {
            path.relative_to(self.data_folder).as_posix(): path for path in data
        }

    def read_submission(self, folder: str | PathLike[str]) -> dict[str, bytes]:
        """Read a submission's files, without what `ramp-test` left among them."""
        return {
            name: content
            for name, content in read_source_files(folder).items()
            if not name.startswith(f"{TRAINING_OUTPUT}/")
        }

    def make_folds(self) -> list[tuple[Rows, Rows]]:
        """Make the folds of its ``get_cv``.

        Returns
        -------
        list of tuple of ndarray of int64
            Train and test rows.

        Raises
        ------
        KitError, MissingExtraError
            As of `problem`.
        SplitterError
            If they are no folds.
        """
        # What X holds of this path matters to nobody: the server reads the data itself.
        path = os.path.relpath(self.data_folder, self.folder)
        X, y = self.call(lambda problem: problem.get_train_data(path=path))
        pairs = self.call(lambda problem: list(problem.get_cv(X, y)))
        return make_folds(pairs, len(y))


def _run(function: Callable[[Any], T], problem: Any) -> T:
    try:
        return function(problem)
    except ModuleNotFoundError as error:
        if error.name != "rampwf":
            raise KitError(f"The kit's {KIT_FILE} fails: {error}.") from error
        raise MissingExtraError("RAMP kits need RAMP; pip install 'datarun[ramp]'.") from None
    except Exception as error:
        # The kit's own code may raise anything.
        text = f"The kit's {KIT_FILE} fails: {type(error).__name__}: {error}"
        raise KitError(text) from error
