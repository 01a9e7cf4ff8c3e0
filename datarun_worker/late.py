"""Threads that begin late: what watches over a fold isn't needed for one that is over in no time.

A lease must be renewed after a second, a report is due after a fifth of one, a heartbeat after ten;
most quick folds have ended by then, and a thread for each would cost more than the fold. So one
thread of the process waits for all of them, and starts those whose time has come. It wakes only
when one might be due: folds that end in time cost nothing but a line in a list.
"""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class _Wish:
    """A thread that is to begin."""

    moment: float
    is_over: threading.Event
    run: Callable[[], None]
    name: str


class LateStarter:
    """Starts threads after a delay, unless they aren't needed any more by then."""

    def __init__(self) -> None:
        self._wishes: list[_Wish] = []
        self._news = threading.Condition()
        self._wakes_at = math.inf
        self._thread: threading.Thread | None = None

    def start(
        self, seconds: float, is_over: threading.Event, run: Callable[[], None], name: str
    ) -> None:
        """Have a thread begin after some seconds.

        Parameters
        ----------
        seconds : float
        is_over : threading.Event
            Set when the thread isn't needed any more; also tells it to end.
        run : callable
            What the thread does.
        name : str
            The thread's.
        """
        wish = _Wish(time.monotonic() + seconds, is_over, run, name)
        with self._news:
            self._wishes.append(wish)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="late", daemon=True)
                self._thread.start()
            elif wish.moment < self._wakes_at:
                self._news.notify()

    def _run(self) -> None:
        while True:
            for wish in self._wait_for_due():
                threading.Thread(target=wish.run, name=wish.name, daemon=True).start()

    def _wait_for_due(self) -> list[_Wish]:
        """Take the wishes whose time has come, once there are any."""
        with self._news:
            while True:
                now = time.monotonic()
                wanted = [wish for wish in self._wishes if not wish.is_over.is_set()]
                self._wishes = [wish for wish in wanted if wish.moment > now]
                if len(self._wishes) < len(wanted):
                    return [wish for wish in wanted if wish.moment <= now]
                self._wakes_at = min((wish.moment for wish in wanted), default=math.inf)
                self._news.wait(self._wakes_at - now if wanted else None)


late_starter = LateStarter()
"""The process's own."""
