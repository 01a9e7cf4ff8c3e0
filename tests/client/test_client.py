"""Each of the client's calls, over real HTTP against the real API."""

import hashlib
import threading
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from datarun_client import (
    BadInputError,
    ConflictError,
    EventsLostError,
    FailureKind,
    ForbiddenError,
    NotFoundError,
    Priority,
    SplitFailedError,
    SplitState,
    State,
    UnauthorizedError,
    WaitTimeoutError,
)
from datarun_client.client import Client
from datarun_client.codec import encode_predictions
from datarun_client.states import Role, Span
from tests.api.payloads import (
    CSV,
    N_TEST,
    N_TRAIN,
    beat,
    claim_fold,
    fail_split,
    finish_split,
    make_failure,
    make_result,
    post_result,
)
from tests.api.payloads import run_fold as play_fold
from tests.conftest import PASSWORD

SOURCE = {"classifier.py": "class Classifier: pass"}
TRAIN, REST = np.arange(20), np.arange(20, N_TRAIN)


@pytest.fixture
def data(client, worker):
    """A data set that is split."""
    data = client.create_raw_data("iris", {"iris.csv": CSV}, "target", "classifier")
    client.split_raw_data(data, 0.3)
    finish_split(worker, data.id)
    return client.get_raw_data("iris")


def test_a_data_set_comes_back_as_a_record(client, worker):
    posted = client.create_raw_data(
        "iris", {"iris.csv": CSV}, "target", "Classifier", time_limit=5, memory_limit=1 << 30
    )
    task = client.split_raw_data(posted, 0.3, random_state=7)
    finish_split(worker, posted.id)
    (listed,) = client.list_raw_data()

    assert (posted.name, posted.target_column, posted.split_state) == (
        "iris",
        "target",
        SplitState.NONE,
    )
    assert (posted.time_limit, posted.memory_limit) == (5.0, 1 << 30)
    assert posted.n_train is None
    assert str(posted.id) in task
    assert (listed.split_state, listed.n_train, listed.n_test) == (SplitState.DONE, N_TRAIN, N_TEST)
    assert listed.created_at.tzinfo is not None
    assert client.get_raw_data("iris") == client.get_raw_data(posted.id) == listed
    assert client.wait_for_split("iris") == listed


def test_a_data_set_is_read_from_files(client, tmp_path):
    (tmp_path / "data.csv").write_bytes(CSV)
    (tmp_path / "reader.py").write_text("def prepare_data(path): pass")

    data = client.create_raw_data(
        "own", [tmp_path / "data.csv", tmp_path / "reader.py"], "target", "classifier"
    )

    assert client.split_raw_data(data)


def test_a_large_file_is_sent_in_parts_and_arrives_whole(client, tmp_path, monkeypatch, platform):
    monkeypatch.setattr("datarun_client.client.LARGE_FILE", 1000)
    monkeypatch.setattr("datarun_client.client.PART_SIZE", 700)
    large = b"x,target\n" + b"1,a\n2,b\n" * 300
    (tmp_path / "large.csv").write_bytes(large)
    (tmp_path / "reader.py").write_text("def prepare_data(path): pass")

    data = client.create_raw_data(
        "large", [tmp_path / "large.csv", tmp_path / "reader.py"], "target", "classifier"
    )

    assert platform.get(f"rawdata/{data.id}/files/large.csv").data == large
    names = {file["name"] for file in platform.get(f"rawdata/{data.id}/files/").json}
    assert names == {"large.csv", "specific.py"}


def test_files_are_listed_and_downloaded(client, data, tmp_path):
    client.post_fold(10, 1, TRAIN, REST, raw_data=data, files={"a b/ü.py": "x", **SOURCE})
    path = tmp_path / "got"

    (info,) = client.list_raw_data_files(data)
    client.download_raw_data_file(data, "iris.csv", path)
    assert (info.name, info.size) == ("iris.csv", len(CSV))
    assert path.read_bytes() == CSV
    assert len(client.list_submission_files(1)) == 2
    client.download_submission_file(1, "a b/ü.py", path)
    assert path.read_bytes() == b"x"
    with pytest.raises(NotFoundError, match="there are"):
        client.download_submission_file(1, "regressor.py", tmp_path / "nothing")
    assert list(tmp_path.iterdir()) == [path]


