"""What happens to an account's folds, read off the API's stream of Server-Sent Events.

A stream begins with the number of the last event before it, sends a comment now and then so that
a dead connection is noticed, and ends after a time; whoever wants more connects again and says
which event it knows (``Last-Event-ID``).
"""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from datarun_client.errors import AnswerError, EventsLostError
from datarun_client.records import FoldEvent
from datarun_client.transport import EVENTS, Transport

LONGEST_STREAM = 600
"""Seconds that the API lets a stream last."""

_RESET = "reset"


class EventStream:
    """An open stream of events.

    Parameters
    ----------
    lines : iterator of str
        Of its text.
    last_event_id : int, optional
        The last event that is known.

    Attributes
    ----------
    last_event_id : int or None
        The last event that was given, or that the stream began after.
    """

    def __init__(self, lines: Iterator[str], last_event_id: int | None = None) -> None:
        self._lines = lines
        self.last_event_id = last_event_id

    def begin(self) -> None:
        """Read where the stream begins: what happens from then on is in it.

        Raises
        ------
        EventsLostError
            If events are gone that aren't known.
        """
        self._take(self._read_block())

    def __iter__(self) -> Iterator[FoldEvent]:
        while block := self._read_block():
            event = self._take(block)
            if event is not None:
                yield event

    def _take(self, block: dict[str, str]) -> FoldEvent | None:
        if block.get("event") == _RESET:
            raise EventsLostError("Older events are gone; look at the folds again.")
        try:
            if "id" in block:
                self.last_event_id = int(block["id"])
            if "data" not in block:
                return None
            answer: Any = json.loads(block["data"])
            return FoldEvent.from_wire({**answer, "id": self.last_event_id})
        except (KeyError, TypeError, ValueError) as error:
            text = f"What came is no event ({error}); let API and client be of the same release."
            raise AnswerError(text) from error

    def _read_block(self) -> dict[str, str]:
        """Read up to an empty line; an empty block is the stream's end. Comments are left out."""
        block: dict[str, str] = {}
        for line in self._lines:
            if line and not line.startswith(":"):
                name, _, value = line.partition(":")
                block[name] = value.removeprefix(" ")
            elif block and not line:
                break
        return block


@contextlib.contextmanager
def open_events(
    transport: Transport, last_event_id: int | None = None, seconds: float = LONGEST_STREAM
) -> Iterator[EventStream]:
    """Open a stream of events.

    Parameters
    ----------
    transport : Transport
    last_event_id : int, optional
        The last event that is known; by default what happens from now on is told.
    seconds : float, optional
        How long the stream lasts at most, from 1 on.

    Raises
    ------
    EventsLostError
        If events are gone that aren't known.
    CallError
        If the stream can't be opened, or breaks off.
    """
    headers = {} if last_event_id is None else {"Last-Event-ID": str(last_event_id)}
    wait = max(1, min(int(seconds), LONGEST_STREAM))
    with transport.open_lines(EVENTS, {"wait": wait}, headers) as lines:
        stream = EventStream(lines, last_event_id)
        stream.begin()
        yield stream
