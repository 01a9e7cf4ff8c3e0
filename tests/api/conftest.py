"""What tests of the API may ask for besides."""

from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql

from datarun_api import create_app
from datarun_api.extensions import db
from datarun_api.reconciler import Reconciler
from tests.api.payloads import make_fold, prepare
from tests.conftest import numbers


@pytest.fixture
def raw_data(platform, worker):
    """A data set that is split."""
    return prepare(platform, worker)


@pytest.fixture
def fold(platform, raw_data):
    """A fold that waits for a worker."""
    assert platform.post("submissionfold/", make_fold(raw_data)).status_code == 201
    return 10


@pytest.fixture
def reconciler(context, monkeypatch):
    """A reconciler that looks at everything at once, and whose first round is done."""
    monkeypatch.setitem(context.config, "RECONCILE", 0)
    reconciler = Reconciler()
    reconciler._was_outage = False
    yield reconciler
    reconciler.close()


@pytest.fixture
def make_database(servers) -> Iterator[Callable[[], str]]:
    """Make empty databases, and give their addresses."""
    names = []

    def make() -> str:
        names.append(f"database_{next(numbers)}")
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(names[-1])))
        return servers.database_url.replace("/datarun?", f"/{names[-1]}?")

    with psycopg.connect(strip_driver(servers.database_url), autocommit=True) as connection:
        yield make
        for name in names:
            query = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            connection.execute(query)


@pytest.fixture
def make_app(servers, tmp_path):
    """Make applications on databases of their own."""
    apps = []

    def make(database_url: str, storage: str = ""):
        config = {"DATABASE_URL": database_url, "REDIS_URL": servers.redis_url}
        apps.append(create_app({**config, "STORAGE": storage or str(tmp_path / "storage")}))
        return apps[-1]

    yield make
    for app in apps:
        with app.app_context():
            db.engine.dispose()


def strip_driver(url: str) -> str:
    """Give a database's address as psycopg wants it."""
    return url.replace("+psycopg", "")
