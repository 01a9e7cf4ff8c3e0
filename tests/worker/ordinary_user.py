"""Runs a command as a user without any privilege, from a root shell.

``python tests/worker/ordinary_user.py python -m pytest tests/worker``

The interpreter may lie in root's home, where nobody else may look. So the command gets a mount
namespace in which the folders on the way to it are open, with nothing else in them.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from datarun_worker import kernel
from datarun_worker.kernel import Clone, Mount

USER = 65532


def open_way_to(paths: list[Path]) -> None:
    """Let everybody reach these paths, and nothing beside them."""
    kernel.unshare(Clone.MOUNT)
    kernel.mount(None, "/", None, Mount.RECURSIVE | Mount.PRIVATE)
    closed = {
        path: next((p for p in reversed(path.parents) if is_closed(p)), None) for path in paths
    }
    trees = {path: kernel.clone_tree(path, Mount(0)) for path, parent in closed.items() if parent}
    for parent in {parent for parent in closed.values() if parent}:
        kernel.mount("way", parent, "tmpfs", 0, "mode=755")
    for path, tree in trees.items():
        path.mkdir(parents=True, exist_ok=True)
        kernel.attach_tree(tree, path)


def is_closed(folder: Path) -> bool:
    return not folder.stat().st_mode & 0o001


if __name__ == "__main__":
    prefixes = {sys.base_prefix, sys.prefix, str(Path(__file__).parents[2])}
    open_way_to([Path(prefix) for prefix in sorted(prefixes)])
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    os.execvp(sys.argv[1], sys.argv[1:])
