"""Whole submissions: posted in one call, waited for, and read."""

import sys
import threading

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import ShuffleSplit

from datarun_client import (
    ConflictError,
    MissingExtraError,
    NotFoundError,
    SplitterError,
    State,
    UnreachableError,
    WaitTimeoutError,
    as_completed,
)
from datarun_client.progress import BarDisplay, open_display
from tests.api.payloads import (
    CSV,
    N_TEST,
    N_TRAIN,
    claim_fold,
    finish_split,
    make_failure,
    post_result,
    run_fold,
)
from tests.api.test_scoring import METRICS, claim, finish, make_result

SOURCE = {"classifier.py": "class Classifier: pass"}


@pytest.fixture
def data(client, worker):
    """A data set that is split."""
    data = client.create_raw_data("iris", {"iris.csv": CSV}, "target", "classifier")
    client.split_raw_data(data, 0.3)
    finish_split(worker, data.id)
    return data


def fail_fold(worker, platform, number, kind="submission_error", log="it broke"):
    assert claim_fold(worker, platform, number).status_code == 200
    assert post_result(worker, platform, make_failure(kind, log), number).status_code == 200


def test_a_submission_is_posted_on_all_folds_of_a_splitter(client, data):
    cv = ShuffleSplit(3, random_state=0)

    run = client.submit("iris", SOURCE, cv=cv, priority="H")

    expected = list(cv.split(np.zeros(N_TRAIN)))
    folds = run.folds()
    assert len(folds) == 3
    for fold, (train, test) in zip(folds, expected, strict=True):
        np.testing.assert_array_equal(fold.train_is, train)
        np.testing.assert_array_equal(fold.test_is, test)
    assert {fold.priority for fold in folds} == {"H"}
    assert {fold.databoard_s for fold in folds} == {run.databoard_s_id}


def test_numbers_are_chosen_after_those_that_are_taken(client, data):
    client.post_fold(70, 7, [0], [1], raw_data=data, files=SOURCE)

    chosen = client.submit(data, SOURCE, cv=2)
    given = client.submit(data, SOURCE, cv=2, databoard_s_id=500, databoard_sf_id=5000)

    assert (chosen.databoard_s_id, chosen.databoard_sf_ids) == (8, (71, 72))
    assert (given.databoard_s_id, given.databoard_sf_ids) == (500, (5000, 5001))
    with pytest.raises(ConflictError, match="databoard_sf_id"):
        client.submit(data, SOURCE, cv=3, databoard_s_id=500, databoard_sf_id=5000)


