"""Schedules and their firing in a real database."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from maestro.db import Connection, open_pool
from maestro.errors import NotFound, SpecRefused
from maestro.schedule import store
from maestro.schedule.firing import fire_due
from maestro.schedule.model import Schedule

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
async def conn(database_uri: str) -> AsyncIterator[Connection]:
    async with open_pool(database_uri) as pool, pool.connection() as connection:
        await connection.set_autocommit(True)
        yield connection


def automation(database: psycopg.Connection, name: str = "bot", **columns: Any) -> int:
    values = {"namespace": "bots", "name": name, "uid": "a", "display_name": name, "queue": "jobs"} | columns
    names, marks = ", ".join(values), ", ".join(["%s"] * len(values))
    statement = f"INSERT INTO automations ({names}) VALUES ({marks}) RETURNING id"  # noqa: S608
    row = database.execute(statement.encode(), list(values.values())).fetchone()
    assert row
    return int(row[0])


def resource(name: str = "each-hour", uid: str = "1", generation: int = 1, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "bots", "name": name, "uid": uid, "generation": generation},
        "spec": {"automation": "bot", "cron": "0 * * * *"} | spec,
    }


async def register(conn: Connection, given: dict[str, Any], now: datetime = NOON) -> Schedule:
    return await store.register(conn, given, default_time_zone="UTC", now=now)


def jobs(database: psycopg.Connection) -> list[tuple[Any, ...]]:
    rows = "SELECT schedule_id, scheduled_for, parameters FROM jobs ORDER BY scheduled_for"
    return database.execute(rows).fetchall()


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


async def test_a_due_schedule_fires_once_and_moves_on(conn: Connection, database: psycopg.Connection) -> None:
    bot = automation(database, default_params='{"a": 1, "b": 1}', script_path="bot.py")
    schedule = await register(conn, resource(parameters={"b": 2}))
    assert (await fire_due(conn, limit=10, now=NOON + 59 * MINUTE)).seen == 0
    [job] = (await fire_due(conn, limit=10, now=NOON + 60 * MINUTE)).jobs
    assert (job.automation_id, job.schedule_id, job.queue) == (bot, schedule.id, "jobs")
    assert jobs(database) == [(schedule.id, NOON + 60 * MINUTE, {"a": 1, "b": 2})]
    assert (await fire_due(conn, limit=10, now=NOON + 61 * MINUTE)).seen == 0
    moved = await store.get(conn, schedule.id)
    assert moved.next_run_at == NOON + 120 * MINUTE
    assert (moved.last_run_at, moved.last_job_id, moved.last_job_status) == (
        NOON + 60 * MINUTE,
        job.id,
        "pending",
    )


async def test_an_outage_collapses_to_the_latest_instant(
    conn: Connection, database: psycopg.Connection
) -> None:
    automation(database)
    schedule = await register(conn, resource(cron="*/5 * * * *"))
    fired = await fire_due(conn, limit=10, now=NOON + timedelta(days=3, minutes=7))
    assert len(fired.jobs) == 1
    assert [row[1] for row in jobs(database)] == [NOON + timedelta(days=3, minutes=5)]
    assert (await store.get(conn, schedule.id)).next_run_at == NOON + timedelta(days=3, minutes=10)


async def test_a_clock_that_goes_back_fires_nothing_twice(
    conn: Connection, database: psycopg.Connection
) -> None:
    automation(database)
    await register(conn, resource())
    await fire_due(conn, limit=10, now=NOON + 60 * MINUTE)
    # as if a restored or edited row were due again at an instant that has its job
    database.execute("UPDATE schedules SET next_run_at = %s", [NOON + 60 * MINUTE])
    fired = await fire_due(conn, limit=10, now=NOON + 60 * MINUTE)
    assert (fired.seen, fired.jobs, len(jobs(database))) == (1, [], 1)
    assert (await store.list_all(conn))[0].next_run_at == NOON + 120 * MINUTE


async def test_without_its_automation_nothing_fires_and_time_goes_on(
    conn: Connection, database: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    schedule = await register(conn, resource())
    fired = await fire_due(conn, limit=10, now=NOON + 60 * MINUTE)
    assert (fired.seen, fired.jobs) == (1, [])
    assert "there is no Automation bot" in caplog.text
    assert (await store.get(conn, schedule.id)).next_run_at == NOON + 120 * MINUTE
    bot = automation(database)
    assert (await store.get(conn, schedule.id)).automation_id == bot
    assert len((await fire_due(conn, limit=10, now=NOON + 120 * MINUTE)).jobs) == 1


@pytest.mark.parametrize(
    "columns",
    [
        {"suspended": True},
        {"paused_at": NOON, "paused_reason": "PausedByPerson"},
        {"retired_at": NOON},
        {"uid": None},  # reserved by REST, not created yet
        {"parameter_schema": '[{"name": "cnpj", "label": "CNPJ", "type": "text", "required": true}]'},
    ],
)
async def test_no_job_of_an_automation_that_would_refuse_it(
    conn: Connection, database: psycopg.Connection, columns: dict[str, Any]
) -> None:
    automation(database, **columns)
    schedule = await register(conn, resource())
    fired = await fire_due(conn, limit=10, now=NOON + 60 * MINUTE)
    assert (fired.seen, fired.jobs) == (1, [])
    stored = await store.get(conn, schedule.id)
    assert (stored.next_run_at, stored.last_run_at) == (NOON + 120 * MINUTE, None)


async def test_what_this_version_cannot_read_stops_alone_and_comes_back_when_registered(
    conn: Connection, database: psycopg.Connection
) -> None:
    automation(database)
    broken = await register(conn, resource("broken"))
    await register(conn, resource("whole"))
    database.execute("UPDATE schedules SET cron = 'LW' WHERE id = %s", [broken.id])
    assert len((await fire_due(conn, limit=10, now=NOON + 60 * MINUTE)).jobs) == 1
    assert (await store.get(conn, broken.id)).next_run_at is None
    again = await register(conn, resource("broken"), NOON + 61 * MINUTE)
    assert (again.cron, again.next_run_at) == ("0 * * * *", NOON + 120 * MINUTE)


async def test_batches_go_through_all_of_them(conn: Connection, database: psycopg.Connection) -> None:
    automation(database)
    for number in range(25):
        await register(conn, resource(f"s-{number}"))
    seen = [(await fire_due(conn, limit=10, now=NOON + 60 * MINUTE)).seen for _ in range(4)]
    assert (seen, len(jobs(database))) == ([10, 10, 5, 0], 25)


async def test_many_dispatchers_fire_each_instant_once(
    database_uri: str, conn: Connection, database: psycopg.Connection
) -> None:
    automation(database)
    for number in range(30):
        await register(conn, resource(f"s-{number}", cron="* * * * *"))
    rounds = 20
    async with open_pool(database_uri, size=6) as pool:

        async def dispatcher(own: int) -> None:
            for tick in range(1, rounds + 1):
                async with pool.connection() as connection:
                    # each a little apart, as clocks and loads are
                    await fire_due(connection, limit=7 + own, now=NOON + tick * MINUTE)

        await asyncio.gather(*(dispatcher(own) for own in range(6)))
    doubled = "SELECT schedule_id, scheduled_for FROM jobs GROUP BY 1, 2 HAVING count(*) > 1"
    assert database.execute(doubled).fetchall() == []
    behind = "SELECT count(*) FROM schedules WHERE next_run_at <= %s"
    assert database.execute(behind, [NOON + rounds * MINUTE]).fetchone() == (0,)


async def test_a_dispatcher_killed_in_its_batch_leaves_it_to_the_others(
    database_uri: str, conn: Connection, database: psycopg.Connection
) -> None:
    automation(database)
    await register(conn, resource())
    now = NOON + 60 * MINUTE
    victim = await psycopg.AsyncConnection.connect(database_uri)
    await victim.execute("SELECT 1 FROM schedules FOR NO KEY UPDATE")
    assert (await fire_due(conn, limit=10, now=now)).seen == 0  # held, and not waited for
    database.execute("SELECT pg_terminate_backend(%s)", [victim.info.backend_pid])
    await victim.close()
    deadline = time.monotonic() + 20
    while not (fired := await fire_due(conn, limit=10, now=now)).seen:  # the backend takes a moment to die
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert len(fired.jobs) == 1


async def test_the_rest_until_the_next_one(conn: Connection, database: psycopg.Connection) -> None:
    assert await store.seconds_to_next(conn) is None
    await register(conn, resource(), datetime.now(UTC))
    seconds = await store.seconds_to_next(conn)
    assert seconds is not None
    assert -1 < seconds <= 3600
