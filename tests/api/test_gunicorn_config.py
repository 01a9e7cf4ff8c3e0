"""What gunicorn makes of the Procfile."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

PROCFILE = Path(__file__).parents[2] / "Procfile"


def test_the_web_process_has_a_thread_for_each_request_that_may_wait_and_more():
    commands = dict(line.split(": ", 1) for line in PROCFILE.read_text().splitlines())
    words = shlex.split(commands["web"])
    addresses = {"DATABASE_URL": "postgresql://server/datarun", "REDIS_URL": "redis://server"}

    result = subprocess.run(
        [sys.executable, "-m", *words, "--print-config"],
        env={**os.environ, **addresses, "DATARUN_MAX_WAITERS": "3"},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert result.returncode == 0, result.stderr
    pairs = (line.partition("=") for line in result.stdout.splitlines())
    settings = {name.strip(): value.strip() for name, _, value in pairs}
    assert settings["worker_class"] == "gthread"
    assert settings["threads"] == "11"
