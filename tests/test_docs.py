"""What the documentation says is so."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import datarun_api.config
import datarun_worker.config
from tests.conftest import wait_until

ROOT = Path(__file__).parents[1]
ENDED = re.compile(r'"state":"(TESTED|ERROR)"')
README = (ROOT / "README.md").read_text()


def find_block(language: str) -> str:
    """Find the first block of code in a language in the README."""
    return re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)[1]


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
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
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
