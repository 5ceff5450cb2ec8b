"""The pool's connections: how soon one whose peer vanished is given up."""

import socket

import psycopg

from maestro.db import open_pool


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
