"""One run of a fold, from its open files to its result: the same for a worker and without a server.

It trusts nothing that comes out of the sandbox. What the submission did wrong is a result; what
goes wrong otherwise is an error of ours.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from datarun_client.file_names import KIT_FILES, READER_FILE, TEST_FILES, TRAIN_FILES
from datarun_client.states import FailureKind, Span, WorkflowElement
from datarun_worker.claims import FoldClaim
from datarun_worker.errors import ProgramError
from datarun_worker.laps import Laps
from datarun_worker.memory_files import memory_file
from datarun_worker.parts import Labels
from datarun_worker.predictions import (
    Predictions,
    check_predictions,
    count_columns,
    find_oddities,
    read_predictions,
)
from datarun_worker.results import FoldResult, Measures, Phase
from datarun_worker.sandbox import Reply, Sandbox, SubmissionFailure

AUTHORS_KINDS = frozenset(
    {
        FailureKind.SUBMISSION_ERROR,
        FailureKind.BAD_PREDICTIONS,
        FailureKind.MEMORY_LIMIT,
        FailureKind.OUTPUT_LIMIT,
        FailureKind.FORBIDDEN,
    }
)
"""What a submission can be at fault of."""

_SPANS = {Phase.TRAIN: Span.TRAIN, Phase.VALIDATE: Span.VALIDATE, Phase.TEST: Span.TEST}


class PhaseListener(Protocol):
    """Whoever wants to know how far a fold is."""

    def end_phase(self, phase: Phase) -> None:
        """Hear that a phase has ended well."""


@dataclass(frozen=True)
class FoldInputs:
    """Open files that a fold's sandbox gets.

    Attributes
    ----------
    X_train, y_train, X_test, train_is : int
        Descriptors. `y_train` has the labels of the train rows alone, unless the reader trains
        by itself.
    reader : int or None
        The data set's own reader.
    kit_files, train_files, test_files : int or None
        Tars of a kit's files (`kit_files`).
    n_classes : int or None
        How many distinct labels the train set has.
    """

    X_train: int
    y_train: int
    X_test: int
    train_is: int
    reader: int | None
    n_classes: int | None
    kit_files: int | None = None
    train_files: int | None = None
    test_files: int | None = None


@contextlib.contextmanager
def open_inputs(claim: FoldClaim, files: Mapping[str, int]) -> Iterator[FoldInputs]:
    """Cut a data set's parts to what a fold's sandbox may get.

    Parameters
    ----------
    claim : FoldClaim
    files : mapping of str to int
        Descriptors of the data set's parts, and of its reader if it has one.
    """
    labels = Labels.read(files["y_train"])
    with contextlib.ExitStack() as stack:
        yield FoldInputs(
            X_train=files["X_train"],
            # A reader that trains by itself gets y whole, as it gave it.
            y_train=files["y_train"]
            if labels.is_whole
            else stack.enter_context(labels_file(labels.take(claim.train_is))),
            X_test=files["X_test"],
            train_is=stack.enter_context(memory_file("train_is", claim.train_is.tobytes())),
            reader=files.get(READER_FILE),
            n_classes=labels.n_classes,
            kit_files=files.get(KIT_FILES),
            train_files=files.get(TRAIN_FILES),
            test_files=files.get(TEST_FILES),
        )


class FoldRun:
    """One run of a fold's three phases in its sandbox.

    Parameters
    ----------
    claim : FoldClaim
    inputs : FoldInputs
    sandbox : Sandbox
    predictions_limit : int
        Bytes.
    laps : Laps, optional
        Gets what its parts take.
    """

    def __init__(
        self,
        claim: FoldClaim,
        inputs: FoldInputs,
        sandbox: Sandbox,
        predictions_limit: int,
        laps: Laps | None = None,
    ) -> None:
        self._claim = claim
        self._inputs = inputs
        self._sandbox = sandbox
        self._predictions_limit = predictions_limit
        self._laps = laps or Laps()
        self._measures: dict[Phase, Measures] = {}
        self._oddities: list[str] = []
        self._phase = Phase.TRAIN

    def run(self, reporter: PhaseListener) -> FoldResult:
        """Train, validate, test; what the submission did wrong is a result."""
        try:
            self._train()
            reporter.end_phase(Phase.TRAIN)
            full_train = self._predict(
                Phase.VALIDATE, "validate", {"X_train": self._inputs.X_train}, self._claim.n_train
            )
            reporter.end_phase(Phase.VALIDATE)
            test = self._predict(
                Phase.TEST,
                "test",
                _choose_given({"X_test": self._inputs.X_test, TEST_FILES: self._inputs.test_files}),
                self._claim.n_test,
                count_columns(full_train),
            )
        except SubmissionFailure as failure:
            return self._fail(failure.kind, failure.message)
        except ProgramError as error:
            return self._fail(error.kind, error.message)
        return FoldResult(
            failure_kind=None,
            log_messages=self._write_log(),
            full_train_predictions=full_train,
            test_predictions=test,
            measures=self._measures,
        )

    def _train(self) -> None:
        inputs = _choose_given(
            {
                "X_train": self._inputs.X_train,
                "y_train": self._inputs.y_train,
                "train_is": self._inputs.train_is,
                READER_FILE: self._inputs.reader,
                KIT_FILES: self._inputs.kit_files,
                TRAIN_FILES: self._inputs.train_files,
            }
        )
        elements = [str(element) for element in self._claim.workflow_elements]
        self._sandbox.call(
            "load", {"workflow_elements": elements}, inputs, believed=self._find_believed()
        )
        self._laps.end(Span.LOAD)
        self._call(Phase.TRAIN, "train", {}, {}, {})

    def _predict(
        self,
        phase: Phase,
        command: str,
        inputs: dict[str, int],
        n_rows: int,
        n_columns: int | None = None,
    ) -> Predictions:
        with memory_file("predictions") as output:
            value = self._call(phase, command, {"n_rows": n_rows}, inputs, {"predictions": output})
            predictions = read_predictions(output, value, self._predictions_limit)
        # Only an estimator itself knows whether it classifies.
        is_classifier = (
            WorkflowElement.CLASSIFIER in self._claim.workflow_elements
            or value.get("is_classifier") is True
        )
        check_predictions(predictions, n_rows, is_classifier, n_columns)
        if is_classifier:
            self._oddities += [
                f"{phase.value}: {oddity}"
                for oddity in find_oddities(predictions, self._inputs.n_classes)
            ]
        return predictions

    def _call(
        self,
        phase: Phase,
        command: str,
        arguments: dict[str, Any],
        inputs: dict[str, int],
        outputs: dict[str, int],
    ) -> dict[str, Any]:
        self._phase = phase
        try:
            reply = self._sandbox.call(
                command, arguments, inputs, outputs, believed=self._find_believed()
            )
        except SubmissionFailure as failure:
            self._measures[phase] = _measure(failure)
            raise
        finally:
            self._laps.end(_SPANS[phase])
        self._measures[phase] = _measure(reply)
        return reply.value

    def _find_believed(self) -> frozenset[FailureKind]:
        """Say what a sandbox may blame in which a submission runs.

        The data set only where it has a part in it: code of its own, or rows to calibrate on.
        """
        has_part = WorkflowElement.CALIBRATOR in self._claim.workflow_elements
        if has_part or self._inputs.reader is not None:
            return AUTHORS_KINDS | {FailureKind.DATA_ERROR}
        return AUTHORS_KINDS

    def _fail(self, kind: FailureKind, message: str) -> FoldResult:
        return FoldResult(
            failure_kind=kind,
            log_messages=self._write_log(f"Failed while {self._phase.value}: {message}"),
            measures=self._measures,
        )

    def _write_log(self, end: str = "") -> str:
        lines = [self._sandbox.read_log().rstrip()]
        lines += [f"Warning while {oddity}." for oddity in self._oddities]
        lines.append(end)
        return "\n".join(line for line in lines if line)


def check_train_rows(claim: FoldClaim) -> None:
    """Check the train rows: a fold may be posted before the split tells how many there are.

    Raises
    ------
    ProgramError
        `data_error`, if there are none, or some that the train set doesn't have.
    """
    rows = claim.train_is
    if rows.size == 0:
        raise ProgramError(FailureKind.DATA_ERROR, "train_is is empty; a fold needs train rows.")
    if rows.min() < 0 or rows.max() >= claim.n_train:
        wrong = rows.min() if rows.min() < 0 else rows.max()
        raise ProgramError(
            FailureKind.DATA_ERROR,
            f"train_is names row {wrong}; the train set has rows 0 to {claim.n_train - 1}.",
        )


@contextlib.contextmanager
def labels_file(labels: Labels) -> Iterator[int]:
    """Make a file in memory of labels; gives its descriptor."""
    with memory_file("y_train") as descriptor:
        labels.write(descriptor)
        yield descriptor


def _choose_given(files: Mapping[str, int | None]) -> dict[str, int]:
    return {name: descriptor for name, descriptor in files.items() if descriptor is not None}


def _measure(outcome: Reply | SubmissionFailure) -> Measures:
    usage = outcome.usage
    return Measures(usage.wall_time, usage.cpu_time, usage.peak_memory)
