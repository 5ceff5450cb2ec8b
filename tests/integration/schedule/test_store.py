"""Schedules in a real database: what registering, retiring and listing them does."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from integration.schedule.given import NOON, automation, jobs, register, resource
from maestro.db import Connection, open_pool
from maestro.errors import NotFound, SpecRefused
from maestro.imported import ANNOTATION
from maestro.schedule import store
from maestro.schedule.firing import fire_due
from maestro.schedule.model import Schedule


async def test_a_new_schedule_runs_next_from_now(conn: Connection) -> None:
    stored = await register(conn, resource(timeZone="Asia/Kathmandu", parameters={"month": "{{today}}"}))
    assert stored.next_run_at == datetime(2026, 11, 23, 12, 15, tzinfo=UTC)  # 18:00 there
    assert stored.parameters == {"month": "{{today}}"}
    assert (stored.automation_id, stored.last_run_at, stored.last_job_id) == (None, None, None)
    assert await store.get(conn, stored.id) == stored


async def test_registering_again_writes_nothing(conn: Connection, database: psycopg.Connection) -> None:
    first = await register(conn, resource())
    version = database.execute("SELECT xmin::text, id FROM schedules").fetchone()
    assert await register(conn, resource(), NOON + timedelta(hours=5)) == first
    assert database.execute("SELECT xmin::text, id FROM schedules").fetchone() == version


async def test_an_older_generation_changes_nothing(conn: Connection) -> None:
    newer = await register(conn, resource(generation=3, cron="5 * * * *"))
    assert await register(conn, resource(generation=2)) == newer


@pytest.mark.parametrize(
    ("change", "next_run_at"),
    [
        ({"cron": "30 * * * *"}, datetime(2026, 11, 23, 17, 30, tzinfo=UTC)),
        ({"timeZone": "Asia/Kathmandu"}, datetime(2026, 11, 23, 17, 15, tzinfo=UTC)),
        ({"suspend": True}, None),
        ({"parameters": {"x": 1}}, datetime(2026, 11, 23, 13, 0, tzinfo=UTC)),
        ({"automation": "other"}, datetime(2026, 11, 23, 13, 0, tzinfo=UTC)),
    ],
)
async def test_only_a_change_of_when_moves_the_next_run(
    conn: Connection, change: dict[str, Any], next_run_at: datetime | None
) -> None:
    """Changed at 17:02, while the run of 13:00 is still due after an outage."""
    before = await register(conn, resource())
    after = await register(conn, resource(generation=2, **change), NOON + timedelta(hours=5, minutes=2))
    assert (after.id, after.next_run_at) == (before.id, next_run_at)


async def test_resuming_owes_nothing(conn: Connection, database: psycopg.Connection) -> None:
    automation(database)
    await register(conn, resource(suspend=True))
    resumed = await register(conn, resource(generation=2), NOON + timedelta(days=3, minutes=1))
    assert resumed.next_run_at == NOON + timedelta(days=3, hours=1)
    fired = await fire_due(conn, limit=10, now=NOON + timedelta(days=3, minutes=2))
    assert (fired.seen, jobs(database)) == (0, [])


async def test_a_retired_schedule_is_gone_and_a_namesake_keeps_its_id(conn: Connection) -> None:
    first = await register(conn, resource())
    retired = await store.retire(conn, "bots", "each-hour")
    assert retired
    assert retired.next_run_at is None
    assert await store.retire(conn, "bots", "each-hour") is None
    assert await store.list_all(conn, include_disabled=True) == []
    with pytest.raises(NotFound, match=f"no schedule {first.id}"):
        await store.get(conn, first.id)
    again = await register(conn, resource(uid="2"), NOON + timedelta(days=1))
    assert (again.id, again.next_run_at) == (first.id, NOON + timedelta(days=1, hours=1))


async def test_lists(conn: Connection) -> None:
    enabled = await register(conn, resource("enabled"))
    disabled = await register(conn, resource("disabled", suspend=True))
    assert await store.list_all(conn) == [enabled]
    assert await store.list_all(conn, include_disabled=True) == [enabled, disabled]


@pytest.mark.parametrize(
    ("change", "reason", "says"),
    [
        ({"cron": "61 * * * *"}, "InvalidCron", "spec.cron: 61 in the minute field"),
        ({"timeZone": "Brasil/Capital"}, "InvalidTimeZone", "such as America/Sao_Paulo"),
        ({"parameters": {"x": "\x00"}}, "UnstorableSpec", "can't store"),
    ],
)
async def test_a_refused_spec_leaves_the_last_good_one(
    conn: Connection, change: dict[str, Any], reason: str, says: str
) -> None:
    good = await register(conn, resource())
    with pytest.raises(SpecRefused, match=says) as refusal:
        await register(conn, resource(generation=2, **change))
    assert refusal.value.reason == reason
    assert await store.by_name(conn, "bots", "each-hour") == good


async def test_many_registering_at_once_agree(database_uri: str) -> None:
    async with open_pool(database_uri) as pool:

        async def one() -> Schedule:
            async with pool.connection() as connection:
                return await register(connection, resource())

        assert (
            len({(each.id, each.next_run_at) for each in await asyncio.gather(*(one() for _ in range(8)))})
            == 1
        )


async def test_the_rest_until_the_next_one(conn: Connection, database: psycopg.Connection) -> None:
    assert await store.seconds_to_next(conn) is None
    await register(conn, resource(), datetime.now(UTC))
    seconds = await store.seconds_to_next(conn)
    assert seconds is not None
    assert -1 < seconds <= 3600


def imported(number: int, **given: Any) -> dict[str, Any]:
    body = resource(**given)
    body["metadata"]["annotations"] = {ANNOTATION: str(number)}
    return body


async def test_an_old_servers_id_is_imported_and_counted_on_from(conn: Connection) -> None:
    assert (await register(conn, imported(40, name="a", uid="ua"))).id == 40
    assert (await register(conn, imported(40, name="a", uid="ua", generation=2, cron="5 * * * *"))).id == 40
    assert (await register(conn, resource(name="b", uid="ub"))).id > 40
    with pytest.raises(SpecRefused, match="the Schedule a in") as refused:
        await register(conn, imported(40, name="c", uid="uc"))
    assert refused.value.reason == "IdTaken"
    with pytest.raises(SpecRefused, match="has the id 40 for good") as refused:
        await register(conn, imported(41, name="a", uid="ua", generation=3))
    assert refused.value.reason == "IdMismatch"
