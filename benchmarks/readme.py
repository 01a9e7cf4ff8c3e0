"""The table of folds in README.md, between two marks."""

import re
from pathlib import Path
from typing import Any

from benchmarks.benches.folds_tables import make_ratio_table

README = Path(__file__).parents[1] / "README.md"
BEGIN = "<!-- made by: make bench README=1 -->"
END = "<!-- end -->"


def write_readme(results: dict[str, Any], path: Path = README) -> None:
    """Put a run's table of folds between the marks."""
    path.write_text(replace_table(path.read_text(), describe(results)))


def replace_table(text: str, table: str) -> str:
    """Replace what is between the marks.

    Raises
    ------
    ValueError
        If they aren't there.
    """
    marks = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    replaced, count = marks.subn(lambda _: f"{BEGIN}\n{table}\n{END}", text)
    if count != 1:
        raise ValueError(f"README.md needs one {BEGIN} and one {END} after it")
    return replaced


def describe(results: dict[str, Any]) -> str:
    """Write the table of folds, and what was run."""
    folds = make_ratio_table(results["benches"]["folds"])
    how = (
        f"Medians of {results['n_repeats']} interleaved repeats on {results['cores']} cores, "
        f"Python {results['python']}, scikit-learn {results['versions']['scikit-learn']}, "
        f"RQ {results['versions']['rq']}; {results['made_at'][:10]}."
    )
    return f"{folds.to_markdown()}\n\n{how}"
