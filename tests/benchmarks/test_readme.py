"""The table of folds in README.md."""

from pathlib import Path

import pytest

from benchmarks.readme import BEGIN, END, README, replace_table


def test_only_what_is_between_the_marks_is_replaced():
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"

    assert replace_table(text, "new \\1") == f"before\n{BEGIN}\nnew \\1\n{END}\nafter\n"


def test_a_text_without_marks_is_refused():
    with pytest.raises(ValueError, match="README"):
        replace_table("nothing", "new")


def test_the_readme_has_the_marks():
    assert "new" in replace_table(Path(README).read_text(), "new")