def test_two_who_submit_at_once_get_numbers_of_their_own(open_client, platform, data):
    """Each in its own thread; whoever loses a number to the other picks again."""
    runs, barrier = {}, threading.Barrier(4)

    def submit(name):
        client = open_client(platform)
        barrier.wait()
        runs[name] = client.submit(data, {"classifier.py": f"# {name}"}, cv=3)

    threads = [threading.Thread(target=submit, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    numbers = [number for run in runs.values() for number in run.databoard_sf_ids]
    assert len(set(numbers)) == 12
    assert len({run.databoard_s_id for run in runs.values()}) == 4


def test_a_bad_cross_validation_posts_nothing(client, data):
    with pytest.raises(SplitterError, match="2 to 30"):
        client.submit(data, SOURCE, cv=31)

    assert client.list_folds() == []


def test_a_run_is_waited_for_and_read(client, data, platform, worker, capsys):
    run = client.submit(data, SOURCE, cv=2)
    first, second = run.databoard_sf_ids
    with pytest.raises(WaitTimeoutError, match="it goes on"):
        run.wait(timeout=0.01)
    run_fold(worker, platform, first)
    fail_fold(worker, platform, second)

    assert run.wait(timeout=10) is run

    good, bad = run.predictions()
    assert good.full_train_predictions.shape == (N_TRAIN, 2)
    assert good.test_predictions.shape == (N_TEST, 2)
    assert bad.state is State.ERROR
    assert bad.test_predictions is None
    assert run.logs() == {first: "trained\n", second: "it broke"}
    frame = run.to_frame()
    assert isinstance(frame, pd.DataFrame)
    assert frame.loc[first, "train_time"] == 1.5
    assert frame["failure_kind"].tolist()[1] == "submission_error"


def test_a_run_is_scored_by_the_metrics_of_its_data_set(client, platform, worker):
    data = client.create_raw_data(
        "scored", {"iris.csv": CSV}, "target", "classifier", metrics=METRICS
    )
    client.split_raw_data(data, 0.3)
    finish_split(worker, data.id)
    run = client.submit(data, SOURCE, cv=2)
    for number in run.databoard_sf_ids:
        run_fold(worker, platform, number)
    with pytest.raises(WaitTimeoutError, match="isn't scored"):
        run.wait_for_scores(timeout=0.01)
    assert claim(worker, platform).status_code == 200
    scores = make_result(*((number, 0.5) for number in run.databoard_sf_ids))
    assert finish(worker, platform, scores).status_code == 200

    submission = run.wait_for_scores(timeout=10)

    assert client.get_raw_data(data).metrics == tuple(METRICS)
    assert (submission.n_folds, submission.n_tested) == (2, 2)
    assert submission.scoring_state == "DONE"
    assert submission.scores["accuracy"]["train"]["mean"] == 0.5
    assert "<td>accuracy</td><td>train</td><td>0.5000</td>" in submission._repr_html_()
    assert client.get_fold(run.databoard_sf_ids[0]).scores["accuracy"]["validation"] == 0.25


def test_without_metrics_nothing_is_scored_nor_waited_for(client, data):
    run = client.submit(data, SOURCE, cv=2)

    assert run.wait_for_scores(timeout=10).scoring_state is None


def test_folds_are_given_as_they_end(client, data, platform, worker):
    one, other = client.submit(data, SOURCE, cv=2), client.submit(data, SOURCE, cv=2)
    numbers = [*other.databoard_sf_ids, *one.databoard_sf_ids]
    given = []
    run_fold(worker, platform, numbers[0])

    for fold in as_completed([one, other], timeout=30):
        given.append(fold.databoard_sf_id)
        if len(given) < len(numbers):
            run_fold(worker, platform, numbers[len(given)])

    assert given == numbers
    assert list(as_completed([])) == []


def test_waiting_survives_a_restart_of_the_api(open_client, own_api, data, platform, worker):
    client = open_client(platform, own_api.url, retries=0)
    run = client.submit(data, SOURCE, cv=2)
    own_api.stop()
    waiting = threading.Thread(target=run.wait, kwargs={"timeout": 60})
    waiting.start()

    waiting.join(0.3)
    assert waiting.is_alive()
    for number in run.databoard_sf_ids:
        run_fold(worker, platform, number)
    own_api.start()

    waiting.join(30)
    assert not waiting.is_alive()
    assert {state.state for state in run.states()} == {State.TESTED}


def test_an_api_that_is_away_for_too_long_is_an_error(open_client, own_api, data, platform):
    run = open_client(platform, own_api.url, retries=0).submit(data, SOURCE, cv=2)
    own_api.stop()

    with pytest.raises(UnreachableError):
        run.wait(silence=0.1)


def test_a_run_is_found_again_by_its_number(client, data, platform, worker):
    run = client.submit(data, SOURCE, cv=2)

    found = client.get_run(run.databoard_s_id)

    assert found.databoard_sf_ids == run.databoard_sf_ids
    with pytest.raises(NotFoundError, match="submission 99"):
        client.get_run(99)


def test_a_run_is_cancelled(client, data, platform, worker):
    run = client.submit(data, SOURCE, cv=2)
    run_fold(worker, platform, run.databoard_sf_ids[0])

    run.cancel()

    assert [state.state for state in run.states()] == [State.TESTED, State.ERROR]


def test_a_notebook_shows_tables_in_which_nothing_of_a_submission_is_html(
    client, data, platform, worker
):
    run = client.submit(data, SOURCE, cv=2)
    wild = client.create_raw_data("<b>&amp;", {"a.csv": CSV}, "target", "classifier")

    shown = run._repr_html_()

    assert shown.count("<tr>") == 3
    assert "<td>&lt;b&gt;&amp;amp;</td>" in wild._repr_html_()
    fold = client.get_fold(run.databoard_sf_ids[0])
    assert "<td>no live worker serves the queue low</td>" in fold._repr_html_()


def test_a_frame_without_pandas_says_what_to_install(client, data, monkeypatch):
    run = client.submit(data, SOURCE, cv=2)
    monkeypatch.setitem(sys.modules, "pandas", None)

    with pytest.raises(MissingExtraError, match="extra `notebook`"):
        run.to_frame()


def test_progress_is_a_bar_in_a_terminal_that_has_tqdm(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    display = open_display(3)

    display.show(2, "1 ERROR")
    display.close()

    shown = capsys.readouterr().err
    assert isinstance(display, BarDisplay)
    assert "2/3" in shown
    assert "1 ERROR" in shown


def test_progress_is_one_line_in_a_terminal_without_tqdm(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    display = open_display(3)

    display.show(0, "3 TODO")
    display.show(2, "")
    display.close()

    assert capsys.readouterr().err == "\r0/3 folds, 3 TODO\x1b[K\r2/3 folds\x1b[K\n"


def test_progress_is_lines_in_a_log_file(client, data, platform, worker, capsys):
    run = client.submit(data, SOURCE, cv=2)
    first, second = run.databoard_sf_ids
    run_fold(worker, platform, first)
    fail_fold(worker, platform, second)

    run.wait(progress=True)

    assert capsys.readouterr().err == "2/2 folds, 1 ERROR\n"