def test_an_unknown_data_set_is_an_error_that_names_the_known_ones(client, data):
    with pytest.raises(NotFoundError, match="'irsi'; there are 'iris'"):
        client.get_raw_data("irsi")


def test_the_same_data_set_again_is_no_error_and_another_of_its_name_is(client, data):
    again = client.create_raw_data("iris", {"iris.csv": CSV}, "target", "classifier")

    assert again.id == data.id
    with pytest.raises(ConflictError, match="name: RawData with this name already exists"):
        client.create_raw_data("iris", {"iris.csv": CSV}, "x", "classifier")


def test_a_split_that_fails_or_does_not_come_is_not_waited_for_in_vain(client, worker):
    data = client.create_raw_data("broken", {"a.csv": b"x"}, "target", "classifier")
    with pytest.raises(SplitFailedError, match="isn't split"):
        client.wait_for_split(data)
    client.split_raw_data(data, 0.3)
    with pytest.raises(WaitTimeoutError, match="is there a worker"):
        client.wait_for_split(data, timeout=0.01)
    fail_split(worker, data.id, "no such column")
    with pytest.raises(SplitFailedError, match="no such column"):
        client.wait_for_split(data)


def test_a_fold_goes_its_way(client, data, platform, worker):
    posted = client.post_fold(10, 1, TRAIN, REST, Priority.LOW, data, SOURCE)
    waiting = client.get_fold(10)
    play_fold(worker, platform)
    tested = client.get_fold(10)
    (predictions,) = client.get_predictions([10, 11])
    (attempt,) = client.list_attempts(10)

    assert (posted.databoard_sf_id, posted.databoard_s, posted.state) == (10, 1, State.TODO)
    np.testing.assert_array_equal(posted.train_is, TRAIN)
    np.testing.assert_array_equal(posted.test_is, REST)
    assert waiting.progress is not None
    assert waiting.progress.reason == "no_live_worker"
    assert tested.state is State.TESTED
    assert tested.progress is None
    assert list(tested.timings) == [span.value for span in Span if span in tested.timings]
    assert list(tested.timings)[:2] == ["accept", "pick_up"]
    assert tested.measures.train_time == 1.5
    assert tested.measures.train_memory == 2048 * 1024
    assert tested.finished_at >= tested.started_at >= tested.created_at
    assert predictions.full_train_predictions.shape == (N_TRAIN, 2)
    assert predictions.test_predictions.shape == (N_TEST, 2)
    assert predictions.test_predictions.dtype == np.float64
    assert (attempt.number, attempt.worker, attempt.outcome) == (1, "w1", "tested")
    assert client.list_folds()[0].log_messages == "trained\n"
    assert [state.new for state in client.list_fold_states()] == [False]


def test_a_regressors_predictions_have_one_dimension(client, data, platform, worker):
    client.post_fold(10, 1, TRAIN, REST, raw_data=data, files=SOURCE)
    claim_fold(worker, platform)
    flat = make_result()
    for part, n_rows in (("full_train", N_TRAIN), ("test", N_TEST)):
        flat[f"{part}_shape"] = [n_rows]
        flat[f"{part}_predictions"] = encode_predictions(np.arange(float(n_rows)))
    assert post_result(worker, platform, flat).status_code == 200

    (predictions,) = client.take_new_predictions(data)

    assert predictions.full_train_predictions.shape == (N_TRAIN,)
    assert client.take_new_predictions(data) == []


