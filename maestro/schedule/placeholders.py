"""Date placeholders in parameters: {{today}}, {{prev_run-1}}, {{last_of_last_month}}. Pure."""

import re
from calendar import monthrange
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from maestro.errors import BadInput

_PREVIOUS = "prev_run"
_PLACEHOLDER = re.compile(
    rf"\{{\{{\s*(?:(?P<moved>today|{_PREVIOUS})(?:\s*(?P<days>[+-]\s*[0-9]+))?|(?P<fixed>[a-z_]+))\s*\}}\}}"
)


def _month(day: date, months: int) -> tuple[int, int]:
    """The year and the number of the month so many months away."""
    count = day.year * 12 + day.month - 1 + months
    return count // 12, count % 12 + 1


def _first(day: date, months: int = 0) -> date:
    return date(*_month(day, months), 1)


def _last(day: date, months: int = 0) -> date:
    year, month = _month(day, months)
    return date(year, month, monthrange(year, month)[1])


_FIXED: dict[str, Callable[[date], date]] = {
    "yesterday": lambda day: day - timedelta(days=1),
    "tomorrow": lambda day: day + timedelta(days=1),
    "first_of_month": _first,
    "last_of_month": _last,
    "first_of_last_month": lambda day: _first(day, -1),
    "last_of_last_month": lambda day: _last(day, -1),
}


def expand(value: Any, *, nominal: datetime, previous: datetime | None, zone: ZoneInfo) -> Any:
    """A copy of this JSON value with the placeholders in its strings, at any depth, written as dd/MM/yyyy.

    `today` is the date of `nominal` in `zone`, `prev_run` that of `previous`, and today's without one. Keys,
    and what is no known placeholder, stay as written. Raises BadInput for a date out of the years 1 to 9999,
    and for JSON nested too deeply.
    """
    today = nominal.astimezone(zone).date()
    days = {"today": today, _PREVIOUS: previous.astimezone(zone).date() if previous else today}

    def written(match: re.Match[str]) -> str:
        try:
            day = _day(match, days)
        except (OverflowError, ValueError) as error:
            raise BadInput(
                f"{match[0]} is a date out of the years 1 to 9999; write a smaller number of days."
            ) from error
        return f"{day:%d/%m}/{day.year:04}" if day else match[0]

    return _with_strings(value, lambda text: _PLACEHOLDER.sub(written, text))


def _day(match: re.Match[str], days: dict[str, date]) -> date | None:
    """The day that a placeholder names; None for one that is unknown."""
    if match["moved"]:
        moved_by = "".join((match["days"] or "0").split())
        return days[match["moved"]] + timedelta(days=int(moved_by))
    fixed = _FIXED.get(match["fixed"])
    return fixed(days["today"]) if fixed else None


def _with_strings(value: Any, change: Callable[[str], str]) -> Any:
    try:
        return _changed(value, change)
    except RecursionError:
        raise BadInput("The parameters are nested too deeply; write flatter ones.") from None


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    match value:
        case str():
            return change(value)
        case dict():
            return {key: _changed(item, change) for key, item in value.items()}
        case list():
            return [_changed(item, change) for item in value]
        case _:
            return value
