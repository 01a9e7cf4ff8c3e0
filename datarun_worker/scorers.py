"""Scores of predictions by scikit-learn's scorers.

A scorer wants a fitted estimator, and there is none any more: only what it predicted. So one is
made that looks its predictions up, row by row, and is asked by the scorer itself. What comes out
is, to the last digit, what the scorer says of the estimator; for a metric that would have used a
decision function, of its probabilities.

The columns of a classifier's predictions stand for the classes of the rows that it was trained
on, in their order.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import get_scorer

from datarun_client.states import ScorePart, WorkflowElement
from datarun_worker.predictions import Predictions

Scores = dict[str, dict[str, float | None]]

MAX_ERROR = 300
"""Characters that are kept of what a metric says."""


class PredictedClassifier(ClassifierMixin, BaseEstimator):
    """A classifier that looks its probabilities up.

    Parameters
    ----------
    probabilities : ndarray of float64 of shape (n_samples, n_classes)
    classes : ndarray of shape (n_classes,)
    """

    def __init__(self, probabilities: Predictions, classes: npt.NDArray[Any]) -> None:
        self.probabilities = probabilities
        self.classes = classes

    @property
    def classes_(self) -> npt.NDArray[Any]:
        """The classes, as scorers look for them."""
        return self.classes

    def predict_proba(self, rows: npt.NDArray[np.int64]) -> Predictions:
        """Look the probabilities of some rows up."""
        return self.probabilities[rows]

    def predict(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Name the most probable classes of some rows."""
        return self.classes[self.probabilities[rows].argmax(axis=1)]


class PredictedRegressor(RegressorMixin, BaseEstimator):
    """A regressor that looks its values up.

    Parameters
    ----------
    values : ndarray of float64 of shape (n_samples,) or (n_samples, n_outputs)
    """

    def __init__(self, values: Predictions) -> None:
        self.values = values

    def predict(self, rows: npt.NDArray[np.int64]) -> Predictions:
        """Look the values of some rows up."""
        return self.values[rows]


class ScoreError(ValueError):
    """Predictions can't be scored."""


