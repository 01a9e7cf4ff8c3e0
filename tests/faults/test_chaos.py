"""Long runs in which everything breaks at random, each on a stack of its own."""

import pytest

from tests.faults.chaos import run_alone

FOLDS, FAULTS = 500, 100


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nothing_is_lost_whatever_breaks(seed):
    report = run_alone(seed, FOLDS, FAULTS)

    assert report.is_good, f"{report}\n{report.explain()}"
    assert (report.folds, report.faults) == (FOLDS, FAULTS)
