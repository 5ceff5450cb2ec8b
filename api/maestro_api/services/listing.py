"""Lists of jobs: each page read when it is asked for, totals counted at most once a second."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from maestro.db import Pool, autocommit
from maestro.job import listing
from maestro.job.listing import Place
from maestro.job.model import Filter, Job
from maestro_api.cursor import Cursor
from maestro_api.shared import Recent, Shared

FRESH_SECONDS = 1.0
"""How long a total is good for. Counting takes a while where a million jobs match."""

COUNTS_AT_ONCE = 2
"""Totals counted at the same time; a crowd of lists shall not take every connection of the pool."""

COUNTS_HELD = 500


@dataclass(frozen=True, slots=True)
class Asked:
    """A page as it is asked for: by offset, or behind a cursor."""

    wanted: Filter
    limit: int
    offset: int = 0
    after: Cursor | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """The jobs of a page, how many match in all, and the cursor of the next page if there is one."""

    jobs: list[Job]
    total: int
    next: Cursor | None


class Lists:
    """Readers of the same page at the same time share a query that begins after they asked, and its reply."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._pages: Shared[bytes] = Shared()
        self._totals: Recent[int] = Recent(FRESH_SECONDS, COUNTS_HELD)
        self._counting = asyncio.Semaphore(COUNTS_AT_ONCE)

    async def page(self, asked: Asked, render: Callable[[Asked, Page], bytes]) -> bytes:
        """The page, rendered once for all who share it."""

        async def answer() -> bytes:
            return render(asked, await self._read(asked))

        return await self._pages.answer(asked, answer)

    async def _read(self, asked: Asked) -> Page:
        async with autocommit(self._pool) as conn:
            jobs, more = await listing.page(
                conn,
                asked.wanted,
                limit=asked.limit,
                offset=asked.offset,
                after=asked.after.place if asked.after else None,
            )
        total = await self._total(asked, len(jobs), more)
        if not more:
            return Page(jobs, total, None)
        last = Place(jobs[-1].created_at, jobs[-1].id)
        return Page(jobs, total, Cursor.of(last, total, asked.wanted))

    async def _total(self, asked: Asked, count: int, more: bool) -> int:
        if asked.after:
            known = asked.after.total_of(asked.wanted)
            return await self._counted(asked.wanted) if known is None else known
        seen = asked.offset + count
        if not more and (count or not asked.offset):
            return seen  # the list ends here
        counted = await self._counted(asked.wanted)
        # What was counted a moment ago may disagree with what was found just now.
        return max(counted, seen + 1) if more else min(counted, seen)

    async def _counted(self, wanted: Filter) -> int:
        async def count() -> int:
            async with self._counting, autocommit(self._pool) as conn:
                return await listing.total(conn, wanted)

        return await self._totals.answer(wanted, count)
