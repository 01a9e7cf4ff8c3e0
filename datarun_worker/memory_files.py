"""Files in memory: what a sandbox gets or gives back, without a disk and without a name."""

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def memory_file(name: str, content: bytes = b"") -> Iterator[int]:
    """Make a file in memory that a sandbox can get; gives its descriptor."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "r+b") as file:
        file.write(content)
        file.flush()
        file.seek(0)
        yield descriptor
