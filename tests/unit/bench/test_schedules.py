"""What the benchmark of schedules sets up, and the section that it writes."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from bench.schedules.__main__ import crons_of
from bench.schedules.page import markdown
from bench.service.measured import MAESTRO, Record
from maestro.schedule.cron import instants_after, parse

_RUN = ("date", "commit", "minutes", "rounds", "busy", "forms", "zones", "idle")
FACTS = dict.fromkeys((*_RUN, "machine", "servers", "software"), "some")


@pytest.mark.parametrize("hours", range(0, 24 * 40, 37))
def test_all_its_expressions_have_the_instant_they_are_made_for(hours: int) -> None:
    instant = datetime(2026, 11, 29, 23, 58, tzinfo=UTC) + timedelta(hours=hours)
    for zone, expressions in crons_of(instant).items():
        for expression in expressions:
            found = instants_after(parse(expression), ZoneInfo(zone), instant - timedelta(seconds=1))
            assert next(found) == instant, expression


def test_the_section_tells_what_was_reached() -> None:
    record = Record()
    for figure in (4000, 6000, 4500):
        record.add("p99", MAESTRO, figure)
    record.add("idle_none", MAESTRO, 1.5)
    record.add("idle_many", MAESTRO, 2.75)
    text = markdown(record, FACTS)
    assert "| … p99 | ms | ≤ 5,000 | 4,500 (4,000 to 6,000) | yes |" in text
    assert "| … so they cost | % of a core | ≤ 1 | 1.25 | **no** |" in text
    assert "the last one" not in text
