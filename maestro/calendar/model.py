"""Business calendars, pure: what a resource says, and which days that leaves as business days.

A day is a business day unless its weekday is one of the weekend, or it is a holiday of the calendar's country
and subdivision, or one of its own, or no business day of a calendar it includes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any


@dataclass(frozen=True)
class OwnHoliday:
    """A holiday of the calendar's own list: of one year, or with `year` None of every year that has the day."""

    name: str
    month: int
    day: int
    year: int | None = None


@dataclass(frozen=True)
class Definition:
    """What a BusinessCalendar's custom resource says, with every absent value filled in."""

    namespace: str
    name: str
    uid: str
    generation: int
    country: str | None
    """ISO 3166 code, as in BR."""
    subdivision: str | None
    """As the `holidays` library writes it, as in SP."""
    categories: tuple[str, ...]
    """As the resource writes them: Public, Optional, HalfDay."""
    holidays: tuple[OwnHoliday, ...]
    weekend: frozenset[int]
    """Weekdays, Monday 0."""
    include: tuple[str, ...]
    """Names of other calendars of the namespace."""


@dataclass(frozen=True)
class Holiday:
    """A holiday, weekends not being any."""

    day: date
    name: str


@dataclass(frozen=True)
class Calendar:
    """Which days are business days, includes resolved. Hashable; equal content gives the same object."""

    weekend: frozenset[int]
    own: tuple[OwnHoliday, ...]
    countries: tuple[tuple[str, str | None, tuple[str, ...]], ...]

    def closed_by(self, day: date) -> str | None:
        """What closes that day: a holiday's name, else the weekday's (Saturday); None on a business day."""
        raise NotImplementedError

    def is_business_day(self, day: date) -> bool:
        """Whether work goes on that day."""
        raise NotImplementedError

    def next_holidays(self, after: date, count: int = 5) -> list[Holiday]:
        """The first holidays after that day, in order, ten years ahead at most; weekends are none."""
        raise NotImplementedError


def definition_of(resource: Mapping[str, Any]) -> Definition:
    """Read a custom resource that passed its schema.

    spec: country, subdivision, categories [Public], holidays [{date: 2026-12-24 or 12-24, name}],
    weekend [Saturday, Sunday], include [name].

    Raises SpecRefused for what no schema knows: UnknownCountry, UnknownSubdivision, UnknownCategory, InvalidDate.
    """
    raise NotImplementedError


def definition_json(definition: Definition) -> dict[str, Any]:
    """The definition as PostgreSQL keeps it."""
    raise NotImplementedError


def definition_from(stored: Mapping[str, Any]) -> Definition:
    """The definition that `definition_json` wrote."""
    raise NotImplementedError


def resolve(name: str, known: Mapping[str, Definition]) -> Calendar:
    """The calendar of that name among those of its namespace, with what it includes.

    Raises SpecRefused: CalendarNotFound, IncludeCycle (with the path).
    """
    raise NotImplementedError
