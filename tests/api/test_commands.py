import pytest
from sqlalchemy import select

from datarun_api.extensions import db
from datarun_api.models import User
from datarun_client import PROTOCOL, PROTOCOL_HEADER
from datarun_client.states import Role
from tests.conftest import numbers


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


def test_a_token_for_nobody_is_refused(run):
    result = run("token", "add", "nobody-at-all")

    assert result.exit_code == 1
    assert "no account" in result.output
