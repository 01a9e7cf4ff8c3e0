"""`datarun run-local`: a submission on all folds, on this machine, without a server.

What a worker does between its claim and its result is done here by the same code: the split
(`split_run`), the folds (`fold_run`), the engine, the limits, the cache's way of opening files.
Claims are made up instead of asked for, and results are printed instead of sent. So predictions,
failure kinds and limits are those of a worker with the same settings.
"""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Self

import click
import numpy as np
import numpy.typing as npt

from datarun_client.client import RANDOM_STATE
from datarun_client.codec import encode_indices
from datarun_client.commands.output import clean, json_option
from datarun_client.commands.scores import show_all_scores
from datarun_client.commands.submissions import N_FOLDS, show_folds
from datarun_client.commands.words import SHARE, Size, random_state_option
from datarun_client.errors import SourceFilesError, SplitFailedError
from datarun_client.exit_codes import ExitCode
from datarun_client.file_names import FOLD_PARTS, READER_FILE, SCORING_PARTS
from datarun_client.kits import Kit
from datarun_client.progress import open_display
from datarun_client.records import Fold
from datarun_client.scores import summarize_scores
from datarun_client.source_files import read_source_files
from datarun_client.splitters import CrossValidation, Rows, make_folds
from datarun_client.states import FailureKind, Priority, Reader, State, WorkflowElement
from datarun_client.workflow_elements import (
    KIT_FILE,
    find_workflow_elements,
    parse_workflow_elements,
)
from datarun_worker.cache import Cache, Folder, hash_file
from datarun_worker.check import IsolationError, start_engine
from datarun_worker.claims import (
    FileEntry,
    FoldClaim,
    FoldName,
    ScoredFold,
    ScoringClaim,
    SplitClaim,
)
from datarun_worker.config import Settings, load_local_settings
from datarun_worker.errors import ProgramError
from datarun_worker.fold_run import FoldRun, check_train_rows, open_inputs
from datarun_worker.isolation import Isolation
from datarun_worker.limits import make_limits
from datarun_worker.results import FoldResult, Phase, ScoringResult
from datarun_worker.sandbox import Engine, SubmissionFailure
from datarun_worker.scoring import HELD_OUT_TEST, HeldOutLabels, describe_mean
from datarun_worker.scoring_run import run_scoring
from datarun_worker.split_run import count_rows, name_parts, run_split

NO_LEASE = float("inf")
"""Nobody waits for a sign of life."""

NUMBER = 0
"""The account, data set and attempt that there is without a server."""


@dataclass(frozen=True)
class DataSet:
    """A data set as it would be posted.

    Attributes
    ----------
    files : tuple of Path
        One CSV, or several files with a reader (one ``.py`` file).
    target_column : str
    workflow_elements : tuple of WorkflowElement
    held_out_test : float
    random_state : int
    time_limit : float or None
        Seconds for a whole fold.
    memory_limit : int or None
        Bytes.
    kit : Kit or None
        The RAMP kit that it is, whose files these are instead of `files`.
    """

    files: tuple[Path, ...]
    target_column: str
    workflow_elements: tuple[WorkflowElement, ...]
    held_out_test: float = HELD_OUT_TEST
    random_state: int = RANDOM_STATE
    time_limit: float | None = None
    memory_limit: int | None = None
    kit: Kit | None = None

    @property
    def reader(self) -> Reader:
        """Who reads the files."""
        if self.kit is not None:
            return Reader.KIT
        return Reader.SPECIFIC if READER_FILE in self.name_files() else Reader.CSV

    def name_files(self) -> dict[str, Path]:
        """Give the files by the names that the API would give them.

        Raises
        ------
        SourceFilesError
            If there are two readers, or several files and none.
        """
        if self.kit is not None:
            paths = self.kit.list_files()
            return {READER_FILE: paths.pop(KIT_FILE), **paths}
        readers = [path for path in self.files if path.suffix == ".py"]
        if len(readers) > 1:
            raise SourceFilesError("A data set has one reader; give one .py file.")
        if not readers and len(self.files) > 1:
            raise SourceFilesError("Several files need a reader; give its .py file too.")
        return {READER_FILE if path in readers else path.name: path for path in self.files}


@dataclass(frozen=True)
class Split:
    """A data set's parts, in the cache.

    Attributes
    ----------
    n_train, n_test : int
    files : tuple of FileEntry
        What folds need of it.
    scoring_files : tuple of FileEntry
        What scoring needs of it.
    metrics : tuple of str
        The names of a kit's score types.
    """

    n_train: int
    n_test: int
    files: tuple[FileEntry, ...]
    scoring_files: tuple[FileEntry, ...]
    metrics: tuple[str, ...]


