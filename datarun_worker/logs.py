"""The printed text of a sandbox: bounded, and fit to be shown."""

import re

_TERMINAL_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[PX^_][^\x1b\n]*(?:\x1b\\)?|.)?"
)
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_OVERWRITTEN = re.compile(r"[^\n]*\r(?=[^\n])")


class LogBuffer:
    """Keeps the first and the last half of what it is given.

    Parameters
    ----------
    limit : int
        Bytes to keep.
    """

    def __init__(self, limit: int) -> None:
        self._half = limit // 2
        self._first = bytearray()
        self._last = bytearray()
        self._dropped = 0

    def write(self, data: bytes) -> None:
        """Add what was printed."""
        room = self._half - len(self._first)
        self._first += data[:room]
        self._last += data[room:]
        excess = len(self._last) - self._half
        if excess > 0:
            self._dropped += excess
            del self._last[:excess]

    def read(self) -> str:
        """Give it as text, with a mark where something was left out."""
        if not self._dropped:
            return clean_text(bytes(self._first + self._last).decode(errors="replace"))
        first = clean_text(self._first.decode(errors="replace"))
        last = clean_text(self._last.decode(errors="replace"))
        return f"{first}\n[... {self._dropped} bytes left out ...]\n{last}"


def clean_text(text: str) -> str:
    """Take out what would play tricks on a terminal or a database: escapes, NULs, controls.

    Halves of characters, which no UTF-8 can hold, are replaced. Of a line that a progress bar wrote
    over again and again the last state stays.
    """
    text = _TERMINAL_ESCAPE.sub("", text)
    text = _OVERWRITTEN.sub("", text.replace("\r\n", "\n"))
    return _CONTROL.sub("", _SURROGATE.sub("\ufffd", text))
