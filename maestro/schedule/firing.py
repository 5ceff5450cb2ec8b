"""Fires what is due: one occurrence per schedule and nominal instant, whoever fires and however often.

A batch is one transaction: the due rows are held against other dispatchers, their occurrences and jobs
inserted, and they are moved on. Unique keys on the occurrences and on the jobs' ticks are the backstop. The
number of statements is the same however many schedules a batch has.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

import psycopg

from maestro.calendar.store import definitions
from maestro.db import Connection, Statements
from maestro.errors import MaestroError
from maestro.job.model import Job, NewJob
from maestro.job.store import cancel_all, insert
from maestro.schedule.model import Concurrency
from maestro.schedule.occurrences import RAN, Decided, Outcome, known_ahead, write
from maestro.schedule.planning import Due, Plan, Surroundings, Waiting, plan_of
from maestro.schedule.store import current_time

log = logging.getLogger(__name__)

_sql = Statements(__package__)

_Item = TypeVar("_Item")

_Key: TypeAlias = tuple[int, datetime]
"""A schedule and a nominal instant."""

PUT_OFF = timedelta(seconds=60)
"""Until a schedule that can't be decided is tried again."""


@dataclass(frozen=True)
class Told:
    """A decision, for whoever counts them."""

    outcome: Outcome
    count: int
    lag: timedelta | None
    """From when it was due to the decision; None when it has no job of its own."""


@dataclass(frozen=True)
class Fired:
    """A batch: how many schedules it looked at, and what came of them."""

    seen: int
    jobs: list[Job] = field(default_factory=list)
    canceled: list[UUID] = field(default_factory=list)
    """Jobs that made way for a run: canceled, or asked to stop."""
    told: list[Told] = field(default_factory=list)


async def fire_due(conn: Connection, *, limit: int, now: datetime | None = None) -> Fired:
    """Decide up to `limit` due schedules in one transaction; `now` is PostgreSQL's unless given."""
    return await _fire(conn, "due", limit, now)


async def start_waiting(conn: Connection, *, limit: int, now: datetime | None = None) -> Fired:
    """Start occurrences whose wait is over, of up to `limit` schedules in one transaction."""
    return await _fire(conn, "ready", limit, now)


async def _fire(conn: Connection, which: str, limit: int, now: datetime | None) -> Fired:
    async with conn.transaction():
        moment = now or await current_time(conn)
        found = await conn.execute(_sql[which], {"now": moment, "limit": limit})
        dues = [Due(**row) for row in await found.fetchall()]
        if not dues:
            return Fired(0)
        surroundings = await _surroundings(
            conn, dues, [due.id for due in dues if which == "ready" or _minds(due)], moment
        )
        # After a long outage it takes a while, in which this process goes on to publish and to answer.
        plans, broken = await asyncio.to_thread(_plans, dues, surroundings, moment)
        if settled := await _settled(conn, plans):
            again = [plan.due for plan in plans if plan.due.id in settled]
            anew, more = _plans(again, replace(surroundings, settled=settled), moment)
            plans = [*(plan for plan in plans if plan.due.id not in settled), *anew]
            broken += more
        fired = await _write(conn, plans, moment, broken)
        if broken:
            values = {"ids": broken, "until": moment + PUT_OFF}
            await conn.execute(_sql["put_off"], values)
    return replace(fired, seen=len(dues))


def _minds(due: Due) -> bool:
    """Whether its open jobs make a difference."""
    return due.concurrency_policy != Concurrency.ALLOW


