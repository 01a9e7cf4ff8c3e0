"""`datarun up` for tests that break it: ``python -m tests.faults.up --home DIR ...``.

Three things are different. A program is started again after half a second, however often it dies.
One whose name lies in the folder FAULTS_HELD stays away until the name is gone. And FAULTS_ENVIRON,
a JSON object, gives single programs more variables.
"""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from datarun_api import standalone, supervisor
from datarun_api.supervisor import Child, Program

HELD = Path(os.environ.pop("FAULTS_HELD"))
ENVIRON = json.loads(os.environ.pop("FAULTS_ENVIRON"))


class Supervisor(supervisor.Supervisor):
    """Lets a test say what stays away and what a program is told."""

    def _look_after(self, child: Child) -> None:
        if not (HELD / child.program.name).exists():
            super()._look_after(child)

    def _spawn(self, program: Program) -> Any:
        more = ENVIRON.get(program.name, {})
        return super()._spawn(replace(program, environ={**program.environ, **more}))


if __name__ == "__main__":
    supervisor.LONGEST_DELAY = supervisor.FIRST_DELAY
    standalone.Supervisor = Supervisor  # type: ignore[misc]
    standalone.up()
