"""The statements on jobs: many at once, in order, once."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest

from maestro.db import Connection, Pool, open_pool
from maestro.errors import AttemptSuperseded, Conflict, JobEnded, NotFound
from maestro.job import store
from maestro.job.message import message_of
from maestro.job.model import Finish, Job, Level, NewJob, NewLine, Start, Started, Status

INSERT = """INSERT INTO automations (namespace, name, display_name, queue, script_path)
VALUES ('n', 'a', 'a', 'q', 's')"""
TICK = datetime(2026, 11, 23, 8, tzinfo=UTC)


@pytest.fixture
async def pool(database_uri: str, database: psycopg.Connection) -> AsyncIterator[Pool]:
    database.execute(INSERT)
    async with open_pool(database_uri, size=8) as opened:
        yield opened


@pytest.fixture
async def conn(pool: Pool) -> AsyncIterator[Connection]:
    async with pool.connection() as connection:
        await connection.set_autocommit(True)
        yield connection
        await connection.set_autocommit(False)


async def make(conn: Connection, count: int = 1) -> list[Job]:
    return await store.accept(conn, [NewJob(1, {"n": n}) for n in range(count)])


async def test_jobs_are_accepted_in_order_and_owed(conn: Connection) -> None:
    jobs = await make(conn, 500)
    assert [job.parameters for job in jobs] == [f'{{"n": {n}}}' for n in range(500)]
    assert [job.id for job in jobs] == sorted(job.id for job in jobs)
    assert {job.id.version for job in jobs} == {7}
    assert {(job.queue, job.script_path, job.status, job.attempt) for job in jobs} == {
        ("q", "s", "pending", 0)
    }
    assert {job.publish_due_at for job in jobs} == {jobs[0].created_at + timedelta(seconds=5)}


async def test_a_tick_has_one_job_however_often_it_is_accepted(pool: Pool) -> None:
    ticks = [NewJob(1, {}, schedule_id=7, scheduled_for=TICK + timedelta(minutes=n)) for n in range(20)]

    async def accept() -> int:
        async with pool.connection() as conn:
            return len(await store.accept(conn, [*ticks, NewJob(1, {})]))

    counts = await asyncio.gather(*(accept() for _ in range(6)))
    assert sum(counts) == 20 + 6
    async with pool.connection() as conn:
        assert await store.accept(conn, ticks) == []


async def test_debts_are_claimed_once_and_settled_by_value(pool: Pool, database: psycopg.Connection) -> None:
    async with pool.connection() as conn:
        jobs = await make(conn, 100)
        assert await store.claim_owed(conn, 10) == []
    database.execute("UPDATE jobs SET publish_due_at = now() - interval '1 s'")

    async def claim() -> list[UUID]:
        async with pool.connection() as conn:
            claimed = [message.job_id for message in await store.claim_owed(conn, 30)]
            await asyncio.sleep(0.1)  # the claims of all overlap
            return claimed

    claims = [job_id for ids in await asyncio.gather(*(claim() for _ in range(4))) for job_id in ids]
    assert len(claims) == len(set(claims)) == 100
    async with pool.connection() as conn:
        stale = await store.messages_of(conn, [job.id for job in jobs])
        assert len(stale) == 100
        database.execute("UPDATE jobs SET publish_due_at = now() WHERE id = %s", [jobs[0].id])
        await store.start(conn, [Start(jobs[1].id)])
        assert await store.settle(conn, stale) == 98
        [left] = await store.messages_of(conn, [job.id for job in jobs])
        assert left.job_id == jobs[0].id


async def test_many_debts_are_settled_in_time(database_uri: str, database: psycopg.Connection) -> None:
    """Comparing each with each took a quarter of a minute, in which no job of theirs could be started."""
    database.execute(INSERT)
    async with open_pool(database_uri, autocommit=True, by_key=True) as pool, pool.connection() as conn:
        for count in (5_000, 10_000):  # in a young table the planner chose well by chance
            messages = [message_of(job) for job in await make(conn, count)]
            began = time.monotonic()
            assert await store.settle(conn, messages) == count
        assert time.monotonic() - began < 4
        assert await store.settle(conn, messages) == 0


async def test_a_suspended_or_paused_automation_publishes_nothing(conn: Connection) -> None:
    await make(conn, 3)
    await conn.execute("UPDATE jobs SET publish_due_at = now()")
    await conn.execute("UPDATE automations SET suspended = true")
    assert await store.claim_owed(conn, 10) == []
    await conn.execute("UPDATE automations SET suspended = false, paused_at = now()")
    assert await store.claim_owed(conn, 10) == []
    await conn.execute("UPDATE automations SET paused_at = NULL")
    assert len(await store.claim_owed(conn, 2)) == 2


async def test_each_call_of_a_list_is_answered_for_itself(conn: Connection) -> None:
    pending, running, tokened, ended = await make(conn, 4)
    unknown = UUID(int=7)
    await store.start(conn, [Start(running.id), Start(tokened.id, "t")])
    await store.cancel(conn, ended.id)
    answers = await store.start(
        conn,
        [Start(unknown), Start(tokened.id, "x"), Start(ended.id), Start(running.id), Start(pending.id, "p")],
    )
    assert [type(answer) for answer in answers] == [NotFound, Conflict, JobEnded, Started, Started]
    assert answers[3:] == [Started(2), Started(1, pending.created_at)]
    kept = await store.append_lines(
        conn,
        [
            NewLine(unknown, Level.INFO, "m"),
            NewLine(tokened.id, Level.INFO, "m", token="x"),
            NewLine(tokened.id, Level.INFO, "m", token="t", seq=1),
            NewLine(tokened.id, Level.INFO, "again", token="t", seq=1),
            NewLine(running.id, Level.INFO, "m"),
        ],
    )
    assert [type(answer) for answer in kept] == [NotFound, AttemptSuperseded, int, int, int]
    assert kept[2] == kept[3]
    ends = await store.finish(
        conn,
        [
            Finish(unknown, Status.FAILED),
            Finish(tokened.id, Status.FAILED),
            Finish(ended.id, Status.CANCELED),
            Finish(running.id, Status.COMPLETED, '{"a": 1}'),
        ],
    )
    assert [type(answer) for answer in ends] == [NotFound, AttemptSuperseded, Status, Status]


async def test_writers_of_the_same_jobs_in_any_order_never_deadlock(pool: Pool) -> None:
    async with pool.connection() as conn:
        await conn.execute("""UPDATE automations SET retry_policy = '{"maxAttempts": 100}'""")
        jobs = await make(conn, 60)

    async def work(turn: int) -> None:
        order = jobs if turn % 2 else jobs[::-1]
        for _ in range(3):
            async with pool.connection() as conn:
                await store.start(conn, [Start(job.id) for job in order])
                await store.append_lines(conn, [NewLine(job.id, Level.INFO, "m") for job in order])
            async with pool.connection() as conn:
                await store.finish(conn, [Finish(job.id, Status.COMPLETED) for job in order])

    await asyncio.gather(*(work(turn) for turn in range(8)))
    async with pool.connection() as conn:
        assert {(await store.get(conn, job.id)).status for job in jobs} == {Status.COMPLETED}


async def test_a_rescued_attempt_may_finish_until_another_starts(conn: Connection) -> None:
    one, two = await make(conn, 2)
    for job in (one, two):
        await store.start(conn, [Start(job.id, "t")])
    await conn.execute("UPDATE jobs SET status = 'pending'")
    assert await store.finish(conn, [Finish(one.id, Status.COMPLETED, None, "t")]) == [Status.COMPLETED]
    assert await store.start(conn, [Start(two.id, "u")]) == [Started(2)]
    [late] = await store.finish(conn, [Finish(two.id, Status.COMPLETED, None, "t")])
    assert isinstance(late, AttemptSuperseded)


async def test_the_database_itself_keeps_ends(conn: Connection) -> None:
    [job] = await make(conn)
    await store.start(conn, [Start(job.id)])
    await store.finish(conn, [Finish(job.id, Status.COMPLETED, '{"a": 1}')])
    with pytest.raises(psycopg.DatabaseError) as refused:
        await conn.execute("UPDATE jobs SET status = 'failed'")
    assert refused.value.sqlstate == "MA001"
    # The same again is no change, and the rest of the row stays free.
    await conn.execute("UPDATE jobs SET status = 'completed', user_id = 'x'")
