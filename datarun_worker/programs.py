"""What a sandbox can be told to do; runs in it, beside the code of a submission or a reader.

A sandbox serves one fold or one data job. A fold's commands are `load`, `train`, `validate` and
`test`, in this order, and what was trained stays in the process between them. A data job's are
`split_csv`, or `add_files` as often as it takes and then `split_reader` or `split_kit`; or
`score_fold` for each fold of a submission and then `score_bagged`.

Each takes what JSON can say, and open files by name: inputs to read or map, outputs to write.
Each returns what JSON can say. Errors of the author are `ProgramError`; everything else is ours.
"""

import contextlib
import importlib
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from datarun_client.file_names import KIT_FILES, READER_FILE, TEST_FILES, TRAIN_FILES
from datarun_client.states import FailureKind, WorkflowElement
from datarun_worker import child
from datarun_worker.datasets import SplitData, read_csv, split_data
from datarun_worker.errors import ProgramError
from datarun_worker.kit_files import KitReading
from datarun_worker.parts import Labels, dump_features, dump_labels, load_features, load_values
from datarun_worker.predictions import convert_predictions, write_predictions
from datarun_worker.readers import KIT_PATH, SpecificReader
from datarun_worker.tars import unpack_tar, write_tar
from datarun_worker.tracebacks import NO_ROOM, author_code
from datarun_worker.workflow import Workflow, choose_form, take_rows, wants_frame

if TYPE_CHECKING:
    from datarun_worker.kit_scorers import ScoredKitSubmission
    from datarun_worker.scorers import ScoredSubmission

Arguments = Mapping[str, Any]
Files = Mapping[str, int]


@dataclass
class Fold:
    """What stays in the process from one command of a fold to the next.

    Attributes
    ----------
    elements : tuple of WorkflowElement
    source : Path
        The folder of the submission's files.
    reader : SpecificReader or None
        The data set's own reader, if it has one.
    X, y : object
        What to train on: all of it for a reader that trains by itself, else the train rows.
    train_is : ndarray of int64
        The train rows.
    trained : object
        A `Workflow`, or what the reader's `train_submission` returned.
    """

    elements: tuple[WorkflowElement, ...]
    source: Path
    reader: SpecificReader | None
    X: Any
    y: Any
    train_is: npt.NDArray[np.int64]
    trained: Any = None

    @property
    def trainer(self) -> SpecificReader | None:
        """The reader, if it trains submissions itself."""
        return self.reader if self.reader is not None and self.reader.trains_itself else None


@dataclass(frozen=True)
class Scoring:
    """What stays in the process from one command of a scoring to the next.

    Attributes
    ----------
    scored : ScoredSubmission or ScoredKitSubmission
    reader : SpecificReader or None
        The kit's, if its score types are used.
    """

    scored: "ScoredSubmission | ScoredKitSubmission"
    reader: SpecificReader | None

    def running(self) -> contextlib.AbstractContextManager[None]:
        """Run what may be code of a kit."""
        return contextlib.nullcontext() if self.reader is None else self.reader.running()


_fold: Fold | None = None
_folder: Path | None = None
_scoring: Scoring | None = None


def load(arguments: Arguments, inputs: Files, outputs: Files) -> dict[str, Any]:
    """Load what the submission is trained on.

    Parameters
    ----------
    arguments : mapping
        ``workflow_elements``, a list of words.
    inputs : mapping
        ``X_train``; ``y_train``, the labels of the train rows alone unless the reader trains by
        itself; ``train_is``, int64; ``specific.py`` if the data set has a reader; ``kit_files`` if
        that is a kit's, and ``train_files`` if X names files of it.
    outputs : mapping
        None.
    """
    global _fold
    source = child.SOURCE
    if source is None:
        raise RuntimeError("a fold was begun before its submission's files were there")
    reader = _load_reader(inputs, source) if READER_FILE in inputs else None
    if TRAIN_FILES in inputs:
        with _finding_room(FailureKind.DATA_ERROR):
            unpack_tar(inputs[TRAIN_FILES], _data_folder())
    elements = tuple(WorkflowElement(word) for word in arguments["workflow_elements"])
    trains_itself = reader is not None and reader.trains_itself
    X = _load_samples(inputs["X_train"], elements, trains_itself)
    y = Labels.read(inputs["y_train"]).load()
    train_is = np.frombuffer(_read_all(inputs["train_is"]), dtype="<i8").astype(np.int64)
    if not trains_itself:
        X = take_rows(X, train_is)
    _fold = Fold(elements, source, reader, X, y, train_is)
    return {}


