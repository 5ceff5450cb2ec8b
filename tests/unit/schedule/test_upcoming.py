"""What is shown of the instants to come, held against the functions that fire."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from maestro.calendar.model import definition_of, resolve
from maestro.schedule.cron import parse
from maestro.schedule.model import times_after
from maestro.schedule.timing import Fate, OnHoliday, Timing, between, runs_after
from maestro.schedule.upcoming import upcoming

NONE = timedelta(0)
FRIDAY = datetime(2026, 11, 27, 12, 30, tzinfo=UTC)


def timing(expression: str, on_holiday: OnHoliday = OnHoliday.SKIP, end: datetime | None = None) -> Timing:
    """On Brazil's business days, UTC."""
    metadata = {"namespace": "n", "name": "c", "uid": "u", "generation": 1}
    calendar = resolve("c", {"c": definition_of({"metadata": metadata, "spec": {"country": "BR"}})})
    return Timing(parse(expression), ZoneInfo("UTC"), calendar, on_holiday, end=end)


def shown(timing: Timing, count: int, now: datetime = FRIDAY) -> list[tuple[int, int, Fate]]:
    found = [each.instant for each in upcoming(timing, NONE, now, count)]
    return [(each.nominal.day, each.effective.day, each.fate) for each in found]


def test_each_instant_comes_with_what_becomes_of_it() -> None:
    skipping = timing("0 12 * * *")
    assert shown(skipping, 3) == [(28, 28, Fate.SKIPPED), (29, 29, Fate.SKIPPED), (30, 30, Fate.RUNS)]
    moving = timing("0 12 * * *", OnHoliday.NEXT)
    assert sorted(shown(moving, 3)) == [(28, 30, Fate.MERGED), (29, 30, Fate.MERGED), (30, 30, Fate.RUNS)]


def test_one_that_ran_on_the_business_day_before_comes_no_more() -> None:
    # Saturday's run belonged to Friday at noon.
    assert shown(timing("0 12 28,30 * *", OnHoliday.PREVIOUS), 1) == [(30, 30, Fate.RUNS)]
    before = FRIDAY - timedelta(hours=1)
    [(nominal, effective, fate), *_] = shown(timing("0 12 28,30 * *", OnHoliday.PREVIOUS), 2, before)
    assert (nominal, effective, fate) == (28, 27, Fate.RUNS)


def test_one_that_has_run_before_an_edit_brought_it_up_comes_no_more() -> None:
    monday = FRIDAY.replace(day=30, minute=0)
    asked = timing("0 12 * * *", OnHoliday.NEXT)
    found = [each.instant for each in upcoming(asked, NONE, FRIDAY, 3, {monday})]
    # Of the two that would be merged into Monday's the first runs.
    shown_as = [(each.nominal.day, each.fate) for each in found]
    assert shown_as == [(28, Fate.RUNS), (29, Fate.MERGED), (1, Fate.RUNS)]
    assert found[1].merged_into == found[0].nominal
    assert times_after(asked, FRIDAY, NONE, {monday}).next_run_at == monday
    alone = timing("0 12 * * mon-fri", OnHoliday.NEXT)
    assert times_after(alone, FRIDAY, NONE, {monday}).next_run_at == monday + timedelta(days=1)


def test_there_may_be_fewer_or_none() -> None:
    end = datetime(2026, 12, 2, 0, 0, tzinfo=UTC)
    assert len(shown(timing("0 12 * * mon-fri", end=end), 10)) == 2
    assert shown(timing("0 12 * * mon-fri", end=FRIDAY), 10) == []


def test_jitter_delays_what_runs_and_keeps_what_is_not_over() -> None:
    jitter = timedelta(hours=1)
    [first, second] = upcoming(timing("0 12 * * *"), jitter, FRIDAY, 2)
    assert first.instant.nominal == FRIDAY - timedelta(minutes=30)
    assert first.runs_at == first.instant.effective + jitter
    assert (second.instant.fate, second.runs_at) == (Fate.SKIPPED, None)


@pytest.mark.parametrize("on_holiday", OnHoliday)
@pytest.mark.parametrize("expression", ["0 12 * * *", "30 8,18 L * *", "0 0 25 12 *", "0 */6 * * 1,6"])
def test_what_is_shown_is_what_fires(expression: str, on_holiday: OnHoliday) -> None:
    asked = timing(expression, on_holiday)
    found = [each.instant for each in upcoming(asked, NONE, FRIDAY, 40)]
    fired = between(asked, FRIDAY, found[-1].at)
    assert found == [each for each in fired if each.fate is not Fate.UNREACHED][:40]
    runs = [each for each in found if each.fate is Fate.RUNS]
    walk = runs_after(asked, FRIDAY)
    assert runs == [next(walk) for _ in runs]
