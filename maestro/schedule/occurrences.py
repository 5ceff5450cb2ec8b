"""Occurrences: what became of each nominal instant of a schedule, to be read and reported."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from maestro.db import Connection, Statements

_sql = Statements(__package__)


class Outcome(StrEnum):
    """What became of a nominal instant."""

    WAITING = "waiting"
    """Its job starts when those of the runs before have ended."""
    FIRED = "fired"
    SHIFTED = "shifted"
    """Fired at the time that its calendar moved it to."""
    LATE = "late"
    """Fired after an outage, the latest of what was due."""
    CAUGHT_UP = "caught_up"
    """Fired after an outage, an older one."""
    SKIPPED = "skipped"
    MERGED = "merged"
    """Another one fires at the same effective instant; `job_id` is its job."""
    MISSED = "missed"


RAN = frozenset({Outcome.FIRED, Outcome.SHIFTED, Outcome.LATE, Outcome.CAUGHT_UP})
"""Those that have a job of their own."""


class Reason(StrEnum):
    """Why it did not fire, beside those of `maestro.schedule.timing`."""

    OUTAGE = "Outage"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    CONCURRENCY = "Concurrency"
    REPLACED = "Replaced"
    SUSPENDED = "Suspended"
    EDITED = "Edited"
    DELETED = "Deleted"
    CALENDAR_CHANGED = "CalendarChanged"
    AUTOMATION_SUSPENDED = "AutomationSuspended"
    AUTOMATION_NOT_FOUND = "AutomationNotFound"
    PARAMETERS_REFUSED = "ParametersRefused"


@dataclass(frozen=True)
class Occurrence:
    """One row of `occurrences`."""

    id: int
    schedule_id: int
    nominal_at: datetime
    """What cron says."""
    effective_at: datetime
    """Where the calendar moved it; the same without a move."""
    outcome: str
    reason: str | None
    """Why it did not fire, or not at its time: a word for programs."""
    message: str | None
    """The same, a sentence."""
    count: int
    """How many instants the row stands for: missed ones of one outage share one."""
    last_nominal_at: datetime | None
    """The last of those, where they are several."""
    job_id: UUID | None
    decided_at: datetime


@dataclass(frozen=True)
class Decided:
    """A row to be written, in the words of `Occurrence`."""

    schedule_id: int
    nominal_at: datetime
    effective_at: datetime
    due_at: datetime
    outcome: Outcome
    reason: str | None
    message: str | None
    count: int = 1
    last_nominal_at: datetime | None = None
    job_id: UUID | None = None


@dataclass(frozen=True)
class Report:
    """An occurrence that did not fire, and the resource whose event is to tell so."""

    namespace: str
    name: str
    uid: str | None
    occurrence: Occurrence


async def write(conn: Connection, decided: Sequence[Decided], now: datetime) -> list[dict[str, Any]]:
    """Write them and return id, schedule_id and nominal_at of those that were not there yet."""
    if not decided:
        return []
    columns: dict[str, list[Any]] = {
        field.name: [getattr(each, field.name) for each in decided] for field in fields(Decided)
    }
    found = await conn.execute(_sql["decided"], columns | {"decided_at": [now] * len(decided)})
    return await found.fetchall()


async def write_aside(conn: Connection, decided: Sequence[Decided], now: datetime) -> None:
    """Write what an edit decides, which a dispatcher's batch does not; status tells of the last of it."""
    written = await write(conn, decided, now)
    await conn.execute(_sql["told_last"], {"ids": [row["id"] for row in written]})


async def list_of(
    conn: Connection, schedule_id: int, *, limit: int, before: datetime | None = None
) -> list[Occurrence]:
    """Up to `limit` of a schedule's, the newest nominal instant first; with `before` earlier ones alone."""
    values = {"schedule_id": schedule_id, "limit": limit, "before": before}
    cursor = await conn.execute(_sql["occurrences_of"], values)
    return [_occurrence(row) for row in await cursor.fetchall()]


async def known_ahead(conn: Connection, ids: Sequence[int], now: datetime) -> dict[int, set[datetime]]:
    """Nominal instants after `now` that are decided already, by schedule: an edit may bring them up again."""
    found: dict[int, set[datetime]] = {}
    cursor = await conn.execute(_sql["known_ahead"], {"ids": list(ids), "now": now})
    for row in await cursor.fetchall():
        found.setdefault(row["schedule_id"], set()).add(row["nominal_at"])
    return found


async def unreported(conn: Connection, *, limit: int) -> list[Report]:
    """Those that did not fire and have no event yet, the oldest first; of resources that are gone as well."""
    cursor = await conn.execute(_sql["unreported"], {"limit": limit})
    return [
        Report(row["namespace"], row["name"], row["uid"], _occurrence(row)) for row in await cursor.fetchall()
    ]


async def reported(conn: Connection, ids: Sequence[int]) -> None:
    """Their events are written."""
    await conn.execute(_sql["reported"], {"ids": list(ids)})


def _occurrence(row: dict[str, Any]) -> Occurrence:
    return Occurrence(**{field.name: row[field.name] for field in fields(Occurrence)})
