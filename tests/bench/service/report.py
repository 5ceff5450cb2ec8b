"""The run as a page of the documentation."""

import statistics
from collections.abc import Mapping
from pathlib import Path

from bench.service import load
from bench.service.measured import CELERY, MAESTRO, NULL, PROCRASTINATE, Load, Record
from bench.service.rows import CALIBRATION, ROWS, Row

BEGIN, END = "<!-- written by make bench-service -->", "<!-- end of what make bench-service wrote -->"

_PEERS = (CELERY, PROCRASTINATE)
_TABLE_HEAD = """\
| what | unit | goal | Maestro | reached | Celery | procrastinate | times as good as the better peer |
|---|---|---|---|---|---|---|---|"""
_DRIVER_HEAD = """\
| what | of | requests/s | cores: driver | service | machine |
|---|---|---|---|---|---|"""


def markdown(record: Record, facts: Mapping[str, str]) -> str:
    """`page.md` filled in; `facts` are the machine's and the run's."""
    page = Path(__file__).with_name("page.md").read_text(encoding="utf-8")
    amounts = {name: value for name, value in vars(load).items() if name.isupper()}
    sections = {"table": _table(record), "failures": _failures(record), "driver": _driver(record)}
    return page.format(**amounts, **facts, **sections)


def write(path: Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    """Put the text in the place of the one before, between these lines, and leave what else the page says."""
    page = path.read_text(encoding="utf-8") if path.exists() else "# Benchmarks\n"
    if begin not in page:
        page += f"\n{begin}\n{end}\n"
    before, _, rest = page.partition(begin)
    after = rest.partition(end)[2]
    path.write_text(f"{before}{begin}\n{text}{end}{after}", encoding="utf-8")


def _table(record: Record) -> str:
    measured = {each.row for each in record.samples}
    return "\n".join([_TABLE_HEAD, *(_line(record, row) for row in ROWS if row.key in measured)])


def _line(record: Record, row: Row) -> str:
    figures = {system: record.figures(row.key, system) for system in (MAESTRO, *_PEERS)}
    cells = [row.title, row.unit, _goal(row), _cell(figures[MAESTRO]), _reached(row, figures[MAESTRO])]
    cells += [_cell(figures[peer]) for peer in _PEERS]
    return f"| {' | '.join([*cells, _ratio(row, figures)])} |"


def _goal(row: Row) -> str:
    if row.goal is None:
        return ""
    return f"{'≤' if row.less_is_better else '≥'} {number(row.goal)}"


def _reached(row: Row, figures: list[float]) -> str:
    if row.goal is None or not figures:
        return ""
    figure = statistics.median(figures)
    reached = figure <= row.goal if row.less_is_better else figure >= row.goal
    return "yes" if reached else "**no**"


def _cell(figures: list[float]) -> str:
    """The median, with the range of the rounds."""
    if not figures:
        return ""
    middle = number(statistics.median(figures))
    return middle if len(figures) == 1 else f"{middle} ({number(min(figures))} to {number(max(figures))})"


def number(figure: float) -> str:
    """Three digits at least, where there are as many."""
    return f"{figure:,.0f}" if figure >= 100 or figure == int(figure) else f"{figure:.3g}"


def _ratio(row: Row, figures: Mapping[str, list[float]]) -> str:
    """By the medians of this run."""
    peers = [statistics.median(figures[peer]) for peer in _PEERS if figures[peer]]
    if not peers or not figures[MAESTRO]:
        return ""
    ours = statistics.median(figures[MAESTRO])
    return f"{min(peers) / ours if row.less_is_better else ours / max(peers):.2g}"


def _failures(record: Record) -> str:
    if not record.failures:
        return ""
    each = "\n".join(f"- {failure}" for failure in dict.fromkeys(record.failures))
    return f"**These failed, and what they would have measured is missing:**\n\n{each}\n"


def _driver(record: Record) -> str:
    lines = [
        _load_line(row, system, loads)
        for row in [*ROWS, *CALIBRATION]
        for system in (MAESTRO, *_PEERS, NULL)
        if (loads := record.loads(row.key, system))
    ]
    return "\n".join([_DRIVER_HEAD, *lines])


def _load_line(row: Row, system: str, loads: list[Load]) -> str:
    requests = statistics.median(each.requests for each in loads)
    cores = [
        statistics.median(each.driver for each in loads),
        statistics.median(each.service for each in loads),
        statistics.median(each.machine for each in loads),
    ]
    return f"| {row.title} | {system} | {number(requests)} | {' | '.join(f'{each:.2f}' for each in cores)} |"
