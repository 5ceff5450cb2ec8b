"""When a schedule runs: its cron in its zone, moved or skipped by its calendar. Pure.

Whatever shows instants and whatever fires them asks these functions, so what is shown is what runs.

- nominal: what cron says, in UTC.
- effective: where the calendar moved it; the same without a move.

The calendar is asked about the local day of the nominal instant. A moved instant keeps its local time; on its
new day a clock change does to it what it does to cron's own. `start` and `end` bound the nominal instant.
Jitter is no concern of this module's but for its amount: it is added to whatever is found here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from hashlib import sha256
from heapq import merge
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple, cast
from zoneinfo import ZoneInfo

from maestro.calendar.model import SEARCH, Calendar
from maestro.schedule.cron import (
    DAY,
    Cron,
    first_day_from,
    instant_of,
    instants_after,
    runs_on,
    steady_offset,
)

HORIZON = timedelta(days=30 * 366)
"""How far away a run is looked for: 25 December of each year has none where it is always a holiday."""

# No nominal instants beyond, so that days and years can be added to any.
_FIRST, _LAST = datetime(1900, 1, 1, tzinfo=UTC), datetime(9900, 1, 1, tzinfo=UTC)
_MOMENT = timedelta.resolution
_MINUTE = timedelta(minutes=1)


class OnHoliday(StrEnum):
    """What becomes of an instant on a day that is no business day."""

    SKIP = "Skip"
    PREVIOUS = "Previous"
    NEXT = "Next"
    RUN = "Run"


class Fate(StrEnum):
    """What cron and calendar make of a nominal instant."""

    RUNS = "runs"
    SKIPPED = "skipped"
    MERGED = "merged"
    """Another one runs at the same effective instant."""
    UNREACHED = "unreached"
    """Its effective instant lies before the span asked about (Previous): whoever decided that time decided
    it too, unless the holiday was not known yet, or the schedule was not there yet."""


@dataclass(frozen=True)
class Timing:
    """When a schedule runs."""

    cron: Cron
    zone: ZoneInfo
    calendar: Calendar | None = None
    on_holiday: OnHoliday = OnHoliday.SKIP
    start: datetime | None = None
    """The first nominal instant there may be; none before."""
    end: datetime | None = None
    """The last nominal instant there may be."""


@dataclass(frozen=True)
class Instant:
    """A nominal instant and what becomes of it. Times are UTC."""

    nominal: datetime
    effective: datetime
    """Of one that is skipped the nominal one."""
    fate: Fate
    reason: str = ""
    """Why it does not run, or not at its nominal time, in a word: Holiday, NoBusinessDay, Merged,
    HolidayKnownTooLate."""
    message: str = ""
    """The same in a sentence."""
    merged_into: datetime | None = None
    """Of a merged one, the nominal instant of the one that runs."""

    @property
    def at(self) -> datetime:
        """When it is decided: the effective instant, or the nominal one where it does not run at that."""
        return self.nominal if self.fate in (Fate.SKIPPED, Fate.UNREACHED) else self.effective


class _Arrival(NamedTuple):
    """A nominal instant that the calendar leaves in place or moves."""

    effective: datetime
    nominal: datetime


def between(timing: Timing, after: datetime, until: datetime) -> list[Instant]:
    """Every instant decided in (after, until], by its `at` and then by its nominal time.

    Adjoining spans give each nominal instant exactly once, UNREACHED aside: one that Previous moved before
    `after` comes once more as such at its nominal time. Takes time with the number of instants.
    """
    nominals = _nominals(timing, after, until)
    if not _moves(timing):
        return [_unmoved(timing, nominal) for nominal in nominals]
    found = [instant for group in _groups(timing, after, until) for instant in _settled(timing, group)]
    found += [instant for nominal in nominals if (instant := _not_moved_into(timing, nominal, after))]
    return sorted(found, key=attrgetter("at", "nominal"))


def runs_after(timing: Timing, after: datetime) -> Iterator[Instant]:
    """Those that run with an effective instant after `after`, in its order, lazily.

    Ends when there are no more: past `end`, without a business day in 366 days, after 30 years of holidays.
    """
    return _runs(timing, after)


def wakes_after(timing: Timing, after: datetime) -> datetime | None:
    """The first time after `after` at which an instant of any fate is decided; None when none ever is."""
    nominal = next(_nominals(timing, after), None)
    if not _moves(timing):
        return nominal
    # Of those decided at their nominal time the first is all that matters: when it is none of them, something
    # arrives before the next could be one.
    if nominal and _not_moved_into(timing, nominal, after):
        arrival = next(_arrivals(timing, after, nominal), None)
        return arrival.effective if arrival else nominal
    arrival = next(_arrivals(timing, after), None)
    return arrival.effective if arrival else None


def effective_of(timing: Timing, nominal: datetime) -> datetime:
    """Where the calendar moves that nominal instant; the same without a move."""
    if not _moves(timing) or _closed_by(timing, nominal) is None:
        return nominal
    day = _landing_day(timing, _day(timing, nominal))
    return _at_same_time_on(timing, day, nominal) if day else nominal


def previous_run(timing: Timing, nominal: datetime) -> datetime | None:
    """The nominal instant of the run before the one of this nominal instant, as if there were no `start`.

    None when there is none in 30 years.
    """
    unbounded = replace(timing, start=None)
    until = effective_of(unbounded, nominal) - _MOMENT
    reach = timedelta(hours=1) if timing.cron.times_a_day > 1 else timedelta(hours=25)
    while reach < 4 * HORIZON:
        runs = list(_runs(unbounded, until - reach, until))
        if runs:
            return runs[-1].nominal
        reach *= 4
    return None


def count_runs(timing: Timing, after: datetime, until: datetime) -> int:
    """How many run in (after, until], by effective instant. Takes time with the days, not with the runs."""
    total, walked_to = 0, after
    day, last = _day(timing, after) + DAY, _day(timing, until)
    while day < last:
        count = _count_on(timing, day)
        if count is not None:
            before = _midnight(timing, day) - _MOMENT
            total += _walked(timing, walked_to, before) + count
            walked_to = before + DAY
        day += DAY
    return total + _walked(timing, walked_to, until)


def jitter_of(namespace: str, name: str, seconds: int) -> timedelta:
    """The constant delay of that schedule: whole seconds from 0 to `seconds`, the same in every process."""
    digest = sha256(f"{namespace}/{name}".encode()).digest()
    return timedelta(seconds=int.from_bytes(digest[:8], "big") % (seconds + 1))


def _nominals(timing: Timing, after: datetime, until: datetime | None = None) -> Iterator[datetime]:
    start, end = _bounds(timing)
    last = min(until, end) if until else end
    for nominal in instants_after(timing.cron, timing.zone, max(after, start - _MOMENT)):
        if nominal > last:
            return
        yield nominal


def _bounds(timing: Timing) -> tuple[datetime, datetime]:
    """The first and the last nominal instant that there may be."""
    start, end = timing.start or _FIRST, timing.end or _LAST
    return min(max(start, _FIRST), _LAST), min(max(end, _FIRST), _LAST)


def _runs(timing: Timing, after: datetime, until: datetime | None = None) -> Iterator[Instant]:
    if _moves(timing):
        return (_running(timing, _winner(group)) for group in _groups(timing, after, until))
    return _unmoved_runs(timing, after, until)


# Where nothing moves: no calendar, Skip or Run


def _unmoved(timing: Timing, nominal: datetime) -> Instant:
    closed_by = _closed_by(timing, nominal)
    if closed_by is None or timing.on_holiday is OnHoliday.RUN:
        return Instant(nominal, nominal, Fate.RUNS)
    message = f"{_day(timing, nominal)} is no business day ({closed_by}) and onHoliday is Skip."
    return Instant(nominal, nominal, Fate.SKIPPED, "Holiday", message)


def _unmoved_runs(timing: Timing, after: datetime, until: datetime | None) -> Iterator[Instant]:
    calendar = None if timing.on_holiday is OnHoliday.RUN else timing.calendar
    nominals, last_run = _nominals(timing, after, until), after
    while nominal := next(nominals, None):
        day = _day(timing, nominal)
        if calendar is None or calendar.is_business_day(day):
            last_run = nominal
            yield Instant(nominal, nominal, Fate.RUNS)
            continue
        reopens = calendar.business_day_after(day)
        if reopens is None or nominal - last_run > HORIZON:
            return
        # A pattern of every minute has thousands on a weekend.
        nominals = _nominals(timing, max(nominal, _midnight(timing, reopens) - _MOMENT), until)


# Where the calendar moves: Previous and Next


def _moves(timing: Timing) -> bool:
    return timing.calendar is not None and timing.on_holiday in (OnHoliday.PREVIOUS, OnHoliday.NEXT)


def _groups(timing: Timing, after: datetime, until: datetime | None = None) -> Iterator[list[_Arrival]]:
    """Those that arrive at one effective instant, and those of the next."""
    arrivals = _arrivals(timing, after, until)
    return (list(group) for _, group in groupby(arrivals, attrgetter("effective")))


def _settled(timing: Timing, group: list[_Arrival]) -> list[Instant]:
    """The one of these arrivals that runs, then those it stands for."""
    runs = _winner(group)
    others = (arrival.nominal for arrival in group if arrival is not runs)
    return [_running(timing, runs), *(_merged(timing, nominal, runs) for nominal in others)]


def _winner(group: list[_Arrival]) -> _Arrival:
    """The unmoved one, else the earliest."""
    return min(group, key=lambda arrival: (arrival.effective != arrival.nominal, arrival.nominal))


def _running(timing: Timing, arrival: _Arrival) -> Instant:
    effective, nominal = arrival
    if effective == nominal:
        return Instant(nominal, effective, Fate.RUNS)
    message = (
        f"{_day(timing, nominal)} is no business day ({_closed_by(timing, nominal)}); "
        f"moved from {_shown(timing, nominal)} to {_shown(timing, effective)}."
    )
    return Instant(nominal, effective, Fate.RUNS, "Holiday", message)


def _merged(timing: Timing, nominal: datetime, runs: _Arrival) -> Instant:
    message = (
        f"{_day(timing, nominal)} is no business day ({_closed_by(timing, nominal)}); moved from "
        f"{_shown(timing, nominal)} to {_shown(timing, runs.effective)}, when that of "
        f"{_shown(timing, runs.nominal)} runs already."
    )
    return Instant(nominal, runs.effective, Fate.MERGED, "Merged", message, runs.nominal)


def _not_moved_into(timing: Timing, nominal: datetime, after: datetime) -> Instant | None:
    """The instant of a nominal time that is decided at that very time: it can't be moved to after `after`."""
    day, closed_by = _day(timing, nominal), _closed_by(timing, nominal)
    if closed_by is None:
        return None
    if _landing_day(timing, day) is None:
        message = (
            f"{day} is no business day ({closed_by}), and neither is any of the {SEARCH.days} days "
            f"{'before' if timing.on_holiday is OnHoliday.PREVIOUS else 'after'} it; mend the calendar."
        )
        return Instant(nominal, nominal, Fate.SKIPPED, "NoBusinessDay", message)
    effective = effective_of(timing, nominal)
    if timing.on_holiday is OnHoliday.NEXT or effective > after:
        return None
    message = (
        f"{day} is no business day ({closed_by}); its run belongs to {_shown(timing, effective)}, which had "
        "passed before this holiday or this schedule was known."
    )
    return Instant(nominal, effective, Fate.UNREACHED, "HolidayKnownTooLate", message)


