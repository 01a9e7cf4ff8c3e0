"""Tables for notebooks: whatever comes from outside is escaped."""

from collections.abc import Iterable, Sequence
from html import escape


def write_html_table(heads: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Write an HTML table.

    Parameters
    ----------
    heads : sequence
        The columns' heads.
    rows : iterable of sequence
        The cells; None becomes an empty one.
    """
    lines = ["<table>", _write_row("th", heads), *(_write_row("td", row) for row in rows)]
    return "\n".join([*lines, "</table>"])


def _write_row(tag: str, cells: Sequence[object]) -> str:
    texts = ("" if cell is None else escape(str(cell)) for cell in cells)
    return "<tr>" + "".join(f"<{tag}>{text}</{tag}>" for text in texts) + "</tr>"
