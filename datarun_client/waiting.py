"""Waits for what the API is doing: growing pauses, a deadline, and patience with its restarts."""

import math
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
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._silence = silence
        self._heard_at = time.monotonic()

    @property
    def left(self) -> float:
        """How many seconds are left; without end if there is no time limit."""
        return math.inf if self._deadline is None else self._deadline - time.monotonic()

    def tries(self) -> Iterator[None]:
        """Give a try after a pause, again and again, until the time is over."""
        pause = SHORTEST_PAUSE
        while True:
            yield
            left = self.left
            if left <= 0:
                return
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, LONGEST_PAUSE)

    def hear(self) -> None:
        """Note that the API has answered."""
        self._heard_at = time.monotonic()

    def bear(self, error: UnreachableError | UnavailableError) -> None:
        """Raise an error again if the API hasn't answered for too long."""
        if time.monotonic() - self._heard_at > self._silence:
            raise error

    def ask(self, call: Callable[[], T]) -> T | None:
        """Make a call; None if the API doesn't answer for the moment.

        Raises
        ------
        UnreachableError, UnavailableError
            If it hasn't answered for too long.
        """
        try:
            answer = call()
        except (UnreachableError, UnavailableError) as error:
            self.bear(error)
            return None
        self.hear()
        return answer
