"""concurrencyPolicy, judged on the open jobs of a schedule, whichever dispatcher looks."""

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from integration.schedule.given import (
    HOUR,
    MINUTE,
    NOON,
    automation,
    end_jobs,
    instants,
    jobs,
    occurrences,
    register,
    resource,
)
from maestro.db import Connection, Statements, open_pool
from maestro.schedule import firing, store
from maestro.schedule.firing import Fired, fire_due, start_waiting


async def fire(conn: Connection, hours: float) -> Fired:
    return await fire_due(conn, limit=100, now=NOON + hours * HOUR)


async def start(conn: Connection, hours: float) -> Fired:
    return await start_waiting(conn, limit=100, now=NOON + hours * HOUR)


def row(database: psycopg.Connection, hours: int) -> tuple[Any, ...]:
    """Outcome, reason and message of that hour's occurrence, and its job's nominal instant and status."""
    found = database.execute(
        """SELECT o.outcome, o.reason, coalesce(o.message, ''), j.scheduled_for, j.status
           FROM occurrences o LEFT JOIN jobs j ON j.id = o.job_id WHERE o.nominal_at = %s""",
        [NOON + hours * HOUR],
    ).fetchone()
    assert found
    return found


@pytest.fixture
async def _bot(database: psycopg.Connection) -> int:
    return automation(database)


pytestmark = pytest.mark.usefixtures("_bot")


async def test_allow_lets_them_run_side_by_side(conn: Connection, database: psycopg.Connection) -> None:
    await register(conn, resource())
    for hours in (1, 2, 3):
        await fire(conn, hours)
    assert len(jobs(database)) == 3


async def test_forbid_skips_and_names_the_open_job(conn: Connection, database: psycopg.Connection) -> None:
    await register(conn, resource(concurrencyPolicy="Forbid"))
    [job] = (await fire(conn, 1)).jobs
    database.execute("UPDATE jobs SET status = 'running'")
    assert (await fire(conn, 2)).jobs == []
    assert row(database, 2) == (
        "skipped",
        "Concurrency",
        f"Job {job.id} of an earlier run had not ended.",
        None,
        None,
    )
    end_jobs(database)
    assert (await start(conn, 2.5)).seen == 0
    assert len((await fire(conn, 3)).jobs) == 1


async def test_only_jobs_of_the_schedule_itself_count(conn: Connection, database: psycopg.Connection) -> None:
    await register(conn, resource(concurrencyPolicy="Forbid"))
    await register(conn, resource("other", concurrencyPolicy="Forbid"))
    database.execute(
        "INSERT INTO jobs (id, automation_id) SELECT gen_random_uuid(), id FROM automations"  # by a person
    )
    assert len((await fire(conn, 1)).jobs) == 2


async def test_queue_lets_one_wait_and_start_when_the_job_has_ended(
    conn: Connection, database: psycopg.Connection
) -> None:
    await register(conn, resource(concurrencyPolicy="Queue", parameters={"day": "x"}))
    [first] = (await fire(conn, 1)).jobs
    assert (await fire(conn, 2)).jobs == []
    assert row(database, 2)[:3] == ("waiting", "Concurrency", f"It waits for job {first.id} to end.")
    await fire(conn, 3)
    assert row(database, 3)[:2] == ("skipped", "Concurrency")
    assert "2026-11-23T14:00+00:00 waited already" in row(database, 3)[2]
    assert (await start(conn, 3.2)).seen == 0
    end_jobs(database)
    [second] = (await start(conn, 3.5)).jobs
    assert second.scheduled_for == NOON + 2 * HOUR
    assert row(database, 2) == (
        "fired",
        "Concurrency",
        "It waited 1 h 30 min for earlier jobs to end.",
        NOON + 2 * HOUR,
        "pending",
    )
    assert (await start(conn, 3.6)).seen == 0
    stored = await store.by_name(conn, "bots", "each-hour")
    assert stored
    assert (stored.last_job_id, stored.last_run_at) == (second.id, NOON + 2 * HOUR)


async def test_what_waits_starts_before_what_comes_due_with_the_end_of_its_wait(
    conn: Connection, database: psycopg.Connection
) -> None:
    await register(conn, resource(concurrencyPolicy="Queue"))
    await fire(conn, 1)
    await fire(conn, 2)
    end_jobs(database)
    [job] = (await fire(conn, 3)).jobs  # before anybody looked at what waits
    assert job.scheduled_for == NOON + 2 * HOUR
    assert [outcome for _, outcome, _, _ in occurrences(database)] == ["fired", "fired", "waiting"]


