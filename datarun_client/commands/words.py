"""How the words of a command line are read, beyond what click reads by itself."""

from typing import Any

import click

from datarun_client.client import RANDOM_STATE
from datarun_client.settings import parse_bytes
from datarun_client.states import Priority

SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)
"""A part of a whole."""

random_state_option = click.option(
    "--random-state", type=click.IntRange(0), default=RANDOM_STATE, show_default=True
)


class NumberOrName(click.ParamType):
    """A data set's number, or its name."""

    name = "data set"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Say what stands for it in the help."""
        return "DATA"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read a number as such."""
        return int(value) if isinstance(value, str) and value.isdecimal() else value


class Size(click.ParamType):
    """A number of bytes, such as 2G."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it."""
        try:
            return parse_bytes(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)


class PriorityWord(click.Choice[str]):
    """`high` or `low`."""

    def __init__(self) -> None:
        super().__init__(["high", "low"])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the word as the wire's letter."""
        word = super().convert(value, param, ctx)
        return Priority.HIGH if word == "high" else Priority.LOW
