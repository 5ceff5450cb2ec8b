"""A process's connection pools, and the one place where a lost database becomes our error."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from time import monotonic
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from maestro import metrics
from maestro.db.arrays import ADAPTERS
from maestro.errors import DatabaseAway

Connection: TypeAlias = psycopg.AsyncConnection[DictRow]
Pool: TypeAlias = AsyncConnectionPool[Connection]

# Class 08 is a lost connection, 57 an operator's intervention (shutdown, cancel), 53 a lack of resources: the
# server's, not the caller's.
_AWAY_CLASSES = ("08", "57", "53")


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn what psycopg raises when PostgreSQL is away into `DatabaseAway`; let all else pass."""
    try:
        yield
    except PoolTimeout as error:
        raise DatabaseAway from error
    except psycopg.Error as error:
        if error.sqlstate is None and not isinstance(
            error, psycopg.OperationalError | psycopg.InterfaceError
        ):
            raise
        if error.sqlstate is not None and error.sqlstate[:2] not in _AWAY_CLASSES:
            raise
        raise DatabaseAway from error


@asynccontextmanager
async def open_pool(  # noqa: PLR0913  # named, each with a default
    uri: str,
    *,
    size: int = 8,
    wait: float = 5.0,
    autocommit: bool = False,
    by_key: bool = False,
    pooled: bool = False,
) -> AsyncIterator[Pool]:
    """A pool of at most `size` connections; whoever waits longer than `wait` seconds gets `PoolTimeout`.

    Opening does not wait for the server: a process starts while PostgreSQL is away and goes on when it comes.
    With `autocommit` each statement commits by itself; `transaction()` holds together what belongs together.
    `by_key` is for statements that find their rows by key alone. `pooled`: behind a pooler that
    hands each transaction to another session, where nothing can be set or stay prepared.
    """
    kwargs = _connection_options(_BY_KEY if by_key else "") | {"autocommit": autocommit}
    if pooled:
        kwargs |= {"options": "", "prepare_threshold": None}
    pool: Pool = AsyncConnectionPool(
        uri,
        min_size=1,
        max_size=size,
        timeout=wait,
        # The pool doubles its pauses between attempts up to this long, whoever waits: with its default of
        # five minutes it came back 90 s after an outage of 140 s. Once it has given up, the next caller
        # makes it try anew.
        reconnect_timeout=3.0,
        open=False,
        # A connection that died in the pool (a restarted server) is replaced, not handed out.
        check=_check,
        kwargs=kwargs,
        name="maestro",
    )
    await pool.open()
    try:
        yield pool
    finally:
        await pool.close()


@asynccontextmanager
async def autocommit(pool: Pool) -> AsyncIterator[Connection]:
    """A pooled connection whose statements commit one by one: no round trips for BEGIN and COMMIT.

    Raises DatabaseAway.
    """
    with translate_errors():
        async with pool.connection() as conn:
            if conn.autocommit:  # as all of this pool's are
                yield conn
                return
            await conn.set_autocommit(True)
            try:
                yield conn
            finally:
                # In any other state the pool drops it.
                if conn.info.transaction_status is TransactionStatus.IDLE:
                    await conn.set_autocommit(False)


async def connect(uri: str) -> Connection:
    """A connection outside the pool that commits each statement, to LISTEN on. Raises psycopg.Error."""
    return await psycopg.AsyncConnection[DictRow].connect(uri, autocommit=True, **_connection_options())


def note_pools(*pools: Pool) -> None:
    """Set the metrics of the pools, together; what they counted since the last time is added."""
    found: Counter[str] = Counter()
    for pool in pools:
        found.update(pool.pop_stats())
    metrics.POOL_LIMIT.set(found["pool_max"])
    metrics.POOL_SIZE.set(found["pool_size"])
    metrics.POOL_AVAILABLE.set(found["pool_available"])
    metrics.POOL_WAITING.set(found["requests_waiting"])
    metrics.POOL_WAITS.inc(found["requests_queued"])
    metrics.POOL_WAIT_SECONDS.inc(found["requests_wait_ms"] / 1000)
    metrics.POOL_LOST.inc(found["connections_lost"])


# When each pooled connection was last handed out, by the monotonic clock.
_last_use: WeakKeyDictionary[psycopg.AsyncConnection[Any], float] = WeakKeyDictionary()

_TRUSTED_SECONDS = 1.0


async def _check(conn: Connection) -> None:
    """Ask the server whether it is there (a round trip), unless this connection came back from a use that
    began a moment ago: the pool drops those that broke in use."""
    now = monotonic()
    if now - _last_use.get(conn, 0.0) > _TRUSTED_SECONDS:
        await AsyncConnectionPool.check_connection(conn)
    _last_use[conn] = now


# Left alone, the planner scans a young table and goes on so until the grown one is counted anew; and some
# statements it plans each time, which takes longer than running them.
_BY_KEY = " -c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c jit=off"


def _connection_options(settings: str = "") -> dict[str, Any]:
    return {
        "context": ADAPTERS,
        "row_factory": dict_row,
        "connect_timeout": 5,
        # A peer that vanished is noticed within about half a minute: by keepalives while a statement waits
        # for its answer, and by the user timeout (ms) while what was sent is not acknowledged. Linux sends
        # no keepalives then, but the same data again, for a quarter of an hour.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,
        "options": "-c timezone=UTC" + settings,
    }
