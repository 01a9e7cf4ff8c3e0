"""Whatever submitted code tries, it gets the verdict that it must get, and harms nobody.

Every folder of `tests/submissions` is sent to a whole datarun, at the same moment as an honest
submission, and run by a real worker. A case reports what it tried in its log; what it may have
done, the canaries tell.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

from datarun_client.codec import decode_predictions, encode_bytes, encode_indices
from datarun_client.states import FailureKind, State
from tests.acceptance.conftest import ADMIN, ORDINARY_USER, Site, Stack, call, make_prefix
from tests.conftest import numbers, wait_until
from tests.submissions.canaries import Canaries, find_processes, make_secret, mask, reverse
from tests.submissions.cases import FOLDER, Case, load_cases
from tests.submissions.common.honest import HonestClassifier

N_SAMPLES, HELD_OUT = 150, 0.3
LIMITS = {
    "DATARUN_SCRATCH_LIMIT": "32M",
    "DATARUN_PROCESS_LIMIT": "128",
    # Nothing here is worth a long wait for an API that is on this machine.
    "DATARUN_RETRY_TIME": "30",
}
PATIENCE = 20.0
"""Seconds that a fold may take besides its time limit."""

NEIGHBOUR = """
from sklearn.ensemble import RandomForestClassifier

class Classifier:
    # {word}
    def fit(self, X, y):
        self.model = RandomForestClassifier(60, random_state=0).fit(X, y)
    def predict_proba(self, X):
        return self.model.predict_proba(X)