def train(arguments: Arguments, inputs: Files, outputs: Files) -> dict[str, Any]:
    """Train the submission on what was loaded; nothing else is needed."""
    fold = _fold
    if fold is None:
        raise RuntimeError("a submission was to be trained on nothing")
    X, y = fold.X, fold.y
    # What the submission doesn't keep is free for it.
    fold.X = fold.y = None
    if fold.trainer is not None:
        fold.trained = fold.trainer.train(child.PACKAGE, X, y, fold.train_is)
    else:
        with author_code(fold.source):
            fold.trained = Workflow(fold.elements, _load_element).fit(X, y)
    return {}


def validate(arguments: Arguments, inputs: Files, outputs: Files) -> dict[str, Any]:
    """Predict the whole train set.

    Parameters
    ----------
    arguments : mapping
        ``n_rows``
    inputs : mapping
        ``X_train``
    outputs : mapping
        ``predictions``, raw float64 in C order.

    Returns
    -------
    dict
        ``shape``, ``dtype`` and ``is_classifier``
    """
    return _predict(inputs["X_train"], arguments["n_rows"], outputs["predictions"])


def test(arguments: Arguments, inputs: Files, outputs: Files) -> dict[str, Any]:
    """Predict the held-out test set; otherwise as `validate`.

    Parameters
    ----------
    arguments, outputs : mapping
        As of `validate`.
    inputs : mapping
        ``X_test``, and ``test_files`` if it names files of a kit.
    """
    if TEST_FILES in inputs:
        # Those of the train set had room, and since then the submission has written.
        with _finding_room(FailureKind.OUTPUT_LIMIT):
            unpack_tar(inputs[TEST_FILES], _data_folder())
    return _predict(inputs["X_test"], arguments["n_rows"], outputs["predictions"])


def split_csv(arguments: Arguments, inputs: Files, outputs: Files) -> dict[str, Any]:
    """Split a standard data set.

    Parameters
    ----------
    arguments : mapping
        ``name``, ``target_column``, ``held_out_test``, ``random_state``
    inputs : mapping
        ``data``, the CSV file.
    outputs : mapping
        ``X_train``, ``y_train``, ``X_test``, ``y_test``

    Returns
    -------
    dict
        ``n_train``, ``n_test``
    """
    with os.fdopen(os.dup(inputs["data"]), "rb") as file:
        data = read_csv(file, arguments["name"])
    parts = split_data(
        data,
        arguments["target_column"],
        arguments["held_out_test"],
        arguments["random_state"],
    )
    return _write_parts(parts, outputs)


def add_files(arguments: Arguments, inputs: Files, outputs: Files) -> dict[str, Any]:
    """Copy some of a data set's files, by their names, into the folder that its reader gets."""
    folder = _data_folder()
    for name, descriptor in inputs.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            _finding_room(FailureKind.DATA_ERROR),
            os.fdopen(os.dup(descriptor), "rb") as file,
            path.open("xb") as copy,
        ):
            shutil.copyfileobj(file, copy)
    return {}