async def test_replace_cancels_and_starts_when_the_canceled_one_has_ended(
    conn: Connection, database: psycopg.Connection
) -> None:
    await register(conn, resource(concurrencyPolicy="Replace"))
    [first] = (await fire(conn, 1)).jobs
    database.execute("UPDATE jobs SET status = 'running'")
    fired = await fire(conn, 2)
    assert (fired.jobs, fired.canceled) == ([], [first.id])
    asked = "SELECT status, cancellation_requested_at IS NOT NULL FROM jobs"
    assert database.execute(asked).fetchone() == ("running", True)
    assert row(database, 2)[:2] == ("waiting", "Concurrency")
    assert (await start(conn, 2.5)).seen == 0
    await fire(conn, 3)
    assert row(database, 2)[:2] == ("skipped", "Replaced")
    assert row(database, 3)[0] == "waiting"
    database.execute("UPDATE jobs SET status = 'canceled', completed_at = now() WHERE status = 'running'")
    [third] = (await start(conn, 3.1)).jobs
    assert third.scheduled_for == NOON + 3 * HOUR
    # a job that nobody has begun is canceled at once
    assert (await fire(conn, 4)).canceled == [third.id]
    assert row(database, 3)[3:] == (NOON + 3 * HOUR, "canceled")
    assert len((await start(conn, 4)).jobs) == 1


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("Forbid", ["skipped", "skipped", "skipped", "late"]),
        ("Replace", ["skipped", "skipped", "skipped", "late"]),
        ("Queue", ["skipped", "skipped", "caught_up", "waiting"]),
    ],
)
async def test_of_several_that_are_due_at_once_the_latest_have_the_room(
    conn: Connection, database: psycopg.Connection, policy: str, expected: list[str]
) -> None:
    catch_up = {"policy": "All", "windowSeconds": 86400}
    await register(conn, resource(concurrencyPolicy=policy, catchUp=catch_up))
    await fire(conn, 4.5)
    assert [outcome for _, outcome, _, _ in occurrences(database)] == expected
    assert len(instants(database)) == 1


async def test_what_waited_since_an_outage_is_late(conn: Connection, database: psycopg.Connection) -> None:
    await register(conn, resource(concurrencyPolicy="Queue"))
    await fire(conn, 1)
    await fire(conn, 2.5)
    end_jobs(database)
    await start(conn, 2.6)
    assert row(database, 2)[0] == "late"


async def test_a_wait_past_the_starting_deadline_is_missed(
    conn: Connection, database: psycopg.Connection
) -> None:
    await register(conn, resource(concurrencyPolicy="Queue", startingDeadlineSeconds=1800))
    await fire(conn, 1)
    await fire(conn, 2)
    assert (await start(conn, 2.5)).seen == 0
    assert (await start(conn, 2.6)).jobs == []
    assert row(database, 2)[:2] == ("missed", "DeadlineExceeded")
    assert "waited 36 min" in row(database, 2)[2]
    await fire(conn, 3)
    assert row(database, 3)[0] == "waiting"


async def test_what_waits_of_a_schedule_that_cannot_be_read_is_tried_each_minute(
    conn: Connection, database: psycopg.Connection
) -> None:
    schedule = await register(conn, resource(concurrencyPolicy="Queue"))
    await fire(conn, 1)
    await fire(conn, 2)
    end_jobs(database)
    database.execute("UPDATE schedules SET cron = 'LW' WHERE id = %s", [schedule.id])
    minute = 1 / 60
    seen = [(await start(conn, 2 + minutes * minute)).seen for minutes in (1, 1.5, 2, 2.5)]
    assert seen == [1, 0, 1, 0]
    database.execute("UPDATE schedules SET cron = '0 * * * *' WHERE id = %s", [schedule.id])
    await start(conn, 2 + 3 * minute)
    assert row(database, 2)[0] == "fired"


@pytest.mark.parametrize("how", ["suspended", "deleted", "made anew"])
async def test_nothing_waits_for_a_schedule_that_runs_no_more(
    conn: Connection, database: psycopg.Connection, how: str
) -> None:
    await register(conn, resource(concurrencyPolicy="Queue"))
    await fire(conn, 1)
    await fire(conn, 2)
    match how:
        case "suspended":
            await register(conn, resource(generation=2, suspend=True), NOON + 2 * HOUR)
        case "deleted":
            await store.retire(conn, "bots", "each-hour")
        case _:
            await register(conn, resource(uid="2"), NOON + 2 * HOUR)
    assert row(database, 2)[:2] == ("skipped", "Suspended" if how == "suspended" else "Deleted")
    end_jobs(database)
    assert (await start(conn, 2.5)).seen == 0
    assert len(jobs(database)) == 1


