"""How a zygote's memory lies, so that its forks copy little.

A fork shares all memory with its parent until one of them writes to it; then the kernel copies that
page, thousands of them for a forest of some size. Two things are arranged before the first fork:

- memory in one piece fills huge pages, of which a fork copies one entry instead of five hundred
  (`reserve_memory`, and `kernel.collapse_memory`);
- memory without gaps isn't written to: what a child takes is new, and lies together
  (`fill_gaps`).
"""

import ctypes
import sys

_ARENA = 1024 * 1024
"""Bytes that Python's own allocator takes at once."""

_LARGEST_SMALL_OBJECT = 512
"""Bytes up to which that allocator serves an object."""

_LARGEST_BLOCK = 16 * 1024
"""Bytes; what fills a larger gap is several of them."""

_STEP = 16
"""Bytes by which the sizes of malloc's blocks differ."""

_kept: list[bytes | None] = []


class _MallocInfo(ctypes.Structure):
    """What mallinfo2(3) gives: ten sizes, of which the last is that of the rest at the end."""

    _fields_ = [("others", ctypes.c_size_t * 9), ("keepcost", ctypes.c_size_t)]


def reserve_memory(size: int) -> None:
    """Have Python take its memory for small objects at once, and so in one piece.

    Otherwise it takes it in pieces of 1 MiB between those that libraries are mapped to, and such
    pieces don't fill huge pages (`kernel.collapse_memory`), so that each fork copies thousands of
    entries more. An object is left in every piece, as Python gives back those that are empty.

    Parameters
    ----------
    size : int
        Bytes; a little less than the imports will take.
    """
    # The list is made first: while it grew it would get in between.
    blocks: list[bytes | None] = [None] * (size // _LARGEST_SMALL_OBJECT)
    for number in range(len(blocks)):
        blocks[number] = bytes(_LARGEST_SMALL_OBJECT - sys.getsizeof(b""))
    _kept.extend(blocks[:: _ARENA // _LARGEST_SMALL_OBJECT // 2])


def fill_gaps() -> None:
    """Take what malloc has free between the blocks in use, and keep it.

    Imports leave a thousand such gaps, all over the memory. A child would fill them first: so many
    pages more would be copied, some for the links between the gaps alone. Does nothing where
    malloc doesn't tell of itself; glibc does from 2.33 on.
    """
    libc = ctypes.CDLL(None)
    try:
        read_info = libc.mallinfo2
    except AttributeError:
        return
    read_info.restype = _MallocInfo
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    libc.sbrk.restype, libc.sbrk.argtypes = ctypes.c_void_p, [ctypes.c_ssize_t]
    # Behind it lies nothing but what malloc has never given to anybody.
    end = libc.sbrk(0) - read_info().keepcost
    for size in range(_LARGEST_BLOCK, 0, -_STEP):
        while (block := libc.malloc(size)) < end:
            pass
        libc.free(block)
