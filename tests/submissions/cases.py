"""The cases: each folder beside this file is a submission and the verdict that it must get.

`expected.toml` says:

- `row`: its row of the list of what submitted code will try
- `state`, and for an `ERROR` the `failure_kinds` of which it must be one
- `says`, `lacks`: words that the log must and must not hold; `ESCAPED` never
- `data`: `species` (classes of flowers; default) or `secrets` (regression, whose labels and
  features of the held-out rows can be recognised in memory)
- `predictions`: `honest` (default: those of `common/honest.py`), or `single precision`
- `time_limit` (s), `memory_limit` (bytes): the data set's
- `runs`: how often it is run, 1 by default; the last run is judged
- `train_rows`: `half` (default), or `without a class`
- `soak`: takes long
- `bites`: false if it can't be told from a refusal when nothing confines it
- `encodings`: files that are written in another encoding than UTF-8
- `at_least`: bounds of measures
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from datarun_client.states import FailureKind, State

FOLDER = Path(__file__).parent
EXPECTED = "expected.toml"
COMMON = FOLDER / "common"


@dataclass(frozen=True)
class Case:
    """One submission, and what must come of it."""

    name: str
    row: int
    state: State
    failure_kinds: frozenset[FailureKind] = frozenset()
    says: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    data: str = "species"
    predictions: str = "honest"
    time_limit: float = 30.0
    memory_limit: int = 2 << 30
    runs: int = 1
    train_rows: str = "half"
    soak: bool = False
    bites: bool = True
    encodings: Mapping[str, str] = field(default_factory=dict)
    at_least: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a case's folder; a key that is misspelt is a TypeError."""
        expected: dict[str, Any] = tomllib.loads((folder / EXPECTED).read_text())
        expected["state"] = State(expected["state"])
        expected["failure_kinds"] = frozenset(map(FailureKind, expected.get("failure_kinds", ())))
        for key in ("says", "lacks"):
            expected[key] = tuple(expected.get(key, ()))
        case = cls(folder.name, **expected)
        assert (case.state is State.ERROR) == bool(case.failure_kinds), folder.name
        return case

    @property
    def tries(self) -> bool:
        """Whether it tries what a sandbox refuses, and would get through without one."""
        return self.bites and any(words.startswith("REFUSED") for words in self.says)

    def read_source(self, canaries: Mapping[str, Any]) -> dict[str, bytes]:
        """Read its files, and those that all cases share."""
        files = {"canaries.json": json.dumps(canaries).encode()}
        for folder in (COMMON, FOLDER / self.name):
            for path in sorted(folder.rglob("*")):
                name = path.relative_to(folder).as_posix()
                if not path.is_file() or path.name == EXPECTED or "__pycache__" in path.parts:
                    continue
                content = path.read_bytes()
                if name in self.encodings:
                    content = content.decode().encode(self.encodings[name])
                files[name] = content
        return files


def load_cases() -> list[Case]:
    """Read all cases, in the order of their rows."""
    cases = [Case.load(path.parent) for path in FOLDER.glob(f"*/{EXPECTED}")]
    return sorted(cases, key=lambda case: (case.row, case.name))
