"""How well this machine can confine submitted code."""

from enum import StrEnum


class Isolation(StrEnum):
    """What stands between submitted code and the machine; the API shows it for each worker."""

    NONE = "none"
    """A plain process of the worker's user. Only for code that one would run oneself."""
