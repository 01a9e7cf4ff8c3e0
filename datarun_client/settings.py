"""How each package states its settings: one table, the only reader of the environment."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from datarun_client.errors import SettingError


@dataclass(frozen=True)
class Setting:
    """One environment variable.

    Attributes
    ----------
    name : str
        The variable's name.
    default : str or None
        What holds when it isn't set, written as in the environment; None if there is no default.
    parse : callable
        From the text to the value; its ValueError says what is wrong.
    help : str
        One sentence for the operator, with the unit.
    is_secret : bool
        Whether the value holds a password or a token, which no message may show.
    """

    name: str
    default: str | None
    parse: Callable[[str], Any]
    help: str
    is_secret: bool = False

    @property
    def key(self) -> str:
        """The name that code uses: lower case, without the prefix."""
        return self.name.removeprefix("DATARUN_").lower()


def read_settings(table: Iterable[Setting], environ: Mapping[str, str]) -> dict[str, Any]:
    """Read a table of settings.

    Parameters
    ----------
    table : iterable of Setting
    environ : mapping of str to str
        Usually ``os.environ``; an empty text counts as not set.

    Returns
    -------
    dict
        The values by `Setting.key`; None where neither a value nor a default is there.

    Raises
    ------
    SettingError
        If a value can't be read.
    """
    values: dict[str, Any] = {}
    for setting in table:
        text = environ.get(setting.name) or setting.default
        try:
            values[setting.key] = None if text is None else setting.parse(text)
        except ValueError as error:
            shown = "…" if setting.is_secret else repr(text)
            raise SettingError(f"{setting.name}={shown}: {error}. {setting.help}") from None
    return values


def parse_bytes(text: str) -> int:
    """Read a number of bytes such as ``1000``, ``64K``, ``512M`` or ``2G`` (powers of 1024).

    Raises
    ------
    ValueError
        If the text is no such number.
    """
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    factor = units.get(text[-1:].upper(), 1)
    number = text[:-1] if factor > 1 else text
    if not number.isdecimal():
        raise ValueError("write a number of bytes, such as 1000, 64K, 512M or 2G")
    return int(number) * factor


def parse_seconds(text: str) -> float:
    """Read a positive number of seconds.

    Raises
    ------
    ValueError
        If the text is no positive number.
    """
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError("write a positive number of seconds")
    return seconds


def parse_count(text: str) -> int:
    """Read a whole number, 0 or more.

    Raises
    ------
    ValueError
        If the text is no such number.
    """
    if not text.isdecimal():
        raise ValueError("write a whole number")
    return int(text)
