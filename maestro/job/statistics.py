"""What became of jobs, in figures: over 24 hours, 7 days and 30 days, by automation, hour and error class.

A job counts where it ended; `succeeded` are completed and completed_no_invoices. Whatever has ended stays as
it is, so a tally of times gone by holds, and tallies of several parts of time add up to that of the whole.
"""

import asyncio
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from math import ceil
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from maestro.db import Connection, Statements
from maestro.job.model import Status

_SQL = Statements(__package__, "statistics.sql")

GROWTH = 1.02
"""Durations are counted in steps that grow by this: a percentile is known to within 1 %."""

RECENT = 12
"""Latest jobs of an automation whose ends are shown."""

Key = TypeVar("Key")

_ROWS_AT_ONCE = 50
"""Each may hold hundreds of durations: others get their turn in between."""


class Range(StrEnum):
    """The time that statistics look back over."""

    DAY = "24h"
    WEEK = "7d"
    MONTH = "30d"

    @property
    def span(self) -> timedelta:
        return _SPANS[self]


_SPANS = {Range.DAY: timedelta(hours=24), Range.WEEK: timedelta(days=7), Range.MONTH: timedelta(days=30)}


@dataclass(slots=True)
class Counts:
    """How many jobs ended, and how."""

    total: int = 0
    succeeded: int = 0
    failed: int = 0
    canceled: int = 0
    scheduled: int = 0

    @property
    def manual(self) -> int:
        return self.total - self.scheduled

    @property
    def success_rate(self) -> float | None:
        """Those that succeeded among those that succeeded or failed, 0 to 1; None when there are none."""
        judged = self.succeeded + self.failed
        return self.succeeded / judged if judged else None

    @classmethod
    def sum(cls, parts: Iterable["Counts"]) -> "Counts":
        whole = cls()
        for part in parts:
            whole.total += part.total
            whole.succeeded += part.succeeded
            whole.failed += part.failed
            whole.canceled += part.canceled
            whole.scheduled += part.scheduled
        return whole


Durations = Counter[int]
"""How many jobs took how many steps of GROWTH."""


@dataclass(slots=True)
class Tally:
    """The jobs that ended within a part of time."""

    automations: dict[int, Counts] = field(default_factory=dict)
    durations: dict[int, Durations] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    slots: dict[datetime, Counts] = field(default_factory=dict)

    @classmethod
    def sum(cls, parts: Sequence["Tally"]) -> "Tally":
        whole = cls()
        for automation_id in {key for part in parts for key in part.automations}:
            counts = (part.automations[automation_id] for part in parts if automation_id in part.automations)
            whole.automations[automation_id] = Counts.sum(counts)
        for automation_id in {key for part in parts for key in part.durations}:
            durations = (part.durations[automation_id] for part in parts if automation_id in part.durations)
            whole.durations[automation_id] = _added(durations)
        whole.errors = _added(part.errors for part in parts)
        for slot in {key for part in parts for key in part.slots}:
            whole.slots[slot] = Counts.sum(part.slots[slot] for part in parts if slot in part.slots)
        return whole


@dataclass(frozen=True, slots=True)
class Latest:
    """An automation and how its latest jobs ended, the last one first."""

    automation_id: int
    name: str
    retired: bool
    statuses: list[Status]
    ran_at: datetime | None


@dataclass(frozen=True, slots=True)
class Open:
    """Jobs that have not ended."""

    pending: int
    running: int


# Instants in UTC throughout: within one zone Python compares what the clocks show, and an hour that comes
# twice is the same to it.
def hours(now: datetime, zone: ZoneInfo) -> list[datetime]:
    """The first instants of this hour and the 23 before it by the zone's clocks, the earliest first."""
    this = now.astimezone(zone).replace(minute=0, second=0, microsecond=0).astimezone(UTC)
    return [this - timedelta(hours=back) for back in reversed(range(24))]


def days(now: datetime, zone: ZoneInfo, count: int) -> list[datetime]:
    """The first instants of the last `count` days in the zone, today's included, the earliest first."""
    today = now.astimezone(zone).date()
    dates = (today - timedelta(days=back) for back in reversed(range(count)))
    # A midnight that the clocks leave out is read as the instant at which they do.
    return [datetime.combine(date, time(), zone).astimezone(UTC) for date in dates]


