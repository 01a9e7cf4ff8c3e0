import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import Ridge
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.model_selection import KFold, train_test_split
from sklearn.tree import DecisionTreeClassifier

from datarun_client.metrics import METRICS
from datarun_client.states import ScorePart, WorkflowElement
from datarun_worker.scorers import ScoredSubmission

CLASSIFIER = [WorkflowElement.CLASSIFIER]
REGRESSOR = [WorkflowElement.REGRESSOR]
FOR_BINARY = (
    "accuracy",
    "average_precision",
    "balanced_accuracy",
    "d2_log_loss_score",
    "f1",
    "jaccard",
    "matthews_corrcoef",
    "neg_brier_score",
    "neg_log_loss",
    "precision",
    "recall",
    "roc_auc",
)
FOR_CLASSES = (
    "accuracy",
    "balanced_accuracy",
    "f1_macro",
    "f1_weighted",
    "neg_log_loss",
    "roc_auc_ovo",
    "roc_auc_ovr_weighted",
    "top_k_accuracy",
)
FOR_VALUES = (
    "explained_variance",
    "neg_max_error",
    "neg_mean_absolute_percentage_error",
    "neg_mean_poisson_deviance",
    "neg_root_mean_squared_error",
    "r2",
)


def load(loader, names=None):
    data = loader()
    y = data.target if names is None else np.array(names, dtype=object)[data.target]
    return train_test_split(data.data, y, test_size=0.3, random_state=0)


def predict(model, X):
    return model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)


def fit_folds(model, X, y, n_splits=3):
    for train_is, test_is in KFold(n_splits, shuffle=True, random_state=1).split(X):
        yield model.fit(X[train_is], y[train_is]), train_is, test_is


@pytest.mark.parametrize(
    ("elements", "data", "model", "metrics"),
    [
        (
            CLASSIFIER,
            load(load_breast_cancer),
            RandomForestClassifier(5, random_state=0),
            FOR_BINARY,
        ),
        (
            CLASSIFIER,
            load(load_iris, ["setosa", "virginica", "versicolor"]),
            RandomForestClassifier(5, random_state=0),
            FOR_CLASSES,
        ),
        (
            [WorkflowElement.ESTIMATOR],
            load(load_iris),
            RandomForestClassifier(5, random_state=0),
            FOR_CLASSES,
        ),
        (REGRESSOR, load(load_diabetes), Ridge(), FOR_VALUES),
        ([WorkflowElement.ESTIMATOR], load(load_diabetes), Ridge(), FOR_VALUES),
    ],
)
def test_scores_are_those_of_the_fitted_model(elements, data, model, metrics):
    X_train, X_test, y_train, y_test = data
    submission = ScoredSubmission(metrics, elements, y_train, y_test)

    for fitted, train_is, test_is in fit_folds(model, X_train, y_train):
        scores = submission.score_fold(
            predict(fitted, X_train), predict(fitted, X_test), train_is, test_is
        )

        for metric in metrics:
            scorer = get_scorer(metric)
            assert scores[metric] == {
                ScorePart.TRAIN: scorer(fitted, X_train[train_is], y_train[train_is]),
                ScorePart.VALIDATION: scorer(fitted, X_train[test_is], y_train[test_is]),
                ScorePart.TEST: scorer(fitted, X_test, y_test),
            }
    assert submission.errors == {}


def test_mean_predictions_are_scored_where_rows_were_held_out():
    X_train, X_test, y_train, y_test = load(load_diabetes)
    submission = ScoredSubmission(["neg_mean_squared_error"], REGRESSOR, y_train, y_test)
    validation, test = np.zeros(len(y_train)), []
    # Given folds that leave the last rows out, and one that has the others twice
    folds = list(fit_folds(Ridge(), X_train[:-9], y_train[:-9]))
    rows = []
    for _, train_is, test_is in [*folds, folds[0]]:
        fitted = Ridge().fit(X_train[train_is], y_train[train_is])
        submission.score_fold(fitted.predict(X_train), fitted.predict(X_test), train_is, test_is)
        validation[test_is] = fitted.predict(X_train)[test_is]
        test.append(fitted.predict(X_test))
        rows.extend(test_is)

    scores = submission.score_bagged()["neg_mean_squared_error"]

    counted = np.unique(rows)
    assert len(counted) == len(y_train) - 9
    squares = (validation[counted] - y_train[counted]) ** 2
    assert scores[ScorePart.VALIDATION] == pytest.approx(-squares.mean(), rel=1e-12)
    assert scores[ScorePart.TEST] == pytest.approx(
        -((np.mean(test, axis=0) - y_test) ** 2).mean(), rel=1e-12
    )


def test_a_class_that_a_fold_never_saw_gets_no_probability():
    X_train, X_test, y_train, y_test = load(load_iris)
    train_is, test_is = np.flatnonzero(y_train != 1), np.flatnonzero(y_train == 1)
    fitted = DecisionTreeClassifier(random_state=0).fit(X_train[train_is], y_train[train_is])
    submission = ScoredSubmission(["accuracy"], CLASSIFIER, y_train, y_test)

    scores = submission.score_fold(
        fitted.predict_proba(X_train), fitted.predict_proba(X_test), train_is, test_is
    )

    assert scores["accuracy"] == {
        ScorePart.TRAIN: 1.0,
        ScorePart.VALIDATION: 0.0,
        ScorePart.TEST: fitted.score(X_test, y_test),
    }
    assert submission.score_bagged()["accuracy"][ScorePart.TEST] == fitted.score(X_test, y_test)


def test_columns_that_stand_for_no_classes_are_an_error():
    submission = ScoredSubmission(["accuracy"], CLASSIFIER, np.array([0, 1, 2]), np.array([0, 1]))

    scores = submission.score_fold(
        np.ones((3, 4)), np.ones((2, 4)), np.array([0, 1]), np.array([2])
    )

    assert scores == {"accuracy": dict.fromkeys(ScorePart)}
    assert "4 columns" in submission.errors["accuracy"]
    assert submission.score_bagged() == {}


def test_a_metric_that_doesnt_fit_is_an_error_and_the_others_are_there():
    X_train, X_test, y_train, y_test = load(load_iris)
    submission = ScoredSubmission(["roc_auc", "accuracy"], CLASSIFIER, y_train, y_test)
    fitted, train_is, test_is = next(fit_folds(DecisionTreeClassifier(), X_train, y_train))

    scores = submission.score_fold(
        fitted.predict_proba(X_train), fitted.predict_proba(X_test), train_is, test_is
    )

    assert scores["roc_auc"] == dict.fromkeys(ScorePart)
    assert scores["accuracy"][ScorePart.TRAIN] == 1.0
    assert "multi_class" in submission.errors["roc_auc"]


def test_a_part_without_rows_has_no_score():
    submission = ScoredSubmission(["r2"], REGRESSOR, np.arange(4.0), np.arange(2.0))

    scores = submission.score_fold(
        np.arange(4.0).reshape(-1, 1), np.arange(2.0), np.arange(4), np.array([], dtype=int)
    )

    assert scores == {"r2": {ScorePart.TRAIN: 1.0, ScorePart.VALIDATION: None, ScorePart.TEST: 1.0}}


def test_the_metrics_are_those_of_scikit_learn():
    assert list(METRICS) == get_scorer_names()
