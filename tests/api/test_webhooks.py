import base64
import hashlib
import hmac
import json
import uuid
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from datarun_api import deliveries
from datarun_api.deliveries import call_webhook, delivering, list_due, make_deliveries
from datarun_api.events import trim_events
from datarun_api.extensions import db
from datarun_api.models import FoldEvent, Webhook, WebhookDelivery
from datarun_api.outbound import parse_networks
from datarun_api.webhooks import sign
from tests.api.payloads import (
    claim_fold,
    make_failure,
    make_fold,
    post_result,
    prepare,
    run_fold,
)
from tests.api.receiver import receiving
from tests.conftest import wait_until


@pytest.fixture
def receiver(context, monkeypatch):
    monkeypatch.setitem(context.config, "WEBHOOK_NETWORKS", parse_networks("127.0.0.0/8"))
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def webhook(platform, raw_data, receiver):
    """A webhook of the data set, as its creation was answered."""
    response = add(platform, raw_data, url=receiver.url)
    assert response.status_code == 201, response.json
    return response.json


def add(platform, raw_data, **payload):
    return platform.post(f"rawdata/{raw_data}/webhooks/", payload)


def show(platform, raw_data):
    (webhook,) = platform.get(f"rawdata/{raw_data}/webhooks/").json
    return webhook


def list_log(platform, raw_data, webhook):
    response = platform.get(f"rawdata/{raw_data}/webhooks/{webhook['id']}/deliveries/")
    assert response.status_code == 200, response.json
    return response.json


def run(platform, worker, raw_data, *numbers):
    for number in numbers:
        response = platform.post("submissionfold/", make_fold(raw_data, number))
        assert response.status_code == 201, response.json
        run_fold(worker, platform, number)


def deliver(webhook):
    make_deliveries()
    call_webhook(webhook["id"])


def hasten(model, webhook, **values):
    """Let a time of a webhook or its deliveries have come."""
    column = Webhook.id if model is Webhook else WebhookDelivery.webhook_id
    db.session.execute(update(model).where(column == webhook["id"]).values(**values))
    db.session.commit()


def is_due(webhook):
    make_deliveries()
    return webhook["id"] in list_due()


def test_a_tested_fold_is_told(platform, worker, raw_data, webhook, receiver):
    run(platform, worker, raw_data, 10)

    deliver(webhook)

    (message,) = receiver.messages
    assert message.path == "/hook?a=1"
    assert message.headers["Content-Type"] == "application/json"
    content = json.loads(message.body)
    assert content["type"] == "fold.tested"
    assert content["timestamp"] == content["data"].pop("created_at")
    assert content["data"] == {
        "raw_data": raw_data,
        "databoard_sf_id": 10,
        "databoard_s": 1,
        "state": "TESTED",
        "failure_kind": None,
        "attempt": 1,
    }
    (entry,) = list_log(platform, raw_data, webhook)
    assert entry["webhook_id"] == message.headers["webhook-id"]
    assert (entry["databoard_sf_id"], entry["state"]) == (10, "TESTED")
    assert (entry["n_tries"], entry["status"], entry["error"]) == (1, 204, None)
    assert entry["delivered_at"]
    assert entry["next_try_at"] is None


def test_a_slow_one_leaves_the_others_their_turn(
    platform, worker, raw_data, webhook, receiver, monkeypatch
):
    run(platform, worker, raw_data, 10, 11)
    monkeypatch.setattr(deliveries, "TURN", 0.0)

    deliver(webhook)
    assert len(receiver.messages) == 1
    assert is_due(webhook)

    deliver(webhook)
    assert len(receiver.messages) == 2


def test_a_message_is_signed_with_the_secret(platform, worker, raw_data, webhook, receiver):
    run(platform, worker, raw_data, 10)
    deliver(webhook)

    (message,) = receiver.messages
    key = base64.b64decode(webhook["secret"].removeprefix("whsec_"))
    number, timestamp = message.headers["webhook-id"], message.headers["webhook-timestamp"]
    content = f"{number}.{timestamp}.".encode() + message.body
    expected = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    assert message.headers["webhook-signature"] == f"v1,{expected}"


def test_the_signature_is_that_of_the_standards_example():
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

    signature = sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')

    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_secret_is_shown_once(platform, raw_data, webhook, receiver):
    assert webhook["secret"].startswith("whsec_")
    assert "secret" not in show(platform, raw_data)

    key = {"Idempotency-Key": str(uuid.uuid4())}
    path, payload = f"rawdata/{raw_data}/webhooks/", {"url": receiver.url}
    first = platform.post(path, payload, headers=key)
    again = platform.post(path, payload, headers=key)

    assert first.headers["Cache-Control"] == "no-store"
    assert (first.status_code, again.status_code) == (201, 409)


