import base64
import logging
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError, OperationalError

from datarun_api import auth
from datarun_api.credentials import CredentialsCache, create_token, hash_token
from datarun_api.extensions import db
from datarun_api.models import USE_NOTED_EVERY, Token, User
from datarun_client.states import Role
from tests.api.payloads import post_raw_data, prepare
from tests.conftest import PASSWORD


def call_with_password(caller, name, password, path="rawdata/"):
    credentials = base64.b64encode(f"{name}:{password}".encode()).decode()
    headers = {"Authorization": f"Basic {credentials}"}
    return caller.app.test_client().get(f"/runapp/{path}", headers=headers)


def test_an_account_is_known_by_its_password(platform):
    assert call_with_password(platform, platform.name, PASSWORD).status_code == 200


@pytest.mark.parametrize(
    ("name", "password"),
    [("{name}", "wrong"), ("{name}", ""), ("nobody", PASSWORD), ("", PASSWORD), ("a\x00b", "x")],
)
def test_a_stranger_gets_401_and_is_asked_for_a_password(platform, name, password):
    response = call_with_password(platform, name.format(name=platform.name), password)

    assert response.status_code == 401
    assert set(response.json) == {"error", "errors"}
    assert response.headers["WWW-Authenticate"].startswith("Basic")


@pytest.mark.parametrize("header", [None, "Bearer nonsense", "Bearer", "Digest x", "Basic §"])
def test_a_request_without_good_credentials_gets_401(platform, header):
    headers = {"Authorization": header} if header else {}

    response = platform.app.test_client().get("/runapp/rawdata/", headers=headers)

    assert response.status_code == 401
    assert set(response.json) == {"error", "errors"}


def test_a_verified_password_is_not_derived_again(platform, monkeypatch):
    call_with_password(platform, platform.name, PASSWORD)
    monkeypatch.setattr(auth, "is_password", lambda *words: pytest.fail("derived again"))

    assert call_with_password(platform, platform.name, PASSWORD).status_code == 200


def test_a_wrong_password_is_never_remembered(platform):
    call_with_password(platform, platform.name, PASSWORD)

    assert call_with_password(platform, platform.name, "wrong").status_code == 401


def test_passwords_and_tokens_are_kept_as_hashes(platform, context):
    user = db.session.get(User, platform.id)

    assert user.password_hash.startswith("$argon2id$")
    token = platform.headers["Authorization"].removeprefix("Bearer ")
    stored = db.session.execute(db.text("SELECT * FROM token")).all()
    assert token not in str(stored)


def test_a_viewer_reads_the_data_of_one_account(platform, worker, add_caller):
    viewer = add_caller(Role.VIEWER, views=platform)
    prepare(platform, worker)
    post_raw_data(add_caller())

    assert viewer.get("rawdata/").json == platform.get("rawdata/").json


def call_with_token(app, token):
    return app.test_client().get("/runapp/rawdata/", headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
def add_token(platform, app):
    """Make tokens of the platform's account."""

    def add(**options):
        with app.app_context():
            user = db.session.get(User, platform.id)
            token = create_token(user, "test", **options)
            db.session.commit()
        return token

    return add


def find_token(token):
    return db.session.scalars(select(Token).where(Token.sha256 == hash_token(token))).one()


def test_a_token_may_have_less_than_its_account(app, add_token):
    token = add_token(role=Role.VIEWER)

    response = app.test_client().post(
        "/runapp/rawdata/", json={}, headers={"Authorization": f"Bearer {token}"}
    )

    assert call_with_token(app, token).status_code == 200
    assert response.status_code == 403


def test_an_expired_token_is_refused(app, add_token):
    assert call_with_token(app, add_token(lifetime=timedelta(minutes=1))).status_code == 200
    assert call_with_token(app, add_token(lifetime=timedelta(minutes=-1))).status_code == 401


def test_a_known_token_costs_no_look_into_the_database(app, add_token, monkeypatch):
    token = add_token()
    call_with_token(app, token)
    monkeypatch.setattr(auth, "find_token", lambda text: pytest.fail("looked again"))

    assert call_with_token(app, token).status_code == 200


def test_the_use_of_a_token_is_noted_once_a_minute(app, add_token, context):
    token = add_token()
    assert find_token(token).last_used_at is None

    call_with_token(app, token)
    first = find_token(token)
    db.session.refresh(first)
    noted = first.last_used_at
    auth.note_use(first)
    db.session.refresh(first)
    assert noted == first.last_used_at

    first.last_used_at = noted - 2 * USE_NOTED_EVERY
    db.session.commit()
    auth.note_use(first)
    db.session.refresh(first)
    assert first.last_used_at > noted


def test_a_revoked_token_is_refused_once_it_is_forgotten(app, add_token, context, monkeypatch):
    token = add_token()
    assert call_with_token(app, token).status_code == 200
    db.session.delete(find_token(token))
    db.session.commit()

    monkeypatch.setitem(app.extensions, "datarun_credentials", CredentialsCache(60))

    assert call_with_token(app, token).status_code == 401


def test_no_secret_is_in_logs_or_answers(platform, app, add_token, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    token = add_token()
    wrong = "a wrong password"
    answers = [
        call_with_password(platform, platform.name, PASSWORD),
        call_with_password(platform, platform.name, wrong),
        call_with_token(app, token),
        call_with_token(app, token + "x"),
    ]

    def lose(*words):
        raise OperationalError(f"SELECT {words}", {}, Exception("server closed the connection"))

    monkeypatch.setattr(auth, "find_token", lose)
    answers.append(call_with_token(app, token + "y"))

    assert [answer.status_code for answer in answers] == [200, 401, 200, 401, 503]
    told = caplog.text + "".join(answer.text + str(answer.headers) for answer in answers)
    for secret in (PASSWORD, wrong, token):
        assert secret not in told
        assert base64.b64encode(f"{platform.name}:{secret}".encode()).decode() not in told


def test_an_error_of_the_database_shows_no_parameters(context):
    with pytest.raises(DBAPIError) as caught:
        db.session.execute(db.text("SELECT 1 / (:secret - 4711)"), {"secret": 4711})
    db.session.rollback()

    assert "4711}" not in str(caught.value)
    assert "hidden" in str(caught.value)
