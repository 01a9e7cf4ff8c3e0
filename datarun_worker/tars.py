"""Tars of files that go from one sandbox to others."""

import os
import tarfile
from collections.abc import Iterable
from pathlib import Path


def write_tar(folder: Path, names: Iterable[str], descriptor: int) -> None:
    """Write some of a folder's files, by their names in it, into an empty file."""
    with os.fdopen(os.dup(descriptor), "wb") as file, tarfile.open(fileobj=file, mode="w") as tar:
        for name in sorted(names):
            member = tar.gettarinfo(folder / name, arcname=name)
            # The same files make the same tar, whoever writes it and when.
            member.mtime, member.uid, member.gid, member.uname, member.gname = 0, 0, 0, "", ""
            with (folder / name).open("rb") as content:
                tar.addfile(member, content)


def unpack_tar(descriptor: int, folder: Path) -> None:
    """Put the files of a tar into a folder; only in a sandbox."""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(0)
        with tarfile.open(fileobj=file) as tar:
            tar.extractall(folder, filter="data")
