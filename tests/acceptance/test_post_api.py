"""Every documented function of the client library, against a whole datarun."""

import inspect

import numpy as np
import pytest
from sklearn.datasets import load_iris

from datarun_client import post_api
from datarun_client.codec import decode_indices
from tests.conftest import numbers

SIGNATURES = {
    "post_data": "data_name target_column workflow_elements data_file extra_files",
    "post_split": "held_out_test raw_data_id random_state",
    "custom_post_split": "raw_data_id",
    "post_submission_fold": (
        "sub_id sub_fold_id train_is test_is priority raw_data_id list_submission_files force"
    ),
    "get_prediction_list": "list_submission_fold_id",
    "get_prediction_new": "raw_data_id",
    "get_raw_data": "",
    "get_submission_fold": "",
    "get_submission_fold_detail": "submission_fold_id",
    "get_submission_fold_light": "",
}
SOURCE = """
from sklearn.linear_model import LogisticRegression

class Classifier:
    def fit(self, X, y):
        self.model = LogisticRegression(max_iter=500).fit(X, y)
    def predict_proba(self, X):
        return self.model.predict_proba(X)
"""


@pytest.mark.parametrize("name", list(SIGNATURES))
def test_a_function_takes_the_documented_parameters_in_their_order(name):
    parameters = list(inspect.signature(getattr(post_api, name)).parameters)

    assert parameters == ["host_url", "username", "password", *SIGNATURES[name].split()]


def test_a_platform_goes_the_whole_way(site):
    frame = load_iris(as_frame=True).frame
    data = site.write("iris.csv", frame.to_csv(index=False))
    source = site.write("classifier.py", SOURCE)

    posted = post_api.post_data(*site.arguments, "way", "target", "classifier", data)
    number = posted.json()["id"]
    split = post_api.post_split(*site.arguments, 0.3, number, random_state=7)
    rows = np.arange(100)
    # Other tests submit to the same datarun, as the same account.
    submission, urgent, ordinary = (next(numbers) for _ in range(3))
    first = post_api.post_submission_fold(
        *site.arguments, submission, urgent, rows[:60], rows[60:], "H", number, [source]
    )
    second = post_api.post_submission_fold(
        *site.arguments, submission, ordinary, rows[40:], rows[:40]
    )

    assert posted.status_code == split.status_code == 201
    assert first.status_code == second.status_code == 201
    assert second.json()["priority"] == "L"
    detail = site.wait_for(urgent)
    site.wait_for(ordinary)
    assert detail["state"] == "TESTED", detail["log_messages"]
    assert detail["train_time"] > 0
    assert detail["train_memory"] >= 0
    np.testing.assert_array_equal(decode_indices(detail["train_is"]), rows[:60])

    listed = post_api.get_prediction_list(*site.arguments, [urgent]).json()
    new = post_api.get_prediction_new(*site.arguments, number).json()
    again = post_api.get_prediction_new(*site.arguments, number).json()
    assert [entry["databoard_sf_id"] for entry in listed] == [urgent]
    assert [entry["databoard_sf_id"] for entry in new] == [ordinary]
    assert again == []

    full = post_api.get_submission_fold(*site.arguments).json()
    light = post_api.get_submission_fold_light(*site.arguments).json()
    assert {urgent, ordinary} <= {fold["databoard_sf_id"] for fold in full}
    assert {
        "databoard_sf_id": ordinary,
        "databoard_s": submission,
        "state": "TESTED",
        "new": False,
    } in light
    assert number in [row["id"] for row in post_api.get_raw_data(*site.arguments).json()]


def test_an_error_comes_back_as_a_response(site):
    response = post_api.get_submission_fold_detail(*site.arguments, 2**31 - 1)

    assert response.status_code == 404
    assert set(response.json()) == {"error", "errors"}


def test_bytes_that_are_no_text_travel_unharmed(site):
    """A compressed CSV is read by its ending, so a byte that changed would be noticed."""
    frame = load_iris(as_frame=True).frame
    path = site.folder / "iris.csv.gz"
    frame.to_csv(path, index=False)

    number = site.post_data("classifier", path)

    assert site.split(number)["n_train"] == 105
