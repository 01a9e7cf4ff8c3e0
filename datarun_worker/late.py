"""Threads that begin late: what watches over a fold isn't needed for one that is over in no time.

A lease must be renewed after a second, a report is due after a fifth of one, a heartbeat after ten;
most quick folds have ended by then, and a thread for each would cost more than the fold. So one
thread of the process waits for all of them, and starts those whose time has come.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

TICK = 0.1
"""Seconds between two looks; nothing begins more exactly than that."""


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
            elif len(self._wishes) == 1:
                self._news.notify()

    def _run(self) -> None:
        while True:
            with self._news:
                while not self._wishes:
                    self._news.wait()
            time.sleep(TICK)
            for wish in self._take_due():
                threading.Thread(target=wish.run, name=wish.name, daemon=True).start()

    def _take_due(self) -> list[_Wish]:
        moment = time.monotonic()
        with self._news:
            wanted = [wish for wish in self._wishes if not wish.is_over.is_set()]
            self._wishes = [wish for wish in wanted if wish.moment > moment]
        return [wish for wish in wanted if wish.moment <= moment]


late_starter = LateStarter()
"""The process's own."""