def test_only_the_states_that_were_asked_for_are_told(platform, worker, raw_data, receiver):
    webhook = add(platform, raw_data, url=receiver.url, states=["ERROR"]).json
    run(platform, worker, raw_data, 10)
    platform.post("submissionfold/", make_fold(number=11))
    claim_fold(worker, platform, 11)
    post_result(worker, platform, make_failure(), 11)

    deliver(webhook)

    (message,) = receiver.messages
    assert json.loads(message.body)["data"]["databoard_sf_id"] == 11


def test_only_folds_of_the_data_set_and_from_now_on_are_told(platform, worker, raw_data, receiver):
    run(platform, worker, raw_data, 10)
    webhook = add(platform, raw_data, url=receiver.url).json
    other = prepare(platform, worker, name="other")
    platform.post("submissionfold/", make_fold(other, 20, databoard_s_id=2))
    run_fold(worker, platform, 20)

    deliver(webhook)

    assert receiver.messages == []


def test_each_event_is_told_once_and_in_order(platform, worker, raw_data, webhook, receiver):
    run(platform, worker, raw_data, 10)
    make_deliveries()
    run(platform, worker, raw_data, 11)

    deliver(webhook)
    deliver(webhook)

    folds = [json.loads(message.body)["data"]["databoard_sf_id"] for message in receiver.messages]
    assert folds == [10, 11]


def test_what_fails_is_tried_again_later_with_the_same_id(
    platform, worker, raw_data, webhook, receiver
):
    receiver.statuses = [500, 200]
    run(platform, worker, raw_data, 10)
    deliver(webhook)
    (entry,) = list_log(platform, raw_data, webhook)
    assert (entry["n_tries"], entry["status"], entry["delivered_at"]) == (1, 500, None)
    assert entry["next_try_at"] > entry["tried_at"]
    assert show(platform, raw_data)["failing_since"]
    assert not is_due(webhook)

    hasten(Webhook, webhook, paused_until=func.now())
    hasten(WebhookDelivery, webhook, next_try_at=func.now())
    assert is_due(webhook)
    deliver(webhook)

    (entry,) = list_log(platform, raw_data, webhook)
    assert (entry["n_tries"], entry["status"]) == (2, 200)
    assert entry["delivered_at"]
    first, second = receiver.messages
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert show(platform, raw_data)["failing_since"] is None


def test_a_failure_pauses_the_webhook(platform, worker, raw_data, webhook, receiver):
    receiver.statuses = [500]
    run(platform, worker, raw_data, 10, 11, 12)

    deliver(webhook)

    assert len(receiver.messages) == 1
    assert not is_due(webhook)
    hasten(Webhook, webhook, paused_until=func.now())
    assert is_due(webhook)


def test_a_receiver_that_isnt_there_is_a_failure_with_a_reason(
    platform, worker, raw_data, receiver
):
    webhook = add(platform, raw_data, url="http://127.0.0.1:1/").json
    run(platform, worker, raw_data, 10)

    deliver(webhook)

    (entry,) = list_log(platform, raw_data, webhook)
    assert entry["status"] is None
    assert "refused" in entry["error"]


def test_a_redirect_is_a_failure_and_not_followed(platform, worker, raw_data, webhook, receiver):
    receiver.statuses = [302]
    receiver.headers = {"Location": receiver.url}
    run(platform, worker, raw_data, 10)

    deliver(webhook)

    assert len(receiver.messages) == 1
    assert list_log(platform, raw_data, webhook)[0]["status"] == 302


def test_one_who_dies_while_he_calls_leaves_it_to_the_next(
    platform, worker, raw_data, webhook, receiver, monkeypatch
):
    run(platform, worker, raw_data, 10)
    make_deliveries()

    def die(*args):
        raise SystemExit("killed")

    with monkeypatch.context() as patch:
        patch.setattr(deliveries, "_note", die)
        with pytest.raises(SystemExit):
            call_webhook(webhook["id"])
    assert not is_due(webhook)

    hasten(WebhookDelivery, webhook, next_try_at=func.now())
    deliver(webhook)

    assert len(receiver.messages) == 2
    assert list_log(platform, raw_data, webhook)[0]["delivered_at"]


