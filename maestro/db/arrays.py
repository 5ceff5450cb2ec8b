"""Lists as PostgreSQL arrays, written in one go.

psycopg looks for each item's dumper and at each text for what needs quotes: for statements that take arrays
of many calls, that is most of what the client does. And it names the array's type by the items, so that
larger integers, or nothing but None, make another prepared statement; here the statement says what it wants
(`%s::uuid[]`), always the same.
"""

from collections.abc import Callable
from datetime import datetime
from types import NoneType
from typing import Any
from uuid import UUID

import psycopg
from psycopg.abc import Buffer, DumperKey
from psycopg.adapt import AdaptersMap, PyFormat
from psycopg.types.array import ListDumper

_Writer = Callable[[Any], str]


def _quoted(text: str) -> str:
    if '"' in text or "\\" in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


class _Writers(dict[type, _Writer]):
    """By the item's type. Raises KeyError for those that are psycopg's to write."""

    def __missing__(self, kind: type) -> _Writer:
        if issubclass(kind, str):  # an enumeration
            return _quoted
        raise KeyError(kind)


_WRITERS = _Writers(
    {
        NoneType: lambda _: "NULL",
        str: _quoted,
        UUID: str,
        int: str,
        bool: lambda value: "t" if value else "f",
        float: repr,
        datetime: lambda value: f'"{value.isoformat()}"',
    }
)


class ArrayDumper(ListDumper):
    """Writes flat lists of what statements here take; leaves others to psycopg."""

    def get_key(self, obj: list[Any], format: PyFormat) -> DumperKey:  # noqa: A002  # psycopg's name for it
        return self.cls

    def upgrade(self, obj: list[Any], format: PyFormat) -> "ArrayDumper":  # noqa: A002
        return self

    def dump(self, obj: list[Any]) -> Buffer | None:
        try:
            text = ",".join([_WRITERS[type(item)](item) for item in obj])
        except KeyError:
            return super().dump(obj)
        if "\x00" in text:
            raise psycopg.DataError("PostgreSQL text can't hold NUL (0x00) characters.")
        return f"{{{text}}}".encode()


ADAPTERS = AdaptersMap(psycopg.adapters)
"""For a connection's `context`: psycopg's own, with these arrays."""
ADAPTERS.register_dumper(list, ArrayDumper)
