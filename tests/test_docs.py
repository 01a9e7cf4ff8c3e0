"""What the documentation says is so."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import datarun_api.config
import datarun_worker.config
from datarun_api.credentials import hash_password
from datarun_api.embedded import find_free_port
from datarun_api.extensions import db
from datarun_api.models import User
from datarun_client.states import Role
from tests.conftest import wait_until

ROOT = Path(__file__).parents[1]
ENDED = re.compile(r'"state":"(TESTED|ERROR)"')
README = (ROOT / "README.md").read_text()


def find_block(language: str) -> str:
    """Find the first block of code in a language in the README."""
    return re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)[1]


EXAMPLE = re.compile(r"```sh\n(.*?)```\n\n```(json|text)\n(.*?)```", re.DOTALL)
"""Lines for a shell in `docs/api.md`, and what they print; ``…`` stands for anything."""


def tighten(text: str) -> str:
    """Take out what layout adds."""
    return "".join(text.split())


@pytest.fixture
def shell(app, servers, api_url, tmp_path):
    """Run lines as the page has them: with its account, on the real API."""
    with app.app_context():
        db.session.add(User(name="me", role=Role.PLATFORM, password_hash=hash_password("secret")))
        db.session.commit()
        environ = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "API": f"{api_url}runapp",
            "DATABASE_URL": servers.database_url,
            "REDIS_URL": servers.redis_url,
            "DATARUN_STORAGE": app.config["STORAGE"],
        }
    return lambda lines: subprocess.run(
        ["bash", "-euc", lines],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_examples_of_the_api_print_what_the_page_says(shell):
    examples = EXAMPLE.findall((ROOT / "docs/api.md").read_text())
    assert examples

    for lines, _, printed in examples:
        result = shell(lines)

        assert result.returncode == 0, lines + result.stderr
        pattern = re.escape(tighten(printed)).replace("…", ".*")
        assert re.fullmatch(pattern, tighten(result.stdout)), lines + result.stdout


def test_every_call_of_a_platform_is_in_the_page_about_the_api(app):
    paths = app.test_client().get("/openapi.json").json["paths"]
    page = (ROOT / "docs/api.md").read_text()

    shown = set()
    for path in paths:
        if not path.startswith("/runapp/worker/"):
            path = re.sub(r"{\w+_id}", "<id>", path.removeprefix("/runapp/"))
            shown.add(path.replace("{", "<").replace("}", ">"))

    assert "rawdata/<id>/" in shown
    assert {path for path in shown if path not in page} == set()


@pytest.mark.parametrize(
    "setting",
    [
        *datarun_api.config.SETTINGS,
        *datarun_api.config.STANDALONE_SETTINGS,
        *datarun_worker.config.SETTINGS,
    ],
    ids=lambda setting: setting.name,
)
def test_every_setting_is_documented(setting):
    default = f"`{setting.default}`" if setting.default else ""

    row = f"| `{setting.name}` | {default} | {setting.help} |"

    assert row in (ROOT / "docs/operating.md").read_text()


def test_the_lines_of_the_readme_work_when_pasted(make_home):
    port = str(find_free_port())
    home = make_home()
    shell, python = (
        block.replace("make install\n", "")
        .replace(".venv/bin/datarun", str(Path(sys.executable).with_name("datarun")))
        .replace(".venv/bin/python", sys.executable)
        .replace("/tmp/datarun", str(home / "stack"))
        .replace("/tmp/data.txt", str(home / "data.txt"))
        .replace("8000", port)
        for block in (find_block("sh"), find_block("python"))
    )
    output = (home / "output.txt").open("w+")
    process = subprocess.Popen(
        ["bash", "-c", shell + "\nwait"], stdout=output, cwd=ROOT, start_new_session=True
    )
    try:
        wait_until(lambda: ENDED.search(Path(output.name).read_text()), "the README's fold", 90)
        assert '"state":"TESTED"' in Path(output.name).read_text()

        result = subprocess.run(
            [sys.executable, "-c", python], capture_output=True, text=True, timeout=60, cwd=ROOT
        )
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)
        output.close()
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("TESTED")
