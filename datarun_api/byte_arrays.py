"""Arrays of bytes as parameters of a statement.

psycopg writes a list as the text of an array, and bytes in it as hexadecimal digits: for megabytes
that takes both sides longer than all else. PostgreSQL takes them as they are, too.
"""

from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.types.array import ListBinaryDumper
from sqlalchemy import ARRAY, Dialect, LargeBinary
from sqlalchemy.types import TypeDecorator


class ByteArray(TypeDecorator[list[bytes]]):
    """An array of ``bytea`` that is sent as it is; only for parameters."""

    impl = ARRAY(LargeBinary)
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        """Give what makes a parameter of a list."""
        return _Bytes


class _Bytes(list[bytes]):
    """A list that psycopg is told about below."""


psycopg.adapters.register_dumper(_Bytes, ListBinaryDumper)
