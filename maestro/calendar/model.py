"""Business calendars, pure: what a resource says, and which days that leaves as business days.

A day is a business day unless its weekday is one of the weekend, or it is a holiday of the calendar's country
and subdivision, or one of its own, or no business day of a calendar it includes.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from typing import Any

from holidays import HolidayBase, country_holidays

from maestro.errors import SpecRefused

SEARCH = timedelta(days=366)
"""How far a business day before or after another day is looked for."""
YEARS_AHEAD = 10
"""How far ahead holidays are listed."""

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_WEEKEND = ("Saturday", "Sunday")
_CATEGORIES = ("Public",)
# The library's list of days that are worked in spite of a weekend or a holiday.
_NO_HOLIDAYS = "workday"
_NAMED_AT_MOST = 60


@dataclass(frozen=True)
class OwnHoliday:
    """A holiday of the calendar's own list: of one year, or (`year` None) of every year that has the day."""

    name: str
    month: int
    day: int
    year: int | None = None

    def in_year(self, year: int) -> date | None:
        """Its day in that year."""
        if self.year not in (None, year):
            return None
        try:
            return date(year, self.month, self.day)
        except ValueError:
            return None  # 29 February


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
class Country:
    """Whose holidays, by the words of the `holidays` library."""

    code: str
    subdivision: str | None
    categories: tuple[str, ...]


@dataclass(frozen=True)
class Calendar:
    """Which days are business days, includes resolved. `resolve` gives the same object for the same content.

    Each year's holidays are found when first asked for, and kept. Safe in several threads: at worst two find
    the same.
    """

    weekend: frozenset[int]
    own: tuple[OwnHoliday, ...]
    countries: tuple[Country, ...]
    _years: dict[int, dict[date, str]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _nearest: dict[tuple[date, int], date | None] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def closed_by(self, day: date) -> str | None:
        """What closes that day: a holiday's name, else the weekday's (Saturday); None on a business day."""
        name = self._holidays(day.year).get(day)
        return name or (WEEKDAYS[day.weekday()] if day.weekday() in self.weekend else None)

    def is_business_day(self, day: date) -> bool:
        """Whether work goes on that day."""
        return day.weekday() not in self.weekend and day not in self._holidays(day.year)

    def business_day_before(self, day: date) -> date | None:
        """The nearest business day before that day; None without one in 366 days."""
        return self._nearest_business_day(day, -1)

    def business_day_after(self, day: date) -> date | None:
        """The nearest business day after that day; None without one in 366 days."""
        return self._nearest_business_day(day, +1)

    def next_holidays(self, after: date, count: int = 5) -> list[Holiday]:
        """The first holidays after that day, in order, ten years ahead at most; weekends are none."""
        found: list[Holiday] = []
        for year in range(after.year, min(after.year + YEARS_AHEAD, date.max.year) + 1):
            ahead = sorted((day, name) for day, name in self._holidays(year).items() if day > after)
            found += [Holiday(day, name) for day, name in ahead]
            if len(found) >= count:
                break
        return found[:count]

    def _nearest_business_day(self, day: date, step: int) -> date | None:
        key = (day, step)
        if key not in self._nearest:
            self._nearest[key] = next(filter(self.is_business_day, _days_from(day, step)), None)
        return self._nearest[key]

    def _holidays(self, year: int) -> dict[date, str]:
        known = self._years.get(year)
        if known is None:
            known = self._years[year] = self._find_holidays(year)
        return known

    def _find_holidays(self, year: int) -> dict[date, str]:
        found: dict[date, str] = {}
        for own in self.own:
            if day := own.in_year(year):
                found.setdefault(day, own.name)
        for country in self.countries:
            for day, name in _country_holidays(country, year).items():
                found.setdefault(day, name)
        return found


def _days_from(day: date, step: int) -> Iterator[date]:
    for distance in range(1, SEARCH.days + 1):
        try:
            yield day + timedelta(days=distance * step)
        except OverflowError:
            return


@lru_cache(maxsize=4096)
def _country_holidays(country: Country, year: int) -> Mapping[date, str]:
    """The holidays of that year, by the names that the country's own language gives them."""
    found = country_holidays(
        country.code,
        subdiv=country.subdivision,
        years=year,
        categories=country.categories,
        # Without a language the library takes that of the process's environment.
        language=country_holidays(country.code).default_language,
    )
    return dict(found.items())


def definition_of(resource: Mapping[str, Any]) -> Definition:
    """Read a custom resource that passed its schema.

    spec: country, subdivision, categories [Public], holidays [{date: 2026-12-24 or 12-24, name}],
    weekend [Saturday, Sunday], include [name].

    Raises SpecRefused for what no schema knows: UnknownCountry, UnknownSubdivision, UnknownCategory,
    InvalidDate.
    """
    metadata, spec = resource["metadata"], resource["spec"]
    definition = Definition(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 1),
        country=spec.get("country"),
        subdivision=spec.get("subdivision"),
        categories=tuple(spec.get("categories") or _CATEGORIES),
        holidays=tuple(_own_holiday(own) for own in spec.get("holidays") or ()),
        weekend=frozenset(WEEKDAYS.index(day) for day in spec.get("weekend", _WEEKEND)),
        include=tuple(spec.get("include") or ()),
    )
    if definition.country:
        _check_country(definition.country, definition.subdivision, definition.categories)
    return definition


