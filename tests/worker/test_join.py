"""`datarun worker join`, against the real API and Redis."""

import shlex
import shutil
import stat
import subprocess
import sys

import pytest
from click.testing import CliRunner

from datarun_worker import join
from datarun_worker.commands import worker
from datarun_worker.isolation import Isolation

REFUSED, UNREACHABLE, CONFIGURATION = 4, 3, 78


@pytest.fixture
def run_join(tmp_path, servers, monkeypatch):
    for name in ("DATARUN_TOKEN", "DATARUN_URL", "RQ_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)

    def run(*words, **options):
        words = ("--file", tmp_path / "worker.env", "--redis-url", servers.redis_url, *words)
        return CliRunner().invoke(worker, ["join", *map(str, words)], **options)

    return run


@pytest.fixture
def without_fold(monkeypatch):
    """Leave out the fold, for tests of the rest."""
    monkeypatch.setattr(join, "try_fold", lambda settings: "not tried")


def test_a_machine_that_joins_can_run_a_worker(
    run_join, api_url, worker_token, servers, tmp_path, redis
):
    result = run_join(api_url, worker_token)

    path = tmp_path / "worker.env"
    assert result.exit_code == 0, result.output
    assert result.output.count("ok  ") == 3
    assert worker_token not in result.output
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "KillMode=mixed\nTimeoutStopSec=90\n" in result.output
    (line,) = [line for line in result.output.splitlines() if "set -a" in line]
    done = subprocess.run(
        ["bash", "-c", f"{line} --burst"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "Listening on high, low" in done.stdout


def test_nothing_is_written_when_the_api_refuses(
    run_join, api_url, platform, tmp_path, without_fold
):
    unknown = run_join(api_url, "wrong")
    not_a_worker = run_join(api_url, platform.headers["Authorization"].removeprefix("Bearer "))
    nowhere = run_join("http://127.0.0.1:9/", "token")

    assert unknown.exit_code == not_a_worker.exit_code == REFUSED
    assert "NO  API" in unknown.output
    assert "role" in not_a_worker.output
    assert nowhere.exit_code == UNREACHABLE
    assert list(tmp_path.iterdir()) == []


def test_a_redis_that_is_away_is_said(run_join, api_url, worker_token, tmp_path, without_fold):
    result = run_join(api_url, worker_token, "--redis-url", "redis://127.0.0.1:9/0")

    assert result.exit_code == 1
    assert "NO  Redis: it doesn't answer" in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_token_is_asked_for_without_an_echo(run_join, api_url, worker_token, without_fold):
    result = run_join(api_url, input=f"{worker_token}\n")

    assert result.exit_code == 0, result.output
    assert worker_token not in result.output


def test_a_machine_that_cannot_confine_does_not_join(
    run_join, api_url, worker_token, monkeypatch, tmp_path
):
    def refuse(isolation: Isolation, **arguments):
        raise join.IsolationError("no namespaces here")

    monkeypatch.setattr("datarun_worker.local.start_engine", refuse)

    result = run_join(api_url, worker_token)

    assert result.exit_code == CONFIGURATION
    assert "no namespaces here" in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_settings_file_is_read_the_same_by_a_shell(tmp_path):
    values = {"A": r'a b"c$HOME`\n', "B": "redis://:p@ss%20word#;@h:1/0"}
    path = tmp_path / "new" / "worker.env"

    join.write_settings_file(path, values)

    shell = "set -a; . " + shlex.quote(str(path)) + '; printf "%s\\0%s" "$A" "$B"'
    read = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, timeout=10).stdout
    assert read.split("\0") == list(values.values())
    for bad in ("it's", "two\nlines"):
        with pytest.raises(join.JoinError, match="DATARUN_TOKEN"):
            join.write_settings_file(path, {"DATARUN_TOKEN": bad})


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
def test_systemd_understands_the_unit(tmp_path):
    unit = tmp_path / "datarun-worker@.service"
    (tmp_path / "worker.env").touch()
    unit.write_text(join.make_unit(tmp_path / "worker.env", f"{sys.executable} worker", 60))

    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "datarun-worker@1.service")],
        capture_output=True,
        text=True,
        timeout=60,
    )

    about_it = [line for line in checked.stderr.splitlines() if "datarun-worker" in line]
    assert about_it == []
