"""The tables of folds, from what a run has measured."""

from benchmarks.benches.folds_tables import make_floor_table, make_ratio_table, make_time_table
from benchmarks.readme import describe

RESULTS = {
    "isolation": "full",
    "left_out": {
        "celery": "celery is not installed",
        **dict.fromkeys(["loop", "rq_cold", "ramp", "ramp_ten"], "slow"),
    },
    "workloads": {
        "W0": {
            "seconds": {"joblib": [0.001], "rq": [0.056], "datarun": [0.028]},
            "folds": {"joblib": 60, "rq": 60, "datarun": 60},
        },
        "W4": {
            "seconds": {
                "joblib": [0.1, 0.2, 0.1],
                "rq": [0.4, 0.9, 0.4],
                "datarun": [0.12, 0.3, 0.12],
                "joblib_own_codec": [0.08, 0.2, 0.08],
                "rq_own_codec": [0.1, 0.2, 0.2],
            },
            "folds": dict.fromkeys(
                ["joblib", "rq", "datarun", "joblib_own_codec", "rq_own_codec"], 20
            ),
        },
    },
}


def test_ratios_are_over_the_limit_and_no_ops_are_times():
    table = make_ratio_table(RESULTS)

    assert table.columns[1:4] == ["plain RQ, preloaded", "datarun", "the same, all with its codec"]
    assert [row[1:] for row in table.rows] == [
        ["4.00", "1.20", "1.50", "1.25", "1.1"],
        ["56 ms", "28 ms", "", "30 ms", "15 ms"],
    ]
    assert "datarun ran at isolation `full`" in table.notes[0]
    assert "Without Celery prefork: celery is not installed." in table.notes


def test_the_floor_is_plain_rq_in_each_repeat():
    rows = make_floor_table(RESULTS).rows

    assert rows == [
        ["W0", "0.50", "0.50 to 0.50", "1 of 1"],
        ["W4", "0.30", "0.30 to 0.33", "3 of 3"],
        ["W4, both with datarun's codec", "1.20", "0.60 to 1.50", "1 of 3"],
    ]


def test_times_are_of_one_fold_on_one_worker():
    rows = {row[0]: row[1:] for row in make_time_table(RESULTS).rows}

    assert rows["W4, datarun"] == [
        "20",
        "3",
        "120 ms",
        "120 ms to 300 ms",
        "1.20",
        "1.20 to 1.50",
    ]


def test_the_readme_says_what_was_run():
    results = {
        "benches": {"folds": RESULTS},
        "n_repeats": 3,
        "cores": 2,
        "python": "3.11.7",
        "versions": {"scikit-learn": "1.9.1", "rq": "3.0.0"},
        "made_at": "2026-01-02T03:04:05+00:00",
    }

    text = describe(results)

    assert text.startswith("| work per fold")
    assert text.endswith(
        "Medians of 3 interleaved repeats on 2 cores, Python 3.11.7, scikit-learn 1.9.1, "
        "RQ 3.0.0; 2026-01-02."
    )