async def _surroundings(
    conn: Connection, dues: Sequence[Due], minding: Sequence[int], now: datetime
) -> Surroundings:
    """`minding` are the ids of those whose open jobs and waiting occurrences are of interest."""
    namespaces = {due.namespace for due in dues if due.calendar_name}
    calendars = await definitions(conn, namespaces) if namespaces else {}
    moved = [due.id for due in dues if due.calendar_name]
    ahead = await known_ahead(conn, moved, now) if moved else {}
    if not minding:
        return Surroundings(calendars, {}, {}, known_ahead=ahead)
    open_jobs: dict[int, list[UUID]] = {}
    for row in await (await conn.execute(_sql["open_jobs"], {"ids": list(minding)})).fetchall():
        open_jobs.setdefault(row["schedule_id"], []).append(row["id"])
    waiting: dict[int, list[Waiting]] = {}
    for row in await (await conn.execute(_sql["waiting"], {"ids": list(minding)})).fetchall():
        waiting.setdefault(row.pop("schedule_id"), []).append(Waiting(**row))
    return Surroundings(calendars, open_jobs, waiting, known_ahead=ahead)


def _plans(dues: Sequence[Due], surroundings: Surroundings, now: datetime) -> tuple[list[Plan], list[int]]:
    """A plan for each, and the ids of those for whom none can be made: they harm no other."""
    plans, broken = [], []
    for due in dues:
        try:
            plans.append(plan_of(due, surroundings, now))
        except MaestroError as error:
            # Stored by a version that could read it. Its next registration says so on the resource.
            log.error("%s can't run: %s", due, error)
            broken.append(due.id)
        except Exception:
            log.exception("%s could not be decided, it is tried again in %s", due, PUT_OFF)
            broken.append(due.id)
    return plans, broken


async def _settled(conn: Connection, plans: Sequence[Plan]) -> dict[int, set[datetime]]:
    """Of plans in which instants are merged, those that have their occurrence already, by schedule."""
    merging = [plan for plan in plans if any(new.verdict.outcome is Outcome.MERGED for new in plan.new)]
    asked = [
        (plan.due.id, new.verdict.nominal)
        for plan in merging
        for new in plan.new
        if new.verdict.outcome is not Outcome.MISSED
    ]
    if not asked:
        return {}
    ids, nominals = zip(*asked, strict=True)
    found = await conn.execute(_sql["known_among"], {"schedule_ids": list(ids), "nominal_at": list(nominals)})
    settled: dict[int, set[datetime]] = {}
    for row in await found.fetchall():
        settled.setdefault(row["schedule_id"], set()).add(row["nominal_at"])
    return settled


async def _write(conn: Connection, plans: Sequence[Plan], now: datetime, broken: list[int]) -> Fired:
    """Write them all; what the database refuses of one is left out, and its id added to `broken`."""
    try:
        async with conn.transaction():
            return await _write_together(conn, plans, now)
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        if len(plans) == 1:
            log.error("%s can't be fired, it is tried again in %s: %s", plans[0].due, PUT_OFF, error)
            broken.append(plans[0].due.id)
            return Fired(0)
    half = len(plans) // 2
    parts = [await _write(conn, part, now, broken) for part in (plans[:half], plans[half:])]
    return Fired(
        0,
        [job for part in parts for job in part.jobs],
        [job_id for part in parts for job_id in part.canceled],
        [told for part in parts for told in part.told],
    )


async def _write_together(conn: Connection, plans: Sequence[Plan], now: datetime) -> Fired:
    ended = await _write_ended(conn, plans, now)
    written = await _write_new(conn, plans, now)
    made = set(ended) | set(written)
    new_jobs = [(job_id, job) for plan in plans for job_id, job in plan.jobs if _tick(job) in made]
    jobs = await insert(conn, [job_id for job_id, _ in new_jobs], [job for _, job in new_jobs])
    if len(jobs) < len(new_jobs):
        await _adopt_known_jobs(conn, new_jobs, jobs)
    canceled = await cancel_all(conn, [job_id for plan in plans for job_id in _to_cancel(plan, made)])
    await _move_on(conn, plans, jobs, written)
    return Fired(0, jobs, canceled, list(_told(plans, made, now)))


async def _write_ended(conn: Connection, plans: Sequence[Plan], now: datetime) -> dict[_Key, int]:
    ended = [each for plan in plans for each in plan.ended]
    if not ended:
        return {}
    found = await conn.execute(
        _sql["waited"],
        {
            "ids": [each.waiting.id for each in ended],
            "outcomes": [each.outcome for each in ended],
            "reasons": [each.reason for each in ended],
            "messages": [each.message for each in ended],
            "job_ids": [each.job_id for each in ended],
            "decided_at": [now] * len(ended),
        },
    )
    return _ids_by_key(await found.fetchall())


