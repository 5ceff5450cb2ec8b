"""What the tests of schedules share."""

from collections.abc import AsyncIterator

import pytest

from maestro.db import Connection, open_pool


@pytest.fixture
async def conn(database_uri: str) -> AsyncIterator[Connection]:
    async with open_pool(database_uri) as pool, pool.connection() as connection:
        await connection.set_autocommit(True)
        yield connection
