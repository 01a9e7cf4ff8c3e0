import base64

import pytest

from datarun_api import auth
from datarun_api.extensions import db
from datarun_api.models import User
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
    monkeypatch.setattr(auth, "_is_password", lambda *words: pytest.fail("derived again"))

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
