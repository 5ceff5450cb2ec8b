"""Business calendars in PostgreSQL.

Edits come through `maestro.schedule.calendars`, which also writes anew when the schedules that use them run.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from maestro.calendar.model import Definition, definition_from, definition_json, definition_of, resolve
from maestro.db import Connection, Statements
from maestro.errors import NotFound, SpecRefused

_sql = Statements(__package__)

Definitions = dict[str, Definition]
"""Those of one namespace, by name."""


@dataclass(frozen=True)
class Registered:
    """One row of `calendars`."""

    id: int
    definition: Definition
    created_at: datetime
    updated_at: datetime
    retired_at: datetime | None
    """Its resource is gone; schedules that use it still go by it."""


async def register(conn: Connection, resource: Mapping[str, Any]) -> Registered:
    """Bring the row up to what the resource says; nothing is written when the row has seen its generation.

    Raises SpecRefused, which leaves the row and so the last good state as they are: what `definition_of` and
    `resolve` refuse, and UnstorableSpec.
    """
    definition = definition_of(resource)
    known = await by_name(conn, definition.namespace, definition.name)
    if known and _has_seen(known, definition):
        return known
    async with conn.transaction():
        await conn.execute(_sql["one_at_a_time"])
        others = await definitions(conn, [definition.namespace], in_service=True)
        resolve(definition.name, others[definition.namespace] | {definition.name: definition})
        await _upsert(conn, definition)
    stored = await by_name(conn, definition.namespace, definition.name)
    if stored is None:
        raise NotFound(f"The calendar {definition.name} vanished while it was stored; try again.")
    return stored


def _has_seen(known: Registered, definition: Definition) -> bool:
    same = known.definition.uid == definition.uid and known.definition.generation >= definition.generation
    return same and known.retired_at is None


async def _upsert(conn: Connection, definition: Definition) -> None:
    row = {
        "namespace": definition.namespace,
        "name": definition.name,
        "uid": definition.uid,
        "generation": definition.generation,
        "spec": Jsonb(definition_json(definition)),
    }
    try:
        async with conn.transaction():
            await conn.execute(_sql["upsert"], row)
    except psycopg.DataError as error:
        raise SpecRefused(
            "UnstorableSpec", f"PostgreSQL can't store this spec ({error}); take such characters out of it."
        ) from error


async def retire(conn: Connection, namespace: str, name: str, *, uid: str | None = None) -> Registered | None:
    """Take the calendar out of service because its resource is gone; None when there was none in service.

    Schedules that use it go on by it. With `uid` only that very resource's: a namesake made since stays.
    """
    found = await conn.execute(_sql["retire"], {"namespace": namespace, "name": name, "uid": uid})
    return await by_name(conn, namespace, name) if found.rowcount else None


async def by_name(conn: Connection, namespace: str, name: str) -> Registered | None:
    """The calendar of that resource, retired or not."""
    found = await conn.execute(_sql["by_name"], {"namespace": namespace, "name": name})
    row = await found.fetchone()
    return _registered(row) if row else None


async def list_all(conn: Connection) -> list[Registered]:
    """Every calendar in service."""
    found = await conn.execute(_sql["list_all"])
    return [_registered(row) for row in await found.fetchall()]


async def definitions(
    conn: Connection, namespaces: Collection[str], *, in_service: bool = False, held: bool = False
) -> dict[str, Definitions]:
    """The calendars of these namespaces, each with an entry: with `in_service` those not retired alone.

    With `held` none of them is edited before the caller's transaction ends.
    """
    statement = "hold_of_namespaces" if held else "of_namespaces"
    found = await conn.execute(_sql[statement], {"namespaces": list(namespaces)})
    known: dict[str, Definitions] = {namespace: {} for namespace in namespaces}
    for row in await found.fetchall():
        if not in_service or row["retired_at"] is None:
            known[row["namespace"]][row["name"]] = definition_from(row["spec"])
    return known


def _registered(row: dict[str, Any]) -> Registered:
    definition = definition_from(row["spec"])
    return Registered(row["id"], definition, row["created_at"], row["updated_at"], row["retired_at"])