class Slowly:
    """The statements of firing; the one that looks for what may start takes a while."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    def __getitem__(self, name: str) -> str:
        statement = self._statements[name]
        return statement.replace("s.id IN (", "pg_sleep(0.5) IS NOT NULL AND s.id IN (")


@pytest.mark.parametrize("how", ["suspended", "deleted"])
async def test_one_that_ends_while_a_dispatcher_looks_for_what_may_start_stays_ended(
    database_uri: str,
    conn: Connection,
    database: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    await register(conn, resource(concurrencyPolicy="Queue"))
    await fire(conn, 1)
    await fire(conn, 2)
    end_jobs(database)
    monkeypatch.setattr(firing, "_sql", Slowly(firing._sql))
    async with open_pool(database_uri) as pool, pool.connection() as own:
        looking = asyncio.create_task(start(own, 2.5))
        await asyncio.sleep(0.2)
        if how == "suspended":
            await register(conn, resource(generation=2, suspend=True), NOON + 2 * HOUR)
        else:
            await store.retire(conn, "bots", "each-hour")
        assert not looking.done()
        await looking
    times = "SELECT due_at, next_run_at FROM schedules"
    assert database.execute(times).fetchone() == (None, None)
    assert (await fire(conn, 3)).seen == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"suspended": True}, "AutomationSuspended"),
        ({"retired_at": NOON}, "AutomationNotFound"),
        ({"parameter_schema": '[{"name": "x", "type": "text", "required": true}]'}, "ParametersRefused"),
    ],
)
async def test_what_waited_is_skipped_where_a_new_one_would_be(
    conn: Connection, database: psycopg.Connection, change: dict[str, Any], reason: str
) -> None:
    await register(conn, resource(concurrencyPolicy="Queue"))
    await fire(conn, 1)
    await fire(conn, 2)
    [(column, value)] = change.items()
    database.execute(f"UPDATE automations SET {column} = %s".encode(), [value])  # noqa: S608
    end_jobs(database)
    assert (await start(conn, 2.5)).jobs == []
    assert row(database, 2)[:2] == ("skipped", reason)


async def test_what_waits_starts_also_after_the_policy_has_changed(
    conn: Connection, database: psycopg.Connection
) -> None:
    await register(conn, resource(concurrencyPolicy="Queue"))
    await fire(conn, 1)
    await fire(conn, 2)
    await register(conn, resource(generation=2, concurrencyPolicy="Allow"), NOON + 2 * HOUR)
    end_jobs(database)
    assert len((await start(conn, 2.5)).jobs) == 1
    assert row(database, 2)[0] == "fired"


@pytest.mark.parametrize("policy", ["Forbid", "Queue", "Replace"])
async def test_many_dispatchers_never_run_two_at_once(
    database_uri: str, conn: Connection, database: psycopg.Connection, policy: str
) -> None:
    """While jobs end at any moment, schedules fire and what waits is started by four dispatchers."""
    schedules, ticks = 10, 25
    for number in range(schedules):
        await register(conn, resource(f"s-{number}", cron="* * * * *", concurrencyPolicy=policy))
    most = """SELECT coalesce(max(open), 0) FROM (SELECT count(*) AS open FROM jobs
              WHERE status IN ('pending', 'running') GROUP BY schedule_id) AS each"""
    seen: list[int] = []
    done = asyncio.Event()

    async with open_pool(database_uri, size=6) as pool:

        async def dispatcher() -> None:
            for tick in range(1, ticks + 1):
                async with pool.connection() as own:
                    await fire_due(own, limit=3, now=at(tick))
                    await start_waiting(own, limit=3, now=at(tick))
                    await fire_due(own, limit=10, now=at(tick))

        async def worker() -> None:
            while not done.is_set():
                async with pool.connection() as own:
                    found = await (await own.execute(most.encode())).fetchone()
                    seen.append(found["coalesce"] if found else 0)
                    await own.execute(
                        """UPDATE jobs SET status = 'completed', completed_at = now() WHERE id IN (
                               SELECT id FROM jobs WHERE status IN ('pending', 'running')
                               ORDER BY random() LIMIT 2 FOR UPDATE SKIP LOCKED)"""
                    )

        working = asyncio.create_task(worker())
        await asyncio.gather(*(dispatcher() for _ in range(4)))
        done.set()
        await working
    assert max(seen) == 1
    by_schedule = Counter(schedule for schedule, _, _ in jobs(database))
    assert len(by_schedule) == schedules
    assert sum(by_schedule.values()) > schedules
    waiting = "SELECT count(*) FROM occurrences WHERE outcome = 'waiting' GROUP BY schedule_id"
    assert all(count == 1 for (count,) in database.execute(waiting).fetchall())


def at(tick: int) -> datetime:
    return NOON + tick * MINUTE + timedelta(seconds=1)
