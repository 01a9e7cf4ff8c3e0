import pytest

from datarun_api import create_app
from datarun_api.config import load_config, parse_database_url
from datarun_api.extensions import db
from datarun_client.errors import SettingError


@pytest.fixture
def make_limited(servers, tmp_path, empty_queues):
    """Make applications that take two requests a minute from an address."""
    apps = []

    def make(redis_url=servers.redis_url):
        app = create_app(
            {
                "DATABASE_URL": parse_database_url(servers.database_url),
                "REDIS_URL": redis_url,
                "STORAGE": str(tmp_path),
                "RATE_LIMIT": "2 per minute",
            }
        )
        apps.append(app)
        return app

    yield make
    for app in apps:
        with app.app_context():
            db.engine.dispose()
        app.extensions["datarun_queues"].connection.close()


def ask(app, path="/runapp/rawdata/", address="192.0.2.1"):
    return app.test_client().get(path, environ_overrides={"REMOTE_ADDR": address})


def test_an_address_that_asks_too_often_must_wait(make_limited):
    app = make_limited()
    assert [ask(app).status_code for _ in range(2)] == [401, 401]

    response = ask(app)

    assert response.status_code == 429
    assert 1 <= int(response.headers["Retry-After"]) <= 60
    assert set(response.json) == {"error", "errors"}
    assert ask(app, address="192.0.2.2").status_code == 401
    assert ask(app, "/health").status_code == 200


def test_processes_count_together(make_limited):
    app, other = make_limited(), make_limited()
    ask(app)
    ask(other)

    assert ask(app).status_code == ask(other).status_code == 429


def test_requests_go_through_and_are_counted_while_redis_is_away(make_limited):
    app = make_limited("redis://127.0.0.1:1")

    assert [ask(app).status_code for _ in range(3)] == [401, 401, 429]


def test_a_limit_that_cannot_be_read_is_refused():
    with pytest.raises(SettingError, match="10 per minute"):
        load_config({"DATARUN_RATE_LIMIT": "often"})
