"""A connection for one use case."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from maestro.db import Connection, Pool, translate_errors


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """Commits when the block ends well. Raises DatabaseAway when PostgreSQL is away or busy for too long."""
    with translate_errors():
        async with pool.connection() as conn:
            yield conn
