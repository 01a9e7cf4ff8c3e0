"""What docs/client.md shows, line by line, against a whole datarun."""

import re
import subprocess
import sys
from pathlib import Path

from tests.acceptance.conftest import ADMIN

PAGE = Path(__file__).parents[2] / "docs/client.md"


def test_the_examples_work_in_their_order(site):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    name = f"parity-{site.folder.name}"
    program = (
        "\n".join(blocks)
        .replace("http://127.0.0.1:8000/", site.url)
        .replace('"me", "secret"', ", ".join(map(repr, ADMIN)))
        .replace('"parity"', repr(name))
    )

    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=site.folder,
        capture_output=True,
        text=True,
        timeout=90,
    )

    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "70 30"
    assert lines[1].startswith("parity.csv ")
    assert (site.folder / "copy.csv").stat().st_size == int(lines[1].split()[1])
    assert lines[2:5] == ["TESTED (30, 2)"] * 3
    assert lines[5] == "1.0"
    assert "1.0 1.0" in lines
    assert "Health(status='ok', postgresql='ok', redis='ok')" in lines
    assert "raw_data: There is no data set 'partiy'; there are" in result.stdout
    assert "400 [\"'regresor' is no workflow element" in result.stdout
    assert "3/3" in result.stderr
