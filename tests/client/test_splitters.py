import numpy as np
import pytest
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneOut,
    ShuffleSplit,
    StratifiedKFold,
)

from datarun_client import SplitterError
from datarun_client.splitters import make_folds

N = 23


@pytest.mark.parametrize("n_splits", [2, 5, N])
def test_a_number_gives_the_rows_of_scikit_learns_shuffled_k_fold(n_splits):
    expected = KFold(n_splits, shuffle=True, random_state=42).split(np.zeros(N))

    found = make_folds(n_splits, N)

    for (train, test), (expected_train, expected_test) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(train, expected_train)
        np.testing.assert_array_equal(test, expected_test)


@pytest.mark.parametrize(
    "cv", [ShuffleSplit(4, random_state=0), LeaveOneOut(), StratifiedKFold(3), GroupKFold(3)]
)
def test_any_splitter_of_scikit_learn_will_do(cv):
    y = np.arange(N) % 2
    groups = np.arange(N) % 4 if isinstance(cv, GroupKFold) else None
    expected = list(cv.split(np.zeros((N, 1)), y, groups))

    found = make_folds(cv, N, y, groups)

    assert len(found) == len(expected)
    np.testing.assert_array_equal(found[0][0], expected[0][0])


def test_pairs_of_rows_or_masks_will_do():
    mask = np.arange(N) < 10

    (train, test), (first, rest) = make_folds(iter([(mask, ~mask), ([0, 0], [])]), N)

    np.testing.assert_array_equal(train, np.arange(10))
    np.testing.assert_array_equal(test, np.arange(10, N))
    assert first.tolist() == [0, 0]
    assert rest.dtype == np.int64
    assert rest.size == 0


@pytest.mark.parametrize(
    ("cv", "message"),
    [
        (1, "2 to 23"),
        (24, "2 to 23"),
        ([], "no folds"),
        (StratifiedKFold(3), "no folds"),
        ([([0, N], [1])], "rows 0 to 22"),
        ([([-1], [1])], "rows 0 to 22"),
        ([([], [1])], "no train rows"),
        ([([0.5], [1])], "whole numbers"),
        ([1, 2], "no folds"),
    ],
)
def test_what_gives_no_folds_says_why(cv, message):
    with pytest.raises(SplitterError, match=message):
        make_folds(cv, N)