@pytest.mark.parametrize(
    ("status", "failing_for"), [(410, timedelta()), (500, timedelta(days=3, seconds=1))]
)
def test_one_that_has_gone_or_fails_for_long_is_disabled(
    platform, worker, raw_data, webhook, receiver, status, failing_for
):
    receiver.statuses = [status, 204]
    hasten(Webhook, webhook, failing_since=func.now() - failing_for)
    run(platform, worker, raw_data, 10)
    deliver(webhook)
    assert show(platform, raw_data)["disabled_at"]
    run(platform, worker, raw_data, 11)
    hasten(WebhookDelivery, webhook, next_try_at=func.now())
    assert not is_due(webhook)

    # When its account enables it, it gets what it missed
    response = platform.post(f"rawdata/{raw_data}/webhooks/{webhook['id']}/enable/")

    assert response.status_code == 200
    assert response.json["disabled_at"] is None
    assert is_due(webhook)
    deliver(webhook)
    assert len(receiver.messages) == 3


def test_a_delivery_is_given_up_after_a_while(platform, worker, raw_data, webhook, receiver):
    receiver.statuses = [500]
    run(platform, worker, raw_data, 10)
    make_deliveries()
    db.session.execute(
        update(FoldEvent)
        .where(FoldEvent.owner_id == platform.id)
        .values(created_at=func.now() - deliveries.GIVE_UP)
    )
    db.session.commit()

    call_webhook(webhook["id"])

    (entry,) = list_log(platform, raw_data, webhook)
    assert (entry["delivered_at"], entry["next_try_at"]) == (None, None)


def test_the_log_goes_with_its_events(
    platform, worker, raw_data, webhook, receiver, context, monkeypatch
):
    run(platform, worker, raw_data, 10)
    deliver(webhook)
    monkeypatch.setitem(context.config, "KEEP_EVENTS", 3600)
    db.session.execute(
        update(FoldEvent)
        .where(FoldEvent.owner_id == platform.id)
        .values(created_at=func.now() - timedelta(hours=2))
    )
    db.session.commit()

    trim_events()

    assert list_log(platform, raw_data, webhook) == []


def test_a_thread_beside_the_reconciler_calls(platform, worker, raw_data, webhook, receiver, app):
    with delivering(app):
        run(platform, worker, raw_data, 10)

        wait_until(lambda: receiver.messages, "the message")
        wait_until(
            lambda: list_log(platform, raw_data, webhook)[0]["delivered_at"], "its note in the log"
        )


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/",
        "example.org",
        "http://",
        "http://a:b@example.org/",
        "http://example.org/#part",
        "http://example.org:99999/",
        "http://example.org/ two",
        "http://exämple.org/",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://example.org/" + "a" * 2000,
    ],
)
def test_an_address_that_may_not_be_called_is_refused(platform, raw_data, receiver, url):
    response = add(platform, raw_data, url=url)

    assert response.status_code == 400
    assert "url" in response.json["errors"]
    assert platform.get(f"rawdata/{raw_data}/webhooks/").json == []


@pytest.mark.parametrize("states", [[], ["DONE"], "TESTED"])
def test_states_that_are_none_are_refused(platform, raw_data, receiver, states):
    response = add(platform, raw_data, url=receiver.url, states=states)

    assert response.status_code == 400
    assert "states" in response.json["errors"]


def test_there_are_at_most_ten(platform, raw_data, receiver):
    codes = [add(platform, raw_data, url=receiver.url).status_code for _ in range(11)]

    assert codes == [201] * 10 + [409]


def test_a_webhook_is_deleted_with_what_was_still_to_be_told(
    platform, worker, raw_data, webhook, receiver
):
    run(platform, worker, raw_data, 10)
    make_deliveries()

    response = platform.call("DELETE", f"rawdata/{raw_data}/webhooks/{webhook['id']}/")

    assert response.status_code == 204
    assert platform.get(f"rawdata/{raw_data}/webhooks/").json == []
    assert webhook["id"] not in list_due()


def test_webhooks_go_with_their_data_set(platform, worker, raw_data, webhook, receiver):
    run(platform, worker, raw_data, 10)
    deliver(webhook)

    assert platform.call("DELETE", f"rawdata/{raw_data}/").status_code == 204
    assert db.session.scalar(select(Webhook).where(Webhook.id == webhook["id"])) is None


def test_others_webhooks_are_not_found(platform, raw_data, webhook, add_caller):
    other = add_caller()
    paths = (f"rawdata/{raw_data}/webhooks/", f"rawdata/{raw_data}/webhooks/{webhook['id']}/")

    assert other.get(paths[0]).status_code == 404
    assert add(other, raw_data, url="https://example.org/").status_code == 404
    assert other.call("DELETE", paths[1]).status_code == 404
    assert other.get(paths[1] + "deliveries/").status_code == 404
    assert other.post(paths[1] + "enable/").status_code == 404


def test_a_webhook_of_another_data_set_is_not_found(platform, worker, raw_data, webhook):
    other = prepare(platform, worker, name="other")

    path = f"rawdata/{other}/webhooks/{webhook['id']}/"
    assert platform.call("DELETE", path).status_code == 404
