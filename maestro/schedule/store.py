"""Schedules in PostgreSQL: what their resources say and when they run next."""

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import datetime
from typing import Any, cast

import psycopg
from psycopg.types.json import Jsonb

from maestro.calendar import store as calendars
from maestro.calendar.model import Calendar, resolve
from maestro.db import Connection, Statements
from maestro.errors import NotFound, SpecRefused
from maestro.imported import imported_id, refuse_other, taken
from maestro.schedule.decision import decide
from maestro.schedule.model import Definition, Schedule, Times, definition_of, times_after, timing_of
from maestro.schedule.occurrences import RAN, Decided, Outcome, Reason, known_ahead, write_aside
from maestro.schedule.timing import Timing

_sql = Statements(__package__)

_NEVER = Times(None, None)

_TIMING = (
    "cron",
    "time_zone",
    "suspended",
    "jitter_seconds",
    "calendar_name",
    "on_holiday",
    "start_time",
    "end_time",
)
"""What says when it runs: a change of these counts from now."""


async def register(
    conn: Connection, resource: Mapping[str, Any], *, default_time_zone: str, now: datetime | None = None
) -> Schedule:
    """Bring the row up to what the resource says; nothing is written when the row has seen its generation.

    A change of when it runs counts from now: nothing of the past runs. Raises SpecRefused, which leaves the
    row and so the last good state as they are: InvalidCron, InvalidTimeZone, InvalidTime, CalendarNotFound,
    IncludeCycle, AutomationNotFound (where the row has one that exists), UnstorableSpec, or one of an
    imported id: InvalidId, IdTaken, IdMismatch.
    """
    definition, imported = definition_of(resource, default_time_zone=default_time_zone), imported_id(resource)
    known = await by_name(conn, definition.namespace, definition.name)
    if known:
        refuse_other("Schedule", known.id, imported)
    if known and _has_seen(known, definition):
        return known
    async with conn.transaction():
        await _refuse_lost_automation(conn, definition, known)
        await _take_over(conn, definition, known, now or await current_time(conn), imported)
    stored = await by_name(conn, definition.namespace, definition.name)
    if stored is None:
        raise NotFound(f"The schedule {definition.name} vanished while it was stored; try again.")
    return stored


def _has_seen(known: Schedule, definition: Definition) -> bool:
    same = known.uid == definition.uid and known.generation >= definition.generation
    return same and known.retired_at is None and known.decided_until is not None


def _is_edit(known: Schedule | None, definition: Definition) -> bool:
    """Of an object in service, rather than its beginning."""
    return known is not None and known.uid == definition.uid and known.retired_at is None


async def _refuse_lost_automation(conn: Connection, definition: Definition, known: Schedule | None) -> None:
    """A schedule may come before its automation; but one that runs goes on until another one is there."""
    if known is None or known.automation_id is None or not _is_edit(known, definition):
        return
    name = definition.automation_name
    found = await conn.execute(_sql["automation_exists"], {"namespace": definition.namespace, "name": name})
    [row] = await found.fetchall()
    if not row["there"]:
        raise SpecRefused(
            "AutomationNotFound",
            f"There is no Automation {name} in {definition.namespace}; apply it, or mend spec.automation. "
            f"Until then {known.automation_name} goes on being run.",
        )


async def _take_over(
    conn: Connection, definition: Definition, known: Schedule | None, now: datetime, imported: int | None
) -> None:
    kept = known.calendar_name if known and _is_edit(known, definition) else None
    timing = timing_of(definition, await _calendar_to_use(conn, definition, kept))
    ahead = (await known_ahead(conn, [known.id], now)).get(known.id, ()) if known else ()
    times = _NEVER if definition.suspended else times_after(timing, now, definition.jitter, ahead)
    if imported and not known:
        await _refuse_taken(conn, imported)
        await conn.execute(_sql["pass_id"], {"id": imported})
    if known and _is_edit(known, definition) and _timing_differs(known, definition):
        await _note_given_up(conn, known, definition, now)
    schedule_id = await _upsert(conn, definition, times, now, imported)
    if schedule_id is None:
        return  # a newer generation was faster
    if known and known.uid != definition.uid:
        await _give_up_waiting(conn, schedule_id, Reason.DELETED, "Its schedule was deleted.", now)
    elif definition.suspended:
        await _give_up_waiting(conn, schedule_id, Reason.SUSPENDED, "Its schedule was suspended.", now)


def _timing_differs(known: Schedule, definition: Definition) -> bool:
    return any(getattr(known, field) != getattr(definition, field) for field in _TIMING)


async def _note_given_up(conn: Connection, known: Schedule, definition: Definition, now: datetime) -> None:
    """Write down what was due by the timing that ends now, and is run no more."""
    values = {"id": known.id, "generation": definition.generation}
    row = await (await conn.execute(_sql["hold"], values)).fetchone()
    if row is None:
        return
    try:
        verdicts = decide(await timing(conn, known), known, row["decided_until"], now)
    except SpecRefused:
        return  # stored by a version that could read it
    how = "suspended" if definition.suspended else "edited"
    reason = Reason.SUSPENDED if definition.suspended else Reason.EDITED
    message = f"Its schedule was {how} before its job was made."
    given_up = [
        replace(each, outcome=Outcome.MISSED, reason=reason, message=message) if each.outcome in RAN else each
        for each in verdicts
    ]
    decided = [
        Decided(
            schedule_id=known.id,
            nominal_at=each.nominal,
            effective_at=each.effective,
            due_at=each.effective + known.jitter,
            outcome=each.outcome,
            reason=each.reason,
            message=each.message,
            count=each.count,
            last_nominal_at=each.last_nominal,
        )
        for each in given_up
    ]
    await write_aside(conn, decided, now)


