"""A kit's own scores of predictions, as `ramp-test` computes them.

Its score types, its `Predictions` and RAMP's own functions do the work, so that the scores are
`ramp-test`'s to the last digit wherever the predictions are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from datarun_client.errors import KitError
from datarun_client.kits import Kit
from datarun_client.records import Fold, PredictionArray
from datarun_client.runs import Run

Scores = dict[str, dict[str, float]]
"""By step, ``train``, ``valid`` or ``test``, and by the name of the score type."""


class Predicted(Protocol):
    """Whatever holds the predictions of a fold."""

    @property
    def full_train_predictions(self) -> PredictionArray | None:
        """Of the whole train set."""

    @property
    def test_predictions(self) -> PredictionArray | None:
        """Of the test set."""


@dataclass(frozen=True)
class KitScores:
    """How good a submission is, by its kit's score types.

    Attributes
    ----------
    precisions : dict of str to int
        To how many digits the kit shows each score.
    folds : dict of int to dict
        `Scores` of each tested fold, by its number.
    mean, std : dict
        `Scores`: the mean and the standard deviation (of the population) over these folds.
    bagged : dict
        `Scores` of the combined predictions of these folds, without ``train``.
    """

    precisions: dict[str, int]
    folds: dict[int, Scores]
    mean: Scores
    std: Scores
    bagged: Scores


def score_run(kit: Kit, run: Run) -> KitScores:
    """Score those folds of a submission that are tested.

    Parameters
    ----------
    kit : Kit
        With the labels of its test set, if it is to be scored on that.
    run : Run

    Raises
    ------
    KitError
        If no fold is tested, or the kit's code fails, for instance because the predictions are for
        other rows.
    MissingExtraError
        If RAMP isn't installed.
    """
    folds = {fold.databoard_sf_id: fold for fold in run.folds()}
    tested = [
        (folds[entry.databoard_sf_id], entry)
        for entry in run.predictions()
        if entry.test_predictions is not None
    ]
    if not tested:
        raise KitError(
            f"No fold of submission {run.databoard_s_id} is tested yet; "
            f"see `datarun status {run.databoard_s_id}`."
        )
    return score_tested(kit, tested)


def score_tested(kit: Kit, tested: Sequence[tuple[Fold, Predicted]]) -> KitScores:
    """Score tested folds, of which there is one at least; errors as of `score_run`.

    Parameters
    ----------
    kit : Kit
    tested : sequence of tuple of Fold and Predicted
    """
    _, y_train = kit.read_train_data()
    _, y_test = kit.read_test_data()
    return kit.call(lambda problem: score_folds(problem, tested, y_train, y_test))


def score_folds(
    problem: Any, tested: Sequence[tuple[Fold, Predicted]], y_train: Any, y_test: Any
) -> KitScores:
    """Score tested folds by their labels.

    Parameters
    ----------
    problem : module
        The kit's ``problem.py``.
    tested : sequence of tuple of Fold and Predicted
    y_train, y_test : object
        The labels, as the kit reads them; `y_test` is None if this copy of it hasn't those of the
        test set.
    """
    from rampwf.utils import get_score_cv_bags
    from rampwf.utils.scoring import score_matrix

    types = problem.score_types
    scores, on_valid, on_test = {}, [], []
    for fold, entry in tested:
        truth, predicted = {}, {}
        for step, rows in (("train", fold.train_is), ("valid", fold.test_is)):
            truth[step] = problem.Predictions(y_true=y_train, fold_is=rows)
            predicted[step] = problem.Predictions(y_pred=entry.full_train_predictions, fold_is=rows)
        on_valid.append(predicted["valid"])
        if y_test is not None:
            truth["test"] = problem.Predictions(y_true=y_test)
            predicted["test"] = problem.Predictions(y_pred=entry.test_predictions)
            on_test.append(predicted["test"])
        frame = score_matrix(types, ground_truth=truth, predictions=predicted)
        scores[fold.databoard_sf_id] = {
            step: {score.name: float(frame.loc[step, score.name]) for score in types}
            for step in truth
        }
    bags = [("valid", on_valid, y_train, [fold.test_is for fold, _ in tested])]
    if y_test is not None:
        bags.append(("test", on_test, y_test, [np.arange(len(y_test))] * len(tested)))
    bagged: Scores = {}
    for step, predictions, y, of_folds in bags:
        truth_of_all = problem.Predictions(y_true=y)
        bagged[step] = {
            # The last of a curve, whose n-th value is for the first n folds.
            score.name: float(
                get_score_cv_bags(score, predictions, truth_of_all, test_is_list=of_folds)[1][-1]
            )
            for score in types
        }
    return KitScores(
        {score.name: score.precision for score in types},
        scores,
        _reduce(np.mean, list(scores.values())),
        _reduce(np.std, list(scores.values())),
        bagged,
    )


def _reduce(function: Any, scores: Sequence[Scores]) -> Scores:
    return {
        step: {name: float(function([found[step][name] for found in scores])) for name in names}
        for step, names in scores[0].items()
    }
