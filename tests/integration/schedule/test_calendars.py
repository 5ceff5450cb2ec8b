"""Schedules that go by business calendars, in a real database, and edits of both."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from integration.schedule.given import (
    DAY,
    HOUR,
    NOON,
    automation,
    calendar,
    instants,
    occurrences,
    outcomes,
    register,
    resource,
)
from maestro.calendar import store as calendar_store
from maestro.calendar.store import retire
from maestro.db import Connection, open_pool
from maestro.errors import SpecRefused
from maestro.schedule import calendars, store
from maestro.schedule.firing import fire_due

MONDAY = NOON
TUESDAY, WEDNESDAY, THURSDAY, FRIDAY, SATURDAY, SUNDAY = (MONDAY + n * DAY for n in range(1, 7))
FEAST = {"date": "2026-11-25", "name": "Feast of the tests"}
"""On Wednesday."""

DAILY = {"cron": "0 12 * * *", "calendar": "brazil"}


async def run(conn: Connection, until: datetime, since: datetime = MONDAY) -> None:
    """Dispatch each hour."""
    now = since
    while now <= until:
        await fire_due(conn, limit=100, now=now)
        now += HOUR


async def schedule_row(conn: Connection, name: str = "each-hour") -> store.Schedule:
    found = await store.by_name(conn, "bots", name)
    assert found
    return found


@pytest.fixture
async def bot(database: psycopg.Connection) -> int:
    return automation(database)


pytestmark = pytest.mark.usefixtures("bot")


@pytest.mark.parametrize(
    ("on_holiday", "expected"),
    [
        (
            "Skip",
            [
                (TUESDAY, "fired", "", 1),
                (WEDNESDAY, "skipped", "Holiday", 1),
                (THURSDAY, "fired", "", 1),
                (FRIDAY, "fired", "", 1),
                (SATURDAY, "skipped", "Holiday", 1),
                (SUNDAY, "skipped", "Holiday", 1),
            ],
        ),
        ("Run", [(day, "fired", "", 1) for day in (TUESDAY, WEDNESDAY, THURSDAY, FRIDAY, SATURDAY, SUNDAY)]),
        (
            "Previous",
            [
                (TUESDAY, "fired", "", 1),
                (WEDNESDAY, "merged", "Merged", 1),
                (THURSDAY, "fired", "", 1),
                (FRIDAY, "fired", "", 1),
                (SATURDAY, "merged", "Merged", 1),
                (SUNDAY, "merged", "Merged", 1),
            ],
        ),
        (
            "Next",
            [
                (TUESDAY, "fired", "", 1),
                (WEDNESDAY, "merged", "Merged", 1),
                (THURSDAY, "fired", "", 1),
                (FRIDAY, "fired", "", 1),
            ],
        ),
    ],
)
async def test_a_week_with_a_holiday(
    conn: Connection, database: psycopg.Connection, on_holiday: str, expected: Sequence[Any]
) -> None:
    await calendars.register(conn, calendar(holidays=[FEAST]))
    await register(conn, resource(**DAILY, onHoliday=on_holiday))
    await run(conn, SUNDAY + HOUR)
    assert occurrences(database) == list(expected)
    merged = """SELECT count(*) FROM occurrences m JOIN occurrences r ON r.job_id = m.job_id
                WHERE m.outcome = 'merged' AND r.outcome = 'fired' AND r.effective_at = m.effective_at"""
    wanted = sum(outcome == "merged" for _, outcome, _, _ in expected)
    assert database.execute(merged).fetchone() == (wanted,)


@pytest.mark.parametrize(("on_holiday", "moved"), [("Previous", TUESDAY), ("Next", THURSDAY)])
async def test_a_moved_run_fires_at_its_effective_instant(
    conn: Connection, database: psycopg.Connection, on_holiday: str, moved: datetime
) -> None:
    await calendars.register(conn, calendar(holidays=[FEAST]))
    spec: dict[str, Any] = {"cron": "0 12 * * 3", "calendar": "brazil", "onHoliday": on_holiday}
    registered = await register(conn, resource(**spec, parameters={"day": "{{today}}"}))
    assert registered.next_run_at == moved
    await run(conn, moved - HOUR)
    assert occurrences(database) == []
    await run(conn, SUNDAY, moved)
    assert occurrences(database) == [(WEDNESDAY, "shifted", "Holiday", 1)]
    row = database.execute(
        """SELECT o.effective_at, j.scheduled_for, j.parameters, o.message
           FROM occurrences o JOIN jobs j ON j.id = o.job_id"""
    ).fetchone()
    assert row
    assert row[:3] == (moved, WEDNESDAY, {"day": "25/11/2026"})
    assert "Feast of the tests" in row[3]


async def test_a_holiday_that_becomes_known_too_late_to_run_before_it_is_missed(
    conn: Connection, database: psycopg.Connection
) -> None:
    await calendars.register(conn, calendar())
    await register(conn, resource(**(DAILY | {"cron": "0 12 * * 3"}), onHoliday="Previous"))
    await run(conn, TUESDAY + HOUR)
    await calendars.register(conn, calendar(generation=2, holidays=[FEAST]), now=TUESDAY + HOUR)
    row = await schedule_row(conn)
    assert (row.due_at, row.next_run_at) == (WEDNESDAY, WEDNESDAY + 7 * DAY)
    await run(conn, SUNDAY, TUESDAY + 2 * HOUR)
    assert occurrences(database) == [(WEDNESDAY, "missed", "HolidayKnownTooLate", 1)]


async def test_a_holiday_that_is_none_after_all_brings_back_no_run_of_the_past(
    conn: Connection, database: psycopg.Connection
) -> None:
    await calendars.register(conn, calendar(holidays=[FEAST]))
    spec: dict[str, Any] = {"cron": "0 6,12,18 * * 3", "calendar": "brazil", "onHoliday": "Next"}
    await register(conn, resource(**spec))
    await run(conn, WEDNESDAY + HOUR)
    await calendars.register(conn, calendar(generation=2), now=WEDNESDAY + HOUR)
    row = await schedule_row(conn)
    assert row.due_at == WEDNESDAY + 6 * HOUR
    assert (row.last_occurrence_at, row.last_reason) == (WEDNESDAY, "CalendarChanged")
    await run(conn, SUNDAY, WEDNESDAY + 2 * HOUR)
    assert occurrences(database) == [
        (WEDNESDAY - 6 * HOUR, "missed", "CalendarChanged", 1),
        (WEDNESDAY, "missed", "CalendarChanged", 1),
        (WEDNESDAY + 6 * HOUR, "fired", "", 1),
    ]


async def test_an_outage_after_a_holiday_that_is_none_after_all_is_told(
    conn: Connection, database: psycopg.Connection
) -> None:
    """Wednesday's run waited for Thursday, which has one of its own: no time changes with the edit."""
    await calendars.register(conn, calendar(holidays=[FEAST]))
    spec: dict[str, Any] = {"cron": "0 12 * * 3,4,5", "calendar": "brazil", "onHoliday": "Next"}
    await register(conn, resource(**spec, catchUp={"policy": "None"}))
    await calendars.register(conn, calendar(generation=2), now=WEDNESDAY + HOUR)
    await run(conn, FRIDAY + HOUR, FRIDAY + HOUR)
    assert occurrences(database) == [
        (WEDNESDAY, "missed", "CalendarChanged", 1),
        (THURSDAY, "missed", "Outage", 2),
    ]