class LocalMachine:
    """Runs splits and folds on this machine; a context manager.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            folder = Path(tempfile.mkdtemp(prefix="datarun-local-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            cache_folder = folder / "cache"
            cache_folder.mkdir(mode=0o700)
            self._engine: Engine = stack.enter_context(
                _running(start_engine(self._settings.isolation, cache_folder=cache_folder))
            )
            self._cache = Cache(cache_folder, sys.maxsize, self._engine.open_input)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def split(self, data_set: DataSet) -> Split:
        """Split a data set.

        Raises
        ------
        SplitFailedError
            If the data set or its reader is at fault.
        """
        paths = data_set.name_files()
        claim = SplitClaim(
            raw_data=NUMBER,
            attempt=NUMBER,
            lease=NO_LEASE,
            reader=data_set.reader,
            target_column=data_set.target_column,
            held_out_test=data_set.held_out_test,
            random_state=data_set.random_state,
            time_limit=data_set.time_limit,
            memory_limit=data_set.memory_limit,
            files=tuple(_describe(name, path) for name, path in paths.items()),
        )
        try:
            return self._split(claim, paths)
        except (SubmissionFailure, ProgramError) as failure:
            raise SplitFailedError(f"The data set can't be split: {failure.message}") from failure

    def _split(self, claim: SplitClaim, paths: Mapping[str, Path]) -> Split:
        def fetch(entry: FileEntry, file: BinaryIO) -> None:
            with paths[entry.name].open("rb") as source:
                shutil.copyfileobj(source, file)

        with contextlib.ExitStack() as stack:
            files = {
                entry.name: stack.enter_context(self._cache.open(Folder.DATA_JOBS, entry, fetch))
                for entry in claim.files
            }
            outputs = {
                name: stack.enter_context(self._cache.create(Folder.DATA_JOBS))
                for name in name_parts(claim)
            }
            limits = make_limits(claim, self._settings)
            with self._engine.open_sandbox({}, limits) as sandbox:
                metrics = run_split(claim, sandbox, files, outputs)
            n_train, n_test = (count_rows(outputs[name]) for name in ("y_train", "y_test"))
            reader = tuple(entry for entry in claim.files if entry.name == READER_FILE)
            for entry in reader:
                # It is in the cache for data jobs already.
                with self._cache.open(Folder.FOLDS, entry, fetch):
                    pass
            return Split(
                n_train,
                n_test,
                self._keep(Folder.FOLDS, outputs, FOLD_PARTS) + reader,
                self._keep(Folder.DATA_JOBS, outputs, SCORING_PARTS) + reader,
                metrics,
            )

    def _keep(
        self, folder: Folder, outputs: Mapping[str, BinaryIO], names: Sequence[str]
    ) -> tuple[FileEntry, ...]:
        """Put those of a split's parts that there are into the cache."""
        entries = [hash_file(name, outputs[name]) for name in names if name in outputs]
        for entry in entries:
            self._cache.keep(folder, entry, outputs[entry.name])
        return tuple(entries)

    def run_fold(
        self,
        number: int,
        data_set: DataSet,
        split: Split,
        source: Mapping[str, bytes],
        train_is: npt.NDArray[np.int64],
    ) -> FoldResult:
        """Run a fold; what the submission did wrong is a result.

        Parameters
        ----------
        number : int
        data_set : DataSet
        split : Split
        source : mapping of str to bytes
            The submission's files.
        train_is : ndarray of int64 of shape (n_samples,)
        """
        claim = FoldClaim(
            owner=NUMBER,
            databoard_sf_id=number,
            attempt=1,
            lease=NO_LEASE,
            train_is=train_is,
            workflow_elements=data_set.workflow_elements,
            reader=data_set.reader,
            time_limit=data_set.time_limit,
            memory_limit=data_set.memory_limit,
            n_train=split.n_train,
            n_test=split.n_test,
            source=(),
            data=split.files,
        )
        try:
            check_train_rows(claim)
            with contextlib.ExitStack() as stack:
                files = self._open(stack, Folder.FOLDS, claim.data)
                inputs = stack.enter_context(open_inputs(claim, files))
                sandbox = stack.enter_context(
                    self._engine.open_sandbox(source, make_limits(claim, self._settings))
                )
                limit = self._settings.predictions_limit
                return FoldRun(claim, inputs, sandbox, limit).run(_NoListener())
        except ProgramError as error:
            return FoldResult(error.kind, error.message)

    def score(
        self, data_set: DataSet, split: Split, outcomes: Sequence[tuple[Fold, FoldResult]]
    ) -> ScoringResult:
        """Score the tested folds of a submission by a kit's score types; its errors are a result.

        Parameters
        ----------
        data_set : DataSet
        split : Split
        outcomes : sequence of tuple of Fold and FoldResult
        """
        claim = ScoringClaim(
            owner=NUMBER,
            databoard_s=NUMBER,
            attempt=NUMBER,
            lease=NO_LEASE,
            reader=data_set.reader,
            metrics=split.metrics,
            workflow_elements=data_set.workflow_elements,
            time_limit=data_set.time_limit,
            memory_limit=data_set.memory_limit,
            files=split.scoring_files,
            folds=(),
        )
        scored = [
            ScoredFold(
                FoldName(fold.databoard_sf_id, fold.attempt),
                fold.train_is,
                fold.test_is,
                result.full_train_predictions,
                result.test_predictions,
            )
            for fold, result in outcomes
            if result.full_train_predictions is not None and result.test_predictions is not None
        ]
        try:
            with contextlib.ExitStack() as stack:
                files = self._open(stack, Folder.DATA_JOBS, claim.files)
                limits = make_limits(claim, self._settings)
                sandbox = stack.enter_context(self._engine.open_sandbox({}, limits))
                return run_scoring(claim, sandbox, files, scored)
        except SubmissionFailure as failure:
            return ScoringResult(failure.message)

    def _open(
        self, stack: contextlib.ExitStack, folder: Folder, entries: Sequence[FileEntry]
    ) -> dict[str, int]:
        return {
            entry.name: stack.enter_context(self._cache.open(folder, entry, _fetch_nothing))
            for entry in entries
        }


