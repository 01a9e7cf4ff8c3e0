"""How long the parts of a fold take, one after the other without a gap."""

import time

from datarun_client.states import Span


class Laps:
    """A stopwatch that starts when it is made, on this machine's monotonic clock.

    Attributes
    ----------
    spans : dict of Span to float
        Seconds.
    """

    def __init__(self) -> None:
        self.spans: dict[Span, float] = {}
        self._since = time.monotonic()

    def end(self, span: Span) -> None:
        """Give a span the time since the one before ended; more of the same is added up."""
        moment = time.monotonic()
        self.spans[span] = self.spans.get(span, 0.0) + moment - self._since
        self._since = moment
