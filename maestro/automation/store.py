"""Automations in PostgreSQL. Api and operator both register; the operator alone retires."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from psycopg import AsyncCursor
from psycopg.errors import DataError, UniqueViolation
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from maestro.automation.model import (
    PAUSED_BY_PERSON,
    Automation,
    Definition,
    Suspendable,
    arguments_in_force,
    definition_of,
    effective_queue,
)
from maestro.broker.queues import refuse_unusable
from maestro.db import Connection, Statements
from maestro.errors import NameTaken, NotFound, SpecRefused
from maestro.imported import imported_id, refuse_other, taken

_sql = Statements(__package__)
_FIELDS = [field.name for field in fields(Automation)]


@dataclass(frozen=True)
class RunFacts(Suspendable):
    """What an automation's status tells of its jobs, its queue, and whether it is suspended."""

    namespace: str
    name: str
    queue: str
    messages: int | None
    """In the queue, ready to be taken; None when no dispatcher looked lately."""
    pending: int
    running: int
    last_status: str | None
    last_finished_at: datetime | None


def _automations(cursor: AsyncCursor[Any]) -> Callable[[Sequence[Any]], Automation]:
    """Makes rows by column name: a newer schema may have columns that this version doesn't know."""
    result = cursor.pgresult
    columns = [(result.fname(each) or b"").decode() for each in range(result.nfields)] if result else []

    def make(values: Sequence[Any]) -> Automation:
        named = dict(zip(columns, values, strict=True))
        return Automation(**{name: named[name] for name in _FIELDS})

    return make


async def register(
    conn: Connection, resource: Mapping[str, Any], *, shared_queues: Collection[str]
) -> Automation:
    """Take up an Automation resource, as often as one likes; an older generation changes nothing.

    Raises NameTaken naming the displayName's holder, SpecRefused with the reason QueueNameTaken (the queue
    belongs to another namespace), QueueRefused (nobody can have it), WorkerOnSharedQueue (its worker would
    take other automations' jobs), UnstorableSpec, or one of an imported id: InvalidId, IdTaken, IdMismatch.
    What was registered before stays as it was then.
    """
    definition, imported = definition_of(resource), imported_id(resource)
    known = await by_name(conn, definition.namespace, definition.name)
    if known:
        refuse_other("Automation", known.id, imported)
    queue = _queue_of(known, definition)
    # Also for what an earlier version of Maestro took up.
    refuse_unusable(queue, arguments_in_force(definition.queue_arguments))
    if known and _is_current(known, definition):
        return known
    _refuse_shared_worker(definition, queue, shared_queues)
    try:
        async with conn.transaction():
            if known and known.uid not in (None, definition.uid):
                # The end of an earlier object of this name: its jobs were not meant for this one.
                await retire(conn, known.namespace, known.name, uid=known.uid)
            if imported and not known:
                await _import(conn, definition, imported)
            registered = await _upsert(conn, definition, queue, shared=queue in shared_queues)
            if registered is None:
                await _refuse_claimed(conn, queue, definition.namespace)
    except UniqueViolation as error:
        if imported and error.diag.constraint_name == "automations_pkey":
            raise await _id_taken(conn, imported) from None
        raise await _name_taken(conn, definition.namespace, definition.display_name) from None
    except DataError as error:
        raise SpecRefused(
            "UnstorableSpec", f"PostgreSQL can't store this spec ({error}); take such characters out of it."
        ) from error
    return registered or await _registered(conn, definition)


async def register_new(
    conn: Connection, resource: Mapping[str, Any], *, shared_queues: Collection[str]
) -> Automation | None:
    """Take up a resource that nothing is known of, in one round trip, on a connection that autocommits.

    The row of one that is taken up already as it is comes back too. None when there is more to it than that:
    a predecessor to end, an edit, something to refuse. `predecessor` and `register` see to it.
    """
    definition = definition_of(resource)
    queue = effective_queue(definition)
    try:
        if imported_id(resource):
            return None
        refuse_unusable(queue, arguments_in_force(definition.queue_arguments))
        _refuse_shared_worker(definition, queue, shared_queues)
        row = await _upsert(conn, definition, queue, shared=queue in shared_queues, only_new=True)
    except (SpecRefused, UniqueViolation, DataError):
        return None
    return row if row and _is_current(row, definition) and row.queue == queue else None


