"""What the dispatcher's metrics tell of the jobs in the database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import isnan

import psycopg
import pytest

from integration.servers import free_port
from maestro import metrics
from maestro.db import Connection, Pool, open_pool, translate_errors
from maestro.dispatcher import figures as module
from maestro.dispatcher.figures import Figures
from maestro.errors import DatabaseAway


@pytest.fixture(autouse=True)
def _empty() -> None:
    """The metrics are the process's."""
    metrics.JOBS.clear()
    metrics.JOBS_ENDED.clear()


@pytest.fixture
async def pool(database_uri: str) -> AsyncIterator[Pool]:
    async with open_pool(database_uri, size=1) as pool:
        yield pool


def figures_of(pool: Pool) -> Figures:
    @asynccontextmanager
    async def transaction() -> AsyncIterator[Connection]:
        with translate_errors():
            async with pool.connection() as conn:
                yield conn

    return Figures(transaction)


@pytest.fixture
def figures(pool: Pool) -> Figures:
    return figures_of(pool)


def told(name: str, **labels: str) -> float | None:
    return metrics.Registry(metrics.DISPATCHER).get_sample_value(name, labels)


def jobs(automation: str, status: str) -> float | None:
    return told("maestro_jobs", automation=automation, status=status)


def automation(
    database: psycopg.Connection, name: str, *, suspended: bool = False, paused: bool = False
) -> int:
    insert = """INSERT INTO automations (namespace, name, uid, display_name, queue, suspended, paused_at)
                VALUES ('bots', %s, 'u', %s, 'q', %s, CASE WHEN %s THEN now() END) RETURNING id"""
    row = database.execute(insert, [name, name, suspended, paused]).fetchone()
    assert row
    return int(row[0])


def add(
    database: psycopg.Connection,
    automation_id: int,
    count: int = 1,
    *,
    status: str = "pending",
    due: float | None = None,
    ended: float | None = None,
    waits: bool = False,
) -> None:
    """Jobs that are due and have ended so many seconds from now."""
    database.execute(
        """INSERT INTO jobs (id, automation_id, status, publish_due_at, completed_at, waits_for_slot)
           SELECT gen_random_uuid(), %s, %s, now() + %s * interval '1 s', now() + %s * interval '1 s', %s
           FROM generate_series(1, %s)""",
        [automation_id, status, due, ended, waits, count],
    )


async def test_open_jobs_by_automation_and_status(figures: Figures, database: psycopg.Connection) -> None:
    invoices, portals = automation(database, "invoices"), automation(database, "portals")
    add(database, invoices, 3)
    add(database, invoices, 2, status="running")
    add(database, portals, 1, status="running")
    add(database, portals, 5, status="failed", ended=0)
    await figures.measure()
    assert (jobs("bots/invoices", "pending"), jobs("bots/invoices", "running")) == (3, 2)
    assert (jobs("bots/portals", "pending"), jobs("bots/portals", "running")) == (None, 1)
    assert (jobs("other", "pending"), jobs("other", "running")) == (0, 0)
    database.execute("UPDATE jobs SET status = 'canceled' WHERE status IN ('pending', 'running')")
    await figures.measure()
    assert (jobs("bots/invoices", "pending"), jobs("bots/portals", "running")) == (0, 0)


async def test_automations_beyond_the_most_are_told_together(
    figures: Figures, database: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_NAMES", 2)
    for number, name in enumerate(("few", "some", "many", "most")):
        add(database, automation(database, name), number + 1)
    await figures.measure()
    assert [jobs(f"bots/{name}", "pending") for name in ("most", "many", "some", "few")] == [4, 3, None, None]
    assert jobs("other", "pending") == 2 + 1
    # Who has a name keeps it.
    add(database, automation(database, "more"), 50)
    await figures.measure()
    assert (jobs("bots/many", "pending"), jobs("other", "pending")) == (3, 53)


async def test_a_jobs_end_is_counted_once(figures: Figures, database: psycopg.Connection) -> None:
    bot = automation(database, "ending")
    add(database, bot, 7, status="completed", ended=-3_600)  # before it began to count
    await figures.measure()
    add(database, bot, 2, status="completed", ended=-9.9)
    add(database, bot, 1, status="failed", ended=-9.9)
    add(database, bot, 1, status="failed", ended=0)  # others of this instant may not be committed yet
    await asyncio.sleep(0.3)
    for _ in range(2):
        await figures.measure()
        ended = [
            told("maestro_jobs_ended_total", automation="bots/ending", status=status)
            for status in ("completed", "failed", "canceled")
        ]
        assert ended == [2, 1, None]


async def test_debts_and_lag_tell_of_what_should_have_happened_by_now(
    figures: Figures, database: psycopg.Connection
) -> None:
    await figures.measure()
    assert told("maestro_debts_overdue") == 0
    assert [told("maestro_dispatcher_lag_seconds", duty=duty) for duty in ("fire", "pay")] == [0, 0]
    bot = automation(database, "bot")
    add(database, bot, 2, due=-60)
    add(database, bot, 3, due=60)
    add(database, bot, 4, due=-60, waits=True)
    add(database, automation(database, "suspended", suspended=True), 5, due=-60)
    add(database, automation(database, "paused", paused=True), 6, due=-60)
    database.execute(
        """INSERT INTO schedules (namespace, name, automation_name, cron, time_zone, due_at)
           SELECT 'bots', 's-' || n, 'bot', '@daily', 'UTC', now() + n * interval '1 hour'
           FROM generate_series(-2, 2) AS numbers (n)"""
    )
    await figures.measure()
    assert told("maestro_debts_overdue") == 2
    fire, pay = (told("maestro_dispatcher_lag_seconds", duty=duty) or 0 for duty in ("fire", "pay"))
    assert 7_200 <= fire < 7_260
    assert 60 <= pay < 120


async def test_nothing_is_known_while_the_database_is_away(
    figures: Figures, database: psycopg.Connection
) -> None:
    add(database, automation(database, "bot"), 3)
    await figures.measure()
    assert jobs("bots/bot", "pending") == 3
    async with open_pool(f"postgresql://x:y@127.0.0.1:{free_port()}/x", wait=0.2) as nowhere:
        figures._transaction = figures_of(nowhere)._transaction
        with pytest.raises(DatabaseAway):
            await figures.measure()
    unknown = [
        jobs("bots/bot", "pending"),
        told("maestro_debts_overdue"),
        *(told("maestro_dispatcher_lag_seconds", duty=duty) for duty in ("fire", "pay")),
    ]
    assert all(value is not None and isnan(value) for value in unknown)
