"""Scores of predictions by a RAMP kit's own score types.

Its score types, its `Predictions` and their way of combining do the work, in the order in which
`ramp-test` calls them, so that the scores are `ramp-test`'s to the last digit wherever the
predictions are.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from datarun_client.states import ScorePart
from datarun_worker.predictions import Predictions
from datarun_worker.scorers import MAX_ERROR, Scores


@dataclass
class ScoredKitSubmission:
    """The labels of a kit, and what a submission predicted, fold by fold.

    Attributes
    ----------
    problem : module
        The kit's `problem.py`.
    y_train, y_test : object
        The labels, as the kit reads them.
    errors : dict
        What failed first, by score type.
    """

    problem: Any
    y_train: Any
    y_test: Any
    errors: dict[str, str] = field(init=False, default_factory=dict)
    _on_validation: list[tuple[Any, npt.NDArray[np.int64]]] = field(
        init=False, default_factory=list
    )
    _on_test: list[tuple[Any, npt.NDArray[np.int64]]] = field(init=False, default_factory=list)

    def score_fold(
        self,
        full_train: Predictions,
        test: Predictions,
        train_is: npt.NDArray[np.int64],
        test_is: npt.NDArray[np.int64],
    ) -> Scores:
        """Score a fold, and keep its predictions for `score_bagged`.

        Parameters
        ----------
        full_train, test : ndarray of float64
            The fold's predictions of the whole train set and of the test set.
        train_is, test_is : ndarray of int64
            Its train rows and its others.
        """
        kind = self.problem.Predictions
        pairs = {}
        for part, rows in ((ScorePart.TRAIN, train_is), (ScorePart.VALIDATION, test_is)):
            pairs[part] = (
                kind(y_true=self.y_train, fold_is=rows),
                kind(y_pred=full_train, fold_is=rows),
            )
        pairs[ScorePart.TEST] = (kind(y_true=self.y_test), kind(y_pred=test))
        self._on_validation.append((pairs[ScorePart.VALIDATION][1], test_is))
        self._on_test.append((pairs[ScorePart.TEST][1], np.arange(len(self.y_test))))
        return self._score(pairs)

    def score_bagged(self) -> Scores:
        """Score the combined predictions of all folds.

        A row of the train set has those of the folds that have it among `test_is`; rows that are
        in none of them don't count.
        """
        return self._score(
            {
                ScorePart.VALIDATION: self._bag(self.y_train, self._on_validation),
                ScorePart.TEST: self._bag(self.y_test, self._on_test),
            }
        )

    def _bag(self, y: Any, folds: Sequence[tuple[Any, npt.NDArray[np.int64]]]) -> tuple[Any, Any]:
        """Combine folds as RAMP's `get_score_cv_bags` does in the last of its steps.

        That one scores the first fold, the first two, and so on, and each score type combines
        anew; here it is done once.
        """
        kind = self.problem.Predictions
        truth = kind(y_true=y)
        spread = []
        for predictions, rows in folds:
            spread.append(kind(n_samples=len(truth.y_pred)))
            spread[-1].set_valid_in_train(predictions, rows)
        combined = kind.combine(spread)
        rows_with_any = combined.valid_indexes
        truth.set_slice(rows_with_any)
        combined.set_slice(rows_with_any)
        return truth, combined

    def _score(self, pairs: Mapping[ScorePart, tuple[Any, Any]]) -> Scores:
        return {
            score_type.name: {
                part: self._score_part(score_type, truth, predictions)
                for part, (truth, predictions) in pairs.items()
            }
            for score_type in self.problem.score_types
        }

    def _score_part(self, score_type: Any, truth: Any, predictions: Any) -> float | None:
        try:
            score = float(score_type.score_function(truth, predictions))
        except Exception as error:
            # Whatever the kit's code raises, the organizer hears of it, and the other scores stay.
            text = f"{type(error).__name__}: {error}".partition("\n")[0]
            self.errors.setdefault(score_type.name, text[:MAX_ERROR])
            return None
        return score if math.isfinite(score) else None