"""


@dataclass(frozen=True)
class DataSet:
    """A data set as posted, and the same split of it in this process."""

    frame: pd.DataFrame
    element: str

    @property
    def X_train(self) -> np.ndarray:
        return self._split()[0].drop(columns="target").to_numpy()

    @property
    def y_train(self) -> np.ndarray:
        return self._split()[0]["target"].to_numpy()

    @property
    def X_test(self) -> np.ndarray:
        return self._split()[1].drop(columns="target").to_numpy()

    def _split(self) -> list[pd.DataFrame]:
        return train_test_split(self.frame, test_size=HELD_OUT, random_state=42)

    def choose_train_rows(self, which: str) -> np.ndarray:
        y = self.y_train
        if which == "without a class":
            return np.flatnonzero(y != sorted(set(y))[-1])
        return take_half(len(y))

    def predict_with(self, model: Any, train_is: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.element == "regressor":
            return np.zeros(len(self.X_train)), np.zeros(len(self.X_test))
        model.fit(self.X_train[train_is], self.y_train[train_is])
        return model.predict_proba(self.X_train), model.predict_proba(self.X_test)


def take_half(n_samples: int) -> np.ndarray:
    return np.random.default_rng(0).permutation(n_samples)[: n_samples // 2]


@cache
def load_species() -> DataSet:
    data = load_iris(as_frame=True)
    return DataSet(data.frame.assign(target=data.target_names[data.target]), "classifier")


def make_secrets(patterns: dict[str, bytes]) -> DataSet:
    """Make numbers whose upper bytes tell of which rows they are, if they are found in memory."""
    train, test = train_test_split(np.arange(N_SAMPLES), test_size=HELD_OUT, random_state=42)
    part = dict.fromkeys(train, "validation")
    part |= {train[position]: "train" for position in take_half(len(train))}
    part |= dict.fromkeys(test, "test")
    columns = {
        name: [make_secret(patterns[f"{part[row]} {kind}"], row) for row in range(N_SAMPLES)]
        for name, kind in (("key", "features"), ("target", "labels"))
    }
    return DataSet(pd.DataFrame({"number": np.arange(N_SAMPLES), **columns}), "regressor")


class Ground:
    """A datarun with canaries around it."""

    def __init__(self, stack: Stack, canaries: Canaries, folder: Path) -> None:
        self._stack = stack
        self.canaries = canaries
        self.site = Site(stack.url, ADMIN, folder)
        self._sets = {"species": load_species(), "secrets": make_secrets(canaries.patterns)}
        self._posted: dict[Any, int] = {}
        neighbour = RandomForestClassifier(60, random_state=0)
        species = self._sets["species"]
        self._neighbours = species.predict_with(neighbour, species.choose_train_rows("half"))

    def run(self, case: Case) -> dict[str, Any]:
        """Run a case beside its neighbour, which must be unharmed; return the case's fold."""
        fold = self._describe(case)
        for _ in range(case.runs):
            neighbour = self._describe_neighbour()
            fold["databoard_sf_id"] = next(numbers)
            answer = call(self.site, "POST", "submissionfold/", json=[neighbour, fold])
            assert answer.status_code == 201, answer.text
            found = self.site.wait_for(fold["databoard_sf_id"], case.time_limit + PATIENCE)
            self._check_neighbour(self.site.wait_for(neighbour["databoard_sf_id"], PATIENCE))
        return found

    def find_data_set(self, case: Case) -> DataSet:
        return self._sets[case.data]

    def _describe(self, case: Case) -> dict[str, Any]:
        raw_data = self._post_data(case.data, case.time_limit, case.memory_limit)
        # Once there is data there are canaries in the worker's cache, too.
        files = case.read_source(self._describe_canaries())
        train_is = self.find_data_set(case).choose_train_rows(case.train_rows)
        return make_fold(raw_data, files, train_is)

    def _describe_neighbour(self) -> dict[str, Any]:
        source = NEIGHBOUR.format(word=self.canaries.neighbour).encode()
        train_is = self._sets["species"].choose_train_rows("half")
        raw_data = self._post_data("species", 60, 2 << 30)
        return make_fold(raw_data, {"classifier.py": source}, train_is)

    def _check_neighbour(self, fold: dict[str, Any]) -> None:
        assert fold["state"] == State.TESTED, fold["log_messages"]
        assert fold["log_messages"] == ""
        check_predictions(fold, self._neighbours)

    def _post_data(self, name: str, time_limit: float, memory_limit: int) -> int:
        key = (name, time_limit, memory_limit)
        if key not in self._posted:
            data = self._sets[name]
            payload = {
                "name": f"{name}-{next(numbers)}",
                "target_column": "target",
                "workflow_elements": data.element,
                "files": {"data.csv": encode_bytes(data.frame.to_csv(index=False).encode())},
                "time_limit": time_limit,
                "memory_limit": memory_limit,
            }
            answer = call(self.site, "POST", "rawdata/", json=payload)
            assert answer.status_code == 201, answer.text
            self._posted[key] = answer.json()["id"]
            row = self.site.split(self._posted[key], HELD_OUT)
            assert row["split_state"] == "DONE", row["split_error"]
        return self._posted[key]

    def _describe_canaries(self) -> dict[str, Any]:
        """Tell a case where everything is that it mustn't reach."""
        home = self._stack.home
        workers = find_processes(self._stack.process.pid, "datarun_worker.Worker")
        (web, *_) = find_processes(self._stack.process.pid, "gunicorn")
        redis = urlsplit(workers[0].environ()["RQ_REDIS_URL"])
        database = parse_qs(urlsplit(web.environ()["DATABASE_URL"]).query)["host"][0]
        token = (home / "secrets" / "worker-token").read_text()
        names = ("storage", "cache", "secrets", "postgresql", "valkey")
        words = [token, str(redis.password)]
        cached = [str(path) for path in (home / "cache").rglob("*") if path.is_file()]
        return self.canaries.describe(
            workers=[worker.pid for worker in workers],
            ports={"api": urlsplit(self.site.url).port, "redis": redis.port},
            server_sockets=[str(path) for path in Path(database).glob(".s.PGSQL.*[0-9]")],
            folders={name: str(home / name) for name in names} | {"home": str(home)},
            data_files=[str(path) for path in (home / "storage").rglob("*") if path.is_file()][:5],
            cached_file=cached[0],
            secrets=[reverse(word) for word in words],
            masked={"worker-token": mask(token[8:14].encode())},
        )


def make_fold(raw_data: int, files: dict[str, bytes], train_is: np.ndarray) -> dict[str, Any]:
    return {
        "databoard_sf_id": next(numbers),
        "databoard_s_id": next(numbers),
        "raw_data": raw_data,
        "files": {name: encode_bytes(content) for name, content in files.items()},
        "train_is": encode_indices(train_is),
        "test_is": encode_indices([]),
        "priority": "H",
    }


