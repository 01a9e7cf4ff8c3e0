"""Runs a command as a user without any privilege, from a root shell.

``python tests/acceptance/ordinary_user.py datarun up --home DIR``

The user is `nobody`: PostgreSQL wants one that has a name.
"""

import os
import pwd
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.worker.ordinary_user import open_way_to

USER = pwd.getpwnam("nobody").pw_uid

if __name__ == "__main__":
    folders = {sys.base_prefix, sys.prefix, str(Path(__file__).parents[2])}
    open_way_to([Path(folder) for folder in sorted(folders)])
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    # Root's is closed to it.
    os.environ["HOME"] = "/nonexistent"
    os.execvp(sys.argv[1], sys.argv[1:])
