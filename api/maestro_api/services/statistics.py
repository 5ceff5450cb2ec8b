"""Statistics of jobs: what has long ended is tallied now and then, and what has changed since is added."""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from time import monotonic
from types import TracebackType
from typing import Self, TypeAlias
from zoneinfo import ZoneInfo

from maestro.db import Pool, autocommit
from maestro.errors import Unavailable
from maestro.job import statistics
from maestro.job.statistics import Counts, Durations, Latest, Open, Range, Tally
from maestro_api.database import transaction
from maestro_api.shared import Recent

log = logging.getLogger(__name__)

FRESH_SECONDS = 1.0
"""How long figures are good for."""

SETTLED = timedelta(seconds=60)
"""A job's end bears the time its transaction began; what ended this long ago has been committed."""

AHEAD = timedelta(minutes=10)
"""The tally leaves out this much of a range's oldest jobs, since they leave the range until the next one."""

_SHORTEST_REST, _LONGEST_REST = 60.0, 540.0
_REST_FACTOR = 200
"""A tally takes a second or so for a million jobs; another one begins after this many times as long."""

_FOREVER = datetime.max.replace(tzinfo=UTC)


Percentiles: TypeAlias = tuple[float | None, float | None]
"""The seconds that half of some jobs took at most, and 95 % of them."""


@dataclass(frozen=True)
class _Tallied:
    """What had long ended at an instant: for each range the jobs from `begins` to `end`."""

    at: datetime
    begins: dict[Range, datetime]
    end: datetime
    tallies: dict[Range, Tally]
    percentiles: dict[Range, dict[int, Percentiles]]

    def holds(self, now: datetime) -> bool:
        return now < self.at + AHEAD


@dataclass(frozen=True, slots=True)
class Slot:
    """An hour or a day, by its first instant, in the zone that days are reckoned in."""

    begin: datetime
    counts: Counts


@dataclass(frozen=True, slots=True)
class Overview:
    """What is open now, what has succeeded today, and all that ended within a range."""

    open: Open
    today: int
    ended: Counts


@dataclass(frozen=True, slots=True)
class Record:
    """An automation, its jobs within a range, and how long those took."""

    automation: Latest
    ended: Counts
    percentiles: Percentiles


@dataclass(frozen=True)
class _Figures:
    """A range as of `now`: the tally of what had long ended, and those of its two ends."""

    range: Range
    now: datetime
    tallied: _Tallied
    recent: Tally
    oldest: Tally

    @property
    def parts(self) -> tuple[Tally, Tally, Tally]:
        return self.tallied.tallies[self.range], self.recent, self.oldest

    def of(self, automation_id: int) -> Counts:
        return Counts.sum(
            part.automations[automation_id] for part in self.parts if automation_id in part.automations
        )

    def percentiles(self, automation_id: int) -> Percentiles:
        durations = [part.durations[automation_id] for part in self.parts if automation_id in part.durations]
        if len(durations) > 1 or automation_id not in self.tallied.tallies[self.range].durations:
            return _percentiles(durations)
        return self.tallied.percentiles[self.range][automation_id]

    def series(self, slots: list[datetime]) -> list[Counts]:
        """Slots of the longest range hold those of the others; its oldest jobs are in no other."""
        parts = [self.tallied.tallies[Range.MONTH], self.recent]
        parts += [self.oldest] if self.range is Range.MONTH else []
        return [
            Counts.sum(of_slot)
            for of_slot in zip(*(statistics.series(part.slots, slots) for part in parts), strict=True)
        ]