async def test_one_that_has_run_the_day_before_is_not_shown_as_next_when_an_edit_opens_its_day(
    conn: Connection, database: psycopg.Connection
) -> None:
    await calendars.register(conn, calendar(holidays=[FEAST]))
    spec: dict[str, Any] = {"cron": "0 12,13 * * 3", "calendar": "brazil", "onHoliday": "Previous"}
    await register(conn, resource(**spec))
    await run(conn, TUESDAY)
    await calendars.register(conn, calendar(generation=2), now=TUESDAY)
    assert (await schedule_row(conn)).next_run_at == WEDNESDAY + HOUR
    edited = resource(**spec, generation=2, jitterSeconds=0, startTime="2026-01-01T00:00:00Z")
    assert (await register(conn, edited, TUESDAY)).next_run_at == WEDNESDAY + HOUR
    await run(conn, WEDNESDAY + HOUR, TUESDAY)
    assert occurrences(database) == [
        (WEDNESDAY, "shifted", "Holiday", 1),
        (WEDNESDAY + HOUR, "fired", "", 1),
    ]


async def test_one_that_waits_for_a_business_day_waits_on_when_that_becomes_a_holiday_too(
    conn: Connection, database: psycopg.Connection
) -> None:
    """However many days further the calendar moves it."""
    await calendars.register(conn, calendar())
    await register(conn, resource(cron="0 12 * * 6", calendar="brazil", onHoliday="Next"))
    await run(conn, SUNDAY)
    carnival = [{"date": f"{SUNDAY + days * DAY:%Y-%m-%d}", "name": "Carnival"} for days in (1, 2, 3)]
    await calendars.register(conn, calendar(generation=2, holidays=carnival), now=SUNDAY)
    thursday = SUNDAY + 4 * DAY
    assert (await schedule_row(conn)).next_run_at == thursday
    await run(conn, thursday, SUNDAY)
    assert occurrences(database) == [(SATURDAY, "shifted", "Holiday", 1)]
    assert instants(database) == [SATURDAY]


