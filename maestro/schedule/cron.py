"""Cron: a strict parser of one small dialect, and the next instant in a time zone.

The dialect is five fields of numbers, ranges, steps, lists and names, `L` for the last day of the month, and
five `@` words; nothing else of any cron. croniter, in front of which the parser stands, takes far more. It
walks the days; the times in them, and what a clock change does to those, are decided here.

- A local time that does not exist runs at the first instant after the gap.
- A local time that comes twice runs once, the first time; a pattern whose hour field lets every hour in runs
  both times.
- Day of month and day of week both restricted: a day that either lets in runs.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property, lru_cache
from threading import Lock
from zoneinfo import ZoneInfo, available_timezones

from croniter import CroniterBadDateError, croniter

from maestro.errors import BadInput

MAX_LENGTH = 256
DAY = timedelta(days=1)

_WORDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
_SUNDAY = 7
_LAST_DAY = "L"

# `*`, `5`, `mon`, `1-5`, each of star and range with an optional step
_PART = re.compile(
    r"(?:(?P<star>\*)|(?P<low>[0-9a-zA-Z]+)(?:-(?P<high>[0-9a-zA-Z]+))?)(?:/(?P<step>[0-9]{1,2}))?"
)


@dataclass(frozen=True)
class _Field:
    title: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    first_name: int = 0

    @property
    def highest(self) -> int:
        """The greatest number that may be written."""
        return _SUNDAY if self.high == _SUNDAY - 1 else self.high

    @property
    def all(self) -> frozenset[int]:
        return frozenset(range(self.low, self.high + 1))


_MINUTE = _Field("minute", 0, 59)
_HOUR = _Field("hour", 0, 23)
_DAY = _Field("day of month", 1, 31)
_MONTH = _Field("month", 1, 12, _MONTHS, 1)
# Sunday is 0; 7 is another way to write it.
_WEEKDAY = _Field("day of week", 0, 6, _WEEKDAYS)
_FIELDS = (_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY)
_DAY_AT = _FIELDS.index(_DAY)


@dataclass(frozen=True)
class Cron:
    """A parsed expression: what each field lets in."""

    expression: str
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    last_day: bool = False
    """Whether the last day of the month is let in whatever its number."""

    @property
    def every_hour(self) -> bool:
        """Whether it is a pattern of every hour or finer, rather than fixed times of the day."""
        return self.hours == _HOUR.all

    @property
    def plain(self) -> str:
        """The same in stars, lists and L alone, which leaves croniter's own dialect nothing to say."""
        minutes, hours = _plain(_MINUTE, self.minutes), _plain(_HOUR, self.hours)
        return f"{minutes} {hours} {self.plain_days}"

    @cached_property
    def plain_days(self) -> str:
        """The last three fields of `plain`: on which days it runs."""
        days = _plain(_DAY, self.days)
        if self.last_day and days != "*":
            days = f"{days},{_LAST_DAY}" if days else _LAST_DAY
        return f"{days} {_plain(_MONTH, self.months)} {_plain(_WEEKDAY, self.weekdays)}"

    @cached_property
    def hours_in_order(self) -> tuple[int, ...]:
        return tuple(sorted(self.hours))

    @cached_property
    def minutes_in_order(self) -> tuple[int, ...]:
        return tuple(sorted(self.minutes))

    @property
    def times_a_day(self) -> int:
        """How often it runs on a day that it runs on and that no clock change touches."""
        return len(self.hours) * len(self.minutes)


def _plain(field: _Field, values: frozenset[int]) -> str:
    return "*" if values == field.all else ",".join(map(str, sorted(values)))


@lru_cache(maxsize=4096)
def parse(expression: str) -> Cron:
    """Read an expression. Raises BadInput with what is wrong and how to mend it."""
    text = expression.strip()
    if len(text) > MAX_LENGTH:
        raise BadInput(f"The cron expression has {len(text)} characters; {MAX_LENGTH} are allowed.")
    if text.startswith("@") and text.lower() not in _WORDS:
        raise BadInput(f"{expression!r} is not one of {', '.join(_WORDS)}; use one of them or five fields.")
    fields = _WORDS.get(text.lower(), text).split()
    if len(fields) != len(_FIELDS):
        titles = ", ".join(field.title for field in _FIELDS)
        raise BadInput(
            f"The cron expression {expression!r} has {len(fields)} fields; exactly five are needed: {titles}."
        )
    parts = [field.split(",") for field in fields]
    numbered = [part for part in parts[_DAY_AT] if part.upper() != _LAST_DAY]
    last_day = len(numbered) < len(parts[_DAY_AT])
    parts[_DAY_AT] = numbered
    sets = [_values(field, part) for field, part in zip(_FIELDS, parts, strict=True)]
    cron = Cron(expression, sets[0], sets[1], sets[2], sets[3], sets[4], last_day)
    _refuse_never(cron)
    return cron


