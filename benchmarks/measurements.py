"""Medians, ratios of interleaved repeats, and what got slower than it was."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

TOLERANCE = 0.2
"""How much a ratio may differ from the reference: twice what quiet runs differ by."""


@dataclass(frozen=True)
class Spread:
    """What some repeats gave.

    Attributes
    ----------
    median, lowest, highest : float
    """

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Summarize at least one value."""
        return cls(statistics.median(values), min(values), max(values))


def divide(values: Sequence[float], by: Sequence[float]) -> list[float]:
    """Divide what one contender took by what another took in the same repeat."""
    return [value / other for value, other in zip(values, by, strict=True)]


class Change(StrEnum):
    """How a ratio compares with the reference."""

    SLOWER = "slower"
    SAME = "same"
    FASTER = "faster"
    NEW = "not in the reference"


def compare(now: Spread, before: float | None, tolerance: float = TOLERANCE) -> Change:
    """Compare a ratio of this run with the reference's.

    Noise makes single repeats slower or faster; only when all of them are, by more than the
    tolerance, is something told.

    Parameters
    ----------
    now : Spread
        The ratios of this run's repeats.
    before : float or None
        The reference's median.
    tolerance : float, optional
    """
    if before is None:
        return Change.NEW
    if now.lowest > before * (1 + tolerance):
        return Change.SLOWER
    if now.highest < before / (1 + tolerance):
        return Change.FASTER
    return Change.SAME


def compare_all(ratios: Mapping[str, Spread], reference: Mapping[str, float]) -> dict[str, Change]:
    """Compare all ratios of a run, by their names."""
    return {name: compare(now, reference.get(name)) for name, now in ratios.items()}