async def _calendar_to_use(conn: Connection, definition: Definition, kept: str | None) -> Calendar | None:
    """The calendar it names; one whose resource is gone only where it is in use here already."""
    if definition.calendar_name is None:
        return None
    in_service = definition.calendar_name != kept
    known = await calendars.definitions(conn, [definition.namespace], in_service=in_service, held=True)
    return resolve(definition.calendar_name, known[definition.namespace])


async def _refuse_taken(conn: Connection, schedule_id: int) -> None:
    row = await (await conn.execute(_sql["by_id"], {"id": schedule_id})).fetchone()
    if row:
        raise taken(schedule_id, f"the Schedule {row['name']} in {row['namespace']}")


async def _upsert(
    conn: Connection, definition: Definition, times: Times, now: datetime, imported: int | None
) -> int | None:
    row = vars(definition) | vars(times)
    row |= {"parameters": Jsonb(definition.parameters), "decided_until": now, "imported": imported}
    try:
        async with conn.transaction():
            found = await (await conn.execute(_sql["upsert"], row)).fetchone()
    except psycopg.errors.UniqueViolation as error:
        if imported is None or error.diag.constraint_name != "schedules_pkey":
            raise
        raise taken(imported, "another Schedule") from None  # which came meanwhile
    except psycopg.DataError as error:
        raise SpecRefused(
            "UnstorableSpec", f"PostgreSQL can't store this spec ({error}); take such characters out of it."
        ) from error
    return found["id"] if found else None


async def _give_up_waiting(
    conn: Connection, schedule_id: int, reason: Reason, message: str, now: datetime | None
) -> None:
    values = {"id": schedule_id, "reason": reason, "message": message, "now": now}
    await conn.execute(_sql["give_up_waiting"], values)


async def retire(conn: Connection, namespace: str, name: str, *, uid: str | None = None) -> Schedule | None:
    """Take the schedule out of service because its resource is gone; None when there was none in service.

    With `uid` only that very resource's: a namesake made since stays.
    """
    values = {"namespace": namespace, "name": name, "uid": uid}
    async with conn.transaction():
        found = await (await conn.execute(_sql["retire"], values)).fetchone()
        if found is None:
            return None
        await _give_up_waiting(conn, found["id"], Reason.DELETED, "Its schedule was deleted.", None)
    return await by_name(conn, namespace, name)


async def get(conn: Connection, schedule_id: int) -> Schedule:
    """The schedule of that id, unless retired. Raises NotFound."""
    found = await conn.execute(_sql["by_id"], {"id": schedule_id})
    row = await found.fetchone()
    if row is None or row["retired_at"] is not None:
        raise NotFound(f"There is no schedule {schedule_id}.")
    return _schedule(row)


async def by_name(conn: Connection, namespace: str, name: str) -> Schedule | None:
    """The schedule of that resource, retired or not."""
    found = await conn.execute(_sql["by_name"], {"namespace": namespace, "name": name})
    row = await found.fetchone()
    return _schedule(row) if row else None


async def list_all(conn: Connection, include_disabled: bool = False) -> list[Schedule]:
    """Every schedule in service, and with `include_disabled` the suspended ones too."""
    found = await conn.execute(_sql["list_all"], {"include_disabled": include_disabled})
    return [_schedule(row) for row in await found.fetchall()]


async def timing(conn: Connection, schedule: Schedule) -> Timing:
    """When it runs, by its calendar as that is in force, also where the calendar's resource is gone.

    Raises SpecRefused for what a version of Maestro stored that could read more.
    """
    if schedule.calendar_name is None:
        return timing_of(schedule)
    known = await calendars.definitions(conn, [schedule.namespace])
    return timing_of(schedule, resolve(schedule.calendar_name, known[schedule.namespace]))


async def calendar(conn: Connection, namespace: str, name: str) -> Calendar:
    """A calendar that a schedule could begin to use. Raises SpecRefused: CalendarNotFound, IncludeCycle."""
    known = await calendars.definitions(conn, [namespace], in_service=True)
    return resolve(name, known[namespace])


async def current_time(conn: Connection) -> datetime:
    """PostgreSQL's clock, the same for every process."""
    [row] = await (await conn.execute(_sql["now"])).fetchall()
    return cast("datetime", row["now"])


async def seconds_to_next(conn: Connection) -> float | None:
    """How long until the next schedule is due; negative when one is, None when none ever is."""
    [row] = await (await conn.execute(_sql["next_due"])).fetchall()
    return cast("float | None", row["seconds"])


def _schedule(row: dict[str, Any]) -> Schedule:
    # By name and not by `**row`: a newer schema may have columns that this version doesn't know.
    return Schedule(**{field.name: row[field.name] for field in fields(Schedule)})
