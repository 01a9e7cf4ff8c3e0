"""What docs/cli.md shows, pasted into a shell in an empty folder, by a newcomer's account."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datarun_client.account import SETTINGS
from datarun_client.exit_codes import ExitCode

PAGE = (Path(__file__).parents[2] / "docs/cli.md").read_text()
PASSWORD = "newcomer's password"


@pytest.fixture
def newcomer(stack):
    """An account that has nothing yet, made as an operator makes it."""
    name = f"newcomer-{os.getpid()}"
    web = find_web_environ(stack)
    subprocess.run(
        [Path(sys.executable).with_name("flask"), "--app", "datarun_api", "user", "add", name],
        env={**os.environ, **web, "DATARUN_PASSWORD": PASSWORD},
        check=True,
        capture_output=True,
        timeout=60,
    )
    return name


def find_web_environ(stack):
    """Read the environment of the stack's API, which knows where its database is."""
    programs = json.loads((stack.home / "programs.json").read_text())
    pid = next(program["pid"] for program in programs if program["name"] == "web")
    lines = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    pairs = (line.decode().partition("=") for line in lines)
    return {name: value for name, _, value in pairs if name in ("DATABASE_URL", "REDIS_URL")}


def test_a_newcomer_gets_from_login_to_a_score(stack, newcomer, tmp_path):
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    script = "set -e\n" + "\n".join(blocks)
    script = script.replace("http://127.0.0.1:8000/ -u me", f"{stack.url} -u {newcomer}")
    # The password is typed in; a script has no terminal to type into.
    script = script.replace("datarun login", f'DATARUN_PASSWORD="{PASSWORD}" datarun login')

    result = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=110,
    )

    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("on the held-out rows: accuracy 1.0000") == 2
    assert result.stdout.endswith("tested\n")
    scored = [line.split() for line in result.stdout.splitlines() if line.startswith("accuracy")]
    assert ["accuracy", "test", "1.0000", "0.0000", "1.0000"] in scored
    assert PASSWORD not in result.stdout + result.stderr
    with np.load(tmp_path / "predictions.npz", allow_pickle=False) as arrays:
        assert arrays["test_predictions_1"].shape == (20, 2)
    assert len(json.loads((tmp_path / "folds.json").read_text())) == 3


@pytest.mark.parametrize("code", ExitCode)
def test_every_exit_status_is_documented(code):
    assert f"| {code.value} | " in PAGE


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_of_the_command_line_is_documented(setting):
    assert f"| `{setting.name}` | {setting.help} |" in PAGE
