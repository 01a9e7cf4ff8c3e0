"""Gives a program a small disk of its own: ``python small_disk.py FOLDER SIZE USED PROGRAM [...]``.

The disk is a tmpfs on the folder, seen by the program and its children alone. USED of its SIZE
bytes are taken by the file `ballast`.
"""

import os
import sys
from pathlib import Path

from datarun_worker import kernel
from datarun_worker.kernel import Clone, Mount


def mount_disk(folder: Path, size: int) -> None:
    """Mount the disk in a mount namespace; without root, in a user namespace too."""
    uid, gid = os.geteuid(), os.getegid()
    kernel.unshare(Clone.MOUNT if uid == 0 else Clone.MOUNT | Clone.USER)
    if uid != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    kernel.mount(None, "/", None, Mount.RECURSIVE | Mount.PRIVATE)
    kernel.mount("disk", folder, "tmpfs", 0, f"size={size},mode=700")


if __name__ == "__main__":
    disk = Path(sys.argv[1])
    mount_disk(disk, int(sys.argv[2]))
    (disk / "ballast").write_bytes(bytes(int(sys.argv[3])))
    os.execvp(sys.argv[4], sys.argv[4:])
