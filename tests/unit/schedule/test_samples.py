"""The samples that people begin with run when their words say."""

from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from maestro.calendar import model as calendars
from maestro.schedule import model as schedules
from maestro.schedule.timing import Timing, runs_after

SAMPLES = Path(__file__).parents[3] / "manifests" / "samples"
WEDNESDAY = datetime(2026, 11, 25, 12, 30, tzinfo=UTC)


def sample(name: str) -> dict[str, Any]:
    body = yaml.safe_load((SAMPLES / f"{name}.yaml").read_text(encoding="utf-8"))
    return {**body, "metadata": body["metadata"] | {"uid": "u", "generation": 1}}


def first_runs(timing: Timing, count: int) -> list[str]:
    runs = islice(runs_after(timing, WEDNESDAY), count)
    return [f"{run.effective.astimezone(timing.zone):%Y-%m-%d %H:%M}" for run in runs]


def test_each_hour_of_weekdays() -> None:
    hourly = schedules.definition_of(sample("schedule-hourly"), default_time_zone="UTC")
    assert first_runs(schedules.timing_of(hourly), 2) == ["2026-11-25 10:00", "2026-11-25 11:00"]


def test_the_last_business_day_of_each_month() -> None:
    last = schedules.definition_of(sample("schedule-last-business-day"), default_time_zone="UTC")
    known = calendars.definition_of(sample("calendar-sao-paulo"))
    timing = schedules.timing_of(last, calendars.resolve(str(last.calendar_name), {known.name: known}))
    # The last week of 2026 is closed, and so is Christmas Eve; 31 January 2027 is a Sunday.
    assert first_runs(timing, 3) == ["2026-11-30 18:00", "2026-12-23 18:00", "2027-01-29 18:00"]
