"""Train and predict: which of the author's methods is called with what.

Pure array code. The rules are those of RAMP's classic workflow:

- ``feature_extractor``: ``FeatureExtractor().fit(X_df, y)``, ``.transform(X_df)``
- ``classifier``: ``Classifier().fit(X, y)``, ``.predict_proba(X)``
- ``calibrator``: ``Calibrator().fit(proba, y)``, ``.predict_proba(proba)``, trained on a stratified
  tenth of the train rows, which the classifier doesn't see
- ``regressor``: ``Regressor().fit(X, y)``, ``.predict(X)``
- ``estimator``: ``get_estimator()`` gives a scikit-learn estimator; ``predict_proba`` if it is a
  classifier, else ``predict``

With a feature extractor or an estimator, X is the DataFrame; otherwise its values as a numpy array.
"""

from collections.abc import Callable, Collection
from types import ModuleType
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import is_classifier
from sklearn.model_selection import StratifiedShuffleSplit

from datarun_client.states import FailureKind, WorkflowElement
from datarun_worker.errors import ProgramError

CALIBRATION_SHARE = 0.1
CALIBRATION_SEED = 57

LoadElement = Callable[[WorkflowElement], ModuleType]

_FACTORIES = {
    WorkflowElement.FEATURE_EXTRACTOR: "FeatureExtractor",
    WorkflowElement.CLASSIFIER: "Classifier",
    WorkflowElement.CALIBRATOR: "Calibrator",
    WorkflowElement.REGRESSOR: "Regressor",
    WorkflowElement.ESTIMATOR: "get_estimator",
}


class Predictor(Protocol):
    """What is trained last and predicts."""

    def fit(self, X: Any, y: Any) -> object:
        """Train it."""


class Workflow:
    """A submission's elements, to be trained together.

    Parameters
    ----------
    elements : collection of WorkflowElement
    load_element : callable
        Imports an element's module.
    """

    def __init__(self, elements: Collection[WorkflowElement], load_element: LoadElement) -> None:
        self._elements = elements
        self._load_element = load_element
        self._feature_extractor: Any = None
        self._predictor: Any = None
        self._calibrator: Any = None

    def fit(self, X: Any, y: Any) -> Self:
        """Train all elements.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, ...)
            The train rows, as `choose_form` gives them.
        y : array-like of shape (n_samples, ...)
            Their labels.

        Raises
        ------
        ProgramError
            If the submission lacks an element, or there are too few rows to calibrate.
        """
        if WorkflowElement.FEATURE_EXTRACTOR in self._elements:
            self._feature_extractor = self._create(WorkflowElement.FEATURE_EXTRACTOR)
            self._feature_extractor.fit(X, y)
            X = self._feature_extractor.transform(X)
        self._predictor = self._create(find_predictor(self._elements))
        if WorkflowElement.CALIBRATOR in self._elements:
            self._fit_calibrated(X, y)
        else:
            self._predictor.fit(X, y)
        return self

    def predict(self, X: Any) -> Any:
        """Predict with the trained elements.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, ...)
            As in `fit`.

        Returns
        -------
        array-like
            Whatever the submission returns.
        """
        if self._feature_extractor is not None:
            X = self._feature_extractor.transform(X)
        if not self.is_classifier:
            return self._predictor.predict(X)
        proba = self._predictor.predict_proba(X)
        return proba if self._calibrator is None else self._calibrator.predict_proba(proba)

    @property
    def is_classifier(self) -> bool:
        """Whether the predictions are probabilities, a column per class."""
        if WorkflowElement.ESTIMATOR in self._elements:
            return bool(is_classifier(self._predictor))
        return WorkflowElement.CLASSIFIER in self._elements

    def _fit_calibrated(self, X: Any, y: Any) -> None:
        split = StratifiedShuffleSplit(
            n_splits=1, test_size=CALIBRATION_SHARE, random_state=CALIBRATION_SEED
        )
        try:
            fit_rows, calibration_rows = next(split.split(np.zeros(len(y)), y))
        except ValueError as error:
            raise ProgramError(
                FailureKind.DATA_ERROR,
                f"A stratified tenth of the train rows can't be held out to calibrate: {error}",
            ) from error
        self._predictor.fit(take_rows(X, fit_rows), take_rows(y, fit_rows))
        proba = self._predictor.predict_proba(take_rows(X, calibration_rows))
        self._calibrator = self._create(WorkflowElement.CALIBRATOR)
        self._calibrator.fit(proba, take_rows(y, calibration_rows))

    def _create(self, element: WorkflowElement) -> Any:
        module = self._load_element(element)
        name = _FACTORIES[element]
        try:
            factory = getattr(module, name)
        except AttributeError:
            raise ProgramError(
                FailureKind.SUBMISSION_ERROR, f"{element.file_name} defines no {name}."
            ) from None
        return factory()


def find_predictor(elements: Collection[WorkflowElement]) -> WorkflowElement:
    """Find the element that predicts.

    Raises
    ------
    ProgramError
        `data_error`, if there is none: only a kit's elements may be of other names, and then its
        own workflow has to train.
    """
    predictors = (
        WorkflowElement.CLASSIFIER,
        WorkflowElement.REGRESSOR,
        WorkflowElement.ESTIMATOR,
    )
    for element in predictors:
        if element in elements:
            return element
    raise ProgramError(
        FailureKind.DATA_ERROR,
        "Nothing trains submissions: the data set's reader has no workflow of its own, and its "
        f"workflow elements are none of {', '.join(predictors)}.",
    )


def wants_frame(elements: Collection[WorkflowElement]) -> bool:
    """Tell whether some of these elements get X as a DataFrame, and not its values."""
    return WorkflowElement.FEATURE_EXTRACTOR in elements or WorkflowElement.ESTIMATOR in elements


def choose_form(X: Any, elements: Collection[WorkflowElement]) -> Any:
    """Give X in the form in which these elements want it.

    Parameters
    ----------
    X : DataFrame or other array-like
        Only a DataFrame is changed.
    elements : collection of WorkflowElement

    Returns
    -------
    DataFrame or array-like
        A numpy array that may be written to, if X was a DataFrame and no element wants one.
    """
    if wants_frame(elements) or not isinstance(X, pd.DataFrame):
        return X
    array = X.to_numpy()
    if not array.flags.writeable and _owns_memory(array):
        # pandas hands out its own block as read-only. Nobody else uses this frame, and what a
        # submission may do must not depend on whether all columns have one dtype.
        array.flags.writeable = True
    return array


def take_rows(values: Any, rows: npt.NDArray[np.integer]) -> Any:
    """Take rows of whatever a reader or a feature extractor gave.

    Parameters
    ----------
    values : DataFrame, Series, ndarray, sparse matrix or list
    rows : ndarray of int
        May repeat a row.
    """
    if hasattr(values, "iloc"):
        return values.iloc[rows]
    if isinstance(values, list | tuple):
        return [values[row] for row in rows]
    return values[rows]


def _owns_memory(array: npt.NDArray[Any]) -> bool:
    base: Any = array
    while isinstance(base.base, np.ndarray):
        base = base.base
    return bool(base.flags.writeable)
