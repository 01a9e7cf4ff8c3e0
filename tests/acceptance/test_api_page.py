"""The examples of docs/api.md, run one after the other as one program."""

import re
import subprocess
import sys
from pathlib import Path

from tests.acceptance.conftest import ADMIN

PAGE = Path(__file__).parents[2] / "docs/api.md"


def test_the_examples_work(stack, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    program = (
        "\n".join(blocks)
        .replace("http://127.0.0.1:8000/", stack.url)
        .replace('("admin", "password")', repr(ADMIN))
    )
    path = tmp_path / "examples.py"
    path.write_text(program)

    result = subprocess.run(
        [sys.executable, path], capture_output=True, text=True, timeout=90, check=False
    )

    assert result.returncode == 0, result.stderr
