"""Waits for what the API is doing: growing pauses, a deadline, and patience with its restarts."""

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from datarun_client.errors import UnavailableError, UnreachableError

T = TypeVar("T")

SHORTEST_PAUSE = 0.05
LONGEST_PAUSE = 1.0
"""Seconds between two looks; each pause is half as long again as the one before."""

SILENCE = 600.0
"""Seconds for which who waits lets the API be away."""


class Patience:
    """How long something is waited for.

    Parameters
    ----------
    timeout : float or None
        Seconds in all; None for as long as it takes.
    silence : float, optional
        Seconds for which the API may give no answer at a stretch, because it starts again.
    """

    def __init__(self, timeout: float | None, silence: float = SILENCE) -> None:
        self._timeout = timeout
        self._silence = silence
        self._heard_at = time.monotonic()

    def tries(self) -> Iterator[None]:
        """Give a try after a pause, again and again, until the time is over."""
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        pause = SHORTEST_PAUSE
        while True:
            yield
            left = LONGEST_PAUSE if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, LONGEST_PAUSE)

    def ask(self, call: Callable[[], T]) -> T | None:
        """Make a call; None if the API doesn't answer for the moment.

        Raises
        ------
        UnreachableError, UnavailableError
            If it hasn't answered for too long.
        """
        try:
            answer = call()
        except (UnreachableError, UnavailableError):
            if time.monotonic() - self._heard_at > self._silence:
                raise
            return None
        self._heard_at = time.monotonic()
        return answer
