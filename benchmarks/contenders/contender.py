"""What every contender can do."""

import contextlib
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from benchmarks.fold_work import Codec, Predictions
from benchmarks.site import N_WORKERS, Site
from benchmarks.workloads import Kit

OWN_CODEC = "_own_codec"
"""What is added to the name of a peer that packs as datarun does."""


@dataclass(frozen=True)
class Run:
    """Some folds that were done.

    Attributes
    ----------
    seconds : float
        From their start to the last one's end.
    predictions : dict
        By fold.
    """

    seconds: float
    predictions: dict[int, Predictions]


class Contender(ABC):
    """Somebody who can do folds with two processes; a context manager.

    Parameters
    ----------
    site : Site
    codec : Codec, optional
        How it packs predictions.

    Attributes
    ----------
    key, title : str
        Its names in JSON and in tables.
    is_slow : bool
        It starts a process or imports scikit-learn for each fold; not for a quick run.
    needs : str, optional
        A module that may not be installed.
    """

    key: ClassVar[str]
    title: ClassVar[str]
    is_slow: ClassVar[bool] = False
    needs: ClassVar[str | None] = None

    def __init__(self, site: Site, codec: Codec = Codec.ZLIB) -> None:
        self.site = site
        self.codec = codec
        self.resources = contextlib.ExitStack()

    @property
    def name(self) -> str:
        """Its name in the results."""
        return self.key + (OWN_CODEC if self.codec is Codec.DATARUN else "")

    @classmethod
    def find_obstacle(cls) -> str | None:
        """Say why it can't take part here, or None."""
        if cls.needs is not None and importlib.util.find_spec(cls.needs) is None:
            return f"{cls.needs} is not installed; `make bench` installs it"
        return None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as started:
            self.resources = started
            self.start()
            self.resources = started.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.resources.close()

    def start(self) -> None:  # noqa: B027 - there may be nothing to start
        """Start what serves all workloads; `resources` stops it."""

    def prepare(self, kit: Kit) -> None:
        """Get ready for a workload: whatever happens once, and what warms it up."""
        self.warm_up(kit)

    def warm_up(self, kit: Kit) -> None:
        """Do a few folds that nobody measures.

        Before each run, too: while the others had theirs, a machine may have taken memory back
        from whoever idled, and more of it from who has more processes.
        """
        self.run(kit, range(min(2 * N_WORKERS, kit.n_folds)))

    @abstractmethod
    def run(self, kit: Kit, numbers: Sequence[int]) -> Run:
        """Do folds of a workload."""
