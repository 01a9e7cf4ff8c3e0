"""How a zygote's memory lies: what its forks copy."""

import subprocess
import sys

PROGRAM = """
import os, resource
from datarun_worker import heap

# A block in each page, and room for another.
small, large = 1000, 3000
blocks = [bytes(size) for _ in range(2000) for size in (small, large)]
del blocks[::2]

{fill}
reader, writer = os.pipe()
if os.fork() == 0:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    taken = [bytes(small) for _ in range(1000)]
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    os.write(writer, str(faults).encode())
    os._exit(0)
os.close(writer)
print(os.read(reader, 100).decode())
assert all(block == bytes(large) for block in blocks)
"""


def run_apart(program: str) -> int:
    """Run a program in a process of its own; gives the number that it prints."""
    told = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    return int(told.stdout)


def count_faults(fill: str) -> int:
    """Tell how many pages a child copies that takes a million bytes."""
    return run_apart(PROGRAM.format(fill=fill))


def test_a_child_fills_no_gaps_of_its_parents_memory():
    # Given a process with gaps in its memory, when a child takes memory for a thousand blocks
    scattered = count_faults("")
    together = count_faults("heap.fill_gaps()")

    # Then each of them costs a page if the gaps are there, and four share one if they are filled
    assert scattered > 900
    assert together < 500


def test_small_objects_lie_in_one_piece():
    # Given a process that reserves memory, when it makes small objects
    program = """
from pathlib import Path
from datarun_worker import heap

def list_mappings():
    return {line.split()[0] for line in Path("/proc/self/maps").read_text().splitlines()}

heap.reserve_memory(16 * 1024 * 1024)
reserved = list_mappings()
objects = [bytes(100) for _ in range(90_000)]
print(len(list_mappings() - reserved))
"""
    n_mappings = run_apart(program)

    # Then they take nothing but the list's own memory in addition
    assert n_mappings <= 2