def closed(*days: datetime) -> list[dict[str, str]]:
    return [{"date": f"{day:%Y-%m-%d}", "name": "Feast"} for day in days]


async def test_one_that_has_run_takes_none_with_it_that_an_edit_moves_to_the_same_day(
    conn: Connection, database: psycopg.Connection
) -> None:
    """Monday has run when it and Tuesday become holidays: both would move to Wednesday, the first to run."""
    await calendars.register(conn, calendar())
    spec: dict[str, Any] = {"cron": "0 12 * * 1,2", "calendar": "brazil", "onHoliday": "Next"}
    await register(conn, resource(**spec), MONDAY - HOUR)
    await run(conn, MONDAY + HOUR)
    edited = calendar(generation=2, holidays=closed(MONDAY, TUESDAY))
    await calendars.register(conn, edited, now=MONDAY + HOUR)
    await run(conn, SUNDAY, MONDAY + HOUR)
    assert occurrences(database) == [(MONDAY, "fired", "", 1), (TUESDAY, "shifted", "Holiday", 1)]
    assert instants(database) == [MONDAY, TUESDAY]


async def test_one_that_ran_the_day_before_takes_none_with_it_that_an_edit_moves_to_its_own(
    conn: Connection, database: psycopg.Connection
) -> None:
    """Wednesday has run on Tuesday when it becomes a business day, and the two days after it holidays."""
    await calendars.register(conn, calendar(holidays=closed(WEDNESDAY)))
    spec: dict[str, Any] = {"cron": "0 12 * * 3-5", "calendar": "brazil", "onHoliday": "Previous"}
    await register(conn, resource(**spec))
    await run(conn, TUESDAY + HOUR)
    edited = calendar(generation=2, holidays=closed(THURSDAY, FRIDAY))
    await calendars.register(conn, edited, now=TUESDAY + HOUR)
    await run(conn, SUNDAY, TUESDAY + HOUR)
    assert occurrences(database) == [
        (WEDNESDAY, "shifted", "Holiday", 1),
        (THURSDAY, "shifted", "Holiday", 1),
        (FRIDAY, "merged", "Merged", 1),
    ]
    assert instants(database) == [WEDNESDAY, THURSDAY]
    same = """SELECT count(*) FROM occurrences m JOIN occurrences r USING (job_id)
              WHERE m.outcome = 'merged' AND r.nominal_at = %s AND r.outcome = 'shifted'"""
    assert database.execute(same, [THURSDAY]).fetchone() == (1,)


async def test_an_edit_of_a_calendar_leaves_what_an_outage_owes(
    conn: Connection, database: psycopg.Connection
) -> None:
    await calendars.register(conn, calendar())
    await register(conn, resource(**DAILY))
    await calendars.register(
        conn, calendar(generation=2, holidays=[FEAST]), now=TUESDAY + timedelta(minutes=30)
    )
    await run(conn, TUESDAY + HOUR, TUESDAY + HOUR)
    assert occurrences(database) == [(TUESDAY, "late", "Outage", 1)]


async def test_one_that_an_outage_took_is_not_missed_once_more_at_its_nominal_time(
    conn: Connection, database: psycopg.Connection
) -> None:
    """Wednesday's run, moved to Tuesday, is lost with Monday's and Tuesday's before Wednesday comes."""
    await calendars.register(conn, calendar(holidays=[FEAST]))
    spec: dict[str, Any] = {"cron": "0 12,13 * * 1,3", "calendar": "brazil", "onHoliday": "Previous"}
    await register(conn, resource(**spec, catchUp={"policy": "None"}), MONDAY - HOUR)
    await run(conn, WEDNESDAY + 3 * HOUR, TUESDAY + 6 * HOUR)
    assert occurrences(database) == [(MONDAY, "missed", "Outage", 4)]


