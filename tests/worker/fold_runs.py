"""Runs splits and folds in real sandboxes, without an API: what the work horse does in between."""

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datarun_client.file_names import (
    FOLD_PARTS,
    KIT_FILES,
    READER_FILE,
    SCORING_PARTS,
    TEST_FILES,
    TRAIN_FILES,
)
from datarun_client.states import Reader, WorkflowElement
from datarun_worker.claims import FoldClaim, FoldName, ScoredFold, ScoringClaim
from datarun_worker.fold_run import FoldInputs, FoldRun, labels_file
from datarun_worker.memory_files import memory_file
from datarun_worker.parts import Labels
from datarun_worker.results import FoldResult, Phase, ScoringResult
from datarun_worker.sandbox import Engine, Limits
from datarun_worker.scoring_run import run_scoring
from datarun_worker.split_run import PREPARED, SPLIT_PARTS

PREDICTIONS_LIMIT = 1 << 24
LIMITS = Limits(time=60)


class Parts:
    """A data set's parts in a folder."""

    def __init__(
        self, folder: Path, reader: bytes | None = None, kind: Reader = Reader.CSV
    ) -> None:
        self.folder = folder
        self.reader = reader
        self.kind = kind

    def labels(self, name: str) -> Labels:
        descriptor = os.open(self.folder / name, os.O_RDONLY)
        try:
            return Labels.read(descriptor)
        finally:
            os.close(descriptor)


def split_csv(
    engine: Engine,
    folder: Path,
    content: bytes | str,
    target: str,
    held_out_test: float = 0.3,
    name: str = "data.csv",
) -> Parts:
    (folder / "raw").write_bytes(content.encode() if isinstance(content, str) else content)
    arguments = {
        "name": name,
        "target_column": target,
        "held_out_test": held_out_test,
        "random_state": 42,
    }
    with contextlib.ExitStack() as stack:
        outputs = {
            part: stack.enter_context((folder / part).open("w+b")).fileno() for part in SPLIT_PARTS
        }
        raw = stack.enter_context((folder / "raw").open("rb"))
        sandbox = stack.enter_context(engine.open_sandbox({}, LIMITS))
        sandbox.call("split_csv", arguments, {"data": raw.fileno()}, outputs)
    return Parts(folder)


def split_reader(
    engine: Engine, folder: Path, reader: str, files: Mapping[str, bytes]
) -> tuple[Parts, dict[str, Any]]:
    return split(engine, folder, reader, files, "split_reader", (PREPARED,))


def split_kit(
    engine: Engine, folder: Path, reader: str, files: Mapping[str, bytes]
) -> tuple[Parts, dict[str, Any]]:
    more = (KIT_FILES, TRAIN_FILES, TEST_FILES)
    parts, value = split(engine, folder, reader, files, "split_kit", more)
    parts.kind = Reader.KIT
    return parts, value


def split(
    engine: Engine,
    folder: Path,
    reader: str,
    files: Mapping[str, bytes],
    command: str,
    more: tuple[str, ...],
) -> tuple[Parts, dict[str, Any]]:
    with contextlib.ExitStack() as stack:
        outputs = {
            part: stack.enter_context((folder / part).open("w+b")).fileno()
            for part in (*SPLIT_PARTS, *more)
        }
        inputs = {
            name: stack.enter_context(memory_file("raw", content))
            for name, content in files.items()
        }
        specific = stack.enter_context(memory_file("reader", reader.encode()))
        sandbox = stack.enter_context(engine.open_sandbox({}, LIMITS))
        sandbox.call("add_files", {}, inputs)
        reply = sandbox.call(command, {}, {READER_FILE: specific}, outputs)
    return Parts(folder, reader.encode(), Reader.SPECIFIC), reply.value


class NoReporter:
    """Stands where reports would go out."""

    def end_phase(self, phase: Phase) -> None:
        pass


def run_fold(
    engine: Engine,
    parts: Parts,
    source: Mapping[str, str | bytes],
    elements: Iterable[str],
    train_is: Any,
    limits: Limits = LIMITS,
) -> FoldResult:
    labels = parts.labels("y_train")
    train_is = np.asarray(train_is, dtype=np.int64)
    claim = FoldClaim(
        owner=1,
        databoard_sf_id=1,
        attempt=1,
        lease=30.0,
        train_is=train_is,
        workflow_elements=tuple(map(WorkflowElement, elements)),
        reader=parts.kind,
        time_limit=None,
        memory_limit=None,
        n_train=labels.n_rows,
        n_test=parts.labels("y_test").n_rows,
        source=(),
        data=(),
    )
    files = {
        name: content.encode() if isinstance(content, str) else content
        for name, content in source.items()
    }
    with contextlib.ExitStack() as stack:
        opened = {
            name: stack.enter_context((parts.folder / name).open("rb")).fileno()
            for name in FOLD_PARTS
            if (parts.folder / name).exists()
        }
        inputs = FoldInputs(
            X_train=opened["X_train"],
            y_train=opened["y_train"]
            if labels.is_whole
            else stack.enter_context(labels_file(labels.take(train_is))),
            X_test=opened["X_test"],
            train_is=stack.enter_context(memory_file("train_is", train_is.tobytes())),
            reader=stack.enter_context(memory_file("reader", parts.reader))
            if parts.reader
            else None,
            n_classes=labels.n_classes,
            kit_files=opened.get(KIT_FILES),
            train_files=opened.get(TRAIN_FILES),
            test_files=opened.get(TEST_FILES),
        )
        sandbox = stack.enter_context(engine.open_sandbox(files, limits))
        return FoldRun(claim, inputs, sandbox, PREDICTIONS_LIMIT).run(NoReporter())


def score_kit(
    engine: Engine,
    parts: Parts,
    metrics: Iterable[str],
    folds: Mapping[int, tuple[Any, Any, Any, Any]],
) -> ScoringResult:
    """Score folds: train rows, other rows, predictions of the train and of the test set."""
    claim = ScoringClaim(
        owner=1,
        databoard_s=1,
        attempt=1,
        lease=30.0,
        reader=parts.kind,
        metrics=tuple(metrics),
        workflow_elements=(),
        time_limit=None,
        memory_limit=None,
        files=(),
        folds=(),
    )
    scored = [
        ScoredFold(FoldName(number, 1), *map(np.asarray, rows_and_predictions))
        for number, rows_and_predictions in folds.items()
    ]
    with contextlib.ExitStack() as stack:
        files = {
            name: stack.enter_context((parts.folder / name).open("rb")).fileno()
            for name in SCORING_PARTS
        }
        files[READER_FILE] = stack.enter_context(memory_file("reader", parts.reader or b""))
        sandbox = stack.enter_context(engine.open_sandbox({}, LIMITS))
        return run_scoring(claim, sandbox, files, scored)
