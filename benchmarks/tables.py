"""Tables that read well in a terminal and in Markdown alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.measurements import Spread


@dataclass
class Table:
    """A titled table of text.

    Attributes
    ----------
    title : str
    columns : sequence of str
    rows : list of list of str
        Each as long as `columns`.
    notes : list of str
        Sentences below it.
    """

    title: str
    columns: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_markdown(self) -> str:
        """Write the table without its title: padded columns, numbers to the right."""
        cells = [list(self.columns), *map(list, self.rows)]
        widths = [max(3, *(len(row[place]) for row in cells)) for place in range(len(self.columns))]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        lines = [
            [row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]
            for row in [cells[0], rule, *cells[1:]]
        ]
        text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return "\n\n".join([text, *self.notes])

    def __str__(self) -> str:
        return f"\n## {self.title}\n\n{self.to_markdown()}\n"


def format_ratio(value: float) -> str:
    """Write a ratio with as many digits as noise allows."""
    return f"{value:.2f}" if value < 9.95 else f"{value:.0f}"


def format_milliseconds(seconds: float) -> str:
    """Write a time given in seconds."""
    milliseconds = 1000 * seconds
    if milliseconds < 9.95:
        return f"{milliseconds:.1f} ms"
    return f"{milliseconds:,.0f} ms"


def format_spread(spread: Spread, format_value: Callable[[float], str]) -> list[str]:
    """Write a spread as two cells: its median, and from where to where it goes."""
    ends = f"{format_value(spread.lowest)} to {format_value(spread.highest)}"
    return [format_value(spread.median), ends]


def format_megabytes(n_bytes: float) -> str:
    """Write a size given in bytes."""
    return f"{n_bytes / (1 << 20):,.0f} MiB"
