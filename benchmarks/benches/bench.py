"""What is measured, and how it is shown."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from benchmarks.measurements import Spread
from benchmarks.session import Session
from benchmarks.tables import Table

Results = dict[str, Any]
"""What goes into the JSON file; times in seconds."""


class Bench(ABC):
    """One question about speed.

    Attributes
    ----------
    name : str
        On the command line and in JSON.
    """

    name: ClassVar[str]

    @abstractmethod
    def measure(self, session: Session) -> Results:
        """Measure, in interleaved repeats."""

    @abstractmethod
    def make_tables(self, results: Results) -> list[Table]:
        """Show what was measured."""

    @abstractmethod
    def find_ratios(self, results: Results) -> dict[str, Spread]:
        """Give the ratios to keep an eye on, by names that say what they are of."""