def slots_of(range_: Range, now: datetime, zone: ZoneInfo) -> list[datetime]:
    """The hours of the last 24, or the days of the last 7 or 30."""
    return hours(now, zone) if range_ is Range.DAY else days(now, zone, range_.span.days)


def finest_slots(now: datetime, zone: ZoneInfo) -> list[datetime]:
    """Slots that those of every range are made of."""
    return sorted({*hours(now, zone), *days(now, zone, Range.MONTH.span.days)})


def series(fine: Mapping[datetime, Counts], slots: Sequence[datetime]) -> list[Counts]:
    """The counts of each of these slots, from finer ones."""
    members: list[list[Counts]] = [[] for _ in slots]
    for begin, counts in fine.items():
        if place := bisect_right(slots, begin):
            members[place - 1].append(counts)
    return [Counts.sum(each) for each in members]


def percentiles(parts: Sequence[Durations], shares: Sequence[float]) -> list[float | None]:
    """The seconds that each of these shares of all jobs took at most, to within 1 %; None without jobs.

    The shares in ascending order.
    """
    durations = _added(parts)
    total = durations.total()
    found: list[float | None] = []
    passed = 0
    for step in sorted(durations):
        passed += durations[step]
        while len(found) < len(shares) and passed >= ceil(shares[len(found)] * total):
            found.append(round(2 * GROWTH**step / (GROWTH + 1), 3))
    return found or [None for _ in shares]


async def moment(conn: Connection) -> datetime:
    """Now, by the database's clock; in one transaction with a large tally, it also provides for that."""
    row = await (await conn.execute(_SQL["moment"])).fetchone()
    assert row  # a SELECT of one row  # noqa: S101
    now: datetime = row["now"]
    return now


async def tally(
    conn: Connection, bounds: Sequence[tuple[datetime, datetime]], slots: Sequence[datetime]
) -> list[Tally]:
    """The tally of each part of time, from its first instant to just before its end."""
    values = {
        "begins": [begin for begin, _ in bounds],
        "ends": [end for _, end in bounds],
        "slots": list(slots),
        "growth": GROWTH,
    }
    # Planned with the values at hand: a part may be a minute or a month.
    cursor = await conn.execute(_SQL["tally"], values, prepare=False)
    tallies = [Tally() for _ in bounds]
    while rows := await cursor.fetchmany(_ROWS_AT_ONCE):
        for row in rows:
            _note(tallies[row["part"] - 1], row, slots)
        await asyncio.sleep(0)
    return tallies


def _note(tally: Tally, row: Mapping[str, Any], slots: Sequence[datetime]) -> None:
    counts = Counts(row["total"], row["succeeded"], row["failed"], row["canceled"], row["scheduled"])
    match row["kind"]:
        case "automation":
            tally.automations[row["automation_id"]] = counts
            if row["durations"]:
                tally.durations[row["automation_id"]] = Counter(
                    dict(zip(row["durations"], row["counts"], strict=True))
                )
        case "slot" if row["slot"]:
            tally.slots[slots[row["slot"] - 1]] = counts
        case "error_class" if row["error_class"] is not None:
            tally.errors[row["error_class"]] = counts.failed


async def open_jobs(conn: Connection) -> Open:
    """How many jobs wait and run now."""
    row = await (await conn.execute(_SQL["open"])).fetchone()
    assert row  # an aggregate  # noqa: S101
    return Open(**row)


async def latest(conn: Connection) -> list[Latest]:
    """All automations, those that are gone included, by id."""
    cursor = await conn.execute(_SQL["latest"], {"count": RECENT})
    return [
        Latest(
            row["id"], row["name"], row["retired"], [Status(each) for each in row["statuses"]], row["ran_at"]
        )
        for row in await cursor.fetchall()
    ]


def _added(parts: Iterable[Counter[Key]]) -> Counter[Key]:
    whole: Counter[Key] = Counter()
    for part in parts:
        whole.update(part)
    return whole
