"""Connections that PostgreSQL closed while they waited in the pool."""

import pytest
from sqlalchemy import func, select

from datarun_api import pool
from datarun_api.extensions import db
from datarun_api.waiting import make_connect


@pytest.fixture
def terminate(app):
    """End one of PostgreSQL's processes, as when it is restarted."""
    with make_connect(app)() as other:

        def end(pid):
            (is_over,) = other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid]).fetchone()
            assert is_over

        yield end


def ask_pid():
    """Say which of PostgreSQL's processes answers, and give the connection back."""
    with db.engine.connect() as connection:
        return connection.scalar(select(func.pg_backend_pid()))


def test_a_connection_is_used_again_without_a_question(context, monkeypatch):
    pid = ask_pid()

    def ping(connection):
        pytest.fail("PostgreSQL was asked")

    monkeypatch.setattr(db.engine.dialect, "do_ping", ping)

    assert ask_pid() == pid


def test_a_connection_that_postgresql_closed_is_replaced(context, terminate):
    pid = ask_pid()
    terminate(pid)

    assert ask_pid() != pid


def test_a_connection_that_was_idle_for_long_is_asked_for_a_sign_of_life(
    context, terminate, monkeypatch
):
    """Given something between the two machines that forgot it and tells nobody."""
    pid = ask_pid()
    terminate(pid)
    monkeypatch.setattr(pool, "is_readable", lambda connection: False)
    monkeypatch.setattr(pool, "MAX_IDLE", 0.0)

    assert ask_pid() != pid