def test_new_predictions_come_again_until_they_are_acknowledged(client, data, platform, worker):
    client.post_folds(1, [(10, TRAIN, REST), (11, REST, TRAIN)], raw_data=data, files=SOURCE)
    play_fold(worker, platform, 10)
    play_fold(worker, platform, 11)

    first = next(client.iter_new_predictions(data))
    again = [entry.databoard_sf_id for entry in client.iter_new_predictions()]

    assert first.databoard_sf_id == 10
    assert again == [10, 11]
    assert list(client.iter_new_predictions()) == []


def test_a_fold_is_waited_for_in_one_call(client, open_client, data, platform, worker):
    client.post_fold(10, 1, TRAIN, REST, raw_data=data, files=SOURCE)
    ending = threading.Timer(0.2, play_fold, (worker, platform))
    ending.start()

    found = client.get_fold(10, wait=30)
    ending.join()

    assert found.state is State.TESTED


def test_events_are_told_as_they_happen_and_again(client, data, platform, worker):
    client.post_fold(10, 1, TRAIN, REST, raw_data=data, files=SOURCE)
    with client.open_events(seconds=30) as stream:
        before = stream.last_event_id
        play_fold(worker, platform)

        event = next(iter(stream))

    assert (event.databoard_sf_id, event.state, event.attempt) == (10, State.TESTED, 1)
    assert stream.last_event_id == event.id > before
    assert next(client.iter_events(before)) == event
    with pytest.raises(EventsLostError):
        next(client.iter_events(event.id + 1))


def test_a_stream_of_events_ends_when_its_time_is_over(client):
    with client.open_events(seconds=1) as stream:
        assert list(stream) == []


def test_one_folds_predictions_are_an_array(client, data, platform, worker):
    client.post_fold(10, 1, TRAIN, REST, raw_data=data, files=SOURCE)
    with pytest.raises(NotFoundError):
        client.get_prediction_array(10)
    play_fold(worker, platform)

    test = client.get_prediction_array(10)
    full_train = client.get_prediction_array(10, "full_train")

    (predictions,) = client.get_predictions([10])
    np.testing.assert_array_equal(test, predictions.test_predictions)
    np.testing.assert_array_equal(full_train, predictions.full_train_predictions)


def test_uploads_are_listed_and_forgotten(client, tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"x,y\n1,2\n")
    name = client.upload_file(path)

    (upload,) = client.list_uploads()

    assert (upload.upload_id, upload.size, upload.received) == (name, 8, 8)
    assert upload.sha256 == hashlib.sha256(b"x,y\n1,2\n").hexdigest()
    assert upload.expires_at > datetime.now(UTC)
    client.delete_upload(name)
    assert client.list_uploads() == []
    with pytest.raises(NotFoundError):
        client.delete_upload(name)


def test_the_health_of_what_is_behind_the_api_is_told(client):
    assert client.get_health().is_ok


def test_the_same_fold_again_is_no_error_and_another_of_its_number_is(client, data):
    client.post_fold(10, 1, TRAIN, REST, raw_data=data, files=SOURCE)

    again = client.post_fold(10, 1, TRAIN, REST)

    assert again.attempt == 1
    with pytest.raises(ConflictError, match="databoard_sf_id"):
        client.post_fold(10, 1, REST, TRAIN)


def test_folds_are_posted_in_one_call_all_or_none(client, data):
    posted = client.post_folds(
        1, [(10, TRAIN, REST), (11, REST, TRAIN)], "H", raw_data=data, files=SOURCE
    )

    assert [fold.databoard_sf_id for fold in posted] == [10, 11]
    assert posted[1].priority is Priority.HIGH
    with pytest.raises(BadInputError, match=r"1\.train_is"):
        client.post_folds(1, [(12, TRAIN, REST), (13, [N_TRAIN], REST)])
    assert len(client.list_folds(1)) == 2
    assert client.list_folds(2) == client.list_fold_states(2) == []