class Statistics:
    """`async with Statistics(pool, zone) as statistics`. Figures are exact, of some two seconds ago at most.

    Reading a million ended jobs takes a second or so. So what ended more than a minute ago is tallied in the
    background and held, and a request adds what has ended since and takes out, by never having counted it,
    what has left the range. What is put into or taken out of the past (an import, a short retention) is
    noticed by the next tally, within ten minutes.
    """

    def __init__(self, pool: Pool, zone: ZoneInfo) -> None:
        self._pool = pool
        self._zone = zone
        self._tallied: _Tallied | None = None
        self._tallying = asyncio.Lock()
        self._figures: Recent[_Figures] = Recent(FRESH_SECONDS)
        self._open: Recent[Open] = Recent(FRESH_SECONDS)
        self._records: Recent[list[Record]] = Recent(FRESH_SECONDS)
        self._keeper: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._keeper = asyncio.create_task(self._keep(), name="statistics")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._keeper.cancel()
        with suppress(asyncio.CancelledError):
            await self._keeper

    async def overview(self, range_: Range) -> Overview:
        """What is open, what succeeded today and how the jobs of the range ended."""
        figures = await self._of(range_)
        [today] = figures.series(statistics.days(figures.now, self._zone, 1))
        ended = Counts.sum(counts for part in figures.parts for counts in part.automations.values())
        return Overview(await self._open.answer(None, self._read_open), today.succeeded, ended)

    async def series(self, range_: Range) -> list[Slot]:
        """The hours of the last day, or the days of the last 7 or 30, the earliest first; none left out."""
        figures = await self._of(range_)
        slots = statistics.slots_of(range_, figures.now, self._zone)
        counted = zip(slots, figures.series(slots), strict=True)
        return [Slot(begin.astimezone(self._zone), counts) for begin, counts in counted]

    async def automations(self, range_: Range) -> list[Record]:
        """Those in use, and those gone that had jobs in the range, by id."""

        async def read() -> list[Record]:
            return await self._read_records(range_)

        return await self._records.answer(range_, read)

    async def errors(self, range_: Range) -> list[tuple[str, int]]:
        """Error classes of failed jobs and how many each, the commonest first."""
        figures = await self._of(range_)
        whole = sum((part.errors for part in figures.parts), Counter[str]())
        return sorted(whole.items(), key=lambda item: (-item[1], item[0]))

    async def _of(self, range_: Range) -> _Figures:
        async def read() -> _Figures:
            return await self._read(range_)

        return await self._figures.answer(range_, read)

    async def _read(self, range_: Range) -> _Figures:
        async with autocommit(self._pool) as conn:
            now = await statistics.moment(conn)
        tallied = await self._tally_holding(now)
        bounds = [(tallied.end, _FOREVER), (now - range_.span, tallied.begins[range_])]
        async with autocommit(self._pool) as conn:
            recent, oldest = await statistics.tally(conn, bounds, statistics.finest_slots(now, self._zone))
        return _Figures(range_, now, tallied, recent, oldest)

    async def _read_records(self, range_: Range) -> list[Record]:
        figures = await self._of(range_)
        async with autocommit(self._pool) as conn:
            latest = await statistics.latest(conn)
        records = []
        for place, each in enumerate(latest):
            ended = figures.of(each.automation_id)
            if ended.total or not each.retired:
                records.append(Record(each, ended, figures.percentiles(each.automation_id)))
            await _give_way(place)
        return records

    async def _read_open(self) -> Open:
        async with autocommit(self._pool) as conn:
            return await statistics.open_jobs(conn)

    async def _tally_holding(self, now: datetime) -> _Tallied:
        """The last tally, or a new one where that is too old or missing."""
        if self._tallied and self._tallied.holds(now):
            return self._tallied
        async with self._tallying:
            if self._tallied is None or not self._tallied.holds(now):
                self._tallied = await self._tally()
            return self._tallied

    async def _keep(self) -> None:
        while True:
            began = monotonic()
            try:
                async with self._tallying:
                    self._tallied = await self._tally()
            except Unavailable:
                pass  # that PostgreSQL is away is said by every call
            except Exception:  # a task that ended would leave every tally to a request
                log.exception("the ended jobs could not be tallied")
            rest = _REST_FACTOR * (monotonic() - began)
            await asyncio.sleep(min(max(rest, _SHORTEST_REST), _LONGEST_REST))

    async def _tally(self) -> _Tallied:
        async with transaction(self._pool) as conn:
            now = await statistics.moment(conn)
            begins = {range_: now - range_.span + AHEAD for range_ in Range}
            end = now - SETTLED
            edges = [begins[Range.MONTH], begins[Range.WEEK], begins[Range.DAY], end]
            bounds = list(pairwise(edges))
            month, week, day = await statistics.tally(conn, bounds, statistics.finest_slots(now, self._zone))
        tallies = {Range.DAY: day, Range.WEEK: Tally.sum([week, day])}
        await asyncio.sleep(0)
        tallies[Range.MONTH] = Tally.sum([month, tallies[Range.WEEK]])
        percentiles = {range_: await _each_percentiles(tallies[range_]) for range_ in Range}
        return _Tallied(now, begins, end, tallies, percentiles)


async def _each_percentiles(tally: Tally) -> dict[int, Percentiles]:
    found = {}
    for place, (automation_id, durations) in enumerate(tally.durations.items()):
        found[automation_id] = _percentiles([durations])
        await _give_way(place)
    return found


async def _give_way(place: int) -> None:
    """Let others have their turn, now and then in a long loop."""
    if place % 20 == 19:
        await asyncio.sleep(0)


def _percentiles(durations: Sequence[Durations]) -> Percentiles:
    half, most = statistics.percentiles(durations, [0.5, 0.95])
    return half, most
