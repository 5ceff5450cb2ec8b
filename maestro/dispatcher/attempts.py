"""Attempts and starts that took too long: lost workers, time limits, start deadlines."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from maestro.db import Connection, Statements
from maestro.job.model import Status

_sql = Statements(__package__)

BATCH = 500


@dataclass
class Changes:
    """The jobs that a check changed, and what became of those whose attempt it ended: pending are rescued."""

    ids: list[UUID] = field(default_factory=list)
    ended: Counter[Status] = field(default_factory=Counter)
    full: bool = False
    """A batch was full: there may be more."""


async def check(conn: Connection, *, now: datetime | None = None) -> Changes:
    """Ask to stop, end and rescue what is overdue; `now` is PostgreSQL's unless given."""
    changes = Changes()
    await _step(conn, "ask_to_stop", now, changes)
    ended = await _step(conn, "end_attempts", now, changes)
    changes.ended.update(Status(row["status"]) for row in ended)
    await _step(conn, "fail_unstarted", now, changes)
    return changes


async def _step(
    conn: Connection, statement: str, now: datetime | None, changes: Changes
) -> list[dict[str, Any]]:
    cursor = await conn.execute(_sql[statement], {"now": now, "limit": BATCH})
    rows = await cursor.fetchall()
    changes.ids += [row["id"] for row in rows]
    changes.full = changes.full or len(rows) == BATCH
    return rows
