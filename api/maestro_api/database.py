"""A connection for one use case."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg.pq import TransactionStatus

from maestro.db import Connection, Pool, translate_errors


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """Commits when the block ends well. Raises DatabaseAway when PostgreSQL is away or busy for too long."""
    with translate_errors():
        async with pool.connection() as conn:
            yield conn


@asynccontextmanager
async def reading(pool: Pool) -> AsyncIterator[Connection]:
    """Each statement is a transaction of its own, which spares it the round trips of BEGIN and COMMIT.

    Raises DatabaseAway like `transaction`.
    """
    with translate_errors():
        async with pool.connection() as conn:
            await conn.set_autocommit(True)
            try:
                yield conn
            finally:
                # One that is amid a statement yet is closed by the pool.
                if conn.info.transaction_status == TransactionStatus.IDLE:
                    await conn.set_autocommit(False)
