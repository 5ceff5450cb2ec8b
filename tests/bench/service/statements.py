"""PostgreSQL's log of statements: how many of which kind a process sent. No I/O."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_ENTRY = re.compile(r"^(\d+\.\d+)\|(\d+)\|([^|]*)\|\w+:  (.*)")
_STATEMENT = re.compile(r"(?:statement|execute [^:]*): (.*)", re.DOTALL)
_CONTROL = re.compile(r"\s*(BEGIN|START|COMMIT|ROLLBACK)\b", re.IGNORECASE)
_WRITES_LINES = "INSERT INTO job_logs"


@dataclass(frozen=True)
class Statement:
    """One of the log's entries: Unix time, the backend, the client's name of itself, the SQL."""

    at: float
    backend: int
    client: str
    text: str


def parse(log: str) -> Iterator[Statement]:
    """The statements of a log with the prefix `%n|%p|%a|`; other entries are left out."""
    entry: tuple[str, ...] | None = None
    lines: list[str] = []
    for line in [*log.splitlines(), "0.0|0||END:  "]:
        if found := _ENTRY.match(line):
            yield from _statement(entry, lines)
            *heads, text = found.groups()
            entry, lines = tuple(heads), [text]
        else:
            lines.append(line)


def _statement(entry: tuple[str, ...] | None, lines: list[str]) -> Iterator[Statement]:
    if entry and (found := _STATEMENT.match("\n".join(lines))):
        yield Statement(float(entry[0]), int(entry[1]), entry[2], found[1])


def split(statements: Iterable[Statement]) -> tuple[int, int]:
    """How many belong to transactions that write log lines, and how many others there are.

    BEGIN, COMMIT and ROLLBACK are not counted.
    """
    writing = others = 0
    for transaction in _transactions(statements):
        if any(_WRITES_LINES in each.text for each in transaction):
            writing += len(transaction)
        else:
            others += len(transaction)
    return writing, others


def _transactions(statements: Iterable[Statement]) -> Iterator[list[Statement]]:
    """Each transaction's statements without those that begin and end it."""
    open_ones: dict[int, list[Statement]] = defaultdict(list)
    explicit: set[int] = set()
    for each in statements:
        control = _CONTROL.match(each.text)
        if control is None:
            open_ones[each.backend].append(each)
        elif control[1].upper() in ("BEGIN", "START"):
            explicit.add(each.backend)
        else:
            explicit.discard(each.backend)
        if each.backend not in explicit:
            yield open_ones.pop(each.backend, [])
    yield from open_ones.values()
