import base64

import pytest
from flask import Flask
from limits import parse_many

from datarun_api import create_app
from datarun_api.config import parse_database_url
from datarun_api.errors import TooManyRequestsError
from datarun_api.extensions import db
from datarun_api.logins import FailedLogins, find_network
from datarun_api.queues import Queues
from tests.conftest import PASSWORD, numbers


def close(app):
    with app.app_context():
        db.engine.dispose()
    app.extensions["datarun_queues"].connection.close()


@pytest.fixture
def slow_app(servers, tmp_path, platform):
    """An application that lets three logins fail a minute; `platform` cleared the counts."""
    app = create_app(
        {
            "DATABASE_URL": parse_database_url(servers.database_url),
            "REDIS_URL": servers.redis_url,
            "STORAGE": str(tmp_path),
            "FAILED_LOGINS": "3 per minute",
        }
    )
    yield app
    close(app)


def log_in(app, name, password, address="192.0.2.1"):
    credentials = base64.b64encode(f"{name}:{password}".encode()).decode()
    return app.test_client().get(
        "/runapp/rawdata/",
        headers={"Authorization": f"Basic {credentials}"},
        environ_overrides={"REMOTE_ADDR": address},
    )


def test_guesses_at_an_account_must_wait_wherever_they_come_from(slow_app, platform):
    for number in range(3):
        assert log_in(slow_app, platform.name, "guess", f"192.0.2.{number}").status_code == 401

    response = log_in(slow_app, platform.name, PASSWORD, "192.0.2.99")

    assert response.status_code == 429
    assert 1 <= int(response.headers["Retry-After"]) <= 60
    assert set(response.json) == {"error", "errors"}


def test_guesses_from_an_address_must_wait_whomever_they_are_for(slow_app, platform):
    for number in range(3):
        assert log_in(slow_app, f"nobody-{number}", "guess").status_code == 401

    assert log_in(slow_app, platform.name, PASSWORD).status_code == 429
    assert log_in(slow_app, platform.name, PASSWORD, "192.0.2.2").status_code == 200


def test_an_unknown_account_is_answered_like_a_known_one(slow_app):
    name = f"nobody-{next(numbers)}"

    statuses = [log_in(slow_app, name, "x", f"192.0.2.{n}").status_code for n in range(4)]

    assert statuses == [401, 401, 401, 429]


def test_who_is_at_work_is_not_shut_out_by_the_guesses_of_others(slow_app, platform):
    assert log_in(slow_app, platform.name, PASSWORD).status_code == 200

    for number in range(5):
        log_in(slow_app, platform.name, "guess", f"192.0.2.{number}")

    assert log_in(slow_app, platform.name, PASSWORD).status_code == 200


def test_a_token_is_not_slowed_by_guesses_at_passwords(slow_app, platform):
    for _ in range(4):
        log_in(slow_app, platform.name, "guess", "127.0.0.1")

    response = slow_app.test_client().get("/runapp/rawdata/", headers=platform.headers)

    assert response.status_code == 200


def test_failures_are_counted_while_redis_is_away():
    queues = Queues("redis://127.0.0.1:1", "high")
    failed_logins = FailedLogins(parse_many("100 per day; 2 per minute"), queues.connection)

    with Flask("test").test_request_context(environ_overrides={"REMOTE_ADDR": "192.0.2.1"}):
        failed_logins.check("me")
        failed_logins.note("me")
        failed_logins.note("me")

        with pytest.raises(TooManyRequestsError):
            failed_logins.check("me")
    queues.connection.close()


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("", ""),
    ],
)
def test_an_ipv6_network_counts_as_one_address(address, network):
    with Flask("test").test_request_context(environ_overrides={"REMOTE_ADDR": address}):
        assert find_network() == network
