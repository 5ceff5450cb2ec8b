"""The page that the benchmarks write."""

from pathlib import Path

from bench.service.measured import CELERY, MAESTRO, NULL, PROCRASTINATE, Load, Record
from bench.service.report import BEGIN, END, markdown, write

_RUN = ("date", "commit", "minutes", "rounds", "seconds", "busy", "commits")
_MACHINE = ("machine", "cores", "servers", "software")
FACTS = dict.fromkeys(_RUN + _MACHINE, "some")


def line(record: Record, beginning: str) -> list[str]:
    """The cells of the first row of a table that begins so."""
    lines = markdown(record, FACTS).splitlines()
    [found, *_] = [each for each in lines if each.startswith(f"| {beginning}")]
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_a_row_shows_medians_ranges_and_the_better_peer() -> None:
    record = Record()
    for figure in (2500, 2600, 2300):
        record.add("execute", MAESTRO, figure)
    record.add("execute", CELERY, 500)
    record.add("execute", PROCRASTINATE, 1000)
    shown = [
        "execute, 32 clients",
        "jobs/s",
        "≥ 2,400",
        "2,500 (2,300 to 2,600)",
        "yes",
        "500",
        "1,000",
        "2.5",
    ]
    assert line(record, "execute, 32 clients") == shown


def test_less_is_better_in_milliseconds() -> None:
    record = Record()
    record.add("execute_lone_p50", MAESTRO, 4.0)
    record.add("execute_lone_p50", CELERY, 2.0)
    shown = ["execute, a lone client: p50", "ms", "≤ 3", "4", "**no**", "2", "", "0.5"]
    assert line(record, "execute, a lone client: p50") == shown


def test_what_was_not_measured_has_no_row_and_the_failure_is_told() -> None:
    record = Record()
    with record.attempt("lifecycle"):
        raise ValueError("503")
    page = markdown(record, FACTS)
    assert "- lifecycle: ValueError: 503" in page
    assert "| lifecycle" not in page


def test_the_drivers_share_is_shown_beside_the_null_servers_rate() -> None:
    record = Record()
    record.add("execute", MAESTRO, 2500, Load(2500, 0.05, 1.0, 1.95))
    record.add("null_call", NULL, 60_000, Load(60_000, 0.6, 1.2, 1.9))
    page = markdown(record, FACTS)
    assert "| execute, 32 clients | Maestro | 2,500 | 0.05 | 1.00 | 1.95 |" in page
    assert "| execute | null server | 60,000 | 0.60 | 1.20 | 1.90 |" in page


def test_writing_again_replaces_only_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.md"
    write(path, "one\n")
    path.write_text(path.read_text() + "\n## The cluster\n")
    write(path, "two\n")
    assert path.read_text() == f"# Benchmarks\n\n{BEGIN}\ntwo\n{END}\n\n## The cluster\n"
