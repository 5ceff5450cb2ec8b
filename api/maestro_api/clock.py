"""This api is up, and says so: while none is, no worker's silence counts against its job."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from maestro.db import Pool
from maestro.errors import Unavailable
from maestro.job import store
from maestro_api.database import transaction

log = logging.getLogger(__name__)

BEAT_SECONDS = 10.0


@asynccontextmanager
async def beating(pool: Pool) -> AsyncIterator[None]:
    """Note it every 10 s while the context is open."""
    task = asyncio.create_task(_beat(pool), name="clock")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _beat(pool: Pool) -> None:
    while True:
        try:
            async with transaction(pool) as conn:
                await store.note_up(conn)
        except Unavailable:
            pass  # that PostgreSQL is away is said by every call; the gap is noticed at the next beat
        except Exception:  # a task that ended would stop every rescue, in silence
            log.exception("that the service is up could not be noted")
        await asyncio.sleep(BEAT_SECONDS)
