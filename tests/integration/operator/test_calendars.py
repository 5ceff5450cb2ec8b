"""BusinessCalendars from resource to row and status, and the Schedules that go by them."""

from datetime import datetime
from typing import Any

import psycopg
import pytest

from integration.operator.conftest import World
from maestro.kube import CALENDAR
from maestro_operator.facts import Facts
from maestro_operator.keys import Key

EVERYDAY = {"automation": "a", "cron": "0 12 * * *", "timeZone": "America/Sao_Paulo"}


def row(database: psycopg.Connection, name: str) -> tuple[Any, ...] | None:
    statement = "SELECT generation, retired_at IS NOT NULL FROM calendars WHERE name = %s"
    return database.execute(statement, (name,)).fetchone()


async def test_a_calendar_gets_a_row_and_tells_its_next_holidays_in_one_write(
    world: World, database: psycopg.Connection
) -> None:
    own = [{"date": "12-31", "name": "Last day"}]
    key = world.calendar("c", country="BR", subdivision="SP", holidays=own)
    await world.settle()
    assert world.condition(key) == ("True", "Registered")
    status = world.status(key)
    assert status["observedGeneration"] == 1
    told = status["nextHolidays"]
    assert len(told) == 5
    assert [each["date"] for each in told] == sorted(each["date"] for each in told)
    assert row(database, "c") == (1, False)
    assert world.kube.writes == [("status", "BusinessCalendar", "c")]
    world.dirty.append(key)
    await world.settle()
    await world.sweep()
    assert world.kube.writes == [("status", "BusinessCalendar", "c")]


@pytest.mark.parametrize(
    ("spec", "reason", "says"),
    [
        ({"country": "XX"}, "UnknownCountry", "XX"),
        ({"country": "BR", "subdivision": "XX"}, "UnknownSubdivision", "SP"),
        ({"country": "BR", "categories": ["Lunar"]}, "UnknownCategory", "Public"),
        ({"holidays": [{"date": "2026-02-30", "name": "n"}]}, "InvalidDate", "2026-02-30"),
        ({"include": ["nowhere"]}, "CalendarNotFound", "nowhere"),
        ({"include": ["c"]}, "IncludeCycle", "c"),
    ],
)
async def test_a_bad_calendar_is_told_and_the_last_good_one_serves(
    world: World, database: psycopg.Connection, spec: dict[str, Any], reason: str, says: str
) -> None:
    key = world.calendar("c", **spec)
    await world.settle()
    assert world.condition(key) == ("False", reason)
    [told] = world.kube.events
    assert (told["type"], told["reason"]) == ("Warning", reason)
    assert says in told["message"]
    assert row(database, "c") is None
    world.calendar("c", country="BR")
    await world.settle()
    assert world.condition(key) == ("True", "Registered")
    world.calendar("c", **spec)
    await world.settle()
    assert world.condition(key) == ("False", reason)
    assert row(database, "c") == (2, False)


async def test_a_calendar_may_come_before_what_it_includes(world: World) -> None:
    outer, middle = world.calendar("outer", include=["middle"]), world.calendar("middle", include=["inner"])
    await world.settle()
    assert [world.condition(key) for key in (outer, middle)] == [("False", "CalendarNotFound")] * 2
    world.calendar("inner", country="BR")
    await world.settle()
    assert [world.condition(key) for key in (outer, middle)] == [("True", "Registered")] * 2
    assert world.status(outer)["nextHolidays"] == world.status(middle)["nextHolidays"] != []


async def test_two_that_include_each_other_are_told_so(world: World) -> None:
    one, other = world.calendar("one", include=["other"]), world.calendar("other", include=["one"])
    await world.settle()
    await world.sweep()
    assert [world.condition(key) for key in (one, other)] == [("False", "IncludeCycle")] * 2
    world.calendar("other")
    await world.settle()
    assert [world.condition(key) for key in (one, other)] == [("True", "Registered")] * 2
    world.calendar("other", include=["one"])
    await world.settle()
    assert world.condition(other) == ("False", "IncludeCycle")
    assert world.condition(one) == ("True", "Registered")


async def test_a_schedule_may_come_before_its_calendar(world: World) -> None:
    world.automation("a")
    key = world.schedule("s", **EVERYDAY, calendar="outer", onHoliday="Next")
    await world.settle()
    assert world.condition(key) == ("False", "CalendarNotFound")
    assert world.reasons() == [("Warning", "CalendarNotFound")]
    world.calendar("outer", include=["inner"])
    await world.settle()
    assert world.condition(key) == ("False", "CalendarNotFound")
    world.calendar("inner", country="BR")
    await world.settle()
    assert world.condition(key) == ("True", "Registered")
    assert "nextRunTime" in world.status(key)


async def test_a_calendar_that_goes_is_told_and_firing_goes_on_by_it(
    world: World, database: psycopg.Connection
) -> None:
    world.automation("a")
    inner = world.calendar("inner", country="BR")
    outer = world.calendar("outer", include=["inner"])
    key = world.schedule("s", **EVERYDAY, calendar="outer")
    await world.settle()
    runs_next = world.status(key)["nextRunTime"]
    world.delete(inner)
    await world.settle()
    assert [world.condition(each) for each in (outer, key)] == [("False", "CalendarNotFound")] * 2
    assert world.status(key)["nextRunTime"] == runs_next
    assert row(database, "inner") == (1, True)
    world.calendar("inner", country="BR")
    await world.settle()
    assert [world.condition(each) for each in (outer, key)] == [("True", "Registered")] * 2
    world.delete(outer, seen=False)
    await world.sweep()
    await world.sweep()
    assert row(database, "outer") == (1, True)
    assert world.condition(key) == ("False", "CalendarNotFound")


async def test_an_edited_calendar_moves_the_next_run_of_those_who_include_it(world: World) -> None:
    world.automation("a")
    world.calendar("inner", weekend=[])
    world.calendar("outer", include=["inner"], weekend=[])
    key = world.schedule("s", **EVERYDAY, calendar="outer", onHoliday="Next")
    await world.settle()
    before = world.status(key)["nextRunTime"]
    closed = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
    world.calendar("inner", weekend=closed)
    await world.settle()
    world.operator.facts = Facts(world.services)
    await world.operator.facts.once()
    after = world.status(key)["nextRunTime"]
    assert after >= before
    assert datetime.fromisoformat(after).isoweekday() == 7


async def test_a_holiday_that_is_over_leaves_the_status(world: World) -> None:
    key = world.calendar("c", country="BR")
    await world.settle()
    right = world.status(key)["nextHolidays"]
    stale = [{"date": "2020-01-01", "name": "Old"}, *right[:4]]
    live = world.kube.objects[CALENDAR, "bots", "c"]
    live["status"]["nextHolidays"] = stale
    world.services.seen.put(Key(CALENDAR, "bots", "c"), world.kube.store(live))
    await world.sweep()
    assert world.status(key)["nextHolidays"] == right


async def test_a_refusal_that_lasts_is_told_once(world: World) -> None:
    world.calendar("c", country="XX")
    await world.settle()
    for _ in range(3):
        await world.sweep()
    assert world.reasons() == [("Warning", "UnknownCountry")]
