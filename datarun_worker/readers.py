"""A data set's own reader: a Python file that came with it.

It defines ``prepare_data(path)``, ``get_train_data(path)`` and ``get_test_data(path)``, where
`path` is the folder of the data set's files and the latter two return X and y; and, if the data
set trains submissions in its own way, ``train_submission(module_path, X, y, train_is)`` and
``test_submission(trained, X, test_is)``.

A RAMP kit's ``problem.py`` is such a file, too: it has a `workflow` whose methods train and test,
`Predictions` that say which shape predictions have, `score_types`, and nothing to prepare. It runs
as `ramp-test` runs it: in the kit's folder, or what is given of that (`kit_files`), with ``.`` as
its `path`. Its `module_path` is a folder as well, from which RAMP's workflows load each element by
themselves.

Its author is the organizer, not the submission's: what it raises is a `data_error`, unless the
exception came through the submission's files. In a kit's workflow a library stands between both:
what comes through neither's files is the submission's fault there, such as a fit that refuses X.
"""

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from datarun_client.file_names import READER_FILE
from datarun_client.metrics import MAX_SCORE_NAME, MAX_SCORE_TYPES
from datarun_client.states import FailureKind
from datarun_client.workflow_elements import KIT_FILE
from datarun_worker import tracebacks
from datarun_worker.errors import ProgramError

KIT_PATH = "."
"""What a kit's functions are told of where the kit is: the working folder."""

_MODULE = Path(READER_FILE).stem
_RAMP = "rampwf"
_EXTERNAL_IMPORTS = "external_imports"


