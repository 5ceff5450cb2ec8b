"""What runs, is moved, merged or skipped: against tables, and against a walk over every minute."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise, takewhile
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maestro.calendar.model import Calendar, Country, OwnHoliday
from maestro.schedule import timing as module
from maestro.schedule.cron import parse
from maestro.schedule.timing import (
    Fate,
    Instant,
    OnHoliday,
    Timing,
    between,
    count_runs,
    jitter_of,
    previous_run,
    runs_after,
    wakes_after,
)
from unit.schedule.minutes import MINUTE, NEAR_CHANGES, ZONES, field, parsed, walked

UTC_ZONE, SAO_PAULO = ZoneInfo("UTC"), ZoneInfo("America/Sao_Paulo")
WEEKEND = frozenset({5, 6})
BRAZIL = Calendar(WEEKEND, (), (Country("BR", "SP", ("public",)),))
CLOSED = Calendar(frozenset(range(7)), (), ())
DAY = timedelta(days=1)


def timing(cron: str, on_holiday: str = "Skip", calendar: Calendar | None = BRAZIL, **bounds: str) -> Timing:
    zone = SAO_PAULO
    return Timing(
        parse(cron),
        zone,
        calendar,
        OnHoliday(on_holiday),
        **{name: at(text, zone) for name, text in bounds.items()},
    )


def at(text: str, zone: ZoneInfo = SAO_PAULO) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)


def shown(instant: datetime | None, zone: ZoneInfo = SAO_PAULO) -> str:
    return f"{instant.astimezone(zone):%m-%d %H:%M}" if instant else ""


def told(instants: list[Instant]) -> list[tuple[str, str, str]]:
    return [(shown(one.nominal), shown(one.effective), one.fate) for one in instants]


def first_runs(schedule: Timing, after: str, count: int) -> list[str]:
    zone = schedule.zone
    return [shown(run.effective, zone) for run in islice(runs_after(schedule, at(after, zone)), count)]


# Tables


@pytest.mark.parametrize(
    ("cron", "on_holiday", "after", "expected"),
    [
        # 3 April 2026 is Good Friday, 21 April (a Tuesday) Tiradentes
        ("0 8 * * *", "Skip", "2026-04-01T09:00", ["04-02 08:00", "04-06 08:00", "04-07 08:00"]),
        ("0 8 * * *", "Run", "2026-04-01T09:00", ["04-02 08:00", "04-03 08:00", "04-04 08:00"]),
        ("0 8 * * *", "Next", "2026-04-01T09:00", ["04-02 08:00", "04-06 08:00", "04-07 08:00"]),
        ("0 8 * * fri", "Skip", "2026-03-30T00:00", ["04-10 08:00", "04-17 08:00"]),
        ("0 8 * * fri", "Previous", "2026-03-30T00:00", ["04-02 08:00", "04-10 08:00"]),
        ("0 8 * * fri", "Next", "2026-03-30T00:00", ["04-06 08:00", "04-10 08:00"]),
        # the first business day of the month: 1 January a holiday, 1 February a Sunday, 1 May both at once
        ("0 9 1 * *", "Previous", "2025-12-15T00:00", ["12-31 09:00", "01-30 09:00", "02-27 09:00"]),
        ("0 9 1 * *", "Next", "2025-12-15T00:00", ["01-02 09:00", "02-02 09:00", "03-02 09:00"]),
        ("0 9 1 5,11 *", "Next", "2026-04-15T00:00", ["05-04 09:00", "11-03 09:00"]),
        ("0 9 1 5,11 *", "Previous", "2026-04-15T00:00", ["04-30 09:00", "10-30 09:00"]),
        # the last day, and the last business day
        ("0 18 L * *", "Run", "2026-01-15T00:00", ["01-31 18:00", "02-28 18:00", "03-31 18:00"]),
        ("0 18 L * *", "Previous", "2026-01-15T00:00", ["01-30 18:00", "02-27 18:00", "03-31 18:00"]),
        ("0 18 15,L * *", "Previous", "2026-08-01T00:00", ["08-14 18:00", "08-31 18:00", "09-15 18:00"]),
    ],
)
def test_runs(cron: str, on_holiday: str, after: str, expected: list[str]) -> None:
    assert first_runs(timing(cron, on_holiday), after, len(expected)) == expected


def test_without_a_calendar_cron_decides() -> None:
    schedule = timing("0 8 * * *", "Previous", None)
    assert first_runs(schedule, "2026-04-02T09:00", 2) == ["04-03 08:00", "04-04 08:00"]
    assert {one.fate for one in between(schedule, at("2026-04-01"), at("2026-05-01"))} == {Fate.RUNS}


def test_skip_says_which_holiday() -> None:
    friday, saturday, _ = between(timing("0 8 * * *"), at("2026-04-02T08:00"), at("2026-04-05T08:00"))
    assert (friday.fate, friday.reason, friday.effective) == (Fate.SKIPPED, "Holiday", friday.nominal)
    assert friday.message == "2026-04-03 is no business day (Sexta-feira Santa) and onHoliday is Skip."
    assert "(Saturday)" in saturday.message


def test_previous_merges_the_weekend_into_friday() -> None:
    found = between(timing("0 8 * * *", "Previous"), at("2026-05-07T08:00"), at("2026-05-08T08:00"))
    assert told(found) == [
        ("05-08 08:00", "05-08 08:00", "runs"),
        ("05-09 08:00", "05-08 08:00", "merged"),
        ("05-10 08:00", "05-08 08:00", "merged"),
    ]
    friday, saturday, sunday = found
    assert saturday.merged_into == sunday.merged_into == friday.nominal
    assert (saturday.reason, friday.reason) == ("Merged", "")
    assert saturday.message == (
        "2026-05-09 is no business day (Saturday); moved from 2026-05-09 08:00 to 2026-05-08 08:00, "
        "when that of 2026-05-08 08:00 runs already."
    )


def test_next_merges_the_weekend_into_monday() -> None:
    schedule = timing("0 8 * * *", "Next")
    assert between(schedule, at("2026-05-08T08:00"), at("2026-05-11T07:59")) == []
    assert told(between(schedule, at("2026-05-11T07:59"), at("2026-05-11T08:00"))) == [
        ("05-09 08:00", "05-11 08:00", "merged"),
        ("05-10 08:00", "05-11 08:00", "merged"),
        ("05-11 08:00", "05-11 08:00", "runs"),
    ]


def test_of_two_moved_ones_the_earlier_runs() -> None:
    found = between(timing("0 8 * * sat,sun", "Next"), at("2026-05-08"), at("2026-05-12"))
    assert told(found) == [
        ("05-09 08:00", "05-11 08:00", "runs"),
        ("05-10 08:00", "05-11 08:00", "merged"),
    ]
    assert found[1].merged_into == found[0].nominal
    assert found[0].reason == "Holiday"
    assert found[0].message == (
        "2026-05-09 is no business day (Saturday); moved from 2026-05-09 08:00 to 2026-05-11 08:00."
    )


def test_previous_that_comes_too_late_to_know() -> None:
    schedule = timing("0 8 * * sat", "Previous")
    made = at("2026-05-08T12:00")
    assert wakes_after(schedule, made) == at("2026-05-09T08:00")
    [instant] = between(schedule, made, at("2026-05-09T08:00"))
    assert (instant.fate, instant.reason) == (Fate.UNREACHED, "HolidayKnownTooLate")
    assert (instant.nominal, instant.effective) == (at("2026-05-09T08:00"), at("2026-05-08T08:00"))
    assert instant.at == instant.nominal
    assert first_runs(schedule, "2026-05-08T12:00", 1) == ["05-15 08:00"]


def test_a_year_without_a_business_day_is_skipped_and_ends() -> None:
    for on_holiday in ("Previous", "Next"):
        schedule = timing("0 8 * * *", on_holiday, CLOSED)
        [instant] = between(schedule, at("2026-05-08"), at("2026-05-09"))
        assert (instant.fate, instant.reason) == (Fate.SKIPPED, "NoBusinessDay")
        assert "366 days" in instant.message
        assert wakes_after(schedule, at("2026-05-08")) == at("2026-05-08T08:00")
        assert list(runs_after(schedule, at("2026-05-08"))) == []
        assert previous_run(schedule, at("2026-05-08T08:00")) is None
    skipping = timing("* * * * *", "Skip", CLOSED)
    assert list(runs_after(skipping, at("2026-05-08"))) == []
    assert wakes_after(skipping, at("2026-05-08")) == at("2026-05-08T00:01")


def test_what_falls_on_a_holiday_each_year_never_runs_and_ends() -> None:
    christmas = timing("0 8 25 12 *")
    assert list(runs_after(christmas, at("2026-01-01"))) == []
    assert previous_run(christmas, at("2026-12-25T08:00")) is None
    assert count_runs(christmas, at("2026-01-01"), at("2046-01-01")) == 0
    assert first_runs(timing("0 8 25 12 *", "Previous"), "2026-01-01T00:00", 2) == [
        "12-24 08:00",
        "12-24 08:00",
    ]


def test_start_and_end_bound_the_nominal_instant_both_inclusive() -> None:
    bounds = {"start": "2026-05-09T08:00", "end": "2026-05-16T08:00"}  # two Saturdays
    run = timing("0 8 * * *", "Run", **bounds)
    assert first_runs(run, "2026-01-01T00:00", 99) == [f"05-{day:02} 08:00" for day in range(9, 17)]
    previous = timing("0 8 * * *", "Previous", **bounds)
    assert first_runs(previous, "2026-01-01T00:00", 99)[:2] == ["05-08 08:00", "05-11 08:00"]
    assert first_runs(previous, "2026-01-01T00:00", 99)[-1] == "05-15 08:00"
    following = timing("0 8 * * *", "Next", **bounds)
    assert first_runs(following, "2026-01-01T00:00", 99)[0] == "05-11 08:00"
    assert first_runs(following, "2026-01-01T00:00", 99)[-1] == "05-18 08:00"
    assert wakes_after(following, at("2026-05-15T08:00")) == at("2026-05-18T08:00")
    assert wakes_after(following, at("2026-05-18T08:00")) is None
    assert wakes_after(run, at("2026-05-16T08:00")) is None
    for schedule, count in ((run, 8), (previous, 6), (following, 6)):
        assert count_runs(schedule, at("2026-01-01"), at("2027-01-01")) == count


@pytest.mark.parametrize("on_holiday", list(OnHoliday))
def test_bounds_at_the_ends_of_time(on_holiday: OnHoliday) -> None:
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    now = at("2026-05-07T12:00")
    for cron in ("0 8 * * *", "0 8 29 2 *"):
        schedule = timing(cron, on_holiday)
        always = replace(schedule, start=first, end=last)
        assert next(runs_after(always, now)) == next(runs_after(schedule, now))
        for never in (replace(schedule, start=last), replace(schedule, end=first)):
            assert list(runs_after(never, now)) == []
            assert wakes_after(never, now) is None
            assert between(never, now, now + DAY) == []
            assert count_runs(never, now, now + 50 * DAY) == 0
            assert count_runs(never, now, now + 50 * DAY) == 0


def test_start_far_away_is_found_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(module, "first_day_from", lambda *of: asked.append(of) or first_day_from(*of))
    schedule = timing("0 8 * * *", "Next", start="2066-01-01T00:00")
    assert wakes_after(schedule, at("2026-05-07")) == at("2066-01-04T08:00")
    assert len(asked) < 10


first_day_from = module.first_day_from


def test_seconds_and_the_ends_of_spans() -> None:
    schedule = timing("0 8 * * *", "Next")
    due, moment = at("2026-05-11T08:00"), timedelta(microseconds=1)
    assert len(between(schedule, due - moment, due)) == 3
    assert between(schedule, due, due + moment) == []
    assert between(schedule, due, due) == []
    assert between(schedule, due, due - DAY) == []
    assert count_runs(schedule, due - moment, due) == 1
    assert count_runs(schedule, due, due + moment) == count_runs(schedule, due, due - DAY) == 0


# Clock changes: the day that is moved to decides


def closed_on(*days: str) -> Calendar:
    own = [date.fromisoformat(day) for day in days]
    return Calendar(frozenset(), tuple(OwnHoliday("Own", day.month, day.day, day.year) for day in own), ())


@pytest.mark.parametrize(
    ("zone", "cron", "on_holiday", "holiday", "expected"),
    [
        # 8 March 2026 has no 02:30 in New York
        ("America/New_York", "30 2 9 3 *", "Previous", "2026-03-09", "03-08 03:00"),
        ("America/New_York", "30 2 7 3 *", "Next", "2026-03-07", "03-08 03:00"),
        ("America/New_York", "30 2 7-8 3 *", "Next", "2026-03-07", "03-08 03:00"),
        # 25 October 2026 has 02:30 twice in Berlin
        ("Europe/Berlin", "30 2 24-25 10 *", "Next", "2026-10-24", "10-25 02:30"),
        # 4 November 2018 has no midnight in São Paulo
        ("America/Sao_Paulo", "0 0 3 11 *", "Next", "2018-11-03", "11-04 01:00"),
        # 4 October 2026: half an hour is missing on Lord Howe
        ("Australia/Lord_Howe", "15 2 3 10 *", "Next", "2026-10-03", "10-04 02:30"),
        # 22 March 2026 in Casablanca
        ("Africa/Casablanca", "30 2 23 3 *", "Previous", "2026-03-23", "03-22 03:00"),
        # 30 December 2011 is no day in Apia, so what is moved to it runs at the end of the gap
        ("Pacific/Apia", "0 9 29 12 *", "Next", "2011-12-29", "12-31 00:00"),
    ],
)
def test_moved_to_a_day_of_a_clock_change(
    zone: str, cron: str, on_holiday: str, holiday: str, expected: str
) -> None:
    schedule = Timing(parse(cron), ZoneInfo(zone), closed_on(holiday), OnHoliday(on_holiday))
    after = at(holiday, schedule.zone) - 10 * DAY
    until = after + 30 * DAY
    runs = takewhile(lambda run: run.effective <= until, runs_after(schedule, after))
    assert [shown(run.effective, schedule.zone) for run in runs] == [expected]
    assert count_runs(schedule, after, until) == 1


def test_an_hourly_one_moved_to_a_longer_day_runs_once_an_hour_of_its_own() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    moved = Timing(parse("0 * 24 10 *"), berlin, closed_on("2026-10-24"), OnHoliday.NEXT)
    assert count_runs(moved, at("2026-10-24"), at("2026-10-27")) == 24
    both = replace(moved, cron=parse("0 * 24,25 10 *"))
    assert count_runs(both, at("2026-10-24"), at("2026-10-27")) == 25


# The run before


@pytest.mark.parametrize(
    ("cron", "on_holiday", "nominal", "expected"),
    [
        ("0 8 * * *", "Skip", "2026-04-06T08:00", "04-02 08:00"),
        ("0 8 * * *", "Run", "2026-04-06T08:00", "04-05 08:00"),
        ("0 8 * * *", "Previous", "2026-04-06T08:00", "04-02 08:00"),
        ("0 8 * * *", "Next", "2026-04-07T08:00", "04-06 08:00"),
        ("0 8 * * fri", "Previous", "2026-04-10T08:00", "04-03 08:00"),  # which ran on the 2nd
        ("0 8 * * fri", "Skip", "2026-04-10T08:00", "03-27 08:00"),
        ("* * * * *", "Skip", "2026-04-06T00:00", "04-02 23:59"),
        ("* * * * *", "Skip", "2026-04-07T13:07", "04-07 13:06"),
        ("0 9 1 * *", "Previous", "2026-03-01T09:00", "02-01 09:00"),
        ("0 0 29 2 *", "Run", "2028-02-29T00:00", "02-29 00:00"),
    ],
)
def test_the_run_before(cron: str, on_holiday: str, nominal: str, expected: str) -> None:
    assert shown(previous_run(timing(cron, on_holiday), at(nominal))) == expected


def test_the_first_run_has_one_before_it_all_the_same() -> None:
    schedule = timing("0 8 1 * *", "Run", start="2026-05-01T08:00")
    assert previous_run(schedule, at("2026-05-01T08:00")) == at("2026-04-01T08:00")


# Jitter


def test_jitter_is_constant_within_bounds_and_spread() -> None:
    found = [jitter_of("bots", f"schedule-{at}", 60) for at in range(2000)]
    assert found == [jitter_of("bots", f"schedule-{at}", 60) for at in range(2000)]
    assert {delay // timedelta(seconds=1) for delay in found} == set(range(61))
    assert jitter_of("bots", "any", 0) == timedelta(0)
    # in every process and version: a change would move the runs of every schedule there is
    assert jitter_of("maestro-bots", "nightly", 3600) == timedelta(seconds=2608)


# The oracle


class Decided(NamedTuple):
    at: datetime
    nominal: datetime
    effective: datetime
    fate: Fate
    merged_into: datetime | None = None


class Oracle:
    """Every instant of a stretch of time, from a walk over its minutes."""

    REACH = 7 * DAY  # longer than any of these calendars is closed

    def __init__(self, schedule: Timing, after: datetime, until: datetime) -> None:
        self.schedule, self.after, self.until = schedule, after, until
        first, last = after - self.REACH, until + self.REACH
        start, end = schedule.start or first, schedule.end or last
        nominals = walked(schedule.cron, schedule.zone, first, last)
        self.nominals = [nominal for nominal in nominals if start <= nominal <= end]
        self.clock: dict[datetime, list[datetime]] = {}
        minute = (first - 2 * DAY).replace(second=0, microsecond=0)
        while (minute := minute + MINUTE) <= last + 2 * DAY:
            self.clock.setdefault(self.local(minute), []).append(minute)
        self.effective = {nominal: self.moved(nominal) for nominal in self.nominals}

    def local(self, instant: datetime) -> datetime:
        return instant.astimezone(self.schedule.zone).replace(tzinfo=None)

    def closed(self, day: date) -> bool:
        return self.schedule.calendar is not None and not self.schedule.calendar.is_business_day(day)

    def moved(self, nominal: datetime) -> datetime:
        step = {OnHoliday.PREVIOUS: -DAY, OnHoliday.NEXT: DAY}.get(self.schedule.on_holiday)
        local = self.local(nominal)
        if step is None or not self.closed(local.date()):
            return nominal
        while self.closed(local.date()):
            local += step
        while local not in self.clock:  # in a gap
            local += MINUTE
        second = nominal.astimezone(self.schedule.zone).fold
        return self.clock[local][-1 if second else 0]

    def decided(self) -> list[Decided]:
        """What is decided in (after, until], but for what Previous moved before it."""
        found = []
        arrivals: dict[datetime, list[datetime]] = {}
        for nominal in self.nominals:
            arrivals.setdefault(self.effective[nominal], []).append(nominal)
        for nominal in self.nominals:
            effective = self.effective[nominal]
            rivals = arrivals[effective]
            runs = effective if effective in rivals else min(rivals)
            if self.schedule.on_holiday is OnHoliday.SKIP and self.closed(self.local(nominal).date()):
                found.append(Decided(nominal, nominal, nominal, Fate.SKIPPED))
            elif runs == nominal:
                found.append(Decided(effective, nominal, effective, Fate.RUNS))
            else:
                found.append(Decided(effective, nominal, effective, Fate.MERGED, runs))
        return sorted(one for one in found if self.after < one.at <= self.until)

    def unreached(self, after: datetime, until: datetime) -> list[datetime]:
        return [
            nominal
            for nominal in self.nominals
            if after < nominal <= until and self.effective[nominal] <= after
        ]


def compared(instants: list[Instant]) -> list[Decided]:
    return [Decided(one.at, one.nominal, one.effective, one.fate, one.merged_into) for one in instants]


MINUTES = st.one_of(st.sampled_from(["0", "30", "0,30", "*/15", "7"]), st.integers(0, 59).map(str))
HOURS = st.one_of(st.sampled_from(["*", "0-3", "2", "1,2", "*/6", "0,23"]), field(0, 23))
SOME_DAYS = st.one_of(
    st.integers(0, 6).map(lambda day: f"* * {day}"),
    st.lists(st.integers(1, 31).map(str) | st.just("L"), min_size=1, max_size=4)
    .map(",".join)
    .map("{} * *".format),
    st.tuples(field(1, 31, "L"), st.just("*"), field(0, 7)).map(" ".join),
)
CRONS = st.tuples(MINUTES, HOURS, st.just("* * *") | SOME_DAYS).map(" ".join)


@st.composite
def stretches(draw: st.DrawFn) -> tuple[Timing, list[datetime]]:
    """A timing, and ascending moments, two days from the first to the last, at which to cut the time."""
    start = draw(NEAR_CHANGES)
    zone = ZoneInfo(draw(st.sampled_from(ZONES)))
    around = st.integers(-3, 6).map(lambda days: (start + days * DAY).date())
    own = draw(st.lists(around, max_size=4, unique=True))
    calendar = Calendar(
        draw(st.frozensets(st.integers(0, 6), min_size=1, max_size=2)),
        tuple(OwnHoliday("Own", day.month, day.day, day.year) for day in own),
        (),
    )
    bound = st.one_of(
        st.none(), st.none(), st.integers(-2000, 5000).map(lambda minutes: start + minutes * MINUTE)
    )
    schedule = Timing(
        parsed(draw(CRONS)) or parse("* * * * *"),
        zone,
        calendar,
        draw(st.sampled_from([OnHoliday.PREVIOUS, OnHoliday.NEXT, *OnHoliday])),
        draw(bound),
        draw(bound),
    )
    seconds = draw(st.lists(st.integers(1, 2 * 24 * 3600 - 1), max_size=4, unique=True))
    return schedule, [start, *(start + timedelta(seconds=at) for at in sorted(seconds)), start + 2 * DAY]


@settings(max_examples=80, deadline=None)
@given(stretches())
def test_agrees_with_a_walk_over_the_minutes(stretch: tuple[Timing, list[datetime]]) -> None:
    schedule, cuts = stretch
    after, until = cuts[0], cuts[-1]
    oracle = Oracle(schedule, after, until)
    expected = oracle.decided()

    pieces = [between(schedule, *span) for span in pairwise(cuts)]
    found = [one for piece in pieces for one in piece if one.fate is not Fate.UNREACHED]
    assert compared(found) == expected  # in order, and each just once
    for span, piece in zip(pairwise(cuts), pieces, strict=True):
        unreached = [one.nominal for one in piece if one.fate is Fate.UNREACHED]
        assert unreached == oracle.unreached(*span)
        assert piece == sorted(piece, key=lambda one: (one.at, one.nominal))
        if piece:
            assert wakes_after(schedule, span[0]) == piece[0].at
        else:
            assert (wakes_after(schedule, span[0]) or until + DAY) > span[1]

    runs = [one for one in expected if one.fate is Fate.RUNS]
    shown_as_next = list(takewhile(lambda one: one.effective <= until, runs_after(schedule, after)))
    assert compared(shown_as_next) == runs
    assert shown_as_next == [one for one in found if one.fate is Fate.RUNS]
    assert count_runs(schedule, after, until) == len(runs)
    for earlier, later in list(pairwise(runs))[:5] if schedule.start is None else ():
        assert previous_run(schedule, later.nominal) == earlier.nominal


@settings(max_examples=100, deadline=None)
@given(stretches(), st.integers(0, 400), st.sampled_from([BRAZIL, None]))
def test_counting_days_gives_what_walking_gives(
    stretch: tuple[Timing, list[datetime]], days: int, calendar: Calendar | None
) -> None:
    schedule, [after, *_] = stretch
    if schedule.cron.times_a_day > 10:
        schedule = replace(schedule, cron=parse(f"5,35 1,2 {schedule.cron.plain_days}"))
    schedule = replace(schedule, calendar=calendar)
    until = after + days * DAY + 100 * MINUTE
    walked_over = takewhile(lambda run: run.effective <= until, runs_after(schedule, after))
    assert count_runs(schedule, after, until) == sum(1 for _ in walked_over)


def test_a_year_of_a_minutely_schedule_is_counted_by_days(monkeypatch: pytest.MonkeyPatch) -> None:
    walked_over = []

    def noted(*of: object) -> Iterator[datetime]:
        for instant in instants_after(*of):  # type: ignore[arg-type]
            walked_over.append(instant)
            yield instant

    monkeypatch.setattr(module, "instants_after", noted)
    after, until = at("2026-01-01T13:07"), at("2027-01-01T13:07")
    for on_holiday, days in (("Run", 365), ("Skip", 251), ("Previous", 251), ("Next", 251)):
        walked_over.clear()
        assert count_runs(timing("* * * * *", on_holiday), after, until) == days * 24 * 60
        assert len(walked_over) < 10_000


instants_after = module.instants_after
