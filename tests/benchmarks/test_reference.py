"""The guard over ratios of an earlier run."""

from benchmarks.measurements import Spread
from benchmarks.reference import make_guard_table, read_reference, write_reference


def test_a_reference_keeps_medians_and_what_was_not_measured_again(tmp_path):
    path = tmp_path / "reference.json"

    write_reference({"W1": Spread.of([1.0, 2.0, 3.0]), "W2": Spread.of([1.0])}, path)
    write_reference({"W1": Spread.of([4.0])}, path)

    assert read_reference(path) == {"W1": 4.0, "W2": 1.0}


def test_without_a_reference_nothing_is_known(tmp_path):
    assert read_reference(tmp_path / "none.json") == {}


def test_what_got_slower_is_named():
    ratios = {"W1": Spread.of([2.0, 2.1]), "W2": Spread.of([1.0])}

    table = make_guard_table(ratios, {"W1": 1.0, "W2": 1.0})

    assert table.rows == [
        ["W1", "1.00", "2.05", "2.00 to 2.10", "slower"],
        ["W2", "1.00", "1.00", "1.00 to 1.00", "same"],
    ]
    assert table.notes == ["SLOWER than the reference by more than 20% in every repeat: W1."]


def test_without_a_reference_nothing_is_called_the_same():
    table = make_guard_table({"W1": Spread.of([1.0])}, {})

    assert table.rows == [["W1", "", "1.00", "1.00 to 1.00", "not in the reference"]]
    assert "SAVE=1" in table.notes[0]


def test_noise_is_not_called_slower():
    table = make_guard_table({"W1": Spread.of([0.9, 3.0])}, {"W1": 1.0})

    assert table.notes == ["Nothing is slower than the reference by more than 20% in every repeat."]