async def _write_new(conn: Connection, plans: Sequence[Plan], now: datetime) -> dict[_Key, int]:
    """The ids of the occurrences that were not there yet, by schedule and nominal instant."""
    new = [
        Decided(
            schedule_id=plan.due.id,
            nominal_at=each.verdict.nominal,
            effective_at=each.verdict.effective,
            due_at=each.due_at,
            outcome=each.verdict.outcome,
            reason=each.verdict.reason,
            message=each.verdict.message,
            count=each.verdict.count,
            last_nominal_at=each.verdict.last_nominal,
            job_id=each.job_id,
        )
        for plan in plans
        for each in plan.new
    ]
    return _ids_by_key(await write(conn, new, now))


def _ids_by_key(rows: Iterable[Mapping[str, Any]]) -> dict[_Key, int]:
    return {(row["schedule_id"], row["nominal_at"]): row["id"] for row in rows}


async def _adopt_known_jobs(
    conn: Connection, new_jobs: Sequence[tuple[UUID, NewJob]], made: Sequence[Job]
) -> None:
    """An instant may have its job from before there were occurrences: then that is the occurrence's."""
    there = {job.id for job in made}
    lost = [(job_id, job.schedule_id) for job_id, job in new_jobs if job_id not in there]
    await conn.execute(
        _sql["known_jobs"],
        {"ids": [job_id for job_id, _ in lost], "schedule_ids": [schedule_id for _, schedule_id in lost]},
    )


def _to_cancel(plan: Plan, made: Collection[_Key]) -> list[UUID]:
    """The jobs that make way, unless somebody else has decided the run they would make way for."""
    waits = any(
        new.verdict.outcome is Outcome.WAITING and (plan.due.id, new.verdict.nominal) in made
        for new in plan.new
    )
    return plan.cancel if waits else []


async def _move_on(
    conn: Connection, plans: Sequence[Plan], jobs: Sequence[Job], written: Mapping[_Key, int]
) -> None:
    last_job = _latest(jobs, _tick)
    last_written = _latest(written, lambda key: key)
    runs = [last_job.get(plan.due.id) for plan in plans]
    lasts = [last_written.get(plan.due.id) for plan in plans]
    await conn.execute(
        _sql["moved_on"],
        {
            "ids": [plan.due.id for plan in plans],
            "decided_until": [plan.decided_until for plan in plans],
            "due_at": [plan.times.due_at for plan in plans],
            "next_run_at": [plan.times.next_run_at for plan in plans],
            "last_run_at": [job and job.scheduled_for for job in runs],
            "last_job_id": [job and job.id for job in runs],
            "last_occurrence_id": [written[key] if key else None for key in lasts],
        },
    )


def _tick(job: Job | NewJob) -> _Key:
    assert job.schedule_id is not None and job.scheduled_for is not None  # a schedule made it  # noqa: S101, PT018
    return job.schedule_id, job.scheduled_for


def _latest(items: Iterable[_Item], key_of: Callable[[_Item], _Key]) -> dict[int, _Item]:
    """Of each schedule the item with the latest nominal instant."""
    return {key_of(item)[0]: item for item in sorted(items, key=key_of)}


def _told(plans: Sequence[Plan], made: Collection[_Key], now: datetime) -> Iterator[Told]:
    for plan in plans:
        for new in plan.new:
            if (plan.due.id, new.verdict.nominal) in made:
                yield _tell(new.verdict.outcome, new.verdict.count, now - new.due_at)
        for ended in plan.ended:
            if (plan.due.id, ended.waiting.nominal_at) in made:
                yield _tell(ended.outcome, 1, now - ended.waiting.due_at)


def _tell(outcome: Outcome, count: int, lag: timedelta) -> Told:
    return Told(outcome, count, lag if outcome in RAN else None)
