"""Cron: a strict parser of one small dialect, and the next instant in a time zone.

The dialect is five fields of numbers, ranges, steps, lists and names, and five `@` words; nothing else of any
cron. croniter, in front of which the parser stands, takes far more and walks local times only: what a clock
change does to them is decided here.

- A local time that does not exist runs at the first instant after the gap.
- A local time that comes twice runs once, the first time; a pattern whose hour field lets every hour in runs
  both times.
- Day of month and day of week both restricted: a day that either lets in runs.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from threading import Lock
from zoneinfo import ZoneInfo, available_timezones

from croniter import croniter

from maestro.errors import BadInput

MAX_LENGTH = 256

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


@dataclass(frozen=True)
class Cron:
    """A parsed expression: what each field lets in."""

    expression: str
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    @property
    def every_hour(self) -> bool:
        """Whether it is a pattern of every hour or finer, rather than fixed times of the day."""
        return self.hours == _HOUR.all

    @property
    def plain(self) -> str:
        """The same in stars and lists alone, which leaves croniter's own dialect nothing to say."""
        sets = (self.minutes, self.hours, self.days, self.months, self.weekdays)
        return " ".join(
            "*" if values == field.all else ",".join(map(str, sorted(values)))
            for field, values in zip(_FIELDS, sets, strict=True)
        )


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
    cron = Cron(expression, *(_values(field, part) for field, part in zip(_FIELDS, fields, strict=True)))
    _refuse_never(cron)
    return cron


def _values(field: _Field, text: str) -> frozenset[int]:
    return frozenset(value for part in text.split(",") for value in _part_values(field, part))


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
    return BadInput(
        f"{part!r} in the {field.title} field can't be read; it takes numbers{names}, ranges (1-5), "
        "steps (*/5), lists (1,3) and *, and none of the letters and signs of other crons (L, W, #, ?)."
    )


def _refuse_never(cron: Cron) -> None:
    if cron.weekdays != _WEEKDAY.all:
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


def last_until(cron: Cron, zone: ZoneInfo, due: datetime, until: datetime) -> datetime:
    """The last instant not after `until`, given that `due` is one.

    It is found by halving: an outage may be long.
    """
    last = low = due
    high = until
    while high - low > timedelta(seconds=30):
        middle = low + (high - low) / 2
        found = next_after(cron, zone, middle)
        if found <= until:
            last = low = found
        else:
            high = middle
    return last


def next_after(cron: Cron, zone: ZoneInfo, instant: datetime) -> datetime:
    """The first instant after `instant`, in UTC, at which `cron` runs on the clocks of `zone`."""
    local = instant.astimezone(zone)
    following = next(at for at in _instants(cron, zone, local.replace(tzinfo=None)) if at > instant)
    if cron.every_hour and not local.fold and _comes_twice(local):
        # In the first pass of an hour that comes twice, the second pass may be nearer than what follows it.
        return min(following, _second_pass(cron, zone, local) or following)
    return following


def _instants(cron: Cron, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """The instants of the local times after this one, as the walk over local times meets them."""
    for local in _local_times(cron, after):
        aware = local.replace(tzinfo=zone)
        if not _exists(aware):
            yield _end_of_gap(aware)
        else:
            yield aware.astimezone(UTC)
            if cron.every_hour and _comes_twice(aware):
                yield aware.replace(fold=1).astimezone(UTC)


def _local_times(cron: Cron, after: datetime) -> Iterator[datetime]:
    walk = _walk(cron.plain)
    while True:
        with _walking:
            after = walk.get_next(datetime, start_time=after)
        yield after


@lru_cache(maxsize=4096)
def _walk(plain: str) -> croniter:
    # Kept because croniter spends most of its time on reading. Each step says where it starts, so all that a
    # walk remembers is overwritten; the lock is for steps of two threads at once.
    return croniter(plain)


_walking = Lock()


def _second_pass(cron: Cron, zone: ZoneInfo, local: datetime) -> datetime | None:
    """The first instant in the second pass of the stretch that comes twice around `local`."""
    repeated = _offset(local, 0) - _offset(local, 1)
    start = local.replace(tzinfo=None) - repeated
    for time in _local_times(cron, start):
        aware = time.replace(tzinfo=zone, fold=1)
        if _comes_twice(aware):
            return aware.astimezone(UTC)
        if time > start + 2 * repeated:
            return None
    return None


def _offset(aware: datetime, fold: int) -> timedelta:
    return aware.replace(fold=fold).utcoffset() or timedelta(0)


def _comes_twice(aware: datetime) -> bool:
    return _offset(aware, 0) > _offset(aware, 1)


def _exists(aware: datetime) -> bool:
    return _offset(aware, 0) >= _offset(aware, 1)


def _end_of_gap(aware: datetime) -> datetime:
    """The first instant after the gap that this local time falls into."""
    # Read with the offset from after the change, a time in the gap lies before the change, and vice versa.
    before, after = (aware.replace(fold=fold).astimezone(UTC) for fold in (1, 0))
    zone, new = aware.tzinfo, _offset(aware, 1)
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
        if middle.astimezone(zone).utcoffset() == new:
            after = middle
        else:
            before = middle
    return after
