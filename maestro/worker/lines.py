"""Log lines: how bytes and records become messages the database can hold, with nothing lost.

- One line of output is one line; one `logging` record, traceback included, is one line too.
- Bytes that are not UTF-8 show as `\\xe7`. NUL, which PostgreSQL can't store, shows as U+2400 (a lone
  surrogate as U+FFFD).
- A message longer than MAX_MESSAGE characters becomes several; every piece but the first says so.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

MAX_MESSAGE = 32_768
CONTINUED = "[continued] "

_NUL = str.maketrans({"\0": "\u2400"})
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Line:
    """One log line of a job; its timestamp is when the bot wrote it."""

    level: str
    message: str
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))
    actionable: bool = False


def storable(text: str) -> str:
    """The text, with what PostgreSQL refuses replaced by something visible."""
    return _SURROGATES.sub("\ufffd", text.translate(_NUL))


def storable_json(value: Any) -> Any:
    """`storable` for every string of a JSON value, keys too."""
    match value:
        case str():
            return storable(value)
        case dict():
            return {storable(key): storable_json(item) for key, item in value.items()}
        case list():
            return [storable_json(item) for item in value]
        case _:
            return value


def pieces(message: str) -> Iterator[str]:
    """The message, cut where it is too long."""
    first, rest = message[:MAX_MESSAGE], message[MAX_MESSAGE:]
    yield first
    step = MAX_MESSAGE - len(CONTINUED)
    for start in range(0, len(rest), step):
        yield CONTINUED + rest[start : start + step]


class LineSplitter:
    """Bytes of one stream in, whole lines out."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._pending = ""

    def feed(self, data: bytes, final: bool = False) -> list[str]:
        """The lines that these bytes complete."""
        *whole, self._pending = (self._pending + self._decoder.decode(data, final)).split("\n")
        lines = [piece for line in whole for piece in pieces(_without_cr(line))]
        return [storable(line) for line in lines + self._overflow()]

    def close(self) -> list[str]:
        """What was written without a newline at the end."""
        lines = self.feed(b"", final=True)
        if self._pending:
            lines += [storable(piece) for piece in pieces(_without_cr(self._pending))]
            self._pending = ""
        return lines

    def _overflow(self) -> list[str]:
        # A stream without newlines must not gather in memory: full pieces leave as they fill.
        if len(self._pending) <= MAX_MESSAGE:
            return []
        *full, last = pieces(self._pending)
        self._pending = last
        return full


def _without_cr(line: str) -> str:
    return line.removesuffix("\r")
