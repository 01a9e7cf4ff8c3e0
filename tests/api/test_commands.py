import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from datarun_api.credentials import is_password
from datarun_api.extensions import db
from datarun_api.models import User
from datarun_client import PROTOCOL, PROTOCOL_HEADER
from datarun_client.cli import datarun
from datarun_client.states import Role
from tests.conftest import numbers, wait_until


@pytest.fixture
def run(app):
    """Run a command of ``flask --app datarun_api``."""

    def run_command(*words, **environ):
        return app.test_cli_runner().invoke(args=words, env=environ)

    return run_command


@pytest.fixture
def name():
    return f"operator-{next(numbers)}"


def find_user(name):
    return db.session.scalar(select(User).where(User.name == name))


def test_an_account_is_added_with_the_password_of_the_environment(run, name, context):
    result = run("user", "add", name, "--role", "admin", DATARUN_PASSWORD="secret")

    assert result.exit_code == 0, result.output
    assert find_user(name).role is Role.ADMIN
    assert "secret" not in result.output


def test_an_account_is_a_platform_unless_said_otherwise(run, name, context):
    run("user", "add", name, DATARUN_PASSWORD="secret")

    assert find_user(name).role is Role.PLATFORM


def test_a_name_that_is_taken_is_refused(run, name):
    run("user", "add", name, DATARUN_PASSWORD="secret")

    again = run("user", "add", name, DATARUN_PASSWORD="other")

    assert again.exit_code == 1
    assert "already" in again.output


def test_a_worker_needs_no_password_and_has_none(run, name, context):
    result = run("user", "add", name, "--role", "worker")

    assert result.exit_code == 0, result.output
    assert f"datarun token add {name}" in result.output
    assert find_user(name).password_hash is None


def test_a_viewer_needs_an_account_to_view(run, name, platform, context):
    alone = run("user", "add", name, "--role", "viewer", DATARUN_PASSWORD="x")
    right = run(
        "user", "add", name, "--role", "viewer", "--views", platform.name, DATARUN_PASSWORD="x"
    )

    assert alone.exit_code == 2
    assert right.exit_code == 0
    assert find_user(name).views_id == platform.id


def test_a_token_opens_the_workers_side(run, name, app, empty_queues):
    run("user", "add", name, "--role", "worker", DATARUN_PASSWORD="x")

    token = run("token", "add", name).output.strip()

    response = app.test_client().post(
        "/runapp/worker/folds/claim/",
        json={"owner": 1, "databoard_sf_id": 2**31 - 1, "queue": "low", "worker": "w"},
        headers={"Authorization": f"Bearer {token}", PROTOCOL_HEADER: str(PROTOCOL)},
    )
    assert response.status_code == 204


def add_token(run, name, *options):
    """Add an account of a platform if it is new, and a token to it; say the token's number."""
    run("user", "add", name, DATARUN_PASSWORD="x")
    assert run("token", "add", name, *options).exit_code == 0
    return run("token", "list", name).output.splitlines()[-1].split()[0]


def test_tokens_are_listed_without_themselves(run, name):
    run("user", "add", name, DATARUN_PASSWORD="x")

    token = run("token", "add", name, "--label", "nightly", "--role", "viewer", "--days", "30")
    listed = run("token", "list", name)

    head, row = listed.output.splitlines()
    assert head.split() == ["number", "account", "label", "role", "expires", "last", "used"]
    assert row.split()[1:4] == [name, "nightly", "viewer"]
    assert row.endswith("never")
    assert token.output.strip() not in listed.output


def test_an_expired_token_is_listed_as_such(run, name):
    add_token(run, name, "--days", "0.0000001")

    wait_until(lambda: "expired" in run("token", "list", name).output, "the token to expire")


def test_a_revoked_token_is_gone(run, name):
    number = add_token(run, name)

    revoked = run("token", "revoke", number)

    assert revoked.exit_code == 0
    assert len(run("token", "list", name).output.splitlines()) == 1
    again = run("token", "revoke", number)
    assert again.exit_code == 1
    assert "token list" in again.output


def test_a_token_with_more_than_its_account_is_refused(run, name):
    run("user", "add", name, DATARUN_PASSWORD="x")

    result = run("token", "add", name, "--role", "admin")

    assert result.exit_code == 1
    assert "can't be admin" in result.output


def test_accounts_are_listed(run, name):
    run("user", "add", name, "--role", "admin", DATARUN_PASSWORD="x")

    rows = [row.split()[:2] for row in run("user", "list").output.splitlines()]

    assert rows[0] == ["name", "role"]
    assert [name, "admin"] in rows


def test_a_password_is_changed(run, name, context):
    run("user", "add", name, DATARUN_PASSWORD="old")
    before = find_user(name).password_hash

    result = run("user", "password", name, DATARUN_PASSWORD="new")

    assert result.exit_code == 0
    assert "new" not in result.output
    db.session.rollback()
    after = find_user(name).password_hash
    assert is_password(after, "new")
    assert after != before


def test_datarun_has_the_same_commands(servers, name, tmp_path):
    environ = {
        "DATABASE_URL": servers.database_url,
        "REDIS_URL": servers.redis_url,
        "DATARUN_STORAGE": str(tmp_path),
        "DATARUN_PASSWORD": "secret",
    }

    added, token = (
        subprocess.run(
            [Path(sys.executable).with_name("datarun"), group, "add", name],
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            timeout=60,
        )
        for group in ("user", "token")
    )

    assert added.returncode == token.returncode == 0, added.stderr + token.stderr
    assert token.stdout.startswith("datarun_")


@pytest.mark.parametrize(
    "words", [lambda home: ["--home", home, "list"], lambda home: ["list", "--home", home]]
)
def test_a_home_where_nothing_runs_is_refused(tmp_path, words):
    result = CliRunner().invoke(datarun, ["user", *words(str(tmp_path))])

    assert result.exit_code == 1
    assert "No `datarun up` runs" in result.output


def test_a_token_for_nobody_is_refused(run):
    result = run("token", "add", "nobody-at-all")

    assert result.exit_code == 1
    assert "no account" in result.output
