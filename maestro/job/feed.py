"""The feed of changes: which jobs changed, told to every process by NOTIFY once the change is committed.

Only ids are told; what changed is read from the database. What is told may be lost with a connection, so
whoever hears also looks for himself every few seconds.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from typing import NoReturn, Self
from uuid import UUID

from maestro.db import Pool, Statements, autocommit, connect
from maestro.errors import DatabaseAway

log = logging.getLogger(__name__)

_SQL = Statements(__package__)

_GATHER_SECONDS = 0.02
_PACE_SECONDS = 0.12
"""Between two statements that tell something, however much changes."""

_IDS_AT_ONCE = 200
"""A notification holds less than 8,000 bytes, an id and its blank 37."""

_LAST_SECONDS = 1.0
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.2, 3.0


class Feed:
    """Tells what this process changed; open it for as long as the process does that."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._ids: set[UUID] = set()
        self._some = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._telling = asyncio.create_task(self._keep_telling(), name="feed")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._telling.cancel()
        await asyncio.gather(self._telling, return_exceptions=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_SECONDS):
                await self._tell()

    def changed(self, job_ids: Iterable[UUID]) -> None:
        """These jobs have a new status or new lines, committed. In the event loop; returns at once."""
        self._ids.update(job_ids)
        if self._ids:
            self._some.set()

    async def _keep_telling(self) -> NoReturn:
        while True:
            await self._some.wait()
            await asyncio.sleep(_GATHER_SECONDS)
            await self._tell()
            await asyncio.sleep(_PACE_SECONDS - _GATHER_SECONDS)

    async def _tell(self) -> None:
        ids, self._ids = self._ids, set()
        self._some.clear()
        if not ids:
            return
        try:
            async with autocommit(self._pool) as conn:
                await conn.execute(_SQL["tell_changes"], {"payloads": list(payloads(ids))})
        except DatabaseAway:
            pass  # those who would hear it look for themselves once it is back
        except Exception:
            log.exception("%d changed jobs could not be told of", len(ids))


def payloads(ids: Iterable[UUID]) -> Iterator[str]:
    """The ids in as many notifications as it takes."""
    left = list(map(str, ids))
    return (" ".join(left[start : start + _IDS_AT_ONCE]) for start in range(0, len(left), _IDS_AT_ONCE))


def ids_in(payload: str) -> list[UUID]:
    """The ids in a notification. Raises ValueError when something else is in it."""
    return [UUID(part) for part in payload.split()]


async def listen(
    uri: str, *, heard: Callable[[Collection[UUID]], None], resumed: Callable[[], None]
) -> NoReturn:
    """Hand each told id to `heard`, until canceled, over a connection of its own.

    `resumed` is called whenever hearing begins, also after an outage: what was told before went unheard.
    """
    pause = _SHORTEST_PAUSE
    while True:
        try:
            async with await connect(uri) as conn:
                await conn.execute(_SQL["hear_changes"])
                if pause > _SHORTEST_PAUSE:
                    log.info("changes of jobs are heard of again")
                pause = _SHORTEST_PAUSE
                resumed()
                async for notification in conn.notifies():
                    heard(ids_in(notification.payload))
        except Exception as error:  # noqa: BLE001  # nobody would notice a listener that ended
            if pause == _SHORTEST_PAUSE:
                log.warning("changes of jobs can't be heard of, trying again: %s", str(error).strip())
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
