"""`datarun up` and `datarun demo` for real: every test looks at running processes."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import requests

from datarun_api import demo, standalone
from datarun_api.embedded import EmbeddedPostgres, EmbeddedValkey
from datarun_api.home import Home
from datarun_api.supervisor import Supervisor, find_process
from datarun_client import post_api
from tests.conftest import wait_until

DEADLINE = 60.0

USERNAME = "organizer"
PASSWORD = "canary-password-of-the-test"


class Up:
    """A running `datarun up`."""

    def __init__(self, home: Path, *options: str, workers: int = 1, **environ: str) -> None:
        self.home = home
        shared = {name: text for name, text in os.environ.items() if not name.startswith("DATARUN")}
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "datarun_api.standalone", "--home", str(home)),
                *("--port", "0", "--workers", str(workers), *options),
            ],
            env={**shared, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with self.process.stdout as output:
            for line in output:
                self.lines.append(line.rstrip("\n"))

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    @property
    def url(self) -> str:
        return (self.home / "url").read_text()

    def wait_until_ready(self) -> "Up":
        # Not for the file: after a SIGKILL that of the last run is still there for a moment.
        wait_until(
            lambda: "ready at" in self.output or self.process.poll() is not None,
            "the stack",
            DEADLINE,
        )
        assert self.process.poll() is None, self.output
        return self

    def find_processes(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def find_program(self, word: str) -> psutil.Process:
        """Find the one child whose command line has this word."""
        children = psutil.Process(self.process.pid).children()
        [found] = [child for child in children if any(word in part for part in child.cmdline())]
        return found

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        returncode = self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        return returncode


@pytest.fixture
def folder(make_home) -> Path:
    """A folder that PostgreSQL's account can reach; pytest's own ones are closed."""
    return make_home()


@contextlib.contextmanager
def run_up(home: Path, *options: str, **fields: str) -> Iterator[Up]:
    """Run `datarun up`; whatever the test does, nothing of it stays."""
    up = Up(home, *options, **fields)
    try:
        yield up
    finally:
        processes = up.find_processes() if up.process.poll() is None else []
        up.process.kill()
        up.wait()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.fixture(scope="module")
def up(make_home) -> Iterator[Up]:
    """One stack for the tests that leave it as it was."""
    account = {"DATARUN_USERNAME": USERNAME, "DATARUN_PASSWORD": PASSWORD}
    with run_up(make_home(), **account) as running:
        yield running.wait_until_ready()


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and find_process(process.pid) is not None


def post_data_set(url: str, folder: Path, name: str) -> str:
    path = folder / "data.csv"
    path.write_text("x,y\n1,0\n2,1\n")
    response = post_api.post_data(url, USERNAME, PASSWORD, name, "y", "classifier", path)
    assert response.status_code == 201, response.text
    return name


def test_the_ready_line_has_the_address(up):
    assert f"datarun    | ready at {up.url}   (Ctrl-C stops it)" in up.lines
    assert requests.get(f"{up.url}health", timeout=10).status_code == 200


def test_the_api_listens_on_this_machine_only(up):
    listening = {
        connection.laddr.ip
        for process in up.find_processes()
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }

    assert listening == {"127.0.0.1"}


def test_the_first_account_is_the_operator_s(up):
    assert post_api.get_raw_data(up.url, USERNAME, PASSWORD).status_code == 200
    assert post_api.get_raw_data(up.url, USERNAME, "wrong").status_code == 401


def test_accounts_and_tokens_are_managed_by_its_home(up):
    def run(*words):
        command = [Path(sys.executable).with_name("datarun"), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    token = run("token", "--home", str(up.home), "add", USERNAME, "--role", "viewer")

    assert token.returncode == 0, token.stderr
    headers = {"Authorization": f"Bearer {token.stdout.strip()}"}
    lists = requests.get(f"{up.url}runapp/rawdata/", headers=headers, timeout=10)
    assert lists.status_code == 200


def test_no_secret_is_on_a_command_line_or_in_the_log(up):
    secrets = [path.read_text() for path in (up.home / "secrets").iterdir()]
    commands = [" ".join(process.cmdline()) for process in up.find_processes()]

    assert len(secrets) == 5
    for secret in [PASSWORD, *secrets]:
        assert all(secret not in text for text in [*commands, *up.lines])


def test_a_worker_knows_neither_the_database_nor_the_operator_s_password(up):
    environ = up.find_program("rq.cli").environ()

    assert "DATARUN_TOKEN" in environ
    assert "DATABASE_URL" not in environ
    assert PASSWORD not in environ.values()


def test_a_second_stack_in_the_same_home_is_refused(up):
    with run_up(up.home) as second:
        assert second.wait() == 1

    assert f"Another `datarun up` (process {up.process.pid}) runs in {up.home}" in second.output
    assert requests.get(f"{up.url}health", timeout=10).status_code == 200


def test_a_port_that_is_taken_is_refused(folder):
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        port = somebody.getsockname()[1]
        with run_up(folder / "home", "--port", str(port)) as stack:
            assert stack.wait() == 1

    assert f"Port {port} can't be had" in stack.output


@pytest.mark.parametrize("word", ["rq.cli", "gunicorn", "reconcile", "valkey", "postgres"])
def test_a_program_that_is_killed_is_back_soon(up, word):
    wait_until(lambda: "reconciler" in read_names(up.home), "the last program to start")
    killed = up.find_program(word)

    killed.kill()

    wait_until(lambda: not is_alive(killed), "its death")
    wait_until(lambda: has_program(up, word), "its return")
    wait_until(lambda: is_answering(up.url), "the API")


def read_names(home: Path) -> str:
    return (home / "programs.json").read_text()


def has_program(up: Up, word: str) -> bool:
    try:
        return is_alive(up.find_program(word))
    except (ValueError, psutil.NoSuchProcess):
        return False


def is_answering(url: str) -> bool:
    try:
        return requests.get(f"{url}health", timeout=10).status_code == 200
    except requests.RequestException:
        return False


def test_an_end_leaves_no_process_and_the_next_start_shows_the_old_data(folder):
    account = {"DATARUN_USERNAME": USERNAME, "DATARUN_PASSWORD": PASSWORD}
    names = []
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT):
        with run_up(folder / "home", **account) as stack:
            stack.wait_until_ready()
            names.append(post_data_set(stack.url, folder, f"data before {number.name}"))
            entries = post_api.get_raw_data(stack.url, USERNAME, PASSWORD).json()
            assert [entry["name"] for entry in entries] == names
            processes = stack.find_processes()

            returncode = stack.stop(number)

            assert returncode == (-number if number == signal.SIGKILL else 0)
            wait_until(
                lambda left=processes: not any(is_alive(process) for process in left),
                "all processes to end",
            )


def test_a_stop_in_the_middle_of_the_start_leaves_nothing(folder):
    with run_up(folder / "home") as stack:
        wait_until(lambda: "postgresql" in stack.output, "the first program")
        processes = stack.find_processes()

        assert stack.stop(signal.SIGINT) == 0

    assert not any(is_alive(process) for process in processes)


def test_a_password_that_nobody_chose_is_shown_once(folder):
    with run_up(folder / "home", workers=0) as first:
        first.wait_until_ready()
        [password] = re.findall(r"your account: admin   password: (\S+)", first.output)
        assert post_api.get_raw_data(first.url, "admin", password).status_code == 200
        first.stop()

    with run_up(folder / "home", workers=0) as second:
        second.wait_until_ready()
        assert "password" not in second.output
        assert post_api.get_raw_data(second.url, "admin", password).status_code == 200


def test_servers_of_the_operator_s_own_are_used(folder):
    with (
        contextlib.closing(Home(folder / "servers")) as home,
        Supervisor(home.record, lambda line: None) as supervisor,
    ):
        servers = (EmbeddedPostgres(home), EmbeddedValkey(home))
        for server in servers:
            server.init()
            child = supervisor.start(server.get_program(dict(os.environ)))
            supervisor.wait_for(server.is_ready, child.program.name, DEADLINE, child)
        urls = {"DATABASE_URL": servers[0].url, "REDIS_URL": servers[1].url}

        with run_up(folder / "home", workers=0, **urls) as stack:
            stack.wait_until_ready()
            names = {process.name() for process in stack.find_processes()}

    assert not any("postgres" in name or "valkey" in name for name in names)
    assert not (folder / "home" / "postgresql").exists()
    assert not (folder / "home" / "valkey").exists()


def test_workers_talk_to_the_api_past_a_proxy():
    environ = standalone.make_child_environ({"HTTP_PROXY": "http://proxy", "NO_PROXY": "intranet"})

    assert environ["NO_PROXY"] == environ["no_proxy"] == "intranet,127.0.0.1"


def test_what_is_secret_is_not_handed_on():
    environ = standalone.make_child_environ({"DATARUN_PASSWORD": "x", "DATABASE_URL": "y"})

    assert not {"DATARUN_PASSWORD", "DATABASE_URL"} & set(environ)


def test_the_default_home_is_out_of_root_s_closed_folder():
    home = standalone.find_default_home({"XDG_DATA_HOME": "/data"})

    assert home == Path("/var/lib/datarun" if os.geteuid() == 0 else "/data/datarun")


def test_the_demo_ends_with_twelve_tested_folds_and_leaves_nothing():
    before = set(Path(tempfile.gettempdir()).glob("datarun-demo-*"))

    result = subprocess.run(
        [sys.executable, "-m", "datarun_api.demo", "--workers", "2"],
        capture_output=True,
        text=True,
        timeout=110,
    )

    assert result.returncode == 0, result.stdout + result.stderr
    scores = re.findall(r"(?:iris|diabetes) +\w+ +\d +TESTED +(?:accuracy|R2) (\S+)", result.stdout)
    assert len(scores) == 12
    assert all(float(score) > 0.3 for score in scores)
    assert set(Path(tempfile.gettempdir()).glob("datarun-demo-*")) == before
    assert not [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if "datarun-demo-" in " ".join(process.info["cmdline"] or ())
    ]


def test_the_demo_s_accuracy_counts_the_right_rows():
    y_true = pd.Series(["b", "a", "c", "a"])
    probabilities = np.array([[0.1, 0.8, 0.1], [0.9, 0.1, 0], [0.2, 0.5, 0.3], [0.6, 0.4, 0]])

    assert demo.score_accuracy(y_true, probabilities) == 0.75
