"""Reads and writes jobs, on a connection of the caller's, who also commits.

Writes take lists, one statement each, so that concurrent calls can share a commit; a list of starts,
finishes, releases or beats names each job at most once. A refused call gets its exception in the place of its
answer: it harms no other of the same commit.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

from psycopg.rows import args_row
from uuid_utils.compat import uuid7

from maestro import jsontext
from maestro.broker.message import Message
from maestro.db import Connection, Statements
from maestro.errors import (
    AttemptSuperseded,
    ConcurrencyLimited,
    Conflict,
    JobEnded,
    MaestroError,
    NotFound,
)
from maestro.job.message import message_of
from maestro.job.model import (
    ENDS,
    Beat,
    Finish,
    Heartbeat,
    Job,
    LogLine,
    NewJob,
    NewLine,
    Release,
    Start,
    Started,
    Status,
)

_SQL = Statements(__package__)

Row: TypeAlias = Mapping[str, Any]


async def accept(conn: Connection, new: Sequence[NewJob]) -> list[Job]:
    """Insert jobs and return them in the order given.

    Each is owed a publication in 5 s; those of an automation with a maxConcurrency once they have a slot, and
    until then their `publish_due_at` is None. A tick of a schedule (schedule_id, scheduled_for) that
    already has its job is left out.
    """
    # Made here, in order: a UUIDv7 counts on within the same millisecond.
    return await insert(conn, [uuid7() for _ in new], new)


async def insert(conn: Connection, ids: Sequence[UUID], new: Sequence[NewJob]) -> list[Job]:
    """Insert jobs under these ids, which are in order."""
    if not new:
        return []
    cursor = await conn.execute(
        _SQL["accept"],
        {
            "ids": list(ids),
            "automation_ids": [job.automation_id for job in new],
            "parameters": [jsontext.dump(job.parameters) for job in new],
            "user_ids": [job.user_id for job in new],
            "schedule_ids": [job.schedule_id for job in new],
            "scheduled_for": [job.scheduled_for for job in new],
        },
    )
    return [_job(row) for row in await cursor.fetchall()]


async def messages_of(conn: Connection, ids: Sequence[UUID]) -> list[Message]:
    """The messages of those among these jobs that are owed one and may be published now."""
    cursor = await conn.execute(_SQL["owed_now"], {"ids": list(ids)})
    return [message_of(_job(row)) for row in await cursor.fetchall()]


async def claim_owed(conn: Connection, limit: int) -> list[Message]:
    """Due debts, the oldest first, claimed for 30 s: publish them after the commit.

    Only pending jobs of automations that are not suspended; what another dispatcher holds is passed over.
    """
    cursor = await conn.execute(_SQL["claim_owed"], {"limit": limit})
    return [message_of(_job(row)) for row in await cursor.fetchall()]


async def settle(conn: Connection, published: Sequence[Message]) -> int:
    """Clear the debts of messages that the broker has and count them; a debt that changed since stays."""
    cursor = await conn.execute(
        _SQL["settle"],
        {
            "ids": [message.job_id for message in published],
            "due_at": [message.due_at for message in published],
        },
    )
    return cursor.rowcount


async def grant_slots(conn: Connection, limit: int) -> list[Message]:
    """Give free slots of limited automations to waiting jobs, in one transaction; publish after the commit.

    At most `limit` jobs of each automation.
    """
    async with conn.transaction():
        cursor = await conn.execute(_SQL["automations_in_wait"])
        ids = [row["id"] for row in await cursor.fetchall()]
        if not ids:
            return []
        await conn.execute(_SQL["lock_automations"], {"ids": ids})
        cursor = await conn.execute(_SQL["grant_slots"], {"ids": ids, "limit": limit})
        return [message_of(_job(row)) for row in await cursor.fetchall()]


async def start(conn: Connection, calls: Sequence[Start]) -> list[Started | MaestroError]:
    """Make the attempts.

    NotFound, JobEnded, AttemptSuperseded, ConcurrencyLimited or Conflict where none can be made.
    """
    cursor = await conn.execute(
        _SQL["start"], {"ids": [call.job_id for call in calls], "tokens": [call.token for call in calls]}
    )
    rows = {row["id"]: row for row in await cursor.fetchall()}
    return [_started(rows[call.job_id]) for call in calls]


def _started(row: Row) -> Started | MaestroError:
    match row["verdict"]:
        case "started" | "repeated" | "revived":
            return Started(int(row["attempt"]), row["created_at"] if row["first"] else None)
        case "unknown":
            return _unknown(row["id"])
        case "limited":
            return ConcurrencyLimited()
        case "over":
            return AttemptSuperseded()
        case "taken":
            return Conflict(
                "Another attempt of this job is running; acknowledge this message and take the next."
            )
        case _:
            return JobEnded(f"The job is {row['status']} already; acknowledge its message and take the next.")


async def append_lines(conn: Connection, lines: Sequence[NewLine]) -> list[int | MaestroError]:
    """Keep log lines, each once, and return their ids in the order given; a resent line's is its first."""
    cursor = await conn.execute(
        _SQL["append_lines"],
        {
            "job_ids": list({line.job_id: None for line in lines}),
            "ids": [line.job_id for line in lines],
            "tokens": [line.token for line in lines],
            "seqs": [line.seq for line in lines],
            "levels": [line.level for line in lines],
            "messages": [line.message for line in lines],
            "actionable": [line.actionable for line in lines],
            "logged_at": [line.logged_at for line in lines],
        },
    )
    rows = await cursor.fetchall()
    ids = [_line_id(row, line) for row, line in zip(rows, lines, strict=True)]
    if rows and rows[0]["kept"] < sum(isinstance(each, int) for each in ids):
        return await _first_ids(conn, rows, lines, ids)
    return ids