def test_folds_are_listed_by_what_they_are(client, data, platform, worker):
    other = client.create_raw_data("other", {"other.csv": CSV}, "target", "classifier")
    before = datetime.now(UTC) - timedelta(minutes=1)
    client.post_folds(1, [(10, TRAIN, REST), (11, REST, TRAIN)], raw_data=data, files=SOURCE)
    play_fold(worker, platform, 10)

    def find(**filters):
        states = client.list_fold_states(**filters)
        assert [fold.databoard_sf_id for fold in client.list_folds(**filters)] == [
            state.databoard_sf_id for state in states
        ]
        return [state.databoard_sf_id for state in states]

    assert find(states=[State.TODO]) == [11]
    assert find(states=["TESTED", "ERROR"]) == [10]
    assert find(raw_data=other) == []
    assert find(raw_data=data.id, since=before) == [10, 11]
    assert find(since=before + timedelta(days=1)) == []
    with pytest.raises(BadInputError, match="state"):
        client.list_folds(states=["DONE"])


def test_a_fold_is_cancelled_and_run_again(client, data):
    client.post_fold(10, 1, TRAIN, REST, raw_data=data, files=SOURCE)

    cancelled = client.cancel_fold(10)
    again = client.rerun_fold(10)

    assert (cancelled.state, cancelled.failure_kind) == (State.ERROR, FailureKind.CANCELLED)
    assert (again.state, again.failure_kind, again.attempt) == (State.TODO, None, 2)
    np.testing.assert_array_equal(again.train_is, TRAIN)


def test_a_failure_says_whose_fault_it_was(client, data, platform, worker):
    client.post_fold(10, 1, TRAIN, REST, raw_data=data, files=SOURCE)
    claim_fold(worker, platform)
    post_result(worker, platform, make_failure("time_limit", "too slow"))

    fold = client.get_fold(10)
    (predictions,) = client.get_predictions([10])

    assert fold.failure_kind is FailureKind.TIME_LIMIT
    assert fold.log_messages == "too slow"
    assert predictions.test_predictions is None


def test_submissions_and_data_sets_are_deleted(client, data):
    client.post_fold(10, 1, TRAIN, REST, raw_data=data, files=SOURCE)

    client.delete_submission(1)
    assert client.list_folds() == []
    client.delete_raw_data(data)
    assert client.list_raw_data() == []
    with pytest.raises(NotFoundError):
        client.delete_submission(1)


def test_webhooks_are_added_listed_and_deleted(client, data):
    # A public address that is never called here: no fold of the data set ends.
    added = client.add_webhook(data, "https://93.184.215.14/hook", ["TESTED"])
    (listed,) = client.list_webhooks(data)

    assert added.secret.startswith("whsec_")
    assert added.secret not in repr(added)
    assert (listed.id, listed.states, listed.secret) == (added.id, (State.TESTED,), None)
    assert client.list_deliveries(data, added.id) == []
    assert client.enable_webhook(data, added.id).disabled_at is None
    client.delete_webhook(data, added.id)
    assert client.list_webhooks(data) == []
    with pytest.raises(BadInputError, match="url"):
        client.add_webhook(data, "http://127.0.0.1:9/")


def test_workers_and_queues_are_records(client, data, platform, worker):
    beat(worker, "kermit", ["high", "low"])
    client.post_fold(10, 1, TRAIN, REST, raw_data=data, files=SOURCE)

    (found,) = client.list_workers()
    queues = {queue.name: queue for queue in client.list_queues()}

    assert (found.name, found.queues, found.live) == ("kermit", ("high", "low"), True)
    assert found.databoard_sf_id is None
    assert queues["low"].depth == 1
    assert queues["low"].live_workers == 1


def test_a_wrong_password_or_role_is_its_own_error(api_url, platform, add_caller, open_client):
    viewer = open_client(add_caller(Role.VIEWER, views=platform))
    with Client(api_url, (platform.name, "wrong")) as client, pytest.raises(UnauthorizedError):
        client.list_raw_data()
    with Client(api_url, (platform.name, PASSWORD)) as client:
        assert client.list_raw_data() == []
    with pytest.raises(ForbiddenError):
        viewer.delete_raw_data(1)
