"""A kit's scores, counted by hand; tests/acceptance/test_kits.py has those of `ramp-test`."""

from types import SimpleNamespace

import numpy as np
import pytest
import rampwf

from datarun_client import Kit, KitError, score_run
from datarun_client.kit_scores import score_folds

PROBLEM = SimpleNamespace(
    Predictions=rampwf.prediction_types.make_regression(),
    score_types=[rampwf.score_types.RMSE(name="rmse", precision=2)],
)
Y_TRAIN = np.array([0.0, 0.0, 0.0, 0.0])
Y_TEST = np.array([1.0])


def make_fold(number, test_is, train, test):
    train_is = np.setdiff1d(np.arange(4), test_is)
    fold = SimpleNamespace(databoard_sf_id=number, train_is=train_is, test_is=np.array(test_is))
    entry = SimpleNamespace(
        databoard_sf_id=number,
        full_train_predictions=np.array(train, dtype=float),
        test_predictions=np.array(test, dtype=float),
    )
    return fold, entry


FOLDS = [
    make_fold(7, [0, 1], [4, 4, 1, 1], [2]),
    make_fold(8, [1, 2], [2, -2, 0, 2], [0]),
]


def test_scores_are_of_each_folds_rows_their_mean_and_the_bagged_predictions():
    scores = score_folds(PROBLEM, FOLDS, Y_TRAIN, Y_TEST)

    assert scores.folds == {
        7: {"train": {"rmse": 1.0}, "valid": {"rmse": 4.0}, "test": {"rmse": 1.0}},
        8: {"train": {"rmse": 2.0}, "valid": {"rmse": 2**0.5}, "test": {"rmse": 1.0}},
    }
    assert scores.mean["train"] == {"rmse": 1.5}
    assert scores.std["train"] == {"rmse": 0.5}
    # Row 0 has 4, row 1 the mean of 4 and -2, row 2 has 0, and row 3 is in no fold's `test_is`.
    assert scores.bagged == {"valid": {"rmse": (17 / 3) ** 0.5}, "test": {"rmse": 0.0}}
    assert scores.precisions == {"rmse": 2}


def test_without_the_labels_of_the_test_set_the_other_scores_are_left():
    scores = score_folds(PROBLEM, FOLDS, Y_TRAIN, None)

    assert scores.mean.keys() == {"train", "valid"}
    assert scores.bagged.keys() == {"valid"}


def test_a_submission_of_which_no_fold_is_tested_has_no_scores(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "problem.py").write_text("")
    failed = SimpleNamespace(databoard_sf_id=7, test_predictions=None)
    run = SimpleNamespace(databoard_s_id=3, folds=lambda: [], predictions=lambda: [failed])

    with pytest.raises(KitError, match=r"datarun status 3"):
        score_run(Kit(tmp_path), run)