def _line_id(row: Row, line: NewLine) -> int | MaestroError:
    if row["id"] is not None:
        return int(row["id"])
    return AttemptSuperseded() if row["known"] else _unknown(line.job_id)


async def _first_ids(
    conn: Connection, rows: Sequence[Row], lines: Sequence[NewLine], ids: Sequence[int | MaestroError]
) -> list[int | MaestroError]:
    """The same ids, but for resent lines those that they got the first time.

    A statement of its own: they may have been committed after the one that kept the others began, unseen.
    """
    numbered = [
        (line.job_id, row["attempt"], line.seq) if row["id"] is not None and line.seq is not None else None
        for row, line in zip(rows, lines, strict=True)
    ]
    asked = list({each: None for each in numbered if each})
    cursor = await conn.execute(
        _SQL["line_ids"],
        {
            "ids": [job_id for job_id, _, _ in asked],
            "attempts": [attempt for _, attempt, _ in asked],
            "seqs": [seq for _, _, seq in asked],
        },
    )
    found = {(row["job_id"], row["attempt"], row["seq"]): int(row["id"]) for row in await cursor.fetchall()}
    return [found[each] if each else line_id for each, line_id in zip(numbered, ids, strict=True)]


async def finish(conn: Connection, calls: Sequence[Finish]) -> list[Status | MaestroError]:
    """End the attempts and return each job's state.

    The same content again is no error; other content, another attempt's call and a job never started are.
    """
    cursor = await conn.execute(
        _SQL["finish"],
        {
            "ids": [call.job_id for call in calls],
            "tokens": [call.token for call in calls],
            "statuses": [call.status for call in calls],
            "results": [call.result for call in calls],
        },
    )
    rows = {row["id"]: row for row in await cursor.fetchall()}
    return [_finished(rows[call.job_id], call) for call in calls]


def _finished(row: Row, call: Finish) -> Status | MaestroError:
    if row["status"] is None:
        return _unknown(row["id"])
    if row["finished"] or (row["current"] and row["repeated"]):
        return call.status
    if not row["current"]:
        return AttemptSuperseded()
    if row["status"] in ENDS:
        return JobEnded(f"The job has ended as {row['status']}; its state and result never change.")
    if row["attempt"]:
        return AttemptSuperseded()  # it was ended or handed back, and the job waits for another one
    return Conflict("The job has not been started; call start first.")


