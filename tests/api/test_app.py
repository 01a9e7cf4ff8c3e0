import pytest
from flask import request
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from datarun_api import create_app
from datarun_api.config import load_config, parse_database_url
from datarun_api.extensions import db
from datarun_api.queues import Queues
from datarun_client.errors import SettingError


def test_health_is_200_when_postgresql_and_redis_answer(app):
    response = app.test_client().get("/health")

    assert response.status_code == 200
    assert response.json == {"status": "ok", "postgresql": "ok", "redis": "ok"}


def test_health_says_that_redis_is_away(app, monkeypatch):
    monkeypatch.setitem(app.extensions, "datarun_queues", Queues("redis://127.0.0.1:1", "high"))

    response = app.test_client().get("/health")

    assert response.status_code == 503
    assert response.headers["Retry-After"]
    assert response.json == {"status": "unavailable", "postgresql": "ok", "redis": "no answer"}


def test_health_says_that_postgresql_is_away(servers, tmp_path):
    away = create_app(
        {
            "DATABASE_URL": "postgresql+psycopg://nobody@127.0.0.1:1/nothing",
            "REDIS_URL": servers.redis_url,
            "STORAGE": str(tmp_path),
        }
    )

    health = away.test_client().get("/health")
    lists = away.test_client().get("/runapp/rawdata/", headers={"Authorization": "Bearer x"})

    assert health.status_code == lists.status_code == 503
    assert health.json["postgresql"] == "no answer"
    assert lists.headers["Retry-After"]
    assert set(lists.json) == {"error", "errors"}
    away.extensions["datarun_queues"].connection.close()
    with away.app_context():
        db.engine.dispose()


def test_an_answer_outlives_the_connection_that_it_was_made_with(app):
    """PostgreSQL may go away after the last query; the session's end isn't the answer's."""
    end = text("SELECT pg_terminate_backend(:pid)")

    with app.app_context():
        pid = db.session.scalar(text("SELECT pg_backend_pid()"))
        with db.engine.connect() as other:
            assert other.scalar(end, {"pid": pid})

    with app.app_context():
        assert db.session.scalar(text("SELECT 1")) == 1


def test_a_lost_connection_is_503_and_other_database_errors_are_ours(app):
    def lose():
        raise OperationalError("SELECT 1", {}, Exception("server closed the connection"))

    app.view_functions["health.get_health"], original = (
        lose,
        app.view_functions["health.get_health"],
    )
    try:
        response = app.test_client().get("/health")
    finally:
        app.view_functions["health.get_health"] = original

    assert response.status_code == 503


def test_an_unknown_address_and_a_wrong_method_have_the_one_shape(platform):
    unknown = platform.get("nothing/")
    wrong = platform.call("DELETE", "rawdata/")

    assert unknown.status_code == 404
    assert wrong.status_code == 405
    assert set(unknown.json) == set(wrong.json) == {"error", "errors"}
    assert "POST" in wrong.headers["Allow"]


def test_the_openapi_document_names_every_call(app):
    paths = app.test_client().get("/openapi.json").json["paths"]

    described = {
        f"/runapp/{path}"
        for path in (
            "rawdata/",
            "rawdata/split/",
            "raw_data/split/",
            "rawdata/customsplit/",
            "submissionfold/",
            "submissionfold/{databoard_sf_id}/",
            "submissionfold-light/",
            "testpredictions/list/",
            "testpredictions/new/",
        )
    }
    assert described | {"/health"} <= set(paths)


def test_a_missing_address_says_what_to_do():
    with pytest.raises(SettingError, match=r"DATABASE_URL is not set.*datarun up"):
        create_app({"DATABASE_URL": None, "REDIS_URL": None})


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_every_spelling_of_postgresql_means_psycopg_3(scheme):
    assert parse_database_url(f"{scheme}://a@b/c") == "postgresql+psycopg://a@b/c"


def test_another_database_is_refused():
    with pytest.raises(SettingError, match="postgresql://"):
        load_config({"DATABASE_URL": "sqlite:///datarun.db"})


def test_an_address_that_is_refused_is_not_shown_with_its_password():
    with pytest.raises(SettingError) as caught:
        load_config({"DATABASE_URL": "mysql://me:secret@host/datarun"})

    assert "secret" not in str(caught.value)


def test_every_answer_tells_a_browser_to_make_nothing_of_it(app):
    headers = app.test_client().get("/runapp/rawdata/").headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "Strict-Transport-Security" not in headers


def test_headers_of_a_proxy_are_believed_only_when_there_is_one(servers, tmp_path):
    config = {
        "DATABASE_URL": parse_database_url(servers.database_url),
        "REDIS_URL": servers.redis_url,
        "STORAGE": str(tmp_path),
    }
    said = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
    seen = []
    for n_proxies in (0, 1):
        app = create_app(config | {"PROXIES": n_proxies})
        app.before_request(lambda: seen.append((request.remote_addr, request.scheme)))

        answer = app.test_client().get("/docs", headers=said)

        assert ("Strict-Transport-Security" in answer.headers) is (n_proxies == 1)
        app.extensions["datarun_queues"].connection.close()
    assert seen == [("127.0.0.1", "http"), ("192.0.2.7", "https")]