def split_reader(arguments: Arguments, inputs: Files, outputs: Files) -> dict[str, Any]:
    """Let a data set's own reader prepare and split it.

    Parameters
    ----------
    arguments : mapping
        Empty.
    inputs : mapping
        ``specific.py``; the data set's other files came by `add_files`.
    outputs : mapping
        As of `split_csv`, and ``prepared``: a tar of the files that the reader wrote.

    Returns
    -------
    dict
        ``n_train``, ``n_test``, and ``n_prepared``, how many files the tar holds.
    """
    reader = SpecificReader(_place_reader(inputs[READER_FILE], Path("reader")))
    folder = _data_folder()
    before = _list_files(folder)
    reader.prepare_data(str(folder))
    parts = SplitData(*reader.read_train_data(str(folder)), *reader.read_test_data(str(folder)))
    written = [path for path, stamp in _list_files(folder).items() if before.get(path) != stamp]
    write_tar(folder, written, outputs["prepared"])
    return {**_write_parts(parts, outputs, reader.trains_itself), "n_prepared": len(written)}


def split_kit(arguments: Arguments, inputs: Files, outputs: Files) -> dict[str, Any]:
    """Let a RAMP kit's ``problem.py`` split it, and sort its files by who is given them.

    Parameters
    ----------
    arguments, inputs : mapping
        As of `split_reader`.
    outputs : mapping
        As of `split_csv`, and tars: ``kit_files``, ``train_files``, ``test_files``.

    Returns
    -------
    dict
        ``n_train``, ``n_test``; ``metrics``, the names of its score types; and
        ``n_train_files``, ``n_test_files``.
    """
    folder = _place_reader(inputs[READER_FILE], _data_folder())
    reading = KitReading(folder)
    reader = SpecificReader.of_kit(folder)
    reading.end_import()
    reader.prepare_data(KIT_PATH)
    train = reader.read_train_data(KIT_PATH)
    test = reader.read_test_data(KIT_PATH)
    given = reading.choose_files(train[0], test[0])
    for part, names in (
        (KIT_FILES, given.kit),
        (TRAIN_FILES, given.train),
        (TEST_FILES, given.test),
    ):
        write_tar(folder, names, outputs[part])
    return {
        **_write_parts(SplitData(*train, *test), outputs, reader.trains_itself),
        "metrics": reader.list_score_types(),
        "n_train_files": len(given.train),
        "n_test_files": len(given.test),
    }


def score_fold(arguments: Arguments, inputs: Files, outputs: Files) -> dict[str, Any]:
    """Score a fold of the submission, and keep its predictions for the mean.

    Parameters
    ----------
    arguments : mapping
        ``metrics``, ``workflow_elements``, ``full_train_shape``, ``test_shape``
    inputs : mapping
        ``y_train``, ``y_test``, ``full_train``, ``test``: raw float64; ``train_is``, ``test_is``:
        raw int64; of a kit, whose own score types are then used, ``specific.py``, ``kit_files``.
    outputs : mapping
        None.

    Returns
    -------
    dict
        ``scores`` by metric and part; ``errors`` by metric.
    """
    global _scoring
    if _scoring is None:
        _scoring = _load_scoring(arguments, inputs)
    full_train, test = (
        np.frombuffer(_read_all(inputs[name]), "<f8").reshape(arguments[f"{name}_shape"])
        for name in ("full_train", "test")
    )
    train_is, test_is = (
        np.frombuffer(_read_all(inputs[name]), "<i8") for name in ("train_is", "test_is")
    )
    with _scoring.running():
        scores = _scoring.scored.score_fold(full_train, test, train_is, test_is)
    return {"scores": scores, "errors": _scoring.scored.errors}


def score_bagged(arguments: Arguments, inputs: Files, outputs: Files) -> dict[str, Any]:
    """Score the mean predictions of the folds that were scored; otherwise as `score_fold`."""
    if _scoring is None:
        return {"scores": {}, "errors": {}}
    with _scoring.running():
        scores = _scoring.scored.score_bagged()
    return {"scores": scores, "errors": _scoring.scored.errors}


COMMANDS: dict[str, Callable[[Arguments, Files, Files], dict[str, Any]]] = {
    "load": load,
    "train": train,
    "validate": validate,
    "test": test,
    "split_csv": split_csv,
    "add_files": add_files,
    "split_reader": split_reader,
    "split_kit": split_kit,
    "score_fold": score_fold,
    "score_bagged": score_bagged,
}


