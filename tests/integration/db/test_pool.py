"""The pool's connections: how soon one whose peer vanished is given up."""

import asyncio
import socket

import psycopg
import pytest

from maestro import metrics
from maestro.db import Pool, autocommit, note_pools, open_pool


async def test_a_vanished_peer_is_given_up(database_uri: str, database: psycopg.Connection) -> None:
    async with open_pool(database_uri, size=1) as pool, pool.connection() as connection:
        with socket.socket(fileno=socket.dup(connection.fileno())) as tcp:
            options = [
                tcp.getsockopt(socket.IPPROTO_TCP, option)
                for option in (
                    socket.TCP_KEEPIDLE,
                    socket.TCP_KEEPINTVL,
                    socket.TCP_KEEPCNT,
                    socket.TCP_USER_TIMEOUT,
                )
            ]
    idle, interval, count, unacknowledged = options
    assert idle + interval * count <= 30
    assert unacknowledged == 30_000


async def _backend(pool: Pool) -> int:
    async with pool.connection() as connection:
        return connection.info.backend_pid


async def test_a_connection_that_died_while_it_lay_idle_is_replaced(
    database_uri: str, database: psycopg.Connection
) -> None:
    async with open_pool(database_uri, size=1) as pool:
        before = await _backend(pool)
        database.execute("SELECT pg_terminate_backend(%s, 5000)", (before,))
        await asyncio.sleep(1.1)  # a connection used within the last second is trusted
        assert await _backend(pool) != before


async def test_with_autocommit_a_statement_is_seen_at_once(
    database_uri: str, database: psycopg.Connection
) -> None:
    async with open_pool(database_uri, size=1, autocommit=True) as pool, pool.connection() as connection:
        await connection.execute("CREATE TABLE seen ()")
        assert database.execute("SELECT * FROM seen").fetchall() == []


def told(name: str) -> float:
    return metrics.Registry(metrics.OPERATOR).get_sample_value(f"maestro_database_pool_{name}") or 0


async def test_metrics_tell_who_waits_and_for_how_long(
    database_uri: str, database: psycopg.Connection
) -> None:
    waits, seconds = told("waits_total"), told("wait_seconds_total")
    async with open_pool(database_uri, size=1) as pool:
        async with pool.connection():
            note_pools(pool)  # the first connection may have had to be awaited
            waits = told("waits_total")
            second = asyncio.create_task(_backend(pool))
            await asyncio.sleep(0.2)
            note_pools(pool)
            assert [told(each) for each in ("limit", "size", "available", "waiting")] == [1, 1, 0, 1]
        await second
        for _ in range(2):  # looking twice counts nothing twice
            note_pools(pool)
        assert [told(each) for each in ("available", "waiting")] == [1, 0]
    assert told("waits_total") - waits == 1
    assert told("wait_seconds_total") - seconds >= 0.2


async def test_statements_commit_one_by_one_and_the_next_user_has_transactions(
    database_uri: str, database: psycopg.Connection
) -> None:
    counted = b"SELECT count(*) FROM queue_claims"
    insert = b"INSERT INTO queue_claims (queue, namespace) VALUES (%s, 'n')"
    async with open_pool(database_uri, size=1) as pool:
        async with autocommit(pool) as connection:
            await connection.execute(insert, ("kept",))
            assert database.execute(counted).fetchone() == (1,)
        with pytest.raises(psycopg.errors.DivisionByZero):
            async with autocommit(pool) as connection:
                await connection.execute(b"SELECT 1 / 0")
        async with pool.connection() as connection:
            await connection.execute(insert, ("rolled back",))
            await connection.rollback()
        assert database.execute(counted).fetchone() == (1,)


async def test_a_statement_that_is_given_up_leaves_the_pool_usable(database_uri: str) -> None:
    async with open_pool(database_uri, size=1) as pool:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), autocommit(pool) as connection:
                await connection.execute(b"SELECT pg_sleep(30)")
        async with asyncio.timeout(10), pool.connection() as connection:
            assert not connection.autocommit
            assert await (await connection.execute(b"SELECT 1 AS one")).fetchone() == {"one": 1}


async def test_a_pool_by_key_never_scans_a_table_it_can_look_up_in(
    database_uri: str, database: psycopg.Connection
) -> None:
    database.execute("CREATE TABLE young (id integer PRIMARY KEY, text text)")
    database.execute("INSERT INTO young SELECT each, '' FROM generate_series(1, 20) AS each; ANALYZE young")

    async def plan(*, by_key: bool) -> str:
        async with open_pool(database_uri, size=1, by_key=by_key) as pool, autocommit(pool) as conn:
            # Prepared under a name, as psycopg does after some times: so it is planned for all values alike.
            await conn.execute("PREPARE looked_up AS SELECT * FROM young WHERE id = ANY($1::integer[])")
            found = await (await conn.execute("EXPLAIN EXECUTE looked_up('{1,2,3,4,5}')")).fetchall()
            return "\n".join(row["QUERY PLAN"] for row in found)

    assert "Seq Scan" in await plan(by_key=False)
    by_key = await plan(by_key=True)
    assert "Seq Scan" not in by_key
    assert "$1" in by_key


async def test_behind_a_pooler_nothing_is_set_and_nothing_stays_prepared(database_uri: str) -> None:
    async def prepared(*, pooled: bool) -> tuple[int, str | None]:
        async with (
            open_pool(database_uri, size=1, by_key=True, pooled=pooled) as pool,
            autocommit(pool) as conn,
        ):
            for number in range(20):
                await conn.execute("SELECT %s::integer + 1", [number])
            held = await (await conn.execute("SELECT count(*) FROM pg_prepared_statements")).fetchone()
            return (held or {})["count"], conn.info.get_parameters().get("options")

    assert await prepared(pooled=True) == (0, None)
    count, options = await prepared(pooled=False)
    assert count > 0
    assert "plan_cache_mode" in str(options)