async def retire(conn: Connection, namespace: str, name: str, *, uid: str | None = None) -> Automation | None:
    """The resource is gone: its pending jobs are canceled, its row stays. None when there never was one.

    With `uid` only that very resource is meant: a namesake made since stays, and None is returned. A row
    retired earlier is returned as it is, so that what is left to clear can be cleared.
    """
    async with conn.transaction():
        async with conn.cursor(row_factory=_automations) as cursor:
            await cursor.execute(_sql["retire"], {"namespace": namespace, "name": name, "uid": uid})
            retired = await cursor.fetchone()
        await conn.execute(_sql["cancel_orphans"])
    known = retired or await by_name(conn, namespace, name)
    return known if known and known.uid and uid in (None, known.uid) else None


async def predecessor(conn: Connection, resource: Mapping[str, Any]) -> Automation | None:
    """An earlier object of this resource's name, gone without anybody having cleared up after it."""
    metadata = resource["metadata"]
    known = await by_name(conn, metadata["namespace"], metadata["name"])
    if known is None or known.uid in (None, metadata["uid"]) or known.cleared_at is not None:
        return None
    return known


async def cancel_orphans(conn: Connection) -> int:
    """Cancel pending jobs that slipped in while their automation was retired; how many they were."""
    return (await conn.execute(_sql["cancel_orphans"])).rowcount


async def reserve(conn: Connection, namespace: str, name: str, display_name: str) -> int:
    """Take the names for a resource about to be created, and return the id it will have.

    Raises NameTaken naming the holder.
    """
    names = {"namespace": namespace, "name": name, "display_name": display_name}
    try:
        async with conn.transaction():
            row = await (await conn.execute(_sql["reserve"], names)).fetchone()
    except UniqueViolation as error:
        if error.diag.constraint_name == "automations_name_key":
            raise NameTaken(
                f"An Automation named {name} exists or existed in {namespace}; try again."
            ) from None
        raise await _name_taken(conn, namespace, display_name) from None
    assert row is not None  # INSERT … RETURNING  # noqa: S101
    return int(row["id"])


async def unreserve(conn: Connection, automation_id: int) -> None:
    """Give up a reservation; one that a resource has taken up meanwhile stays."""
    await conn.execute(_sql["unreserve"], {"id": automation_id})


async def drop_stale_reservations(conn: Connection) -> int:
    """Drop reservations whose maker died; how many they were."""
    return (await conn.execute(_sql["drop_stale_reservations"])).rowcount


async def get(conn: Connection, automation_id: int) -> Automation:
    """Raises NotFound when there is none in use with this id."""
    return await _one(conn, "by_id", automation_id)


async def by_ids(conn: Connection, ids: Sequence[int]) -> list[Automation]:
    """Those of these that are in use, by id."""
    async with conn.cursor(row_factory=_automations) as cursor:
        await cursor.execute(_sql["by_ids"], {"ids": list(ids)})
        return await cursor.fetchall()


async def by_name(conn: Connection, namespace: str, name: str) -> Automation | None:
    """The row of a resource, retired ones and reservations included."""
    async with conn.cursor(row_factory=_automations) as cursor:
        await cursor.execute(_sql["by_name"], {"namespace": namespace, "name": name})
        return await cursor.fetchone()


async def list_all(conn: Connection) -> list[Automation]:
    """All in use, by id."""
    async with conn.cursor(row_factory=_automations) as cursor:
        await cursor.execute(_sql["list_all"])
        return await cursor.fetchall()


async def uncleared(conn: Connection) -> list[Automation]:
    """Retired ones whose queue and broker user nobody has dealt with yet."""
    async with conn.cursor(row_factory=_automations) as cursor:
        await cursor.execute(_sql["uncleared"])
        return await cursor.fetchall()


async def cleared(conn: Connection, automation_id: int) -> None:
    """Note that what a retired automation had at the broker is dealt with."""
    await conn.execute(_sql["cleared"], {"id": automation_id})


async def pause(
    conn: Connection, automation_id: int, reason: str = PAUSED_BY_PERSON, words: str | None = None
) -> Automation:
    """Publish nothing for it from now on, whatever its spec says. `reason` is one CamelCase word.

    One that is paused already takes over the new reason. Raises NotFound.
    """
    told = f"{reason}: {words}" if words else reason
    return await _one(conn, "pause", automation_id, reason=told)


async def resume(conn: Connection, automation_id: int) -> Automation:
    """End its pause, if there is one; what its spec says holds again. Raises NotFound."""
    return await _one(conn, "resume", automation_id)


