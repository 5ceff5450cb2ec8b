"""Live logs: readers of jobs' logs, and one look at the database for all of them when something changes."""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import NoReturn, Self
from uuid import UUID

from maestro import metrics
from maestro.db import Pool, autocommit
from maestro.errors import DatabaseAway, TooManyStreams, Unavailable
from maestro.job import live
from maestro.job.feed import listen
from maestro_api.hub import Encode, Hub, Reader

log = logging.getLogger(__name__)

_PACE_SECONDS = 0.1
"""Between two looks, however much changes: a little less than between two notifications of one process, so
that only those of several have to wait for it."""

_RECHECK_SECONDS = 5.0
"""All jobs with readers are looked at this often, for changes that nobody was told of."""

_OUTAGE_SECONDS = 1.0

_JOBS_AT_ONCE = 200

_HISTORIES_AT_ONCE = 2
"""A thousand readers that come back at once leave the pool's other connections to everybody else."""


class Live:
    """The readers of this process, and their jobs' hubs. Hears of changes on a connection of its own."""

    def __init__(self, pool: Pool, uri: str, encode: Encode, *, most: int) -> None:
        self._pool, self._uri, self._encode, self._most = pool, uri, encode, most
        self._hubs: dict[UUID, Hub] = {}
        self._readers: set[Reader] = set()
        self._open = 0
        self._closed = False
        self._recheck_seconds = _RECHECK_SECONDS
        self._histories = asyncio.Semaphore(_HISTORIES_AT_ONCE)
        # Jobs to look at, in the order in which they changed.
        self._changed: dict[UUID, None] = {}
        self._some = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(listen(self._uri, heard=self._heard, resumed=self._recheck), name="listen"),
            asyncio.create_task(self._keep_looking(), name="look"),
            asyncio.create_task(self._keep_rechecking(), name="recheck"),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def open(self) -> int:
        """How many readers there are."""
        return self._open

    def note(self) -> None:
        """Set the metric of open streams."""
        metrics.STREAMS.set(self._open)

    @asynccontextmanager
    async def reader(self, job_id: UUID, after: int) -> AsyncIterator[Reader]:
        """A reader of the job's lines past that id. Raises NotFound, TooManyStreams or DatabaseAway."""
        with self._counted():
            hub = await self._hub_of(job_id)
            with self._joined(hub, Reader(hub, after, self._history, self._encode)) as reader:
                yield reader

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if self._closed:
            raise Unavailable("This process is stopping; connect again.")
        if self._open >= self._most:
            raise TooManyStreams
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    async def _hub_of(self, job_id: UUID) -> Hub:
        """The job's hub; an ended job's is no other reader's."""
        if job_id not in self._hubs:
            async with autocommit(self._pool) as conn:
                hub = Hub(job_id, *await live.log_head(conn, job_id))
            if hub.ended:
                return hub
            self._hubs.setdefault(job_id, hub)
            # What changed since that answer was told to nobody here.
            self._look_at([job_id])
        return self._hubs[job_id]

    @contextmanager
    def _joined(self, hub: Hub, reader: Reader) -> Iterator[Reader]:
        hub.readers.add(reader)
        self._readers.add(reader)
        try:
            yield reader
        finally:
            self._readers.discard(reader)
            hub.readers.discard(reader)
            if not hub.readers:
                self._forget(hub)

    def _forget(self, hub: Hub) -> None:
        if self._hubs.get(hub.job_id) is hub:
            del self._hubs[hub.job_id]

    def close(self) -> None:
        """Dismiss all readers and take no new ones."""
        self._closed = True
        for reader in self._readers:
            reader.dismiss()

    async def _history(self, job_id: UUID, after: int, upto: int) -> live.Portion:
        async with self._histories, autocommit(self._pool) as conn:
            return await live.portion(conn, job_id, after=after, upto=upto)

    def _heard(self, job_ids: Iterable[UUID]) -> None:
        self._look_at(job_id for job_id in job_ids if job_id in self._hubs)

    def _recheck(self) -> None:
        self._look_at(self._hubs)

    def _look_at(self, job_ids: Iterable[UUID]) -> None:
        self._changed.update(dict.fromkeys(job_ids))
        if self._changed:
            self._some.set()

    async def _keep_rechecking(self) -> NoReturn:
        while True:
            await asyncio.sleep(self._recheck_seconds)
            self._recheck()

    async def _keep_looking(self) -> NoReturn:
        while True:
            await self._some.wait()
            await asyncio.sleep(await self._look())

    async def _look(self) -> float:
        """Find what changed jobs have new, and tell it; returns the seconds until the next look."""
        hubs = self._next_hubs()
        try:
            found = await self._news(hubs)
        except DatabaseAway:
            self._look_at(hub.job_id for hub in hubs)
            return _OUTAGE_SECONDS
        except Exception:
            log.exception("what %d jobs have new could not be found", len(hubs))
            return _OUTAGE_SECONDS
        for hub in hubs:
            self._tell(hub, found.get(hub.job_id))
        more = len(hubs) == _JOBS_AT_ONCE or any(each.portion.more for each in found.values())
        return 0 if more else _PACE_SECONDS

    def _next_hubs(self) -> list[Hub]:
        ids = list(self._changed)[:_JOBS_AT_ONCE]
        for job_id in ids:
            del self._changed[job_id]
        if not self._changed:
            self._some.clear()
        return [self._hubs[job_id] for job_id in ids if job_id in self._hubs]

    async def _news(self, hubs: Collection[Hub]) -> dict[UUID, live.News]:
        if not hubs:
            return {}
        async with autocommit(self._pool) as conn:
            return await live.news(conn, {hub.job_id: hub.last_line for hub in hubs})

    def _tell(self, hub: Hub, news: live.News | None) -> None:
        hub.take(news, self._encode)
        if hub.ended:
            # Who comes from now on reads what the database says of the ended job, late lines included.
            self._forget(hub)
        elif news and news.portion.more:
            self._look_at([hub.job_id])
