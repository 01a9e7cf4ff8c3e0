"""What commands print: tables for people, JSON for programs.

Whatever others wrote, such as a log or a name, is cleaned of control characters first: a terminal
would obey them.
"""

import dataclasses
import json
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import click
import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 1000
"""Columns where there is no terminal, so that nothing is cut off."""

FOLDED_WIDTH = 16
"""Columns that a cell over several lines gets at least."""

COLUMN_GAP = 3

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def clean(text: str) -> str:
    """Replace control characters, but for line breaks and tabs."""
    return "".join(
        character
        if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs")
        else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )


def print_table(
    heads: Sequence[str],
    rows: Iterable[Sequence[object]],
    empty: str = "Nothing yet.",
    flexible: str = "",
    expendable: Sequence[str] = (),
) -> None:
    """Print a table that fits the terminal.

    Parameters
    ----------
    heads : sequence of str
    rows : iterable of sequence
        Cells; None becomes an empty one.
    empty : str, optional
        What to say if there are no rows.
    flexible : str, optional
        The head of the column whose cells may go over several lines.
    expendable : sequence of str, optional
        The heads of columns that are left out, one after the other, until the rest fits.
    """
    cells = [[make_cell(cell) for cell in row] for row in rows]
    if not cells:
        click.echo(empty)
        return
    console = make_console()
    columns = list(zip(heads, zip(*cells, strict=True), strict=True))
    for name in expendable:
        if _measure(columns, flexible) <= console.width:
            break
        columns = [column for column in columns if column[0] != name]
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for head, _ in columns:
        table.add_column(head, overflow="fold", no_wrap=head != flexible)
    for row in zip(*(column for _, column in columns), strict=True):
        table.add_row(*row)
    console.print(table)


def _measure(columns: Sequence[tuple[str, Sequence[Text]]], flexible: str) -> int:
    """Say how wide a table of these columns is at least."""
    widths = []
    for head, cells in columns:
        longest = max(cell.cell_len for cell in cells)
        widths.append(max(len(head), min(longest, FOLDED_WIDTH) if head == flexible else longest))
    return sum(widths) + COLUMN_GAP * (len(widths) - 1)


def print_pairs(pairs: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one pair a line; those that are None are left out."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        if value is not None:
            table.add_row(name, make_cell(value))
    make_console().print(table)


def make_console() -> Console:
    """Make what tables are printed on, as wide as the terminal."""
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)


def make_cell(value: object) -> Text:
    """Write a table's cell; text is never read as markup."""
    text = clean("" if value is None else str(value))
    return Text(text, style={"TESTED": "green", "ERROR": "red"}.get(text, ""))


def print_json(value: Any) -> None:
    """Print a record, or a list of them, with the wire's names."""
    click.echo(json.dumps(value, default=_write_as_json, indent=2))


def _write_as_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"{type(value).__name__} can't be written as JSON")


def describe_seconds(seconds: float | None) -> str:
    """Write a duration for people."""
    if not seconds:
        return ""
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def describe_bytes(n_bytes: int | None) -> str:
    """Write a number of bytes for people."""
    if not n_bytes:
        return ""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"


def describe_age(moment: datetime | None) -> str:
    """Say how long ago something was."""
    if moment is None:
        return ""
    seconds = max((datetime.now(UTC) - moment).total_seconds(), 1)
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{describe_seconds(seconds)} ago"