async def note_worker(conn: Connection, automation_id: int, state: dict[str, Any]) -> None:
    """Keep what was last seen of its worker's pods, as `Automation.worker_state` has it."""
    await conn.execute(_sql["note_worker"], {"id": automation_id, "state": Jsonb(state)})


async def queue_users(conn: Connection, queue: str) -> int:
    """How many automations in use publish to this queue."""
    row = await (await conn.execute(_sql["queue_users"], {"queue": queue})).fetchone()
    return int(row["users"]) if row else 0


async def run_facts(conn: Connection) -> list[RunFacts]:
    """Of each automation in use."""
    async with conn.cursor(row_factory=class_row(RunFacts)) as cursor:
        await cursor.execute(_sql["run_facts"])
        return await cursor.fetchall()


async def _one(conn: Connection, statement: str, automation_id: int, **values: Any) -> Automation:
    """The row that a statement on one automation in use returns. Raises NotFound."""
    async with conn.cursor(row_factory=_automations) as cursor:
        await cursor.execute(_sql[statement], {"id": automation_id, **values})
        found = await cursor.fetchone()
    if found is None:
        raise NotFound(f"There is no automation {automation_id}.")
    return found


def _is_current(known: Automation, definition: Definition) -> bool:
    return (
        known.uid == definition.uid and known.generation >= definition.generation and known.retired_at is None
    )


def _queue_of(known: Automation | None, definition: Definition) -> str:
    """Chosen once per object: an edit never moves it."""
    if known and known.uid == definition.uid:
        return known.queue
    return effective_queue(definition)


def _refuse_shared_worker(definition: Definition, queue: str, shared_queues: Collection[str]) -> None:
    if definition.worker is None or queue not in shared_queues:
        return
    raise SpecRefused(
        "WorkerOnSharedQueue",
        f"The queue {queue} carries other automations' jobs, which this worker would take. A queue never "
        "changes: delete this Automation and apply it again with its worker, without queueName or with "
        "another one.",
    )


async def _refuse_claimed(conn: Connection, queue: str, namespace: str) -> None:
    row = await (await conn.execute(_sql["queue_holder"], {"queue": queue})).fetchone()
    if row and row["namespace"] != namespace:
        raise SpecRefused(
            "QueueNameTaken",
            f"The queue name {queue} belongs to the namespace {row['namespace']}. Choose another queueName, "
            "or have the name added to the chart's queues.shared.",
            condition="QueueReady",
        )


async def _upsert(
    conn: Connection, definition: Definition, queue: str, *, shared: bool, only_new: bool = False
) -> Automation | None:
    values: dict[str, Any] = vars(definition) | {"queue": queue, "shared": shared, "only_new": only_new}
    values["managed"] = values.pop("worker") is not None
    for name in ("queue_arguments", "parameter_schema", "default_params", "retry_policy"):
        values[name] = None if values[name] is None else Jsonb(values[name])
    async with conn.cursor(row_factory=_automations) as cursor:
        await cursor.execute(_sql["register"], values)
        return await cursor.fetchone()


async def _import(conn: Connection, definition: Definition, automation_id: int) -> None:
    """Begin the row under an id of an old server's."""
    await conn.execute(_sql["pass_id"], {"id": automation_id})
    names = {"namespace": definition.namespace, "name": definition.name}
    await conn.execute(_sql["import"], names | {"id": automation_id, "display_name": definition.display_name})


async def _id_taken(conn: Connection, automation_id: int) -> SpecRefused:
    row = await (await conn.execute(_sql["id_holder"], {"id": automation_id})).fetchone()
    return taken(
        automation_id, f"the Automation {row['name']} in {row['namespace']}" if row else "another one"
    )


async def _registered(conn: Connection, definition: Definition) -> Automation:
    """What a newer generation, taken up meanwhile by someone else, left."""
    known = await by_name(conn, definition.namespace, definition.name)
    assert known is not None  # rows are never deleted once a resource took them up  # noqa: S101
    return known


async def _name_taken(conn: Connection, namespace: str, display_name: str) -> NameTaken:
    row = await (
        await conn.execute(_sql["holder"], {"namespace": namespace, "display_name": display_name})
    ).fetchone()
    holder = f"the Automation {row['name']}" if row else "another Automation"
    return NameTaken(
        f"The displayName {display_name!r} is taken by {holder} in {namespace}; choose another one."
    )
