"""Without any one of its layers a sandbox lets something through: the hostile cases bite.

The engine is told to leave a layer out; the cases are the same that a whole datarun runs. It is an
ordinary user's engine: what root's python needs may lie where only a root of its own leads.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from datarun_worker.isolation import Layer
from tests.acceptance.conftest import ORDINARY_USER, make_prefix
from tests.submissions.canaries import Canaries
from tests.submissions.cases import FOLDER
from tests.submissions.confined import ALL

CASES = (
    "asks_for_privileges",
    "connects_to_abstract_sockets",
    "fills_its_shared_memory",
    "looks_around_in_its_root",
    "looks_at_its_namespaces",
    "opens_a_million_files",
    "opens_raw_and_netlink_sockets",
    "reads_other_processes",
    "reads_the_machines_secrets",
    "signals_every_process",
    "types_into_a_terminal",
    "writes_outside_its_scratch_folder",
)

pytestmark = pytest.mark.soak


@pytest.fixture
def canaries(make_home) -> Iterator[Canaries]:
    with Canaries(make_home()) as canaries:
        yield canaries
        canaries.clear()


def find_escapes(canaries: Canaries, left_out: str) -> list[str]:
    """Run the cases and list what got through."""
    user = ORDINARY_USER if os.geteuid() == 0 else "current"
    command = [sys.executable, FOLDER / "confined.py", left_out, *CASES]
    run = subprocess.run(
        [*make_prefix(user), *command],
        input=json.dumps(canaries.describe_alone()),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert run.returncode == 0, run.stderr
    logs = run.stdout.split("CASE ")[1:]
    assert len(logs) == len(CASES)
    assert all("REFUSED" in log or "ESCAPED" in log for log in logs), run.stdout
    return [line for line in run.stdout.splitlines() if "ESCAPED" in line]


def is_python_readable() -> bool:
    """Tell whether other users can reach the interpreter."""
    folders = Path(sys.executable).resolve().parents
    return all(folder.stat().st_mode & 0o001 for folder in folders)


def test_nothing_gets_through_all_layers(canaries):
    assert find_escapes(canaries, ALL) == []


@pytest.mark.parametrize("layer", list(Layer))
def test_something_gets_through_without_one(canaries, layer):
    if layer is Layer.MOUNT and not is_python_readable():
        pytest.skip("Python lies in a private folder, out of reach without a root of its own")
    assert find_escapes(canaries, layer) != []
