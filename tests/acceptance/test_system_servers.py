"""A PostgreSQL and a Redis of the operator's own, from the system's packages, if they are here."""

import contextlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest
from redis import Redis
from redis.exceptions import RedisError

from datarun_api.embedded import find_free_port
from tests.acceptance.conftest import ADMIN, Site, call, run_datarun
from tests.acceptance.test_backup import MODEL
from tests.conftest import Servers, wait_until

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
REDIS = shutil.which("redis-server")

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not BINARIES or not REDIS, reason="apt-get install postgresql redis-server"),
]


def can_connect(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def can_ping(url: str) -> bool:
    try:
        with Redis.from_url(url) as redis:
            return redis.ping()
    except RedisError:
        return False


@contextlib.contextmanager
def running(*command: object, **options: object) -> Iterator[None]:
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL, **options)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def system_servers(make_home) -> Iterator[Servers]:
    folder = make_home()
    binaries = BINARIES[-1].parent
    # PostgreSQL doesn't run as root; the package has made an account for it.
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    if os.geteuid() == 0:
        shutil.chown(folder, user)
    ports = find_free_port(), find_free_port()
    options = {"user": user, "cwd": folder, "stdout": subprocess.DEVNULL}
    initdb = [binaries / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust"]
    subprocess.run(initdb, check=True, **options)
    postgres = (binaries / "postgres", "-D", folder / "data", "-k", folder, "-p", ports[0])
    redis = (REDIS, "--port", ports[1], "--save", "", "--dir", folder)
    base = f"@127.0.0.1:{ports[0]}"
    with running(*postgres, **options), running(*redis, **options):
        redis_url = f"redis://127.0.0.1:{ports[1]}/0"
        wait_until(lambda: can_connect(f"postgresql://postgres{base}/postgres"), "PostgreSQL")
        wait_until(lambda: can_ping(redis_url), "Redis")
        with psycopg.connect(f"postgresql://postgres{base}/postgres", autocommit=True) as admin:
            # An ordinary owner of ordinary databases, as docs/operating.md makes them.
            admin.execute("CREATE ROLE datarun LOGIN PASSWORD 'secret'")
            admin.execute("CREATE DATABASE datarun OWNER datarun")
            admin.execute("CREATE DATABASE restored OWNER datarun")
        yield Servers(f"postgresql://datarun:secret{base}/datarun", redis_url)


def test_all_works_on_the_system_s_servers(system_servers, run_stack, make_home, tmp_path):
    home = make_home() / "home"
    table = "a,b,target\n" + "".join(f"{row},{row % 7},{row % 2}\n" for row in range(60))
    urls = {"DATABASE_URL": system_servers.database_url, "REDIS_URL": system_servers.redis_url}

    # A fold is tested,
    stack = run_stack(home, **urls)
    site = Site(stack.url, ADMIN, tmp_path)
    raw_data = site.post_data("classifier", site.write("data.csv", table))
    site.split(raw_data)
    number = site.submit(raw_data, {"classifier.py": MODEL}, np.arange(30))
    fold = site.wait_for(number)
    assert fold["state"] == "TESTED", fold
    assert stack.stop() == 0
    assert not (home / "postgresql").exists()
    assert not (home / "valkey").exists()

    # it is still there after a restart,
    stack = run_stack(home, **urls)
    assert call(Site(stack.url, ADMIN, tmp_path), "GET", f"submissionfold/{number}/").json() == fold
    said = run_datarun("backup", tmp_path / "backup", "--home", home, **urls)
    assert stack.stop() == 0

    # and it can be moved to another database and another home.
    urls["DATABASE_URL"] = urls["DATABASE_URL"].removesuffix("datarun") + "restored"
    home = make_home() / "other"
    restored = run_datarun("restore", tmp_path / "backup", "--home", home, **urls)
    assert restored.replace("restored", "backed up").replace("from", "to") == said
    stack = run_stack(home, **urls)
    assert call(Site(stack.url, ADMIN, tmp_path), "GET", f"submissionfold/{number}/").json() == fold
