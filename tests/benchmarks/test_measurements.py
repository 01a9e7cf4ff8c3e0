"""Medians, ratios, and what is called slower."""

import pytest

from benchmarks.measurements import Change, Spread, compare, compare_all, divide


def test_a_spread_is_the_median_and_the_ends():
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(median=2.0, lowest=1.0, highest=3.0)


def test_ratios_are_of_the_same_repeat():
    assert divide([2.0, 9.0], by=[1.0, 3.0]) == [2.0, 3.0]


def test_ratios_of_unequal_repeats_are_refused():
    with pytest.raises(ValueError, match="longer"):
        divide([1.0], by=[1.0, 2.0])


@pytest.mark.parametrize(
    ("ratios", "change"),
    [
        ([1.25, 1.3, 1.4], Change.SLOWER),
        # One noisy repeat is no reason, nor are two.
        ([1.1, 1.3, 9.0], Change.SAME),
        ([0.7, 0.75, 0.8], Change.FASTER),
        ([0.5, 0.7, 0.9], Change.SAME),
    ],
)
def test_a_change_is_told_when_every_repeat_shows_it(ratios, change):
    assert compare(Spread.of(ratios), before=1.0, tolerance=0.2) is change


def test_what_the_reference_lacks_is_new():
    changes = compare_all({"W1": Spread.of([1.0]), "W2": Spread.of([1.0])}, {"W1": 1.0})

    assert changes == {"W1": Change.SAME, "W2": Change.NEW}