@dataclass
class ScoredSubmission:
    """The labels of a data set, and what a submission predicted, fold by fold.

    Attributes
    ----------
    metrics : sequence of str
        Names of scorers.
    elements : collection of WorkflowElement
    y_train, y_test : ndarray of shape (n_samples,) or (n_samples, n_outputs)
    errors : dict
        What failed first, by metric.
    """

    metrics: Sequence[str]
    elements: Sequence[WorkflowElement]
    y_train: npt.NDArray[Any]
    y_test: npt.NDArray[Any]
    errors: dict[str, str] = field(init=False, default_factory=dict)
    _train_sum: Predictions | None = field(init=False, default=None)
    _train_count: npt.NDArray[np.int64] | None = field(init=False, default=None)
    _test_sum: Predictions | None = field(init=False, default=None)
    _n_folds: int = field(init=False, default=0)

    def score_fold(
        self,
        full_train: Predictions,
        test: Predictions,
        train_is: npt.NDArray[np.int64],
        test_is: npt.NDArray[np.int64],
    ) -> Scores:
        """Score a fold, and add its predictions to the mean.

        Parameters
        ----------
        full_train, test : ndarray of float64
            The fold's predictions of the whole train set and of the test set.
        train_is, test_is : ndarray of int64
            Its train rows and its others.
        """
        full_train, test = _drop_single_column(full_train), _drop_single_column(test)
        try:
            if self._is_classifier(full_train):
                full_train, test = self._align(full_train, test, train_is)
            self._add(full_train, test, test_is)
        except ScoreError as error:
            self.errors.update(dict.fromkeys(self.metrics, str(error)))
            return {metric: dict.fromkeys(ScorePart) for metric in self.metrics}
        return self._score(
            {
                ScorePart.TRAIN: (full_train, self.y_train, train_is),
                ScorePart.VALIDATION: (full_train, self.y_train, test_is),
                ScorePart.TEST: (test, self.y_test, np.arange(len(self.y_test))),
            }
        )

    def score_bagged(self) -> Scores:
        """Score the mean predictions of all folds.

        A row of the train set has the mean of the folds in which it wasn't trained on but is among
        `test_is`; rows that are in none of them don't count.
        """
        if self._train_sum is None or self._train_count is None or self._test_sum is None:
            return {}
        rows = np.flatnonzero(self._train_count)
        counts = self._train_count.reshape(-1, *[1] * (self._train_sum.ndim - 1))
        validation = self._train_sum / np.maximum(counts, 1)
        test = self._test_sum / self._n_folds
        return self._score(
            {
                ScorePart.VALIDATION: (validation, self.y_train, rows),
                ScorePart.TEST: (test, self.y_test, np.arange(len(self.y_test))),
            }
        )

    @property
    def classes(self) -> npt.NDArray[Any]:
        """All classes, in their order.

        Raises
        ------
        ScoreError
            If they have none.
        """
        try:
            return np.unique(self.y_train)
        except TypeError as error:
            raise ScoreError(f"the labels can't be sorted: {error}") from None

    def _is_classifier(self, predictions: Predictions) -> bool:
        if WorkflowElement.ESTIMATOR in self.elements:
            # Only the estimator itself knew, and then there is a column for each class.
            return predictions.ndim == 2 and self.y_train.ndim == 1
        return WorkflowElement.CLASSIFIER in self.elements

    def _align(
        self, full_train: Predictions, test: Predictions, train_is: npt.NDArray[np.int64]
    ) -> tuple[Predictions, Predictions]:
        """Give predictions a column for every class of the data set.

        Raises
        ------
        ScoreError
            If it can't be told which column stands for which class.
        """
        classes = self.classes
        n_columns = 1 if full_train.ndim == 1 else full_train.shape[1]
        if n_columns == len(classes):
            return full_train, test
        trained = np.unique(self.y_train[train_is])
        if n_columns != len(trained):
            raise ScoreError(f"{n_columns} columns of predictions for {len(trained)} classes")
        places = np.searchsorted(classes, trained)
        return tuple(  # type: ignore[return-value]
            _spread(np.reshape(part, (len(part), n_columns)), places, len(classes))
            for part in (full_train, test)
        )

    def _add(
        self, full_train: Predictions, test: Predictions, test_is: npt.NDArray[np.int64]
    ) -> None:
        if self._train_sum is None or self._train_count is None or self._test_sum is None:
            self._train_sum = np.zeros_like(full_train)
            self._train_count = np.zeros(len(full_train), dtype=np.int64)
            self._test_sum = np.zeros_like(test)
        if self._train_sum.shape != full_train.shape or self._test_sum.shape != test.shape:
            raise ScoreError("the folds' predictions are of different shapes")
        rows = np.unique(test_is)
        self._train_sum[rows] += full_train[rows]
        self._train_count[rows] += 1
        self._test_sum += test
        self._n_folds += 1

    def _score(
        self,
        parts: Mapping[ScorePart, tuple[Predictions, npt.NDArray[Any], npt.NDArray[np.int64]]],
    ) -> Scores:
        return {
            metric: {
                part: self._score_part(metric, predictions, labels, rows)
                for part, (predictions, labels, rows) in parts.items()
            }
            for metric in self.metrics
        }

    def _score_part(
        self,
        metric: str,
        predictions: Predictions,
        labels: npt.NDArray[Any],
        rows: npt.NDArray[np.int64],
    ) -> float | None:
        if not rows.size:
            return None
        estimator: BaseEstimator
        if self._is_classifier(predictions):
            estimator = PredictedClassifier(predictions, self.classes)
        else:
            estimator = PredictedRegressor(predictions)
        try:
            score = float(get_scorer(metric)(estimator, rows, labels[rows]))
        except Exception as error:
            # A metric that doesn't fit the data set is the organizer's to hear of, whatever
            # scikit-learn raises for it.
            self.errors.setdefault(metric, str(error).partition("\n")[0][:MAX_ERROR])
            return None
        return score if math.isfinite(score) else None


def _drop_single_column(predictions: Predictions) -> Predictions:
    """Take a single column as values; scorers don't."""
    if predictions.ndim == 2 and predictions.shape[1] == 1:
        return predictions[:, 0]
    return predictions


def _spread(predictions: Predictions, places: npt.NDArray[np.int64], n_classes: int) -> Predictions:
    """Put columns where their classes are; the others are improbable."""
    spread = np.zeros((len(predictions), n_classes))
    spread[:, places] = predictions
    return spread
