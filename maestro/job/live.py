"""What a job's log has new, for those who follow it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from uuid import UUID

from maestro.db import Connection, Statements
from maestro.errors import NotFound
from maestro.job.model import Level, LogLine, Status

_SQL = Statements(__package__)

# A portion ends with the line that reaches either, so that no log fills the memory.
_PORTION = {"lines": 500, "octets": 256 * 1024}


@dataclass(frozen=True, slots=True)
class Portion:
    """Log lines of one job, the oldest first; with `more`, others lie after them."""

    lines: Sequence[LogLine] = ()
    more: bool = False


@dataclass(frozen=True, slots=True)
class News:
    """A job's status and its new lines. Without `more`, an ended job has no others from before its end."""

    status: Status
    portion: Portion


async def log_head(conn: Connection, job_id: UUID) -> tuple[Status, int]:
    """The job's status and the id of its last line, 0 when it has none. Raises NotFound."""
    row = await (await conn.execute(_SQL["log_head"], {"id": job_id})).fetchone()
    if row is None:
        raise NotFound(f"There is no job {job_id}.")
    return Status(row["status"]), row["last_line"]


async def portion(conn: Connection, job_id: UUID, *, after: int, upto: int) -> Portion:
    """The job's first lines past the one with id `after`, none of them past `upto`."""
    cursor = await conn.execute(_SQL["portion"], {"id": job_id, "after": after, "upto": upto, **_PORTION})
    return _portion(await cursor.fetchall())


async def news(conn: Connection, after: dict[UUID, int]) -> dict[UUID, News]:
    """What each job has past the line with that id; a job that is gone is left out."""
    cursor = await conn.execute(_SQL["news"], {"ids": list(after), "after": list(after.values()), **_PORTION})
    by_job = groupby(await cursor.fetchall(), lambda row: row["job_id"])
    return {job_id: _news(list(rows)) for job_id, rows in by_job}


def _news(rows: Sequence[dict[str, Any]]) -> News:
    without_lines = rows[0]["id"] is None
    return News(Status(rows[0]["status"]), Portion() if without_lines else _portion(rows))


def _portion(rows: Sequence[dict[str, Any]]) -> Portion:
    return Portion([_line(row) for row in rows], bool(rows) and rows[-1]["more"])


def _line(row: dict[str, Any]) -> LogLine:
    return LogLine(
        row["id"], row["job_id"], row["logged_at"], Level(row["level"]), row["message"], row["actionable"]
    )
