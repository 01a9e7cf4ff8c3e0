"""The zygote's warmth: what it does before its forks must not show in them."""

import random
import subprocess
import sys
import threading
import warnings

from datarun_worker import kernel
from datarun_worker.zygote import warm_up


def test_the_warm_up_warns_of_nothing_and_starts_no_thread():
    # Given that every warning is told
    threads = threading.enumerate()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")

        # When the zygote warms up
        warm_up()

    # Then there was none: one that is told there wouldn't be told again in a child
    assert told == []
    # (one of another test may have ended meanwhile)
    assert set(threading.enumerate()) <= set(threads)


def test_huge_pages_hold_what_small_ones_held():
    # Given memory of some huge pages
    block = bytearray(random.Random(1).randbytes(3 * kernel.HUGE_PAGE))
    copy = bytes(block)

    # When it is put into huge pages
    kernel.collapse_memory()

    # Then nothing has changed
    assert block == copy


def test_joined_libraries_work_on_and_take_fewer_mappings():
    # Given a process that has libraries with compiled parts, when it joins them
    program = """
import numpy as np, pandas as pd
from pathlib import Path
from datarun_worker import kernel

def count():
    return len(Path("/proc/self/maps").read_text().splitlines())

before = count()
kernel.join_mappings()
assert np.linalg.solve(np.eye(2), [1.0, 2.0]).tolist() == [1, 2]
assert pd.DataFrame({"a": [2, 1]}).sort_values("a").index.tolist() == [1, 0]
print(count() / before)
"""
    joined = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )

    # Then they still work, and are in far fewer pieces
    assert float(joined.stdout) < 0.75