class SpecificReader:
    """The functions of an uploaded reader.

    Parameters
    ----------
    folder : Path
        Where its file is.
    submission_folder : Path, optional
        The folder of the submission that it trains, if it trains one.
    """

    def __init__(self, folder: Path, submission_folder: Path | None = None) -> None:
        self._folder = folder
        self._submission_folder = submission_folder
        with self.running():
            spec = importlib.util.spec_from_file_location(_MODULE, folder / READER_FILE)
            assert spec is not None  # noqa: S101 - a .py file has a loader
            assert spec.loader is not None  # noqa: S101
            self._module = importlib.util.module_from_spec(spec)
            # X may hold objects of the reader's classes: their pickles name this module.
            sys.modules[_MODULE] = self._module
            spec.loader.exec_module(self._module)
        defined = [self._defines(name) for name in ("train_submission", "test_submission")]
        if any(defined) and not all(defined):
            raise ProgramError(
                FailureKind.DATA_ERROR,
                f"{READER_FILE} defines one of train_submission and test_submission; "
                "define both or neither.",
            )
        self._workflow = None if all(defined) else self._find_workflow()
        self.trains_itself = all(defined) or self._workflow is not None

    @classmethod
    def of_kit(cls, folder: Path, submission_folder: Path | None = None) -> Self:
        """Read a kit's `problem.py` as `ramp-test` does; parameters as of the class.

        From then on the kit's folder is the working folder.
        """
        os.chdir(folder)
        if Path(_EXTERNAL_IMPORTS).is_dir():
            sys.path.append(str(folder / _EXTERNAL_IMPORTS))
        return cls(folder, submission_folder)

    def prepare_data(self, path: str) -> None:
        """Let the reader prepare its data set, in whose folder it may write.

        Parameters
        ----------
        path : str
            The data set's files.

        Raises
        ------
        ProgramError
            `data_error`
        """
        if self._workflow is None or self._defines("prepare_data"):
            self._call("prepare_data", path)

    def read_train_data(self, path: str) -> tuple[Any, Any]:
        """Let the reader read X and y of the train set; otherwise as `prepare_data`."""
        return self._get("get_train_data", path)

    def read_test_data(self, path: str) -> tuple[Any, Any]:
        """Let the reader read X and y of the test set; otherwise as `prepare_data`."""
        return self._get("get_test_data", path)

    def list_score_types(self) -> list[str]:
        """List the names of a kit's score types, the official one first.

        Raises
        ------
        ProgramError
            `data_error`, if they can't be used.
        """
        with self.running():
            names = [score_type.name for score_type in getattr(self._module, "score_types", ())]
        if names and not self._defines("Predictions"):
            text = f"{KIT_FILE} defines no Predictions, which its score types need."
            raise ProgramError(FailureKind.DATA_ERROR, text)
        if len(names) > MAX_SCORE_TYPES:
            text = f"There are {len(names)} score types; have {MAX_SCORE_TYPES} at most."
            raise ProgramError(FailureKind.DATA_ERROR, text)
        for name in names:
            if (
                not isinstance(name, str)
                or not name.isprintable()
                or not 1 <= len(name) <= MAX_SCORE_NAME
                or names.count(name) > 1
            ):
                raise ProgramError(
                    FailureKind.DATA_ERROR,
                    f"The score type {str(name)[:MAX_SCORE_NAME]!r} needs a name of its own, of 1 "
                    f"to {MAX_SCORE_NAME} printable characters.",
                )
        return names

    @property
    def problem(self) -> ModuleType:
        """The reader's module."""
        return self._module

    def train(self, module_path: str, X: Any, y: Any, train_is: npt.NDArray[np.int64]) -> Any:
        """Let the reader train a submission.

        Parameters
        ----------
        module_path : str
            The package of the submission's files.
        X, y : object
            The whole train set, as the reader gave it.
        train_is : ndarray of int64 of shape (n_samples,)

        Returns
        -------
        object
            Whatever `predict` then needs.
        """
        if self._workflow is None:
            return self._call("train_submission", module_path, X, y, train_is)
        with self.running(runs_submission=True):
            return self._workflow.train_submission(str(self._submission_folder), X, y, train_is)

    def predict(self, trained: Any, X: Any, n_rows: int) -> Any:
        """Let the reader predict with what it trained, for all rows.

        Raises
        ------
        ProgramError
            `bad_predictions`, if they aren't of the shape that a kit says.
        """
        if self._workflow is None:
            return self._call("test_submission", trained, X, np.arange(n_rows))
        with self.running(runs_submission=True):
            values = self._workflow.test_submission(trained, X)
        if self._defines("Predictions"):
            try:
                self._module.Predictions(y_pred=values)
            except Exception as error:
                # RAMP's own check of the shape; whatever it stumbles over is no prediction.
                raise ProgramError(FailureKind.BAD_PREDICTIONS, str(error)) from error
        return values

    def _find_workflow(self) -> Any:
        """Find the workflow of a RAMP kit; None if the reader isn't one's."""
        workflow = getattr(self._module, "workflow", None)
        methods = ("train_submission", "test_submission")
        is_workflow = all(callable(getattr(workflow, name, None)) for name in methods)
        return workflow if is_workflow else None

    def _get(self, name: str, path: str) -> tuple[Any, Any]:
        data = self._call(name, path)
        if not isinstance(data, tuple | list) or len(data) != 2:
            raise ProgramError(
                FailureKind.DATA_ERROR, f"{READER_FILE}: {name}(path) must return X and y."
            )
        X, y = data
        # A kit's workflow knows what X is: a folder and names in it, or a longer series than y.
        if self._workflow is None and _count_rows(X) != _count_rows(y):
            raise ProgramError(
                FailureKind.DATA_ERROR,
                f"{READER_FILE}: {name}(path) returned {_count_rows(X)} rows of X and "
                f"{_count_rows(y)} of y.",
            )
        return X, y

    def _call(self, name: str, *arguments: Any) -> Any:
        if not self._defines(name):
            raise ProgramError(FailureKind.DATA_ERROR, f"{READER_FILE} defines no {name}.")
        with self.running():
            return getattr(self._module, name)(*arguments)

    def _defines(self, name: str) -> bool:
        return callable(getattr(self._module, name, None))

    @contextlib.contextmanager
    def running(self, runs_submission: bool = False) -> Iterator[None]:
        """Run code of the reader, or a kit's workflow that runs a submission.

        Raises
        ------
        ProgramError
            `data_error`, or what the submission is at fault of.
        """
        try:
            yield
        except (ProgramError, MemoryError):
            raise
        except (Exception, SystemExit) as error:
            if self._is_of_submission(error, runs_submission):
                assert self._submission_folder is not None  # noqa: S101 - it has a fault
                with tracebacks.author_code(self._submission_folder):
                    raise
            text = tracebacks.format_error(error, self._folder)
            if isinstance(error, ModuleNotFoundError) and error.name == _RAMP:
                text += "\nRAMP kits need the extra: pip install 'datarun[ramp]' on every worker."
            raise ProgramError(FailureKind.DATA_ERROR, text) from error

    def _is_of_submission(self, error: BaseException, runs_submission: bool) -> bool:
        if self._submission_folder is None:
            return False
        if tracebacks.comes_from(error, self._submission_folder):
            return True
        return runs_submission and not tracebacks.comes_from(error, self._folder)


def _count_rows(values: Any) -> int:
    """Count rows; a sparse matrix has a shape and no length."""
    try:
        return int(values.shape[0]) if hasattr(values, "shape") else len(values)
    except (TypeError, IndexError):
        raise ProgramError(
            FailureKind.DATA_ERROR, f"X and y have rows; a {type(values).__name__} has none."
        ) from None
