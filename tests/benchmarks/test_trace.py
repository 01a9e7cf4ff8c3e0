"""Spans of folds, and whether they add up."""

from benchmarks.benches.trace import make_trace, make_trace_table

FINISHED = "2026-01-01T00:00:10+00:00"
POSTED = 1767225600.0


def make_fold(**spans):
    return make_trace({"finished_at": FINISHED, "timings": spans or None}, POSTED)


def test_a_trace_is_the_spans_and_the_time_since_the_post():
    assert make_fold(train=4.0) == {"spans": {"train": 4.0}, "wall": 10.0}


def test_spans_that_add_up_are_said_to():
    table = make_trace_table("", [make_fold(train=8.8, accept=1.0), make_fold(train=9, accept=1.0)])

    assert [row[0] for row in table.rows] == ["accept", "train", "POST to TESTED"]
    assert table.rows[0][-1] == "10%"
    assert table.notes == [
        "The spans add up to 99.0% of the wall time (98.0% to 100.0%), within 5%."
    ]


def test_spans_that_leave_time_out_are_said_to():
    (note,) = make_trace_table("", [make_fold(train=8.0)]).notes

    assert "NOT within 5%" in note


def test_shares_leave_out_the_wait_for_others():
    table = make_trace_table("", [make_fold(pick_up=8.0, train=1.5, test=0.5)], waits=["pick_up"])

    assert [row[-1] for row in table.rows] == ["", "75%", "25%", ""]


def test_a_stack_without_timings_shows_the_whole_alone():
    table = make_trace_table("", [make_fold()])

    assert [row[0] for row in table.rows] == ["POST to TESTED"]
    assert table.notes == ["This datarun keeps no timings of folds."]
