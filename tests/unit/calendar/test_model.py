"""Business days: what the law says in Brazil and São Paulo, own days, weekends, includes, and refusals."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import pytest

from maestro.calendar.model import (
    Calendar,
    Definition,
    Holiday,
    OwnHoliday,
    definition_from,
    definition_json,
    definition_of,
    resolve,
)
from maestro.errors import SpecRefused


def definition(name: str = "main", **spec: Any) -> Definition:
    metadata = {"namespace": "bots", "name": name, "uid": f"uid-{name}", "generation": 3}
    return definition_of({"metadata": metadata, "spec": spec})


def calendar(**spec: Any) -> Calendar:
    return resolve("main", {"main": definition(**spec)})


def days(*texts: str) -> set[date]:
    return {date.fromisoformat(text) for text in texts}


def holidays(business: Calendar, year: int) -> set[date]:
    listed = business.next_holidays(date(year - 1, 12, 31), 366)
    return {holiday.day for holiday in listed if holiday.day.year == year}


# Lei 662/1949 with 10.607/2002, Lei 6.802/1980, Lei 9.093/1995 (Good Friday), Lei 14.759/2023 (20 November)
BRAZIL = {
    2026: days(
        "2026-01-01", "2026-04-03", "2026-04-21", "2026-05-01", "2026-09-07",
        "2026-10-12", "2026-11-02", "2026-11-15", "2026-11-20", "2026-12-25",
    ),
    2027: days(
        "2027-01-01", "2027-03-26", "2027-04-21", "2027-05-01", "2027-09-07",
        "2027-10-12", "2027-11-02", "2027-11-15", "2027-11-20", "2027-12-25",
    ),
}  # fmt: skip
# Lei estadual 9.497/1997
SAO_PAULO = {2026: days("2026-07-09"), 2027: days("2027-07-09")}
CARNIVAL = {2026: days("2026-02-16", "2026-02-17"), 2027: days("2027-02-08", "2027-02-09")}
CORPUS_CHRISTI = {2026: days("2026-06-04"), 2027: days("2027-05-27")}
# Ash Wednesday, Dia do Servidor Público, and the eves of Christmas and New Year
OTHER_OPTIONAL = {
    2026: days("2026-02-18", "2026-10-28", "2026-12-24", "2026-12-31"),
    2027: days("2027-02-10", "2027-10-28", "2027-12-24", "2027-12-31"),
}


@pytest.mark.parametrize("year", [2026, 2027])
def test_the_holidays_of_brazil_and_sao_paulo(year: int) -> None:
    assert holidays(calendar(country="BR"), year) == BRAZIL[year]
    assert holidays(calendar(country="BR", subdivision="SP"), year) == BRAZIL[year] | SAO_PAULO[year]


@pytest.mark.parametrize("year", [2026, 2027])
def test_carnival_and_corpus_christi_are_business_days_unless_optional_ones_count(year: int) -> None:
    public = calendar(country="BR", subdivision="SP")
    optional = calendar(country="BR", subdivision="SP", categories=["Public", "Optional"])
    for day in CARNIVAL[year] | CORPUS_CHRISTI[year]:
        assert public.is_business_day(day)
        assert not optional.is_business_day(day)
    more = CARNIVAL[year] | CORPUS_CHRISTI[year] | OTHER_OPTIONAL[year]
    assert holidays(optional, year) == holidays(public, year) | more


def test_every_day_of_a_year_is_a_business_day_or_says_why_not() -> None:
    business = calendar(country="BR", subdivision="SP")
    day = date(2026, 1, 1)
    while day.year == 2026:
        closed = day.weekday() >= 5 or day in BRAZIL[2026] | SAO_PAULO[2026]
        assert business.is_business_day(day) is not closed
        assert (business.closed_by(day) is not None) is closed
        day += timedelta(days=1)


def test_names_are_in_the_countrys_own_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGUAGE", "en_US")
    assert calendar(country="BR").closed_by(date(2031, 12, 25)) == "Natal"
    assert calendar(country="DE", subdivision="BY").closed_by(date(2031, 1, 6)) == "Heilige Drei Könige"
    assert calendar(country="US").closed_by(date(2031, 7, 4)) == "Independence Day"


def test_a_holiday_is_named_before_the_weekend_it_falls_on() -> None:
    business = calendar(country="BR")
    assert business.closed_by(date(2026, 11, 15)) == "Proclamação da República"  # a Sunday
    assert business.closed_by(date(2026, 11, 14)) == "Saturday"
    assert business.closed_by(date(2026, 11, 13)) is None


def test_own_days_of_one_year_and_of_every_year() -> None:
    own = [
        {"date": "2026-12-24", "name": "Closing"},
        {"date": "12-31", "name": "Stocktaking"},
        {"date": "02-29", "name": "Leap"},
        {"date": "12-25", "name": "Christmas of ours"},
    ]
    business = calendar(country="BR", holidays=own)
    assert business.closed_by(date(2026, 12, 24)) == "Closing"
    assert business.closed_by(date(2027, 12, 24)) is None
    assert business.closed_by(date(2027, 12, 31)) == "Stocktaking"
    assert business.closed_by(date(2028, 2, 29)) == "Leap"
    assert business.closed_by(date(2027, 3, 1)) is None
    assert business.closed_by(date(2026, 12, 25)) == "Christmas of ours"


def test_weekends() -> None:
    friday, saturday, sunday = date(2026, 5, 8), date(2026, 5, 9), date(2026, 5, 10)
    assert [calendar().is_business_day(day) for day in (friday, saturday, sunday)] == [True, False, False]
    arab = calendar(weekend=["Friday", "Saturday"])
    assert [arab.is_business_day(day) for day in (friday, saturday, sunday)] == [False, False, True]
    none = calendar(weekend=[])
    assert [none.is_business_day(day) for day in (friday, saturday, sunday)] == [True, True, True]


def test_business_days_around() -> None:
    business = calendar(country="BR")
    assert business.business_day_after(date(2026, 10, 31)) == date(2026, 11, 3)  # Sunday, Finados
    assert business.business_day_before(date(2026, 11, 2)) == date(2026, 10, 30)
    assert business.business_day_before(date(2026, 1, 1)) == date(2025, 12, 31)
    assert business.business_day_after(date(2026, 5, 5)) == date(2026, 5, 6)
    closed = Calendar(frozenset(range(7)), (), ())
    assert closed.business_day_after(date(2026, 1, 1)) is None
    assert closed.business_day_before(date(2026, 1, 1)) is None


def test_the_next_holidays() -> None:
    business = calendar(country="BR", holidays=[{"date": "12-24", "name": "Closing"}])
    assert business.next_holidays(date(2026, 11, 20)) == [
        Holiday(date(2026, 12, 24), "Closing"),
        Holiday(date(2026, 12, 25), "Natal"),
        Holiday(date(2027, 1, 1), "Confraternização Universal"),
        Holiday(date(2027, 3, 26), "Sexta-feira Santa"),
        Holiday(date(2027, 4, 21), "Tiradentes"),
    ]
    assert business.next_holidays(date(2026, 12, 23), 1) == [Holiday(date(2026, 12, 24), "Closing")]
    assert calendar().next_holidays(date(2026, 1, 1)) == []
    assert calendar(holidays=[{"date": "2050-01-01", "name": "Far"}]).next_holidays(date(2026, 1, 1)) == []


# Includes


def test_what_is_closed_in_an_included_calendar_is_closed() -> None:
    known = {
        "main": definition(country="BR", weekend=["Sunday"], include=["bank", "plant"]),
        "bank": definition("bank", holidays=[{"date": "12-31", "name": "Bank"}], include=["plant"]),
        "plant": definition("plant", holidays=[{"date": "2026-07-20", "name": "Works"}], weekend=["Monday"]),
    }
    business = resolve("main", known)
    assert business.closed_by(date(2026, 12, 31)) == "Bank"
    assert business.closed_by(date(2026, 7, 20)) == "Works"
    assert business.closed_by(date(2026, 7, 13)) == "Monday"
    assert business.closed_by(date(2026, 7, 18)) == "Saturday"  # bank's weekend
    assert business.closed_by(date(2026, 9, 7)) == "Independência do Brasil"
    assert resolve("plant", known).closed_by(date(2026, 12, 31)) is None


def test_many_ways_to_one_calendar_are_walked_once() -> None:
    layers = {f"{layer}-{twin}": layer for layer in range(60) for twin in "ab"}
    known = {
        name: definition(name, include=[f"{layer + 1}-a", f"{layer + 1}-b"] if layer < 59 else [])
        for name, layer in layers.items()
    }
    assert resolve("0-a", known).is_business_day(date(2026, 5, 8))


def test_a_long_chain_of_includes() -> None:
    known = {str(at): definition(str(at), include=[str(at + 1)]) for at in range(3000)}
    known["3000"] = definition("3000", holidays=[{"date": "05-08", "name": "Far"}])
    assert resolve("0", known).closed_by(date(2026, 5, 8)) == "Far"


def test_a_cycle_is_refused_with_its_path() -> None:
    known = {
        "main": definition(include=["b"]),
        "b": definition("b", include=["c"]),
        "c": definition("c", include=["b"]),
        "self": definition("self", include=["self"]),
    }
    for name, circles in (
        ("main", ("b includes c includes b", "c includes b includes c")),
        ("self", ("self includes self",)),
    ):
        with pytest.raises(SpecRefused) as refusal:
            resolve(name, known)
        assert refusal.value.reason == "IncludeCycle"
        assert any(circle in refusal.value.message for circle in circles)


def test_a_calendar_that_is_not_there_is_refused_with_who_wants_it() -> None:
    known = {"main": definition(include=["gone"])}
    for name, says in (
        ("other", "no BusinessCalendar other in this namespace, which spec.calendar names"),
        ("main", "no BusinessCalendar gone in this namespace, which the calendar main includes"),
    ):
        with pytest.raises(SpecRefused, match=says) as refusal:
            resolve(name, known)
        assert refusal.value.reason == "CalendarNotFound"


# What resources say


def test_absent_values_are_filled_in() -> None:
    assert definition() == Definition(
        namespace="bots",
        name="main",
        uid="uid-main",
        generation=3,
        country=None,
        subdivision=None,
        categories=("Public",),
        holidays=(),
        weekend=frozenset({5, 6}),
        include=(),
    )


def test_a_definition_survives_storing() -> None:
    full = definition(
        country="BR",
        subdivision="SP",
        categories=["Public", "Optional"],
        holidays=[{"date": "2026-12-24", "name": "Closing"}, {"date": "12-31", "name": "Stock"}],
        weekend=["Sunday", "Monday"],
        include=["other"],
    )
    assert full.holidays == (OwnHoliday("Closing", 12, 24, 2026), OwnHoliday("Stock", 12, 31))
    stored = definition_json(full)
    assert stored["weekend"] == [0, 6]
    assert definition_from(stored) == full


@pytest.mark.parametrize(
    ("spec", "reason", "says"),
    [
        ({"country": "XX"}, "UnknownCountry", "'XX' is unknown; write an ISO 3166 code such as BR"),
        ({"country": "br"}, "UnknownCountry", "'br' is unknown"),
        ({"country": "ECB"}, "UnknownCountry", "'ECB' is unknown"),  # a market of the library's
        ({"country": "BR", "subdivision": "XX"}, "UnknownSubdivision", "'XX' is none of BR; it knows AC, AL"),
        ({"country": "VA", "subdivision": "X"}, "UnknownSubdivision", "it has none, leave it out"),
        ({"country": "BR", "categories": ["Bank"]}, "UnknownCategory", "it knows Optional, Public"),
        ({"country": "BR", "categories": ["public"]}, "UnknownCategory", "category 'public'"),
        ({"country": "KR", "categories": ["Workday"]}, "UnknownCategory", "'Workday'"),
        ({"holidays": [{"date": "02-30", "name": "No"}]}, "InvalidDate", r"02-30 \(No\) is no day"),
        ({"holidays": [{"date": "2026-02-29", "name": "No"}]}, "InvalidDate", "2026-12-24, or 12-24"),
        ({"holidays": [{"date": "0000-01-01", "name": "No"}]}, "InvalidDate", "0000-01-01"),
    ],
)
def test_refuses_with_what_to_do(spec: dict[str, Any], reason: str, says: str) -> None:
    with pytest.raises(SpecRefused, match=says) as refusal:
        definition(**spec)
    assert refusal.value.reason == reason


def test_other_forms_of_countries_and_categories() -> None:
    assert calendar(country="BRA", subdivision="São Paulo").closed_by(date(2026, 7, 9))
    half_days = calendar(country="DK", categories=["Public", "Optional"])
    assert half_days.closed_by(date(2026, 12, 25))
    assert calendar(country="AT", categories=["Bank"]).closed_by(date(2026, 12, 24))


def test_one_of_a_country_that_this_library_lost_is_refused_when_it_is_used() -> None:
    stored = definition_json(definition()) | {"country": "XX"}
    with pytest.raises(SpecRefused, match="'XX' is unknown"):
        resolve("main", {"main": definition_from(stored)})


def test_equal_content_is_one_calendar_and_threads_may_share_it() -> None:
    first = resolve("main", {"main": definition(country="BR", subdivision="RJ")})
    again = resolve("other", {"other": definition("other", country="BR", subdivision="RJ")})
    assert first is again
    assert hash(first) == hash(again)
    every_day = [date(2020, 1, 1) + timedelta(days=at) for at in range(3000)]
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(lambda: [first.closed_by(day) for day in every_day]) for _ in range(8)]
        answers = [each.result() for each in asked]
    assert all(answer == answers[0] for answer in answers)
