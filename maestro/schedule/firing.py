"""Fires what is due: one job per schedule and nominal instant, whoever fires and however often.

A batch is one transaction: the due rows are held against other dispatchers, their jobs inserted, and their
next runs moved on. A unique index on the job's tick is the backstop.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from maestro.automation.parameters import resolve
from maestro.db import Connection, Statements
from maestro.errors import BadInput, ParametersRefused
from maestro.job.model import Job, NewJob
from maestro.job.store import accept
from maestro.schedule import cron
from maestro.schedule.store import current_time

log = logging.getLogger(__name__)

_sql = Statements(__package__)


@dataclass(frozen=True)
class Due:
    """A schedule whose next run has come, with what firing it needs."""

    id: int
    namespace: str
    name: str
    cron: str
    time_zone: str
    parameters: dict[str, Any]
    next_run_at: datetime
    automation_name: str
    automation_id: int | None
    automation_suspended: bool | None
    parameter_schema: list[dict[str, Any]] | None
    default_params: dict[str, Any] | None

    def __str__(self) -> str:
        return f"schedule {self.namespace}/{self.name}"


@dataclass(frozen=True)
class Tick:
    """What becomes of a due schedule."""

    due: Due
    job: NewJob | None
    next_run_at: datetime | None


@dataclass(frozen=True)
class Fired:
    """A batch: how many schedules were due, and the jobs that came of them."""

    seen: int
    jobs: list[Job]


async def fire_due(conn: Connection, *, limit: int, now: datetime | None = None) -> Fired:
    """Fire up to `limit` due schedules in one transaction; `now` is PostgreSQL's unless given."""
    async with conn.transaction():
        moment = now or await current_time(conn)
        found = await conn.execute(_sql["due"], {"now": moment, "limit": limit})
        ticks = [_tick(Due(**row), moment) for row in await found.fetchall()]
        jobs = await accept(conn, [tick.job for tick in ticks if tick.job])
        await _move_on(conn, ticks, jobs)
    return Fired(len(ticks), jobs)


def _tick(due: Due, now: datetime) -> Tick:
    try:
        expression, zone = cron.parse(due.cron), cron.zone_of(due.time_zone)
    except BadInput as error:
        # Stored by a version that could read it. Its next registration says so on the resource.
        log.error("%s can't run: %s", due, error)
        return Tick(due, None, None)
    # After an outage only the latest instant runs.
    instant = cron.last_until(expression, zone, due.next_run_at, now)
    if instant != due.next_run_at:
        log.warning("%s: late; of all from %s to %s only the last runs", due, due.next_run_at, instant)
    return Tick(due, _job(due, instant), cron.next_after(expression, zone, instant))


def _job(due: Due, instant: datetime) -> NewJob | None:
    """The tick's job; None, and the reason in the log, when there is none to make."""
    if due.automation_id is None:
        log.warning("%s: no job at %s, there is no Automation %s", due, instant, due.automation_name)
        return None
    if due.automation_suspended:
        log.info("%s: no job at %s, the automation is suspended", due, instant)
        return None
    try:
        parameters = resolve(due.parameter_schema, due.default_params, due.parameters)
    except ParametersRefused as error:
        log.warning("%s: no job at %s, its parameters are refused: %s", due, instant, error)
        return None
    return NewJob(due.automation_id, parameters, schedule_id=due.id, scheduled_for=instant)


async def _move_on(conn: Connection, ticks: Sequence[Tick], jobs: Sequence[Job]) -> None:
    by_schedule = {job.schedule_id: job for job in jobs}
    made = [by_schedule.get(tick.due.id) for tick in ticks]
    await conn.execute(
        _sql["moved_on"],
        {
            "ids": [tick.due.id for tick in ticks],
            "next_run_at": [tick.next_run_at for tick in ticks],
            "last_run_at": [job and job.scheduled_for for job in made],
            "last_job_id": [job and job.id for job in made],
        },
    )