def _arrivals(timing: Timing, after: datetime, until: datetime | None = None) -> Iterator[_Arrival]:
    """What arrives in (after, until], in the order of the effective instants, lazily."""
    last = _day(timing, until) if until else None
    held: list[_Arrival] = []
    for day in _landing_days(timing, after):
        if last and day > last:
            break
        found = _landing_on(timing, day, after, until)
        if steady_offset(timing.zone, day) is None:
            # A clock change may put some of it among what arrives on the next day.
            held = sorted([*held, *found])
        else:
            yield from merge(held, found)
            held = []
    yield from held


def _landing_days(timing: Timing, after: datetime) -> Iterator[date]:
    """The business days on which something may arrive after `after`, in order."""
    first = _day(timing, after)
    if steady_offset(timing.zone, first - DAY) is None:
        first -= DAY  # a gap may put its arrivals on the next day
    landed = None
    for source in _nominal_days(timing, _first_source(timing, first)):
        day = _landing_day(timing, source)
        if day and day >= first and day != landed:
            landed = day
            yield day
        elif day is None and _calendar(timing).business_day_after(source) is None:
            return


def _first_source(timing: Timing, day: date) -> date:
    """The first day whose instants may arrive on that day or later."""
    if timing.on_holiday is OnHoliday.PREVIOUS:
        return day
    business_day = _calendar(timing).business_day_before(day)
    return business_day + DAY if business_day else day - SEARCH


