"""Times that were computed with other versions of holidays or time zones."""

import asyncio

import psycopg
import pytest

from integration.schedule.given import HOUR, NOON, automation, occurrences, register, resource
from maestro.db import Connection, open_pool
from maestro.schedule import store
from maestro.schedule.firing import fire_due
from maestro.schedule.versions import Versions, take_up, versions_here

OLD, NEW = Versions("0.1", "2026a"), Versions("0.1", "2026b")


def test_this_process_knows_its_versions() -> None:
    here = versions_here()
    assert here.holidays[0].isdigit()
    assert here.tzdata


async def test_with_others_the_times_are_written_anew_and_nothing_runs(
    conn: Connection, database: psycopg.Connection
) -> None:
    automation(database)
    now = await store.current_time(conn)
    schedule = await register(conn, resource(cron="0 12 1 1 *"), now)
    await register(conn, resource("suspended", suspend=True), now)
    wrong = schedule.next_run_at
    assert wrong
    database.execute(
        "UPDATE schedules SET due_at = %(at)s, next_run_at = %(at)s WHERE NOT suspended", {"at": wrong + HOUR}
    )
    assert await take_up(conn, OLD) == 0
    assert await take_up(conn, OLD) == 0
    assert (await fire_due(conn, limit=10)).seen == 0
    assert await take_up(conn, NEW) == 1
    assert (await fire_due(conn, limit=10)).seen == 1
    row = await store.get(conn, schedule.id)
    assert (row.due_at, row.next_run_at) == (wrong, wrong)
    assert occurrences(database) == []


async def test_what_is_owed_stays_due_since_then(conn: Connection, database: psycopg.Connection) -> None:
    automation(database)
    schedule = await register(conn, resource(), NOON - 400 * 24 * HOUR)
    await take_up(conn, OLD)
    await take_up(conn, NEW)
    assert (await store.get(conn, schedule.id)).due_at == schedule.due_at


@pytest.mark.parametrize("dispatchers", [8])
async def test_of_many_dispatchers_one_takes_them_up(
    database_uri: str, conn: Connection, database: psycopg.Connection, dispatchers: int
) -> None:
    automation(database)
    for number in range(20):
        await register(conn, resource(f"s-{number}"), await store.current_time(conn))
    await take_up(conn, OLD)
    async with open_pool(database_uri) as pool:

        async def start() -> int:
            async with pool.connection() as own:
                return await take_up(own, NEW)

        counts = await asyncio.gather(*(start() for _ in range(dispatchers)))
    assert sorted(counts) == [0] * (dispatchers - 1) + [20]