def run_submission(
    machine: LocalMachine,
    data_set: DataSet,
    split: Split,
    source: Mapping[str, bytes],
    cv: CrossValidation,
) -> Iterator[tuple[Fold, FoldResult]]:
    """Run a submission on all folds of a cross-validation, one after the other.

    Yields
    ------
    fold : Fold
        As the API would show it.
    result : FoldResult
        With its predictions.
    """
    for number, (train_is, test_is) in enumerate(make_folds(cv, split.n_train), start=1):
        started_at = datetime.now(UTC)
        result = machine.run_fold(number, data_set, split, source, train_is)
        yield _make_fold(number, train_is, test_is, result, started_at), result


@click.command("run-local")
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--data",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The CSV; once for each file if there are several, the reader (.py) among them. "
    "Without it FOLDER is a submission of a RAMP kit, which needs no other option.",
)
@click.option("--target", metavar="COLUMN", help="The column to predict.")
@click.option(
    "--workflow",
    metavar="ELEMENTS",
    help="What the submission consists of, such as 'feature_extractor, classifier'.",
)
@click.option(
    "--cv",
    type=click.IntRange(2),
    show_default=f"{N_FOLDS}, or the folds of the kit",
    help="How many folds.",
)
@click.option(
    "--held-out-test",
    type=SHARE,
    default=HELD_OUT_TEST,
    show_default=True,
    metavar="SHARE",
    help="The share of the rows that is held out.",
)
@random_state_option
@click.option("--time-limit", type=click.FloatRange(0, min_open=True), metavar="SECONDS")
@click.option("--memory-limit", type=Size(), metavar="BYTES", help="Such as 2G.")
@click.option(
    "--isolation",
    type=click.Choice([level.value for level in Isolation]),
    help="How the submission is confined; DATARUN_ISOLATION, or full, by default.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file to write the predictions to, such as predictions.npz.",
)
@json_option
def run_local(
    folder: Path,
    files: tuple[Path, ...],
    target: str | None,
    workflow: str | None,
    cv: int | None,
    held_out_test: float,
    random_state: int,
    time_limit: float | None,
    memory_limit: int | None,
    isolation: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Run the submission in FOLDER on this machine, as a worker would, without a server."""
    kit = None if files else Kit.find(folder)
    if kit is not None:
        data_set = DataSet(
            (),
            kit.target_column,
            find_workflow_elements(kit.workflow_elements),
            time_limit=time_limit,
            memory_limit=memory_limit,
            kit=kit,
        )
        source = kit.read_submission(folder)
        folds: int | list[tuple[Rows, Rows]] = cv or kit.make_folds()
    elif files and target is not None and workflow is not None:
        data_set = DataSet(
            files,
            target,
            parse_workflow_elements(workflow),
            held_out_test,
            random_state,
            time_limit,
            memory_limit,
        )
        source = read_source_files(folder)
        folds = cv or N_FOLDS
    else:
        raise click.UsageError(
            "Give --data, --target and --workflow, or a FOLDER in a RAMP kit's submissions."
        )
    settings = load_local_settings()
    if isolation is not None:
        settings = replace(settings, isolation=Isolation(isolation))
    try:
        with LocalMachine(settings) as machine:
            n_folds = folds if isinstance(folds, int) else len(folds)
            split = machine.split(data_set)
            outcomes = _follow(run_submission(machine, data_set, split, source, folds), n_folds)
            scores = machine.score(data_set, split, outcomes) if split.metrics else None
    except IsolationError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(ExitCode.CONFIGURATION)
    if output is not None:
        _write_predictions(output, [result for _, result in outcomes])
    show_local_folds([fold for fold, _ in outcomes], as_json)
    if not as_json:
        show_scores(data_set, outcomes, split.metrics, scores)
    if any(fold.state is not State.TESTED for fold, _ in outcomes):
        sys.exit(ExitCode.FAILED)


def show_local_folds(folds: Sequence[Fold], as_json: bool) -> None:
    """Print a line for each fold, and the log of the first one that failed."""
    show_folds(list(folds), as_json, next_step=False)
    failed = next((fold for fold in folds if fold.state is State.ERROR), None)
    if failed is not None and not as_json:
        click.secho(f"\nLog of fold {failed.databoard_sf_id}", bold=True)
        click.echo(clean(failed.log_messages))


def show_scores(
    data_set: DataSet,
    outcomes: Sequence[tuple[Fold, FoldResult]],
    metrics: Sequence[str],
    scores: ScoringResult | None,
) -> None:
    """Print how good the predictions are: by a kit's own scores, or on a CSV's held-out rows."""
    if scores is not None and scores.folds:
        click.echo()
        show_all_scores(
            {name.databoard_sf_id: found for name, found in scores.folds.items()},
            summarize_scores(metrics, list(scores.folds.values()), scores.bagged),
            scores.error,
        )
    if data_set.reader is not Reader.CSV:
        return
    (path,) = data_set.files
    labels = HeldOutLabels.read(
        path, data_set.target_column, data_set.held_out_test, data_set.random_state
    )
    found = [
        labels.score(result.test_predictions)
        for _, result in outcomes
        if result.test_predictions is not None
    ]
    if found:
        click.echo(describe_mean(found))


def _follow(
    outcomes: Iterator[tuple[Fold, FoldResult]], n_folds: int
) -> list[tuple[Fold, FoldResult]]:
    """Collect outcomes, and show how many there are."""
    collected = []
    display = open_display(n_folds)
    try:
        for fold, result in outcomes:
            collected.append((fold, result))
            n_failed = sum(fold.state is State.ERROR for fold, _ in collected)
            display.show(len(collected), f"{n_failed} {State.ERROR}" if n_failed else "")
    finally:
        display.close()
    return collected


def _write_predictions(path: Path, results: Sequence[FoldResult]) -> None:
    arrays = {
        f"{name}_{number}": getattr(result, name)
        for number, result in enumerate(results, start=1)
        for name in ("full_train_predictions", "test_predictions")
        if getattr(result, name) is not None
    }
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _make_fold(
    number: int,
    train_is: npt.NDArray[np.int64],
    test_is: npt.NDArray[np.int64],
    result: FoldResult,
    started_at: datetime,
) -> Fold:
    answer: dict[str, Any] = {
        **result.to_wire(),
        "databoard_sf_id": number,
        "databoard_s": 1,
        "train_is": encode_indices(train_is),
        "test_is": encode_indices(test_is),
        "priority": Priority.LOW,
        "new": True,
        "attempt": 1,
        "hash_files": None,
        "created_at": started_at.isoformat(),
        "started_at": started_at.isoformat(),
        "finished_at": datetime.now(UTC).isoformat(),
    }
    return Fold.from_wire(answer)


class _NoListener:
    """Hears that a phase has ended, and tells nobody."""

    def end_phase(self, phase: Phase) -> None:
        pass


@contextlib.contextmanager
def _running(engine: Engine) -> Iterator[Engine]:
    try:
        yield engine
    finally:
        engine.stop()


def _describe(name: str, path: Path) -> FileEntry:
    with path.open("rb") as file:
        return hash_file(name, file)


def _fetch_nothing(entry: FileEntry, file: BinaryIO) -> None:
    raise ProgramError(FailureKind.PLATFORM_ERROR, f"{entry.name} has left the cache.")
