"""The guard: ratios of an earlier quick run, to say what got slower.

Only ratios are kept; they depend on the machine too, though less than times. So nothing fails when
they differ: what is told is for somebody to look at.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from benchmarks.measurements import TOLERANCE, Change, Spread, compare_all
from benchmarks.tables import Table, format_ratio, format_spread

REFERENCE = Path(__file__).with_name("reference.json")


def read_reference(path: Path = REFERENCE) -> dict[str, float]:
    """Read the medians of ratios, by their names; none if there is no reference yet."""
    return json.loads(path.read_text()) if path.exists() else {}


def write_reference(ratios: Mapping[str, Spread], path: Path = REFERENCE) -> None:
    """Keep the medians of this run's ratios; those that it didn't measure stay."""
    medians = {name: round(spread.median, 3) for name, spread in ratios.items()}
    path.write_text(json.dumps(read_reference(path) | medians, indent=2, sort_keys=True) + "\n")


def make_guard_table(ratios: Mapping[str, Spread], reference: Mapping[str, float]) -> Table:
    """Show each ratio beside the reference's, and say what got slower."""
    changes = compare_all(ratios, reference)
    rows = [
        [
            name,
            format_ratio(reference[name]) if name in reference else "",
            *format_spread(now, format_ratio),
            changes[name],
        ]
        for name, now in ratios.items()
    ]
    columns = ["ratio", "reference", "now", "spread", "change"]
    return Table("Compared with benchmarks/reference.json", columns, rows, [_judge(changes)])


def _judge(changes: Mapping[str, Change]) -> str:
    """Say in a sentence what got slower."""
    if all(change is Change.NEW for change in changes.values()):
        return "The reference has none of these; `make bench QUICK=1 SAVE=1` puts them there."
    slower = [name for name, change in changes.items() if change is Change.SLOWER]
    how = f"than the reference by more than {TOLERANCE:.0%} in every repeat"
    return f"SLOWER {how}: {'; '.join(slower)}." if slower else f"Nothing is slower {how}."
