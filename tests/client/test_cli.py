"""The command line, against the real API over HTTP; a test plays the worker."""

import fcntl
import json
import os
import pty
import stat
import struct
import subprocess
import sys
import termios
import threading
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from datarun_client.account import find_account_file
from datarun_client.cli import datarun
from datarun_client.commands.output import clean
from datarun_client.exit_codes import ExitCode
from tests.api.payloads import (
    CSV,
    beat,
    claim_fold,
    finish_split,
    make_failure,
    make_result,
    post_result,
    run_fold,
)
from tests.client.conftest import get_token
from tests.conftest import PASSWORD, wait_until


class Terminal:
    """Runs commands in this process and gives what they print."""

    def __init__(self, environ):
        self.environ = environ
        self.runner = CliRunner()

    def run(self, *words, status=ExitCode.OK, **options):
        result = self.runner.invoke(
            datarun, [str(word) for word in words], env=self.environ, **options
        )
        assert result.exit_code == status, result.output
        return result

    def read(self, *words, **options):
        """Run a command with --json."""
        return json.loads(self.run(*words, "--json", **options).stdout)


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A user's empty configuration folder."""
    for name in ("DATARUN_URL", "DATARUN_TOKEN", "DATARUN_USERNAME", "DATARUN_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config"


@pytest.fixture
def stranger(config):
    return Terminal({})


@pytest.fixture
def terminal(config, api_url, platform):
    """A terminal of somebody whose account is in the environment."""
    return Terminal({"DATARUN_URL": api_url, "DATARUN_TOKEN": get_token(platform)})


@pytest.fixture
def folder(tmp_path):
    """A submission."""
    folder = tmp_path / "submission"
    folder.mkdir()
    (folder / "classifier.py").write_text("class Classifier: pass")
    return folder


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "iris.csv"
    path.write_bytes(CSV)
    return path


@pytest.fixture
def data(client, worker):
    """A data set that is split."""
    data = client.create_raw_data("iris", {"iris.csv": CSV}, "target", "classifier")
    client.split_raw_data(data, 0.3)
    finish_split(worker, data.id)
    return data


@pytest.fixture
def run(client, data, folder):
    """A submission on two folds."""
    return client.submit(data, folder, cv=2)


def list_commands(group, words=()):
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        yield (*words, name)
        if isinstance(command, click.Group):
            yield from list_commands(command, (*words, name))


@pytest.mark.parametrize("words", [(), *list_commands(datarun)], ids=" ".join)
def test_every_command_explains_itself(words):
    result = CliRunner().invoke(datarun, [*words, "--help"])

    assert result.exit_code == 0
    assert result.output.startswith("Usage: datarun")
    assert len(result.output.splitlines()) > 4


def test_a_command_whose_extra_is_not_installed_names_it(stranger, monkeypatch, tmp_path):
    def find(group, name="run-it"):
        point = EntryPoint("run-it", "datarun_extra:run_it", group)
        return [point] if point.name == name else []

    (tmp_path / "datarun_extra.py").write_text("import a_package_that_is_not_there")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("datarun_client.cli.entry_points", find)

    assert "run-it" not in stranger.run("--help").output
    assert "the extra 'extra'" in stranger.run("run-it", status=ExitCode.USAGE).stderr
    assert "No such command" in stranger.run("fly", status=ExitCode.USAGE).stderr


def test_an_account_is_stored_where_only_its_owner_can_read_it(stranger, api_url, platform, config):
    result = stranger.run("login", api_url, "-u", platform.name, input=f"{PASSWORD}\n")

    path = find_account_file()
    assert path.is_relative_to(config)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert PASSWORD not in result.output
    assert stranger.read("data", "list") == []
    stranger.run("logout")
    assert not path.exists()
    assert "login" in stranger.run("status", status=ExitCode.USAGE).stderr
    assert "Nobody was" in stranger.run("logout").output


def test_a_token_is_an_account_too(stranger, api_url, platform):
    token = get_token(platform)

    result = stranger.run("login", api_url, "--token", input=f"{token}\n")

    assert token not in result.output
    assert stranger.read("status") == []


def test_an_account_that_is_refused_is_not_stored(stranger, api_url, platform):
    stranger.run("login", api_url, "-u", platform.name, input="wrong\n", status=ExitCode.REFUSED)

    assert not find_account_file().exists()


def test_a_file_that_others_can_read_is_not_believed(stranger, api_url, platform):
    stranger.run("login", api_url, "-u", platform.name, input=f"{PASSWORD}\n")
    find_account_file().chmod(0o644)

    result = stranger.run("status", status=ExitCode.USAGE)

    assert "chmod 600" in result.stderr


def test_a_stored_password_is_never_sent_to_another_address(
    stranger, api_url, platform, server, monkeypatch
):
    stranger.run("login", api_url, "-u", platform.name, input=f"{PASSWORD}\n")
    monkeypatch.setenv("DATARUN_URL", server.url)

    result = stranger.run("status", status=ExitCode.USAGE)

    assert server.url in result.stderr
    assert server.requests == []


def test_an_api_that_is_away_is_said_without_a_traceback(own_api, terminal):
    own_api.stop()
    terminal.environ["DATARUN_URL"] = own_api.url

    result = terminal.run("status", status=ExitCode.UNREACHABLE)

    assert "Connection refused" in result.stderr
    assert "Traceback" not in result.output


def test_a_data_set_is_added_split_shown_and_removed(terminal, client, csv, worker):
    words = (csv, "--target", "target", "--workflow", "classifier")
    added = terminal.read("data", "add", "iris", *words, "--memory-limit", "2G")
    next_ = terminal.run("data", "add", "iris", *words, "--memory-limit", "2G").stdout
    splitter = threading.Thread(target=finish_when_asked, args=(worker, client, added["id"]))
    splitter.start()
    split = terminal.read("data", "split", "iris", "--held-out-test", "0.3")
    splitter.join()

    assert (added["name"], added["split_state"], added["memory_limit"]) == ("iris", "NONE", 2 << 30)
    assert "datarun data split iris" in next_
    assert (split["split_state"], split["n_train"]) == ("DONE", 30)
    assert terminal.read("data", "show", split["id"]) == split
    assert [entry["name"] for entry in terminal.read("data", "list")] == ["iris"]
    assert "iris" in terminal.run("data", "list").stdout
    terminal.run("data", "rm", "iris", input="n\n", status=1)
    terminal.run("data", "rm", "iris", "--yes")
    assert terminal.read("data", "list") == []


def finish_when_asked(worker, client, raw_data):
    """Play the worker that a split waits for."""
    wait_until(
        lambda: client.get_raw_data(raw_data).split_state == "TODO", "the wish for a split", 20
    )
    finish_split(worker, raw_data)


def test_a_taken_name_is_refused_with_its_field(terminal, data, csv):
    words = (csv, "--target", "other", "--workflow", "classifier")

    result = terminal.run("data", "add", "iris", *words, status=ExitCode.REFUSED)

    assert result.stderr == "Error: name: RawData with this name already exists.\n"


@pytest.mark.parametrize(
    "words",
    [
        ("data", "split", "iris"),
        ("data", "split", "iris", "--held-out-test", "0.2", "--own-reader"),
        ("data", "split", "iris", "--held-out-test", "1"),
        ("data", "add", "iris", "missing.csv", "--target", "y", "--workflow", "classifier"),
        ("submit", "missing", "--data", "iris"),
        ("submit", ".", "--data", "iris", "--cv", "1"),
        ("show", "x"),
        ("cancel",),
        ("rerun", "1", "--submission", "1"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_status_2(terminal, words):
    terminal.run(*words, status=ExitCode.USAGE)


def test_a_submission_is_sent_and_followed(terminal, data, folder, platform, worker):
    states = terminal.read("submit", folder, "--data", "iris", "--cv", 3, "--priority", "high")
    numbers = [state["databoard_sf_id"] for state in states]
    text = terminal.run("submit", folder, "--data", "iris").stdout
    for number in numbers:
        assert claim_fold(worker, platform, number, "high").status_code == 200
        post_result(worker, platform, make_result(log_messages=f"fold {number}"), number)

    result = terminal.run("status", states[0]["databoard_s"], "--watch")

    assert len(numbers) == 3
    assert "datarun status 2 --watch" in text
    assert result.stdout.count("TESTED") == 3
    assert result.stderr == "3/3 folds\n"
    lines = terminal.run("status").stdout.splitlines()
    assert [line.split() for line in lines[2:]] == [["1", "3", "3", "0", "0"], list("25005")]
    assert terminal.read("show", numbers[0])["attempts"][0]["outcome"] == "tested"


def test_a_failed_fold_is_status_1_and_explained(terminal, run, platform, worker):
    for number in run.databoard_sf_ids:
        claim_fold(worker, platform, number)
        post_result(worker, platform, make_failure(log="it \x1b[31mbroke\x07"), number)
    first = run.databoard_sf_ids[0]

    watched = terminal.run("status", run.databoard_s_id, "-w", status=ExitCode.FAILED)
    shown = terminal.run("show", first)

    assert watched.stdout.count("submission_error") == 2
    assert f"datarun show {first}" in watched.stdout
    assert "submission_error" in shown.stdout
    assert "it \ufffd[31mbroke\ufffd" in shown.stdout
    assert "w1" in shown.stdout


def test_a_waiting_fold_says_why(terminal, run):
    shown = terminal.run("show", run.databoard_sf_ids[0])

    assert "no live worker serves the queue low" in shown.stdout


def test_a_wait_that_takes_too_long_is_status_5(terminal, run):
    words = ("status", run.databoard_s_id, "-w", "--timeout", "0.01")

    assert "it goes on" in terminal.run(*words, status=ExitCode.TIMEOUT).stderr


def test_a_log_is_followed_to_its_end(terminal, run, platform, worker):
    first, second = run.databoard_sf_ids
    claim_fold(worker, platform, first)
    path = f"worker/folds/{platform.id}/{first}/1/log/"
    assert worker.post(path, {"offset": 0, "text": "one\n"}).status_code == 200
    assert terminal.run("logs", first).stdout == "one\n\n"
    ending = threading.Timer(
        0.2, post_result, (worker, platform, make_failure(log="one\ntwo"), first)
    )
    ending.start()

    followed = terminal.run("logs", "-f", first, status=ExitCode.FAILED)

    ending.join()
    assert followed.stdout == "one\ntwo\n"
    run_fold(worker, platform, second)
    assert terminal.run("logs", "-f", second).stdout == "trained\n\n"


def test_predictions_are_written_as_arrays(terminal, run, platform, worker, tmp_path):
    first, second = run.databoard_sf_ids
    output = tmp_path / "predictions.npz"
    words = ("predictions", run.databoard_s_id, "-o", output)
    assert "no fold" in terminal.run(*words, status=ExitCode.FAILED).stderr
    assert not output.exists()
    run_fold(worker, platform, first)
    run_fold(worker, platform, second)

    terminal.run(*words)

    with np.load(output, allow_pickle=False) as arrays:
        assert arrays[f"test_predictions_{first}"].shape == (12, 2)
        assert arrays[f"full_train_predictions_{second}"].shape == (30, 2)


def test_folds_are_cancelled_and_run_again(terminal, run, client):
    first, _ = run.databoard_sf_ids

    terminal.run("cancel", first)
    again = terminal.run("cancel", "--submission", run.databoard_s_id, status=ExitCode.REFUSED)
    terminal.run("rerun", first)

    assert "has ended already" in again.stderr
    assert [state.state for state in run.states()] == ["TODO", "ERROR"]
    assert "404" not in terminal.run("rerun", 999, status=ExitCode.REFUSED).stderr


def test_workers_and_queues_are_listed(terminal, worker):
    assert "worker join" in terminal.run("workers").stdout
    beat(worker, "kermit")

    assert terminal.read("workers")[0]["name"] == "kermit"
    assert "kermit" in terminal.run("workers").stdout
    assert {queue["name"] for queue in terminal.read("queues")} >= {"high", "low"}
    assert "waiting" in terminal.run("queues").stdout


def test_tables_fit_a_narrow_terminal(terminal, run, config):
    """In a pseudo-terminal of 40 columns no line is longer, and no state is cut."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 40, 0, 0))
    environ = {
        **os.environ,
        **terminal.environ,
        "XDG_CONFIG_HOME": str(config),
        "TERM": "xterm",
        "NO_COLOR": "1",
    }
    environ["XDG_CONFIG_HOME"] = str(config)
    environ.pop("COLUMNS", None)

    status = subprocess.run(
        [Path(sys.executable).with_name("datarun"), "status", str(run.databoard_s_id)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environ,
        timeout=60,
    ).returncode
    os.close(slave)
    lines = click.unstyle(os.read(master, 10_000).decode()).splitlines()
    os.close(master)

    assert status == 0
    assert max(map(len, lines)) <= 40
    assert sum("TODO" in line for line in lines) == 2


def test_the_shell_completes_commands(terminal):
    environ = {**os.environ, "_DATARUN_COMPLETE": "bash_complete"}

    completed = subprocess.run(
        [Path(sys.executable).with_name("datarun")],
        env={**environ, "COMP_WORDS": "datarun stat", "COMP_CWORD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert completed.stdout == "plain,status\n"


def test_what_others_wrote_cannot_steer_the_terminal():
    assert clean("a\x1b]0;title\x07b\tc\nd\u202e\r") == ("a\ufffd]0;title\ufffdb\tc\nd\ufffd\ufffd")
