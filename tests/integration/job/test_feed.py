"""What one process tells of changed jobs, another hears."""

import asyncio
from collections.abc import AsyncIterator, Collection
from uuid import UUID, uuid4

import psycopg
import pytest

from maestro.db import Pool, Statements, open_pool
from maestro.job.feed import Feed, listen

TELL = Statements("maestro.job")["tell_changes"]


class Ear:
    """Hears all that is told in a database."""

    def __init__(self) -> None:
        self.heard: list[UUID] = []
        self.resumed = 0
        self._news = asyncio.Event()

    def hear(self, ids: Collection[UUID]) -> None:
        self.heard += ids
        self._news.set()

    def resume(self) -> None:
        self.resumed += 1
        self._news.set()

    async def until(self, *, heard: int = 0, resumed: int = 0) -> None:
        async with asyncio.timeout(20):
            while len(self.heard) < heard or self.resumed < resumed:
                await self._news.wait()
                self._news.clear()


@pytest.fixture
async def ear(database_uri: str) -> AsyncIterator[Ear]:
    ear = Ear()
    listening = asyncio.create_task(listen(database_uri, heard=ear.hear, resumed=ear.resume))
    await ear.until(resumed=1)
    yield ear
    assert not listening.done()
    listening.cancel()


@pytest.fixture
async def pool(database_uri: str) -> AsyncIterator[Pool]:
    async with open_pool(database_uri, size=2) as opened:
        yield opened


async def test_changes_are_gathered_into_few_notifications(
    pool: Pool, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    execute = psycopg.AsyncConnection.execute

    async def counting(connection, statement, values=None, **keywords):  # type: ignore[no-untyped-def]
        if statement == TELL:
            told.append(len(values["payloads"]))
        return await execute(connection, statement, values, **keywords)

    monkeypatch.setattr(psycopg.AsyncConnection, "execute", counting)
    ids = [uuid4() for _ in range(450)]
    async with Feed(pool) as feed:
        for each in ids:
            feed.changed([each])
        feed.changed(ids)
        feed.changed([])
        await ear.until(heard=450)
        assert sorted(ear.heard) == sorted(ids)
        assert told == [3]
        feed.changed(iter(ids[:1]))
        await ear.until(heard=451)
    assert ear.heard[450:] == ids[:1]
    assert told == [3, 1]


async def test_what_changed_last_is_told_before_the_end(pool: Pool, ear: Ear) -> None:
    async with Feed(pool) as feed:
        feed.changed([UUID(int=7)])
    await ear.until(heard=1)
    assert ear.heard == [UUID(int=7)]


async def test_telling_outlives_its_connection(pool: Pool, ear: Ear, database: psycopg.Connection) -> None:
    others = b"pid <> pg_backend_pid() AND datname = current_database() AND query NOT LIKE '%LISTEN%'"
    async with Feed(pool) as feed:
        feed.changed([UUID(int=1)])
        await ear.until(heard=1)
        database.execute(b"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE " + others)
        feed.changed([UUID(int=2)])  # lost, if the pool trusted the connection still
        await asyncio.sleep(0.5)
        heard = len(ear.heard)
        feed.changed([UUID(int=3)])
        await ear.until(heard=heard + 1)
    assert ear.heard[-1] == UUID(int=3)


async def test_listening_outlives_its_connection_and_nonsense(
    pool: Pool, ear: Ear, database: psycopg.Connection
) -> None:
    database.execute(
        b"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        b" WHERE pid <> pg_backend_pid() AND datname = current_database() AND query LIKE '%LISTEN%'"
    )
    await ear.until(resumed=2)
    database.execute(b"NOTIFY job_changes, 'nonsense'")
    await ear.until(resumed=3)
    async with Feed(pool) as feed:
        feed.changed([UUID(int=1)])
        await ear.until(heard=1)


async def test_nobody_waits_for_the_disk(pool: Pool, database: psycopg.Connection) -> None:
    """The setting holds for the one statement, not for the next user of the connection."""
    async with Feed(pool) as feed:
        feed.changed([UUID(int=1)])
    async with pool.connection() as connection:
        shown = await (await connection.execute(b"SHOW synchronous_commit")).fetchone()
    assert shown == {"synchronous_commit": "on"}
