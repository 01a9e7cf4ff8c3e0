"""A platform that posts data sets and folds, and a model that is the same every time."""

import itertools
import time
from typing import Any

import numpy as np
import requests

from datarun_client.codec import encode_bytes, encode_indices
from datarun_client.states import SplitState, State
from tests.faults.stack import ACCOUNT, Stack, wait_for

MODEL = """\
import time

from sklearn.ensemble import ExtraTreesClassifier


class Classifier:
    def fit(self, X, y):
        print("begun", flush=True)
        time.sleep({seconds})
        self.model = ExtraTreesClassifier(3, random_state={seed}).fit(X, y)

    def predict_proba(self, X):
        return self.model.predict_proba(X)
"""

BROKEN = """\
class Classifier:
    def fit(self, X, y):
        raise ValueError("no model fits")
"""

ANSWER_TIME = 20.0
"""Seconds that one request may take; then it is sent again."""


def write_model(seconds: float = 0, seed: int = 0) -> str:
    """Write a submission that takes its time; its predictions depend on the seed alone."""
    return MODEL.format(seconds=seconds, seed=seed)


def write_table(n_rows: int = 150, n_columns: int = 4) -> str:
    """Write a CSV file: numbers and a target that they don't quite tell."""
    generator = np.random.default_rng(7)
    values = generator.normal(size=(n_rows, n_columns)).round(4)
    target = (values.sum(axis=1) + generator.normal(size=n_rows) > 0).astype(int)
    header = [f"x{number}" for number in range(n_columns)] + ["target"]
    rows = [[*map(str, row), str(label)] for row, label in zip(values, target, strict=True)]
    return "\n".join(",".join(row) for row in [header, *rows]) + "\n"


class Challenge:
    """A platform with an account of its own and a data set that is split."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        query = "SELECT coalesce(max(databoard_sf_id), 0) FROM submission_fold"
        ((last,),) = stack.query(query)
        # A stack may have served another platform before; its last numbers went to data sets.
        self._numbers = itertools.count(last + 100)
        ((self.owner,),) = stack.query("SELECT id FROM account WHERE name = %s", ACCOUNT[0])
        self.raw_data = 0

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """Call the API once."""
        options.setdefault("timeout", ANSWER_TIME)
        url = f"{self._stack.url}runapp/{path}"
        return requests.request(method, url, auth=ACCOUNT, **options)

    def insist(self, method: str, path: str, seconds: float = 60, **options: Any) -> Any:
        """Call the API as a good client does: what fails or gets 503 is sent again.

        Any other answer of 500 and more is a fault of the API's, and raises.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                response = self.call(method, path, **options)
                if response.status_code != requests.codes.unavailable:
                    assert response.status_code < 500, f"{method} {path}: {response.text}"
                    return response
                assert int(response.headers["Retry-After"]) > 0
            except requests.RequestException:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.1)

    def add_data(self, table: str, waits: bool = True, **changes: Any) -> int:
        """Post a data set and ask for its split."""
        payload = {
            "name": f"data {next(self._numbers)}",
            "target_column": "target",
            "workflow_elements": "classifier",
            "files": {"table.csv": encode_bytes(table.encode())},
            **changes,
        }
        answer = self.insist("POST", "rawdata/", json=payload)
        assert answer.status_code in (200, 201), answer.text
        raw_data: int = answer.json()["id"]
        split = {"raw_data_id": raw_data, "held_out_test": 0.3}
        answer = self.insist("POST", "rawdata/split/", json=split)
        assert answer.status_code in (200, 201), answer.text
        if waits:
            wait_for(lambda: self.get_split(raw_data) == SplitState.DONE, "the split")
        return raw_data

    def get_split(self, raw_data: int) -> str:
        """Get a data set's split state."""
        rows = self.insist("GET", "rawdata/").json()
        (state,) = [row["split_state"] for row in rows if row["id"] == raw_data]
        return str(state)

    def describe(self, source: str, number: int | None = None, **changes: Any) -> dict[str, Any]:
        """Make the payload of a new submission's one fold."""
        number = next(self._numbers) if number is None else number
        return {
            "databoard_sf_id": number,
            "databoard_s_id": number,
            "train_is": encode_indices(np.arange(60)),
            "test_is": encode_indices(np.arange(60, 100)),
            "raw_data": self.raw_data,
            "files": {"classifier.py": encode_bytes(source.encode())},
            **changes,
        }

    def post(self, source: str, **changes: Any) -> int:
        """Post a new submission's one fold and give its number."""
        payload = self.describe(source, **changes)
        answer = self.call("POST", "submissionfold/", json=payload)
        assert answer.status_code == 201, answer.text
        number: int = payload["databoard_sf_id"]
        return number

    def get(self, number: int) -> dict[str, Any]:
        """Get a fold."""
        fold: dict[str, Any] = self.insist("GET", f"submissionfold/{number}/").json()
        return fold

    def get_progress(self, number: int) -> dict[str, Any]:
        """Get how far a fold is that isn't final."""
        progress: dict[str, Any] = self.get(number)["progress"]
        return progress

    def list_unfinished(self) -> list[int]:
        """List the folds that aren't final."""
        rows = self.insist("GET", "submissionfold-light/").json()
        return [row["databoard_sf_id"] for row in rows if not State(row["state"]).is_final]

    def list_attempts(self, number: int) -> list[dict[str, Any]]:
        """Get a fold's attempts."""
        attempts: list[dict[str, Any]] = self.insist(
            "GET", f"submissionfold/{number}/attempts/"
        ).json()
        return attempts

    def list_outcomes(self, number: int) -> list[str | None]:
        """Get how a fold's attempts ended."""
        return [attempt["outcome"] for attempt in self.list_attempts(number)]

    def wait_for_begin(self, number: int, attempt: int = 1) -> str:
        """Wait until a fold's submission runs; give the program that runs it."""

        def has_begun() -> bool:
            fold = self.get(number)
            assert not State(fold["state"]).is_final, fold
            return bool(fold["attempt"] >= attempt and "begun" in fold["log_messages"])

        wait_for(has_begun, f"fold {number} to begin")
        return self._stack.name_program(self.get_progress(number)["worker"])

    def wait_for_end(self, number: int, seconds: float = 60) -> dict[str, Any]:
        """Wait until a fold is final."""
        return wait_for(
            lambda: State((fold := self.get(number))["state"]).is_final and fold,
            f"the end of fold {number}",
            seconds,
        )

    def run(self, source: str, **changes: Any) -> dict[str, Any]:
        """Post a fold and wait for its end."""
        return self.wait_for_end(self.post(source, **changes))
