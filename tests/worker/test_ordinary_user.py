import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests ran as an ordinary user already")
@pytest.mark.parametrize("name", ["test_sandbox.py", "test_confine.py", "test_check.py"])
def test_an_ordinary_users_sandboxes_are_as_good(name: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / name)]
    done = subprocess.run(
        [sys.executable, str(HERE / "ordinary_user.py"), *command],
        capture_output=True,
        text=True,
        cwd=HERE.parents[1],
        env={**os.environ, "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"},
    )

    assert done.returncode == 0, done.stdout[-5000:]