def _predict(features: int, n_rows: int, output: int) -> dict[str, Any]:
    if _fold is None:
        raise RuntimeError("predictions were asked of a fold that isn't trained")
    X = _load_samples(features, _fold.elements, _fold.trainer is not None)
    if _fold.trainer is not None:
        value = _fold.trainer.predict(_fold.trained, X, n_rows)
        is_classifier = WorkflowElement.CLASSIFIER in _fold.elements
    else:
        with author_code(_fold.source):
            value = _fold.trained.predict(X)
        is_classifier = _fold.trained.is_classifier
    # Converting runs code of theirs too, if what they returned is of a class of theirs.
    with author_code(_fold.source):
        predictions = convert_predictions(value)
    return {**write_predictions(output, predictions), "is_classifier": is_classifier}


def _load_samples(
    descriptor: int, elements: Collection[WorkflowElement], trains_itself: bool
) -> Any:
    """Load X in the form in which the elements want it, or the reader if that trains them."""
    if not trains_itself and not wants_frame(elements):
        values = load_values(descriptor)
        if values is not None:
            return values
    X = load_features(descriptor)
    return X if trains_itself else choose_form(X, elements)


def _load_element(element: WorkflowElement) -> ModuleType:
    name = f"{child.PACKAGE}.{element}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ProgramError(
            FailureKind.SUBMISSION_ERROR, f"The submission has no file {element.file_name}."
        ) from None


def _load_scoring(arguments: Arguments, inputs: Files) -> Scoring:
    # Scorers take long to import, and no fold needs them.
    from datarun_worker.kit_scorers import ScoredKitSubmission
    from datarun_worker.scorers import ScoredSubmission

    # Before the labels, which may be of its classes.
    reader = _load_reader(inputs, None) if READER_FILE in inputs else None
    y_train, y_test = (Labels.read(inputs[name]).load() for name in ("y_train", "y_test"))
    if reader is not None:
        return Scoring(ScoredKitSubmission(reader.problem, y_train, y_test), reader)
    metrics = arguments["metrics"]
    elements = [WorkflowElement(word) for word in arguments["workflow_elements"]]
    return Scoring(
        ScoredSubmission(metrics, elements, np.asarray(y_train), np.asarray(y_test)), None
    )


def _load_reader(inputs: Files, source: Path | None) -> SpecificReader:
    if KIT_FILES not in inputs:
        return SpecificReader(_place_reader(inputs[READER_FILE], Path("reader")), source)
    with _finding_room(FailureKind.DATA_ERROR):
        unpack_tar(inputs[KIT_FILES], _data_folder())
    return SpecificReader.of_kit(_place_reader(inputs[READER_FILE], _data_folder()), source)


@contextlib.contextmanager
def _finding_room(kind: FailureKind) -> Iterator[None]:
    """Write files of the data set, and say whose fault it is if there is no room for them."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        text = "There is no room for the data set's files in the sandbox: DATARUN_SCRATCH_LIMIT."
        raise ProgramError(kind, text) from error


def _place_reader(descriptor: int, folder: Path) -> Path:
    folder = folder.absolute()
    folder.mkdir(exist_ok=True)
    (folder / READER_FILE).write_bytes(_read_all(descriptor))
    return folder


def _data_folder() -> Path:
    """Make the folder of a data set's files; a kit is read in it, where this still finds it."""
    global _folder
    if _folder is None:
        _folder = Path("data").absolute()
        _folder.mkdir()
    return _folder


def _read_all(descriptor: int) -> bytes:
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(0)
        return file.read()


def _list_files(folder: Path) -> dict[str, tuple[int, int, int]]:
    stamps = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            status = path.stat()
            stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
            stamps[path.relative_to(folder).as_posix()] = stamp
    return stamps


def _write_parts(parts: SplitData, outputs: Files, trains_itself: bool = False) -> dict[str, Any]:
    dump_features(outputs["X_train"], parts.X_train)
    dump_features(outputs["X_test"], parts.X_test)
    return {
        "n_train": dump_labels(outputs["y_train"], parts.y_train, trains_itself),
        "n_test": dump_labels(outputs["y_test"], parts.y_test, trains_itself),
    }