def _values(field: _Field, parts: list[str]) -> frozenset[int]:
    return frozenset(value for part in parts for value in _part_values(field, part))


def _part_values(field: _Field, part: str) -> Iterator[int]:
    match = _PART.fullmatch(part)
    if not match:
        raise _refusal(field, part)
    low, high = _bounds(field, part, match)
    step = _step(field, part, match)
    for value in range(low, high + 1, step):
        yield value % _SUNDAY if field is _WEEKDAY else value


def _bounds(field: _Field, part: str, match: re.Match[str]) -> tuple[int, int]:
    if match["star"]:
        return field.low, field.high
    low = _number(field, part, match["low"])
    if match["high"] is None:
        if match["step"]:
            raise BadInput(
                f"{part!r} in the {field.title} field: a step needs a range, "
                f"as in {low}-{field.high}/{match['step']} or */{match['step']}."
            )
        return low, low
    high = _number(field, part, match["high"])
    if field is _WEEKDAY and high == 0 < low:
        high = _SUNDAY  # fri-sun
    if high < low:
        raise BadInput(
            f"{part!r} in the {field.title} field runs backwards; "
            "write the lower end first, or two ranges with a comma."
        )
    return low, high


def _number(field: _Field, part: str, text: str) -> int:
    if text.lower() in field.names:
        return field.names.index(text.lower()) + field.first_name
    if not re.fullmatch("[0-9]{1,2}", text):
        raise _refusal(field, part)
    if not field.low <= int(text) <= field.highest:
        raise BadInput(
            f"{text} in the {field.title} field is out of range; it takes {field.low} to {field.highest}."
        )
    return int(text)


def _step(field: _Field, part: str, match: re.Match[str]) -> int:
    step = int(match["step"] or 1)
    if not 1 <= step <= field.highest:
        raise BadInput(
            f"The step of {part!r} in the {field.title} field is out of range; it takes 1 to {field.highest}."
        )
    return step


def _refusal(field: _Field, part: str) -> BadInput:
    names = f", names ({field.names[0]} to {field.names[-1]})" if field.names else ""
    if field is _DAY:
        names, foreign = f", {_LAST_DAY} (the last day of the month, alone or in a list)", "L-3, LW, W, #, ?"
    else:
        foreign = "L, W, #, ?"
    return BadInput(
        f"{part!r} in the {field.title} field can't be read; it takes numbers{names}, ranges (1-5), "
        f"steps (*/5), lists (1,3) and *, and none of the letters and signs of other crons ({foreign})."
    )


def _refuse_never(cron: Cron) -> None:
    if cron.last_day or cron.weekdays != _WEEKDAY.all:
        return
    if not any(min(cron.days) <= _LONGEST.get(month, 31) for month in cron.months):
        raise BadInput(f"{cron.expression!r} never occurs: none of its months has a day {min(cron.days)}.")


@lru_cache(maxsize=1)
def _zone_names() -> frozenset[str]:
    return frozenset(available_timezones() - {"localtime", "Factory"})


def zone_of(name: str) -> ZoneInfo:
    """The IANA time zone of that name. Raises BadInput for any other name."""
    if name not in _zone_names():
        raise BadInput(
            f"The time zone {name!r} is unknown; write an IANA name such as America/Sao_Paulo or UTC."
        )
    return ZoneInfo(name)


