"""The pool's connections: how soon one whose peer vanished is given up."""

import asyncio
import socket

import psycopg

from maestro.db import Pool, open_pool


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
