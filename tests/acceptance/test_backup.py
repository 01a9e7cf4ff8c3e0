"""A whole datarun that is backed up while it works, and goes on elsewhere."""

import time

import numpy as np

from tests.acceptance.conftest import ADMIN, Site, call, run_datarun
from tests.conftest import wait_until

SETTINGS = {"DATARUN_LEASE": "3", "DATARUN_RECONCILE": "0.5", "DATARUN_GRACE": "1"}

RUNS_FOR = 20.0
"""Seconds after which a fold ends that is to run during the backup, wherever it runs then."""

MODEL = """
from sklearn.linear_model import LogisticRegression

class Classifier(LogisticRegression):
    pass
"""
SLOW_MODEL = """
import time
from sklearn.linear_model import LogisticRegression

class Classifier(LogisticRegression):
    def fit(self, X, y):
        print("begun", flush=True)
        while time.time() < {}:
            time.sleep(0.1)
        return super().fit(X, y)
"""


def get_fold(site: Site, number: int) -> dict:
    return call(site, "GET", f"submissionfold/{number}/").json()


def list_outcomes(site: Site, number: int) -> list[str | None]:
    attempts = call(site, "GET", f"submissionfold/{number}/attempts/").json()
    return [attempt["outcome"] for attempt in attempts]


def test_a_backup_of_a_running_stack_goes_on_in_an_empty_home(run_stack, make_home, tmp_path):
    base = make_home()
    rows = np.random.default_rng(0).normal(size=(60, 2))
    table = "a,b,target\n" + "".join(f"{a},{b},{int(a > b)}\n" for a, b in rows)

    # Given a stack with a finished, a running and a queued fold,
    first = run_stack(base / "first", **SETTINGS)
    site = Site(first.url, ADMIN, tmp_path)
    raw_data = site.post_data("classifier", site.write("data.csv", table))
    site.split(raw_data)
    train_is = np.arange(30)
    finished = site.submit(raw_data, {"classifier.py": MODEL}, train_is)
    site.wait_for(finished)
    before = get_fold(site, finished)
    assert before["state"] == "TESTED", before
    source = SLOW_MODEL.format(time.time() + RUNS_FOR)
    running = site.submit(raw_data, {"classifier.py": source}, train_is)
    wait_until(lambda: "begun" in get_fold(site, running)["log_messages"], "the fold to begin")
    queued = site.submit(raw_data, {"classifier.py": MODEL}, train_is)

    # when it is backed up while it runs,
    said = run_datarun("backup", tmp_path / "backup", "--home", first.home)
    assert "1 data sets, 3 submissions, 3 folds" in said
    assert list_outcomes(site, running) == [None]
    assert first.stop() == 0
    # and restored into an empty home,
    restored = run_datarun("restore", tmp_path / "backup", "--home", base / "second")
    assert restored.replace("restored", "backed up").replace("from", "to") == said
    second = run_stack(base / "second", **SETTINGS)
    site = Site(second.url, ADMIN, tmp_path)

    # then the old result is there, byte for byte, and the others end.
    assert get_fold(site, finished) == before
    for number in (running, queued):
        fold = site.wait_for(number)
        assert fold["state"] == "TESTED", fold
        assert fold["test_predictions"] == before["test_predictions"]
    assert list_outcomes(site, running) == ["lost", "tested"]
    # A stopped home can be backed up, too.
    assert second.stop() == 0
    assert " 3 folds " in run_datarun("backup", tmp_path / "again", "--home", second.home)
