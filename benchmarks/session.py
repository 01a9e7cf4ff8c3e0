"""One run of the benches: how long it may take, and what they share."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from benchmarks.contenders import Datarun
from benchmarks.idle_stack import IdleStack, run_idle_stack
from benchmarks.site import Site
from benchmarks.stack import Stack, run_stack


@dataclass
class Session:
    """What the benches share.

    Attributes
    ----------
    site : Site
    resources : ExitStack
        Stops at the end what they start.
    is_quick : bool
        Leave out what is slow.
    n_repeats : int
    only : frozenset of str
        Names of workloads to keep to; empty for all.
    tell : callable
        Tells the user how far it is.
    """

    site: Site
    resources: contextlib.ExitStack
    is_quick: bool
    n_repeats: int
    only: frozenset[str]
    tell: Callable[[str], None]

    @cached_property
    def stack(self) -> Stack:
        """A whole datarun with two workers, started when somebody needs it."""
        self.tell("starting datarun up")
        return self.resources.enter_context(run_stack(self.site.folder / "home"))

    @cached_property
    def idle_stack(self) -> IdleStack:
        """A stack without workers, for what the API does alone."""
        self.tell("starting datarun up without workers")
        return self.resources.enter_context(run_idle_stack(self.site.folder / "idle-home"))

    @cached_property
    def datarun(self) -> Datarun:
        """The contender that it is."""
        return Datarun(self.site, self.stack)
