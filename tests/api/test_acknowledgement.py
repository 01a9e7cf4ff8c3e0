import pytest

from datarun_client.codec import encode_indices
from tests.api.payloads import make_fold, make_result, post_result, prepare, run_fold


@pytest.fixture
def tested(platform, worker, raw_data):
    """Three folds with results."""
    numbers = [10, 11, 12]
    for number in numbers:
        platform.post("submissionfold/", make_fold(raw_data, number))
        run_fold(worker, platform, number)
    return numbers


def ask(platform, ack="", **payload):
    response = platform.post("testpredictions/new/", {"ack": ack, **payload})
    assert response.status_code == 200, response.json
    return response.json


def list_numbers(page):
    return [prediction["databoard_sf_id"] for prediction in page["predictions"]]


def is_new(platform, number):
    return platform.get(f"submissionfold/{number}/").json["new"]


def test_results_are_handed_out_until_they_are_acknowledged(platform, tested):
    lost = ask(platform)
    again = ask(platform)

    assert list_numbers(lost) == list_numbers(again) == tested
    assert all(is_new(platform, number) for number in tested)
    assert list_numbers(ask(platform, again["ack"])) == []
    assert not any(is_new(platform, number) for number in tested)


def test_each_acknowledgement_brings_the_next_ones(platform, tested):
    first = ask(platform, limit=2)
    second = ask(platform, first["ack"], limit=2)
    # The answer to the second request is lost, so the same is asked for again.
    again = ask(platform, first["ack"], limit=2)
    third = ask(platform, again["ack"], limit=2)

    assert list_numbers(first) == tested[:2]
    assert list_numbers(second) == list_numbers(again) == tested[2:]
    assert list_numbers(third) == []
    assert third["ack"] == ""


def test_an_entry_is_the_same_as_in_the_form_of_the_seed(platform, tested):
    entries = ask(platform)["predictions"]

    assert platform.post("testpredictions/new/", {}).json == entries
    assert ask(platform)["predictions"] == []


def test_what_was_run_again_meanwhile_stays_new(platform, worker, raw_data, tested):
    page = ask(platform)
    platform.post("submissionfold/", make_fold(number=10, force="submission_fold"))
    run_fold(worker, platform, 10, attempt=2)

    after = ask(platform, page["ack"])

    assert list_numbers(after) == [10]


def test_what_isnt_tested_is_never_handed_out(platform, worker, raw_data, tested):
    platform.post("submissionfold/", make_fold(raw_data, 13))
    forged = encode_indices([13, 1])

    assert list_numbers(ask(platform, forged)) == tested
    assert is_new(platform, 13)
    run_fold(worker, platform, 13)
    assert list_numbers(ask(platform)) == [*tested, 13]


def test_a_cursor_reaches_no_other_account(platform, tested, add_caller):
    page = ask(platform)

    ask(add_caller(), page["ack"])

    assert list_numbers(ask(platform)) == tested


def test_only_the_folds_of_a_data_set_are_handed_out(platform, worker, tested):
    other = prepare(platform, worker, name="other")
    platform.post("submissionfold/", make_fold(other, 20, databoard_s_id=2))
    run_fold(worker, platform, 20)

    assert list_numbers(ask(platform, raw_data_id=other)) == [20]
    assert list_numbers(ask(platform)) == [*tested, 20]


@pytest.mark.parametrize(
    "ack",
    [
        "nonsense",
        encode_indices([1]),
        encode_indices([-1, 1]),
        encode_indices([1, 2**31]),
        encode_indices([7] * 3000),
    ],
)
def test_what_is_no_cursor_is_refused(platform, ack):
    response = platform.post("testpredictions/new/", {"ack": ack})

    assert response.status_code == 400
    assert "ack" in response.json["errors"]


@pytest.mark.parametrize("payload", [{"limit": 0}, {"limit": 1001}, {"ack": 1}])
def test_other_bad_fields_are_named(platform, payload):
    response = platform.post("testpredictions/new/", {"ack": "", **payload})

    assert response.status_code == 400
    assert set(response.json["errors"]) == set(payload)


def test_a_failed_fold_is_not_handed_out(platform, worker, raw_data):
    platform.post("submissionfold/", make_fold(raw_data))
    payload = make_result(state="ERROR", failure_kind="submission_error")
    post_result(worker, platform, payload)

    assert ask(platform)["predictions"] == []
