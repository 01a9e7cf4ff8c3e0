"""Puts a process's clock wrong by FAULTS_CLOCK seconds; Python imports this at its start."""

import datetime
import os
import time

SHIFT = int(os.environ.get("FAULTS_CLOCK", "0"))

if SHIFT:
    right_time, right_time_ns = time.time, time.time_ns
    right_datetime = datetime.datetime

    class WrongDatetime(right_datetime):
        """The class that the process takes for `datetime`."""

        @classmethod
        def now(cls, tz=None):
            return right_datetime.now(tz) + datetime.timedelta(seconds=SHIFT)

        @classmethod
        def utcnow(cls):
            return cls.now(datetime.UTC).replace(tzinfo=None)

    time.time = lambda: right_time() + SHIFT
    time.time_ns = lambda: right_time_ns() + SHIFT * 10**9
    datetime.datetime = WrongDatetime