def instants_after(cron: Cron, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """The instants after `after` at which `cron` runs on the clocks of `zone`: in UTC, in order, lazily.

    They end with the year 9999.
    """
    last = after
    with suppress(OverflowError):
        for instant in _instants_from(cron, zone, after):
            if instant > last:  # the end of a gap may be a time of the next day's, too
                last = instant
                yield instant


def _instants_from(cron: Cron, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    day = _first_day(zone, after)
    while True:
        offset = steady_offset(zone, day)
        if offset is None:
            yield from _on_unsteady_days(cron, zone, day)
            day = _steady_from(zone, day)
        elif runs_on(cron, day):
            yield from _on_steady_day(cron, day, offset, after)
            day += DAY
        elif following := first_day_from(cron, day):
            day = following
        else:
            return


def _first_day(zone: ZoneInfo, after: datetime) -> date:
    """The local day of that instant, or the first of the unsteady days it is among."""
    day = after.astimezone(zone).date()
    while steady_offset(zone, day) is None and steady_offset(zone, day - DAY) is None:
        day -= DAY
    return day


def _steady_from(zone: ZoneInfo, day: date) -> date:
    while steady_offset(zone, day) is None:
        day += DAY
    return day


def _on_steady_day(cron: Cron, day: date, offset: timedelta, after: datetime) -> Iterator[datetime]:
    midnight = datetime.combine(day, time(), UTC) - offset
    passed = max(0, (after - midnight) // timedelta(hours=1))
    for hour in cron.hours_in_order[bisect_left(cron.hours_in_order, passed) :]:
        for minute in cron.minutes_in_order:
            instant = midnight + timedelta(hours=hour, minutes=minute)
            if instant > after:
                yield instant


# Kept for a pattern of every minute, which would build a whole day at each of its minutes.
@lru_cache(maxsize=256)
def _on_unsteady_days(cron: Cron, zone: ZoneInfo, first: date) -> tuple[datetime, ...]:
    """The instants of the local days from `first` to before the next steady one, in order."""
    instants: set[datetime] = set()
    day = first
    while steady_offset(zone, day) is None:
        if runs_on(cron, day):
            for hour in cron.hours:
                for minute in cron.minutes:
                    instants.update(_passes(cron, datetime.combine(day, time(hour, minute), zone)))
        day += DAY
    return tuple(sorted(instants))


def _passes(cron: Cron, local: datetime) -> Iterator[datetime]:
    """The instants at which a local time of this cron runs."""
    yield instant_of(local)
    if cron.every_hour and _offset(local, 0) > _offset(local, 1):
        yield local.replace(fold=1).astimezone(UTC)


def runs_on(cron: Cron, day: date) -> bool:
    """Whether it runs on that local day."""
    return first_day_from(cron, day) == day


def first_day_from(cron: Cron, day: date) -> date | None:
    """The first local day not before `day` on which it runs; None past the year 9999."""
    return _first_day_from(cron.plain_days, day)


# By days and not by instants, because schedules of a thousand different times share few patterns of days.
@lru_cache(maxsize=65536)
def _first_day_from(plain_days: str, day: date) -> date | None:
    try:
        with _walking:
            start = datetime.combine(day, time()) - timedelta(seconds=1)
            found: datetime = _walk(plain_days).get_next(datetime, start_time=start)
    except (CroniterBadDateError, OverflowError, ValueError):
        return None
    return found.date()


@lru_cache(maxsize=4096)
def _walk(plain_days: str) -> croniter:
    # Kept because croniter spends most of its time on reading. Each step says where it starts, so all that a
    # walk remembers is overwritten; the lock is for steps of two threads at once.
    return croniter(f"0 0 {plain_days}")


_walking = Lock()


@lru_cache(maxsize=65536)
def steady_offset(zone: ZoneInfo, day: date) -> timedelta | None:
    """The offset from UTC all that local day long; None when the clocks change on it or at either end."""
    midnights = (datetime.combine(day, time(), zone), datetime.combine(day + DAY, time(), zone))
    first, *others = (_offset(midnight, fold) for midnight in midnights for fold in (0, 1))
    return first if all(offset == first for offset in others) else None


def instant_of(local: datetime) -> datetime:
    """The instant of an aware local time, in UTC; for one that does not exist, the first after the gap."""
    if _offset(local, 0) < _offset(local, 1):
        return _end_of_gap(local)
    return local.astimezone(UTC)


def _offset(local: datetime, fold: int) -> timedelta:
    return local.replace(fold=fold).utcoffset() or timedelta(0)


def _end_of_gap(local: datetime) -> datetime:
    """The first instant after the gap that this local time falls into."""
    # Read with the offset from after the change, a time in the gap lies before the change, and vice versa.
    before, after = (local.replace(fold=fold).astimezone(UTC) for fold in (1, 0))
    zone, new = local.tzinfo, _offset(local, 1)
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
        if middle.astimezone(zone).utcoffset() == new:
            after = middle
        else:
            before = middle
    return after
