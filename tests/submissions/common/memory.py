"""Searches the whole memory of its process for six bytes.

Who looks for something holds it, and would find himself. So the bytes come masked, and memory is
compared masked: here they are never written down.
"""

import contextlib
import ctypes
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

MASK = 0x5A5A5A5A
_CHUNK = 1 << 23
_OVERLAP = 16
_LENGTH = 6


def count_in_memory(masked: Mapping[str, str]) -> dict[str, int]:
    """Count how often each pattern occurs.

    Parameters
    ----------
    masked : mapping of str to str
        Six bytes each, every one xor 0x5a, in hexadecimal.
    """
    counts = dict.fromkeys(masked, 0)
    wanted = {name: bytes.fromhex(text) for name, text in masked.items()}
    for chunk in _read_memory():
        for shift in range(4):
            words = np.frombuffer(chunk, "<u4", (len(chunk) - shift) // 4, shift) ^ MASK
            for name, pattern in wanted.items():
                # The last four of the six first, they are the rarest in numbers.
                found = np.flatnonzero(words == int.from_bytes(pattern[2:], "little"))
                for at in 4 * found[:1000] + shift - 2:
                    before = chunk[max(at, 0) : at + 2]
                    counts[name] += bytes(byte ^ 0x5A for byte in before) == pattern[:2]
    return counts


def _read_memory() -> Iterator[bytes]:
    with contextlib.ExitStack() as stack:
        memory = None
        with contextlib.suppress(OSError):
            memory = stack.enter_context(open("/proc/self/mem", "rb", buffering=0))
        for start, end in _list_regions():
            for at in range(start, end, _CHUNK):
                size = min(_CHUNK + _OVERLAP, end - at)
                with contextlib.suppress(OSError):
                    yield (
                        ctypes.string_at(at, size)
                        if memory is None
                        else os.pread(memory.fileno(), size, at)
                    )


def _list_regions() -> list[tuple[int, int]]:
    regions = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, access, *rest = line.split(maxsplit=5)
        name = rest[3] if len(rest) > 3 else ""
        is_code = ".so" in name or name.startswith(("/usr", "[v"))
        if access.startswith("r") and not is_code:
            start, end = (int(text, 16) for text in addresses.split("-"))
            regions.append((start, end))
    return regions
