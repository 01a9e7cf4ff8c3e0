"""How results are written."""

import pytest

from benchmarks.measurements import Spread
from benchmarks.tables import Table, format_milliseconds, format_ratio, format_spread


def test_a_table_is_padded_markdown():
    table = Table("Folds", ["work", "ratio"], [["W1", "2.50"], ["longer", "1"]], ["A note."])

    assert table.to_markdown() == (
        "| work   | ratio |\n| ------ | ----: |\n| W1     |  2.50 |\n| longer |     1 |\n\nA note."
    )


def test_a_column_is_wide_enough_for_its_rule():
    assert Table("", ["", "a"]).to_markdown() == "|     |   a |\n| --- | --: |"


@pytest.mark.parametrize(("value", "text"), [(1.234, "1.23"), (9.94, "9.94"), (88.4, "88")])
def test_a_ratio_has_the_digits_that_noise_allows(value, text):
    assert format_ratio(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0012, "1.2 ms"), (0.0301, "30 ms"), (2.6, "2,600 ms")]
)
def test_a_time_is_written_in_milliseconds(seconds, text):
    assert format_milliseconds(seconds) == text


def test_a_spread_is_two_cells():
    assert format_spread(Spread.of([1.0, 2.0, 4.0]), format_ratio) == ["2.00", "1.00 to 4.00"]
