"""The zygote's warmth: what it does before its forks must not show in them."""

import random
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
    assert threading.enumerate() == threads


def test_huge_pages_hold_what_small_ones_held():
    # Given memory of some huge pages
    block = bytearray(random.Random(1).randbytes(3 * kernel.HUGE_PAGE))
    copy = bytes(block)

    # When it is put into huge pages
    kernel.collapse_memory()

    # Then nothing has changed
    assert block == copy
