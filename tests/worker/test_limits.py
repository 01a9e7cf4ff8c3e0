from dataclasses import replace

import pytest

from datarun_worker.config import load_settings
from datarun_worker.limits import make_limits
from tests.worker.test_attempts import CLAIM

NEEDED = {"DATARUN_URL": "http://127.0.0.1:8000/", "DATARUN_TOKEN": "secret"}


@pytest.mark.parametrize(("queue", "seconds"), [("high", 600), ("low", 3600), (None, 3600)])
def test_a_queue_may_have_limits_of_its_own(queue, seconds):
    settings = load_settings({**NEEDED, "DATARUN_TIME_LIMIT": "3600, high=600"})

    assert make_limits(CLAIM, settings, queue).time == seconds


def test_a_data_sets_own_limits_come_first():
    settings = load_settings({**NEEDED, "DATARUN_MEMORY_LIMIT": "4G, high=1G"})

    limits = make_limits(replace(CLAIM, memory_limit=1 << 20), settings, "high")

    assert limits.memory == 1 << 20
