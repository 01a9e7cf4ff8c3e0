"""What breaks, and what becomes of it: `docs/faults.md`, row by row, and all of it at random."""