async def test_one_merged_into_many_that_an_outage_took_is_not_missed_at_its_nominal_time(
    conn: Connection, database: psycopg.Connection
) -> None:
    """The weekend's are moved to Friday, when an outage took more than get rows of their own."""
    await calendars.register(conn, calendar())
    spec: dict[str, Any] = {"cron": "*/10 * * * *", "calendar": "brazil", "onHoliday": "Previous"}
    await register(conn, resource(**spec, catchUp={"policy": "None"}))
    back = FRIDAY + 11 * HOUR + timedelta(minutes=58)
    await run(conn, back, back)
    await run(conn, SUNDAY + 11 * HOUR, SATURDAY)
    told = set(outcomes(database)[1:])
    assert outcomes(database)[0] == ("missed", "Outage")
    assert ("missed", "HolidayKnownTooLate") not in told


async def test_skips_of_an_outage_are_written_but_not_counted(
    conn: Connection, database: psycopg.Connection
) -> None:
    await calendars.register(conn, calendar(holidays=[FEAST]))
    await register(conn, resource(**DAILY))
    await run(conn, SUNDAY + HOUR, SUNDAY + HOUR)
    assert occurrences(database) == [
        (TUESDAY, "missed", "Outage", 3),
        (WEDNESDAY, "skipped", "Holiday", 1),
        (SATURDAY, "skipped", "Holiday", 1),
        (SUNDAY, "skipped", "Holiday", 1),
    ]


async def test_a_long_outage_counts_no_holiday(conn: Connection, database: psycopg.Connection) -> None:
    await calendars.register(conn, calendar(holidays=[FEAST]))
    await register(conn, resource(cron="*/10 * * * *", calendar="brazil"))
    await run(conn, MONDAY + 7 * DAY, MONDAY + 7 * DAY)
    rest_of_monday = 12 * 6 - 1
    missed = rest_of_monday + 3 * 144 + 12 * 6  # Tuesday, Thursday, Friday, and the second Monday
    assert outcomes(database) == [("missed", "Outage"), ("fired", "")]
    assert occurrences(database)[0] == (MONDAY + timedelta(minutes=10), "missed", "Outage", missed)


async def test_an_edit_of_a_calendar_retimes_its_users_and_theirs_alone(
    conn: Connection, database: psycopg.Connection
) -> None:
    await calendars.register(conn, calendar("state"))
    await calendars.register(conn, calendar("city", include=["state"]))
    await calendars.register(conn, calendar("other"))
    for name, used in (("direct", "state"), ("included", "city"), ("of-another", "other"), ("none", None)):
        spec = {"cron": "0 12 * * *"} | ({"calendar": used} if used else {})
        await register(conn, resource(name, **spec))
    await register(conn, resource("suspended", cron="0 12 * * *", calendar="state", suspend=True))
    versions = "SELECT name, xmin::text FROM schedules ORDER BY name"
    before = dict(database.execute(versions).fetchall())
    tomorrow = {"date": "11-24", "name": "Yearly"}
    await calendars.register(conn, calendar("state", generation=2, holidays=[tomorrow]), now=MONDAY)
    after = dict(database.execute(versions).fetchall())
    assert {name for name in before if before[name] != after[name]} == {"direct", "included"}
    for name, next_run in (("direct", WEDNESDAY), ("included", WEDNESDAY), ("of-another", TUESDAY)):
        row = await schedule_row(conn, name)
        assert (row.due_at, row.next_run_at, row.decided_until) == (TUESDAY, next_run, MONDAY)
    await calendars.register(conn, calendar("state", generation=2, holidays=[tomorrow]))
    assert dict(database.execute(versions).fetchall()) == after


async def test_a_user_that_cannot_be_read_holds_up_no_edit_of_its_calendar(
    conn: Connection, database: psycopg.Connection
) -> None:
    await calendars.register(conn, calendar())
    broken = await register(conn, resource("broken", **DAILY))
    await register(conn, resource("whole", **DAILY))
    database.execute("UPDATE schedules SET cron = 'LW' WHERE id = %s", [broken.id])
    tomorrow = {"date": f"{TUESDAY:%Y-%m-%d}", "name": "Feast"}
    await calendars.register(conn, calendar(generation=2, holidays=[tomorrow]), now=MONDAY)
    assert (await schedule_row(conn, "whole")).next_run_at == WEDNESDAY
    assert (await schedule_row(conn, "broken")).next_run_at == TUESDAY


