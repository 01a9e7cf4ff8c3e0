"""One run of a scoring, from labels and predictions to scores."""

import contextlib
from collections.abc import Iterable, Mapping

from datarun_worker.claims import ScoredFold, ScoringClaim
from datarun_worker.memory_files import memory_file
from datarun_worker.results import ScoringResult, read_errors, read_scores
from datarun_worker.sandbox import Reply, Sandbox


def run_scoring(
    claim: ScoringClaim, sandbox: Sandbox, files: Mapping[str, int], folds: Iterable[ScoredFold]
) -> ScoringResult:
    """Score folds, and the mean of their predictions, in a sandbox.

    Parameters
    ----------
    claim : ScoringClaim
    sandbox : Sandbox
        No submission is in it.
    files : mapping of str to int
        Descriptors of ``y_train`` and ``y_test``; of a kit, of its reader and ``kit_files`` too.
    folds : iterable of ScoredFold
        One at a time is held.

    Raises
    ------
    SubmissionFailure
        If the labels or a kit's score types are at fault.
    WorkerError
        If the sandbox answers something else than scores.
    """
    scores = {}
    errors: dict[str, str] = {}
    for fold in folds:
        reply = _score_fold(claim, sandbox, files, fold)
        scores[fold.name] = read_scores(reply.value)
        errors |= read_errors(reply.value)
    reply = sandbox.call("score_bagged", {}, {}, {})
    bagged = read_scores(reply.value)
    errors |= read_errors(reply.value)
    text = "\n".join(f"{metric}: {error}" for metric, error in sorted(errors.items()))
    return ScoringResult(text or None, folds=scores, bagged=bagged)


def _score_fold(
    claim: ScoringClaim, sandbox: Sandbox, files: Mapping[str, int], fold: ScoredFold
) -> Reply:
    arguments = {
        "metrics": list(claim.metrics),
        "workflow_elements": [str(element) for element in claim.workflow_elements],
        "full_train_shape": list(fold.full_train.shape),
        "test_shape": list(fold.test.shape),
    }
    contents = {
        "full_train": fold.full_train.astype("<f8"),
        "test": fold.test.astype("<f8"),
        "train_is": fold.train_is.astype("<i8"),
        "test_is": fold.test_is.astype("<i8"),
    }
    with contextlib.ExitStack() as stack:
        inputs = {
            name: stack.enter_context(memory_file(name, array.tobytes()))
            for name, array in contents.items()
        }
        return sandbox.call("score_fold", arguments, {**files, **inputs}, {})
