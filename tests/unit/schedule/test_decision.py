"""Verdicts on a span of time, against the plain rules applied to each of its instants."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maestro.calendar.model import Calendar, OwnHoliday
from maestro.schedule.cron import parse
from maestro.schedule.decision import decide, spoken
from maestro.schedule.occurrences import RAN, Outcome
from maestro.schedule.timing import Fate, OnHoliday, Timing, between

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
CALENDAR = Calendar(frozenset({5, 6}), (OwnHoliday("Feast", 11, 25),), ())


@dataclass(frozen=True)
class Rules:
    catch_up_policy: str = "Last"
    catch_up_window_seconds: int = 3600
    starting_deadline_seconds: int | None = None


rules = st.builds(
    Rules,
    st.sampled_from(["None", "Last", "All"]),
    st.sampled_from([0, 30, 90, 3600, 100_000, 700_000]),
    st.sampled_from([None, 10, 60, 300, 7200, 200_000]),
)
timings = st.builds(
    Timing,
    st.sampled_from(["* * * * *", "*/7 * * * *", "0 */5 * * *", "30 9 * * 1,3", "0 0 * * *"]).map(parse),
    st.sampled_from(["UTC", "America/Sao_Paulo"]).map(ZoneInfo),
    st.sampled_from([None, CALENDAR]),
    st.sampled_from(list(OnHoliday)),
)
seconds = st.integers(0, 9 * 86_400)


def plainly(
    timing: Timing, given: Rules, after: datetime, until: datetime
) -> tuple[dict[datetime, str], int]:
    """Outcomes of those that fire, and how many are missed, by the words of the contract."""
    runs = [each for each in between(timing, after, until) if each.fate is Fate.RUNS]
    fired, missed = {}, 0
    for place, run in enumerate(reversed(runs)):
        lag = (until - run.effective).total_seconds()
        made_up = {"None": False, "Last": place == 0, "All": place < 100}[given.catch_up_policy]
        if given.starting_deadline_seconds is not None and lag > given.starting_deadline_seconds:
            missed += 1
        elif lag <= 60:
            fired[run.nominal] = "fired" if run.nominal == run.effective else "shifted"
        elif made_up and lag <= given.catch_up_window_seconds:
            fired[run.nominal] = "late" if place == 0 else "caught_up"
        else:
            missed += 1
    return fired, missed


@settings(deadline=None)  # the plain walk is slow
@given(timing=timings, given=rules, begin=seconds, length=seconds)
def test_each_instant_fires_or_is_counted_as_missed(
    timing: Timing, given: Rules, begin: int, length: int
) -> None:
    after = MONDAY + timedelta(seconds=begin)
    until = after + timedelta(seconds=length)
    verdicts = decide(timing, given, after, until)
    fired, missed = plainly(timing, given, after, until)
    assert {each.nominal: str(each.outcome) for each in verdicts if each.outcome in RAN} == fired
    collapsed = [each for each in verdicts if each.outcome is Outcome.MISSED and not _unreached(each.reason)]
    assert sum(each.count for each in collapsed) == missed
    assert len(collapsed) <= 1
    assert len({each.nominal for each in verdicts}) == len(verdicts)
    assert all(one.effective <= two.effective for one, two in pairwise(_ran(verdicts)))


@settings(deadline=None)  # the plain walk is slow
@given(timing=timings, given=rules, begin=seconds, length=seconds)
def test_up_to_a_number_of_instants_each_that_does_not_run_has_its_verdict(
    timing: Timing, given: Rules, begin: int, length: int
) -> None:
    after = MONDAY + timedelta(seconds=begin)
    until = after + timedelta(seconds=length)
    instants = between(timing, after, until)
    if len(instants) > 300:
        return
    expected = {each.nominal: each.fate for each in instants if each.fate is not Fate.RUNS}
    fates = {Outcome.SKIPPED: Fate.SKIPPED, Outcome.MERGED: Fate.MERGED, Outcome.MISSED: Fate.UNREACHED}
    found = {
        each.nominal: fates[each.outcome]
        for each in decide(timing, given, after, until)
        if each.outcome in (Outcome.SKIPPED, Outcome.MERGED) or _unreached(each.reason)
    }
    assert found == expected


def _ran(verdicts: list) -> list:  # type: ignore[type-arg]
    return [each for each in verdicts if each.outcome in RAN]


def _unreached(reason: str | None) -> bool:
    return reason == "HolidayKnownTooLate"


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(0), "0 s"),
        (timedelta(seconds=59.9), "59 s"),
        (timedelta(seconds=61), "1 min 1 s"),
        (timedelta(hours=2, minutes=5, seconds=7), "2 h 5 min"),
        (timedelta(days=3, seconds=5), "3 d"),
        (timedelta(seconds=-5), "0 s"),
    ],
)
def test_durations_in_words(duration: timedelta, text: str) -> None:
    assert spoken(duration) == text
