"""Schedules in PostgreSQL: what their resources say and when they run next."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, cast

import psycopg
from psycopg.types.json import Jsonb

from maestro.db import Connection, Statements
from maestro.errors import BadInput, NotFound, SpecRefused
from maestro.schedule import cron
from maestro.schedule.model import Definition, Schedule, definition_of

_sql = Statements(__package__)


async def register(
    conn: Connection, resource: Mapping[str, Any], *, default_time_zone: str, now: datetime | None = None
) -> Schedule:
    """Bring the row up to what the resource says; nothing is written when the row has seen its generation.

    Raises SpecRefused, which leaves the row and so the last good state as they are.
    """
    definition = definition_of(resource, default_time_zone=default_time_zone)
    known = await by_name(conn, definition.namespace, definition.name)
    if known and _has_seen(known, definition):
        return known
    next_run_at = _next_run(definition, now or await current_time(conn))
    await _upsert(conn, definition, None if definition.suspended else next_run_at)
    stored = await by_name(conn, definition.namespace, definition.name)
    if stored is None:
        raise NotFound(f"The schedule {definition.name} vanished while it was stored; try again.")
    return stored


def _has_seen(known: Schedule, definition: Definition) -> bool:
    same = known.uid == definition.uid and known.generation >= definition.generation
    in_service = known.retired_at is None and (known.suspended or known.next_run_at is not None)
    return same and in_service


def _next_run(definition: Definition, now: datetime) -> datetime:
    try:
        expression = cron.parse(definition.cron)
    except BadInput as error:
        raise SpecRefused("InvalidCron", f"spec.cron: {error}") from error
    try:
        zone = cron.zone_of(definition.time_zone)
    except BadInput as error:
        raise SpecRefused("InvalidTimeZone", f"spec.timeZone: {error}") from error
    return cron.next_after(expression, zone, now)


async def _upsert(conn: Connection, definition: Definition, next_run_at: datetime | None) -> None:
    row = vars(definition) | {"parameters": Jsonb(definition.parameters), "next_run_at": next_run_at}
    try:
        async with conn.transaction():
            await conn.execute(_sql["upsert"], row)
    except psycopg.DataError as error:
        raise SpecRefused(
            "UnstorableSpec", f"PostgreSQL can't store this spec ({error}); take such characters out of it."
        ) from error


async def retire(conn: Connection, namespace: str, name: str, *, uid: str | None = None) -> Schedule | None:
    """Take the schedule out of service because its resource is gone; None when there was none in service.

    With `uid` only that very resource's: a namesake made since stays.
    """
    found = await conn.execute(_sql["retire"], {"namespace": namespace, "name": name, "uid": uid})
    return await by_name(conn, namespace, name) if found.rowcount else None


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