def _nominal_days(timing: Timing, first: date) -> Iterator[date]:
    """The local days, in order, that may have a nominal instant; none is left out."""
    start, end = _bounds(timing)
    first, last = max(first, _day(timing, start)), _day(timing, end)
    day = first_day_from(timing.cron, first - DAY)
    while day and day <= last:
        if day >= first:
            yield day
        if steady_offset(timing.zone, day) is None:
            yield day + DAY  # a gap may put a day's instants there
        day = first_day_from(timing.cron, day + DAY)


def _landing_on(timing: Timing, day: date, after: datetime, until: datetime | None) -> Iterator[_Arrival]:
    """What arrives in (after, until] of the instants that belong to that business day."""
    return merge(*(_carried(timing, source, day, after, until) for source in _sources(timing, day)))


def _carried(
    timing: Timing, source: date, day: date, after: datetime, until: datetime | None
) -> Iterator[_Arrival]:
    """What arrives in (after, until] of the instants of the day `source`, which belong to `day`."""
    midnight = _midnight(timing, source)
    from_offset, to_offset = steady_offset(timing.zone, source), steady_offset(timing.zone, day)
    if from_offset is None or to_offset is None:
        yield from _carried_over_a_change(timing, source, day, after, until)
        return
    distance = day - source + from_offset - to_offset
    end = midnight + DAY - _MOMENT
    last = min(end, until - distance) if until else end
    for nominal in _nominals(timing, max(midnight - _MOMENT, after - distance), last):
        yield _Arrival(nominal + distance, nominal)