def _own_holiday(own: Mapping[str, str]) -> OwnHoliday:
    text = own["date"]
    *year, month, day = (int(part) for part in re.findall("[0-9]+", text))
    try:
        date(year[0] if year else 2000, month, day)  # a leap year
    except ValueError as error:
        raise SpecRefused(
            "InvalidDate",
            f"spec.holidays: {text} ({own['name']}) is no day of the calendar; "
            "write one such as 2026-12-24, or 12-24 for every year.",
        ) from error
    return OwnHoliday(own["name"], month, day, year[0] if year else None)


@lru_cache(maxsize=1024)
def _check_country(code: str, subdivision: str | None, categories: tuple[str, ...]) -> None:
    country = _country(code)
    subdivisions = (*country.subdivisions, *country.subdivisions_aliases)
    if subdivision and subdivision not in subdivisions:
        raise SpecRefused(
            "UnknownSubdivision",
            f"spec.subdivision: {subdivision!r} is none of {code}; {_one_of(country.subdivisions)}.",
        )
    known = [_shown(category) for category in country.supported_categories if category != _NO_HOLIDAYS]
    for category in categories:
        if category not in known:
            raise SpecRefused(
                "UnknownCategory",
                f"spec.categories: {code} has no holidays of category {category!r}; {_one_of(known)}.",
            )


def _country(code: str) -> HolidayBase:
    # Any name of the library's, such as that of a stock exchange or of a class, would pass for a country.
    if re.fullmatch("[A-Z]{2,3}", code):
        try:
            country = country_holidays(code)
        except NotImplementedError:
            pass
        else:
            if getattr(country, "country", None):
                return country
    raise SpecRefused(
        "UnknownCountry",
        f"spec.country: the country {code!r} is unknown; write an ISO 3166 code such as BR, "
        "or leave it out and list the days under spec.holidays.",
    )


def _one_of(known: Sequence[str]) -> str:
    if not known:
        return "it has none, leave it out"
    more = f" and {len(known) - _NAMED_AT_MOST} more" if len(known) > _NAMED_AT_MOST else ""
    return f"it knows {', '.join(sorted(known)[:_NAMED_AT_MOST])}{more}"


def _shown(category: str) -> str:
    """The library's `half_day` as resources write it, HalfDay."""
    return "".join(word.capitalize() for word in category.split("_"))


def _of_library(category: str) -> str:
    return re.sub("(?<!^)(?=[A-Z])", "_", category).lower()


def definition_json(definition: Definition) -> dict[str, Any]:
    """The definition as PostgreSQL keeps it."""
    return asdict(definition) | {"weekend": sorted(definition.weekend)}


def definition_from(stored: Mapping[str, Any]) -> Definition:
    """The definition that `definition_json` wrote."""
    return Definition(
        namespace=stored["namespace"],
        name=stored["name"],
        uid=stored["uid"],
        generation=stored["generation"],
        country=stored["country"],
        subdivision=stored["subdivision"],
        categories=tuple(stored["categories"]),
        holidays=tuple(OwnHoliday(**own) for own in stored["holidays"]),
        weekend=frozenset(stored["weekend"]),
        include=tuple(stored["include"]),
    )


def resolve(name: str, known: Mapping[str, Definition]) -> Calendar:
    """The calendar of that name among those of its namespace, with what it includes.

    Raises SpecRefused: CalendarNotFound, IncludeCycle (with the path).
    """
    definitions = _with_included(name, known)
    countries = (_country_of(definition) for definition in definitions if definition.country)
    return _calendar(
        frozenset().union(*(definition.weekend for definition in definitions)),
        tuple(own for definition in definitions for own in definition.holidays),
        tuple(dict.fromkeys(countries)),
    )


@lru_cache(maxsize=1024)
def _calendar(
    weekend: frozenset[int], own: tuple[OwnHoliday, ...], countries: tuple[Country, ...]
) -> Calendar:
    return Calendar(weekend, own, countries)


def _country_of(definition: Definition) -> Country:
    code = definition.country or ""
    # Stored by a version whose library may have known more.
    _check_country(code, definition.subdivision, definition.categories)
    return Country(code, definition.subdivision, tuple(map(_of_library, definition.categories)))


def _with_included(name: str, known: Mapping[str, Definition]) -> list[Definition]:
    """The calendar itself, then each that it includes, nearest first."""
    found: dict[str, Definition] = {}
    wanted = [(name, "spec.calendar names")]
    for wanted_name, wanted_by in wanted:  # which grows as it goes
        if wanted_name in found:
            continue
        if wanted_name not in known:
            raise SpecRefused(
                "CalendarNotFound",
                f"There is no BusinessCalendar {wanted_name} in this namespace, which {wanted_by}; "
                "apply it, or mend the name.",
            )
        found[wanted_name] = known[wanted_name]
        wanted += [
            (included, f"the calendar {wanted_name} includes") for included in known[wanted_name].include
        ]
    _refuse_cycle(found)
    return list(found.values())


def _refuse_cycle(definitions: Mapping[str, Definition]) -> None:
    try:
        TopologicalSorter({name: definitions[name].include for name in definitions}).prepare()
    except CycleError as error:
        circle = " includes ".join(reversed(error.args[1]))
        raise SpecRefused(
            "IncludeCycle", f"spec.include goes in a circle: {circle}; take one of them out."
        ) from error