async def release(conn: Connection, calls: Sequence[Release]) -> list[Status | MaestroError]:
    """Take started jobs back: pending and owed again, or canceled where that was asked for.

    Handing the same attempt back again is no error.
    """
    cursor = await conn.execute(
        _SQL["release"], {"ids": [call.job_id for call in calls], "tokens": [call.token for call in calls]}
    )
    rows = {row["id"]: row for row in await cursor.fetchall()}
    return [_released(rows[call.job_id]) for call in calls]


def _released(row: Row) -> Status | MaestroError:
    if row["released_as"] is not None:
        return Status(row["released_as"])
    if row["status"] is None:
        return _unknown(row["id"])
    if not row["current"]:
        return AttemptSuperseded()
    if row["repeated"]:
        return Status(row["status"])
    if row["status"] in ENDS:
        return JobEnded(f"The job has ended as {row['status']}; there is nothing to hand back.")
    return Conflict("The job is not being worked on; start it before handing it back.")


async def beat(conn: Connection, calls: Sequence[Heartbeat]) -> list[Beat | MaestroError]:
    """Note signs of life of running attempts and tell each whether it should stop."""
    cursor = await conn.execute(
        _SQL["beat"],
        {
            "ids": [call.job_id for call in calls],
            "tokens": [call.token for call in calls],
            "progress": [call.progress for call in calls],
            "messages": [call.message for call in calls],
        },
    )
    rows = {row["id"]: row for row in await cursor.fetchall()}
    return [_beaten(rows[call.job_id]) for call in calls]


def _beaten(row: Row) -> Beat | MaestroError:
    if not row["known"]:
        return _unknown(row["id"])
    if not row["current"]:
        return AttemptSuperseded()
    return Beat(row["cancellation_requested"])


async def note_up(conn: Connection, now: datetime | None = None) -> None:
    """The apis are up: each says so every 10 s. A gap of more than 30 s restarts the clock of silences."""
    await conn.execute(_SQL["note_up"], {"now": now})


async def cancel(conn: Connection, job_id: UUID) -> Job:
    """Cancel a pending job at once, ask a running one to stop. Raises NotFound or JobEnded."""
    cursor = await conn.execute(_SQL["cancel"], {"ids": [job_id]})
    changed = cursor.rowcount
    job = await get(conn, job_id)
    if not changed:
        raise JobEnded(f"The job is {job.status} already; there is nothing left to cancel.")
    return job


async def cancel_all(conn: Connection, ids: Sequence[UUID]) -> list[UUID]:
    """Cancel those that are pending, ask the running ones to stop, and return which these were."""
    if not ids:
        return []
    cursor = await conn.execute(_SQL["cancel"], {"ids": list(ids)})
    return [row["id"] for row in await cursor.fetchall()]


async def get(conn: Connection, job_id: UUID) -> Job:
    """One job. Raises NotFound."""
    found = await by_ids(conn, [job_id])
    if not found:
        raise _unknown(job_id)
    return found[0]


async def by_ids(conn: Connection, ids: Sequence[UUID]) -> list[Job]:
    """Those of these jobs that exist, by id."""
    cursor = await conn.execute(_SQL["by_ids"], {"ids": list(ids)})
    return [_job(row) for row in await cursor.fetchall()]


async def lines(conn: Connection, job_id: UUID, *, after: int, limit: int) -> list[LogLine]:
    """Up to `limit` log lines with ids above `after`, the oldest first."""
    # By their order, which is that of the fields: half the time of a line by names.
    async with conn.cursor(row_factory=args_row(LogLine), binary=True) as cursor:
        await cursor.execute(_SQL["lines"], {"id": job_id, "after": after, "limit": limit})
        return await cursor.fetchall()


def _job(row: Row) -> Job:
    return Job(**{**row, "status": Status(row["status"])})


def _unknown(job_id: UUID) -> NotFound:
    return NotFound(f"There is no job {job_id}.")