def _carried_over_a_change(
    timing: Timing, source: date, day: date, after: datetime, until: datetime | None
) -> list[_Arrival]:
    midnight = _midnight(timing, source)
    nominals = [
        nominal
        for nominal in _nominals(timing, midnight - DAY, midnight + 2 * DAY)
        if _day(timing, nominal) == source
    ]
    arrivals = (_Arrival(_at_same_time_on(timing, day, nominal), nominal) for nominal in nominals)
    return sorted(
        arrival
        for arrival in arrivals
        if arrival.effective > after and (until is None or arrival.effective <= until)
    )


def _at_same_time_on(timing: Timing, day: date, nominal: datetime) -> datetime:
    local = nominal.astimezone(timing.zone)
    return nominal if local.date() == day else instant_of(datetime.combine(day, local.time(), timing.zone))


def _landing_day(timing: Timing, day: date) -> date | None:
    """The business day to which the instants of that day belong; None without one in reach."""
    calendar = _calendar(timing)
    if calendar.is_business_day(day):
        return day
    previous = timing.on_holiday is OnHoliday.PREVIOUS
    return calendar.business_day_before(day) if previous else calendar.business_day_after(day)


def _sources(timing: Timing, day: date) -> list[date]:
    """The days whose instants run on that day: itself, and those that the calendar moves to it."""
    if timing.calendar is None or timing.on_holiday is OnHoliday.RUN:
        return [day]
    if not timing.calendar.is_business_day(day):
        return []
    sources, step = [day], DAY if timing.on_holiday is OnHoliday.PREVIOUS else -DAY
    if _moves(timing):
        while len(sources) <= SEARCH.days and not timing.calendar.is_business_day(sources[-1] + step):
            sources.append(sources[-1] + step)
    return sources


# Counting


def _count_on(timing: Timing, day: date) -> int | None:
    """How many run on that local day; None when only walking them tells.

    All days have the same times, so what is moved to a day that has its own adds nothing.
    """
    sources = _sources(timing, day)
    if any(steady_offset(timing.zone, near) is None for at in (day, *sources) for near in (at, at - DAY)):
        return None
    shares = {_share(timing, source) for source in sources if runs_on(timing.cron, source)}
    if "whole" in shares:
        return timing.cron.times_a_day
    return None if "part" in shares else 0


def _share(timing: Timing, day: date) -> str:
    """How much of that day lies between start and end: whole, part or none."""
    first = _midnight(timing, day)
    last = first + DAY - _MINUTE
    start, end = _bounds(timing)
    if start <= first and last <= end:
        return "whole"
    return "none" if last < start or end < first else "part"


def _walked(timing: Timing, after: datetime, until: datetime) -> int:
    return sum(1 for _ in _runs(timing, after, until)) if after < until else 0


# Days


def _calendar(timing: Timing) -> Calendar:
    return cast("Calendar", timing.calendar)  # asked only where it moves something


def _closed_by(timing: Timing, nominal: datetime) -> str | None:
    return timing.calendar.closed_by(_day(timing, nominal)) if timing.calendar else None


def _day(timing: Timing, instant: datetime) -> date:
    return instant.astimezone(timing.zone).date()


def _midnight(timing: Timing, day: date) -> datetime:
    """The first instant of that local day."""
    return instant_of(datetime.combine(day, time(), timing.zone))


def _shown(timing: Timing, instant: datetime) -> str:
    return f"{instant.astimezone(timing.zone):%Y-%m-%d %H:%M}"
