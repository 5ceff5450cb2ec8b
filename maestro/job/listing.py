"""Lists of jobs: pages of the newest ones that match, by key or by offset, and how many match in all."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from psycopg import sql
from psycopg.rows import args_row

from maestro.db import Connection, Statements
from maestro.job.model import Filter, Job, Status

_SQL = Statements(__package__, "listing.sql")

_STATUS = [field.name for field in fields(Job)].index("status")
_EACH_STATUS = [status.value for status in Status]


@dataclass(frozen=True, slots=True)
class Place:
    """A job's place in lists: they are in order of creation, then of id, the newest first."""

    created_at: datetime
    id: UUID


async def page(
    conn: Connection, wanted: Filter, *, limit: int, offset: int = 0, after: Place | None = None
) -> tuple[list[Job], bool]:
    """Up to `limit` of the newest jobs that match, and whether there are more.

    With `after` those behind that place: as quick on the last page as on the first, which `offset` is not.
    """
    values = _values(wanted)
    conditions = list(values)
    if after:
        conditions.append("after")
        values |= {"after_created_at": after.created_at, "after_id": after.id}
    values["statuses"] = [wanted.status] if wanted.status else _EACH_STATUS
    async with conn.cursor(row_factory=args_row(_job), binary=True) as cursor:
        statement = _page_statement(tuple(conditions), limit, offset)
        await cursor.execute(statement, values, prepare=_prepare(wanted))
        jobs = await cursor.fetchall()
    return jobs[:limit], len(jobs) > limit


async def total(conn: Connection, wanted: Filter) -> int:
    """How many jobs match, counted."""
    values = _values(wanted)
    conditions = list(values)
    if wanted.status or wanted.since or wanted.until:
        # Times are in order within a status: it takes all six to have them in an index.
        conditions.append("statuses")
        values["statuses"] = [wanted.status] if wanted.status else _EACH_STATUS
    statement = _total_statement(tuple(conditions))
    row = await (await conn.execute(statement, values, prepare=_prepare(wanted))).fetchone()
    return int(row["count"]) if row else 0


def _values(wanted: Filter) -> dict[str, Any]:
    """The filters that are given, but for the status."""
    given: Mapping[str, Any] = {
        "automation_id": wanted.automation_id,
        "user_id": wanted.user_id,
        "since": wanted.since,
        "until": wanted.until,
    }
    return {name: value for name, value in given.items() if value is not None}


def _prepare(wanted: Filter) -> bool | None:
    """Whether a plan may serve other values too.

    Not where two indexes compete: which one passes over fewer entries depends on how many jobs this user and
    this automation have, so PostgreSQL plans with the values at hand.
    """
    return False if wanted.user_id is not None and wanted.automation_id is not None else None


# Limits stand in the statement itself: PostgreSQL plans a limit it does not know as a tenth of the table.
@lru_cache(maxsize=512)
def _page_statement(conditions: tuple[str, ...], limit: int, offset: int) -> bytes:
    return _composed(
        "page",
        conditions,
        reach=sql.Literal(offset + limit + 1),
        count=sql.Literal(limit + 1),
        offset=sql.Literal(offset),
    )


@lru_cache(maxsize=64)
def _total_statement(conditions: tuple[str, ...]) -> bytes:
    return _composed("total", conditions)


def _composed(name: str, conditions: tuple[str, ...], **parts: sql.Literal) -> bytes:
    given = sql.SQL(" ").join(sql.SQL(_SQL[condition]) for condition in conditions)
    return sql.SQL(_SQL[name]).format(conditions=given, **parts).as_bytes()


def _job(*row: Any) -> Job:
    """The statement's columns are the fields of a Job, in their order: half the time of a row by names."""
    values = list(row)
    values[_STATUS] = Status(values[_STATUS])
    return Job(*values)