async def test_a_deleted_calendar_goes_on_for_its_users_and_takes_no_new_ones(
    conn: Connection, database: psycopg.Connection
) -> None:
    await calendars.register(conn, calendar(holidays=[FEAST]))
    used = await register(conn, resource(**DAILY))
    assert await retire(conn, "bots", "brazil")
    assert await retire(conn, "bots", "brazil") is None
    await run(conn, WEDNESDAY + HOUR)
    assert outcomes(database) == [("fired", ""), ("skipped", "Holiday")]
    with pytest.raises(SpecRefused) as refusal:
        await register(conn, resource("new", **DAILY))
    assert refusal.value.reason == "CalendarNotFound"
    edited = await register(conn, resource(generation=2, **DAILY, parameters={"x": 1}))
    assert (edited.id, edited.parameters) == (used.id, {"x": 1})
    suspended = await register(conn, resource(generation=3, **DAILY, suspend=True))
    assert suspended.suspended
    await calendars.register(conn, calendar(uid="again"))
    assert (await register(conn, resource("new", **DAILY), THURSDAY)).next_run_at == FRIDAY


async def test_an_unknown_calendar_is_refused_and_the_last_good_state_keeps_firing(
    conn: Connection, database: psycopg.Connection
) -> None:
    with pytest.raises(SpecRefused, match="brazil") as refusal:
        await register(conn, resource(**DAILY))
    assert refusal.value.reason == "CalendarNotFound"
    good = await register(conn, resource())
    with pytest.raises(SpecRefused):
        await register(conn, resource(generation=2, **DAILY))
    assert await schedule_row(conn) == good
    await run(conn, MONDAY + 2 * HOUR)
    assert len(instants(database)) == 2


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"country": "XX"}, "UnknownCountry"),
        ({"include": ["brazil"]}, "IncludeCycle"),
        ({"include": ["nowhere"]}, "CalendarNotFound"),
        ({"holidays": [{"date": "02-30", "name": "x"}]}, "InvalidDate"),
        ({"holidays": [{"date": "12-24", "name": "\x00"}]}, "UnstorableSpec"),
    ],
)
async def test_a_refused_calendar_leaves_the_last_good_one(
    conn: Connection, spec: dict[str, Any], reason: str
) -> None:
    good = await calendars.register(conn, calendar(holidays=[FEAST]))
    with pytest.raises(SpecRefused) as refusal:
        await calendars.register(conn, calendar(generation=2, **spec))
    assert refusal.value.reason == reason
    assert await calendar_store.by_name(conn, "bots", "brazil") == good


async def test_two_edits_at_once_make_no_circle(database_uri: str, conn: Connection) -> None:
    for name in ("a", "b"):
        await calendars.register(conn, calendar(name))
    async with open_pool(database_uri) as pool:

        async def include(one: str, other: str) -> str:
            async with pool.connection() as own:
                try:
                    await calendars.register(own, calendar(one, generation=2, include=[other]))
                except SpecRefused as refusal:
                    return refusal.reason
                return "done"

        done = await asyncio.gather(include("a", "b"), include("b", "a"))
    assert sorted(done) == ["IncludeCycle", "done"]


async def test_a_schedule_that_begins_to_use_a_calendar_while_it_is_edited_goes_by_the_edit(
    database_uri: str, conn: Connection, database: psycopg.Connection
) -> None:
    await calendars.register(conn, calendar())
    async with open_pool(database_uri) as pool, pool.connection() as own, own.transaction():
        holiday = {"date": "2026-11-24", "name": "x"}
        await calendars.register(own, calendar(generation=2, holidays=[holiday]), now=MONDAY)
        registering = asyncio.create_task(register(conn, resource(**DAILY)))
        await asyncio.sleep(0.3)
        assert not registering.done()
    assert (await registering).next_run_at == WEDNESDAY


async def test_one_edited_schedule_among_ten_thousand_touches_one_row(
    conn: Connection, database: psycopg.Connection
) -> None:
    await register(conn, resource("first"))
    database.execute(
        """INSERT INTO schedules (namespace, name, uid, generation, automation_name, cron, time_zone,
                                  decided_until, due_at, next_run_at)
           SELECT namespace, 's-' || n, uid, generation, automation_name, cron, time_zone,
                  decided_until, due_at, next_run_at
           FROM schedules, generate_series(1, 10000) AS n"""
    )
    rows = "SELECT name, xmin::text, ctid::text FROM schedules"
    before = set(database.execute(rows).fetchall())
    await register(conn, resource("s-5000", generation=2, cron="30 * * * *"))
    changed = set(database.execute(rows).fetchall()) - before
    assert [name for name, *_ in changed] == ["s-5000"]
    assert len(database.execute(rows).fetchall()) == 10_001
