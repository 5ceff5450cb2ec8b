"""The run as a section of the page of benchmarks."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.service.measured import MAESTRO, Record

BEGIN = "<!-- written by make bench-schedules -->"
END = "<!-- end of what make bench-schedules wrote -->"

DUE, IDLE = 10_000, 100_000

_MS, _CORE = "ms", "% of a core"


@dataclass(frozen=True)
class _Row:
    """`goal` is the most that the figure may be."""

    key: str
    title: str
    unit: str
    goal: float | None = None


_ROWS = (
    _Row(
        "p50", f"{DUE:,} schedules due in the same minute: from then until publishing is confirmed, p50", _MS
    ),
    _Row("p99", "… p99", _MS, 5000),
    _Row("max", "… the last one", _MS),
    _Row("idle_none", "a dispatcher without a schedule", _CORE),
    _Row("idle_many", f"a dispatcher with {IDLE:,} schedules that are not due", _CORE),
    _Row("idle_cost", "… so they cost", _CORE, 1),
)


def markdown(record: Record, facts: Mapping[str, str]) -> str:
    """`page.md` filled in; `facts` are the machine's and the run's."""
    text = Path(__file__).with_name("page.md").read_text(encoding="utf-8")
    failures = "".join(f"- **{failure}**\n" for failure in record.failures)
    lines = [_line(row, figures) for row in _ROWS if (figures := _figures(record, row.key))]
    return text.format(table="\n".join(lines), failures=failures, **facts)


def _figures(record: Record, key: str) -> list[float]:
    if key != "idle_cost":
        return record.figures(key, MAESTRO)
    pairs = zip(record.figures("idle_many", MAESTRO), record.figures("idle_none", MAESTRO), strict=False)
    return [many - none for many, none in pairs]


def _line(row: _Row, figures: Sequence[float]) -> str:
    middle = statistics.median(figures)
    shown = _number(row, middle)
    if len(figures) > 1:
        shown += f" ({_number(row, min(figures))} to {_number(row, max(figures))})"
    goal, reached = "", ""
    if row.goal is not None:
        goal, reached = f"≤ {row.goal:,.0f}", "yes" if middle <= row.goal else "**no**"
    return f"| {row.title} | {row.unit} | {goal} | {shown} | {reached} |"


def _number(row: _Row, figure: float) -> str:
    return f"{figure:,.0f}" if row.unit == _MS else f"{figure:.2f}"