def check_predictions(fold: dict[str, Any], expected: tuple[np.ndarray, np.ndarray]) -> None:
    for name, values in zip(("full_train", "test"), expected, strict=True):
        found = decode_predictions(fold[f"{name}_predictions"], values.shape)
        np.testing.assert_array_equal(found, values)


@pytest.fixture(scope="module")
def ground(request, make_home, tmp_path_factory) -> Iterator[Ground]:
    """A datarun of the suite's user or of an ordinary one; the parameter says of which."""
    folder = make_home()
    with Canaries(folder) as canaries:
        stack = Stack(
            folder / "home",
            environ={**LIMITS, **ISOLATION, **canaries.environment},
            user=request.param,
        )
        if request.param == ORDINARY_USER:
            # Its home's parent, so that it can make the home.
            shutil.chown(folder, "nobody")
        stack.start()
        try:
            yield Ground(stack, canaries, tmp_path_factory.mktemp("site"))
        finally:
            assert stack.stop() == 0


ISOLATION = {"DATARUN_ISOLATION": os.environ.get("DATARUN_ISOLATION", "full")}
CASES = load_cases()
USERS = ("current", ORDINARY_USER) if os.geteuid() == 0 else ("current",)


def list_runs() -> list[Any]:
    """List what to run: the quick cases as this user; all of them as each user in the soak."""
    quick = [
        pytest.param("current", case, id=f"{case.row}-{case.name}")
        for case in CASES
        if not case.soak
    ]
    return quick + [
        pytest.param(user, case, id=f"{case.row}-{case.name}-{user}", marks=pytest.mark.soak)
        for user in USERS
        for case in CASES
    ]


@pytest.mark.parametrize(("ground", "case"), list_runs(), indirect=["ground"], scope="module")
def test_a_hostile_submission_gets_its_verdict_and_harms_nobody(ground: Ground, case: Case):
    try:
        fold = ground.run(case)

        log = fold["log_messages"]
        assert "ESCAPED" not in log, log
        assert fold["state"] == case.state, (fold["failure_kind"], log)
        if case.state is State.ERROR:
            assert FailureKind(fold["failure_kind"]) in case.failure_kinds, log
        for words in case.says:
            assert words in log, log
        for words in case.lacks:
            assert words not in log, log
        for measure, bound in case.at_least.items():
            assert fold[measure] >= bound
        if fold["failure_kind"] == FailureKind.TIME_LIMIT:
            # What loading took was the submission's too.
            used = fold["timings"]["load"] + fold["train_time"]
            assert case.time_limit <= used < case.time_limit + 1
        if case.state is State.TESTED:
            check_predictions(fold, predict_honestly(ground, case))
        ground.canaries.check(wait_until)
    finally:
        ground.canaries.clear()


def predict_honestly(ground: Ground, case: Case) -> tuple[np.ndarray, np.ndarray]:
    data = ground.find_data_set(case)
    train_is = data.choose_train_rows(case.train_rows)
    train, test = data.predict_with(HonestClassifier(), train_is)
    if case.predictions == "single precision":
        return train.astype(np.float32).astype(float), test.astype(np.float32).astype(float)
    return train, test


def test_every_row_has_a_case():
    assert {case.row for case in CASES} == set(range(1, 81))


@pytest.mark.soak
def test_the_cases_get_through_where_nothing_confines_them(make_home):
    cases = [case for case in CASES if case.tries]
    folder = make_home()
    with Canaries(folder) as canaries:
        described = canaries.describe_alone()
        command = [sys.executable, FOLDER / "unconfined.py", *(case.name for case in cases)]
        user = ORDINARY_USER if os.geteuid() == 0 else "current"
        run = subprocess.run(
            [*make_prefix(user), *command],
            input=json.dumps(described),
            capture_output=True,
            text=True,
            timeout=300,
        )
        canaries.clear()
    assert run.returncode == 0, run.stderr
    outputs = run.stdout.split("CASE ")[1:]
    tame = [output for output in outputs if "ESCAPED" not in output]
    assert len(outputs) == len(cases)
    assert not tame, "\n".join(tame)
