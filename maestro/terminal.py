"""How log lines and results look in a terminal, which nothing in them may steer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

_WIDEST = 60
# C0 and C1 controls (ESC starts a terminal's commands), line separators, and what turns reading direction.
_UNSAFE = re.compile(
    "[\0-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def escaped(text: object) -> str:
    """The text on one line, each control character written out."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def log_line(line: Mapping[str, Any]) -> str:
    """Local time, level, message; the further lines of a message (a traceback) are indented."""
    first, *rest = str(line["message"]).split("\n")
    moment = datetime.fromisoformat(line["timestamp"]).astimezone()
    head = f"{moment:%H:%M:%S} {escaped(line['level']):8} {escaped(first)}"
    return "\n".join([head, *(f"    {escaped(each)}" for each in rest)])


def result(value: Mapping[str, Any]) -> str:
    """Lists of objects as tables, the rest as `name: value`; without such a list, JSON."""
    leaves = list(_leaves(value, ""))
    if not any(_is_table(leaf) for _, leaf in leaves):
        return json.dumps(value, indent=2)
    tables = [f"{escaped(path)}\n{table(leaf)}\n" for path, leaf in leaves if _is_table(leaf)]
    plain = [f"{escaped(path)}: {_cell(leaf)}" for path, leaf in leaves if not _is_table(leaf)]
    return "\n".join(tables + plain)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Aligned columns; those of numbers come last, and to the right."""
    # The database keeps no order of keys.
    names = sorted(
        {name: None for row in rows for name in row}, key=lambda name: _is_column_of_numbers(rows, name)
    )
    cells = [[_cut(_cell(row.get(name, ""))) for name in names] for row in rows]
    heads = [_cut(escaped(name)) for name in names]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    right = [_is_column_of_numbers(rows, name) for name in names]
    return "\n".join(_aligned(line, widths, right) for line in [heads, *cells])


def _leaves(value: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for name, item in value.items():
        where = f"{path}.{name}" if path else name
        if isinstance(item, dict) and item:
            yield from _leaves(item, where)
        else:
            yield where, item


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) and row for row in value)


def _is_column_of_numbers(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    return all(_is_number(row.get(name, 0)) for row in rows)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or bool(re.fullmatch(r"-?\d+\.\d+", str(value)))


def _cell(value: Any) -> str:
    return escaped(value) if isinstance(value, str) else json.dumps(value)


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"


def _aligned(cells: list[str], widths: list[int], right: list[bool]) -> str:
    padded = (
        cell.rjust(width) if to_right else cell.ljust(width)
        for cell, width, to_right in zip(cells, widths, right, strict=True)
    )
    return ("  " + "  ".join(padded)).rstrip()
