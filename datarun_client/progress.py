"""Shows how far a run is: tqdm's bar in a terminal or notebook that has it, else lines of text."""

import importlib
import sys
import time
from typing import Any, Protocol, TextIO

LINE_PERIOD = 1.0
"""Seconds between two lines, where there is no terminal: a file would fill up."""


class ProgressDisplay(Protocol):
    """What `Run.wait` tells how far it is."""

    def show(self, n_done: int, note: str) -> None:
        """Show how many folds have ended, and a few words."""

    def close(self) -> None:
        """Show nothing more."""


class NoDisplay:
    """Shows nothing."""

    def show(self, n_done: int, note: str) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Do nothing."""


class PlainDisplay:
    """One line on a terminal, written anew; elsewhere a line a second at most, and the last.

    Parameters
    ----------
    total : int
        Folds.
    file : text file, optional
        stderr by default.
    """

    def __init__(self, total: int, file: TextIO | None = None) -> None:
        self._total = total
        self._file = file or sys.stderr
        self._is_terminal = self._file.isatty()
        self._shown = ""
        self._shown_at = -LINE_PERIOD

    def show(self, n_done: int, note: str) -> None:
        """Show how many folds have ended, and a few words."""
        line = f"{n_done}/{self._total} folds{', ' if note else ''}{note}"
        now = time.monotonic()
        is_soon = not self._is_terminal and now < self._shown_at + LINE_PERIOD
        if line == self._shown or (is_soon and n_done < self._total):
            return
        self._shown_at = now
        if self._is_terminal:
            # To the line's start, and erase the rest of it.
            self._file.write(f"\r{line}\x1b[K")
        else:
            self._file.write(f"{line}\n")
        self._file.flush()
        self._shown = line

    def close(self) -> None:
        """End the line."""
        if self._is_terminal and self._shown:
            self._file.write("\n")
            self._file.flush()


class BarDisplay:
    """A bar of tqdm, in a terminal or a notebook.

    Parameters
    ----------
    bar : tqdm
    """

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def show(self, n_done: int, note: str) -> None:
        """Show how many folds have ended, and a few words."""
        self._bar.update(n_done - self._bar.n)
        self._bar.set_postfix_str(note)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


def open_display(total: int) -> ProgressDisplay:
    """Open the best display that there is for so many folds."""
    # A bar that is drawn anew all the time would fill a log file.
    if not (sys.stderr.isatty() or "ipykernel" in sys.modules):
        return PlainDisplay(total)
    try:
        tqdm = importlib.import_module("tqdm.auto").tqdm
    except ModuleNotFoundError:
        return PlainDisplay(total)
    return BarDisplay(tqdm(total=total, unit="fold"))
