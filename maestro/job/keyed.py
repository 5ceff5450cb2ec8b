"""Accepting jobs under idempotency keys: the same key with the same body is the same job, for 24 hours."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias
from uuid import UUID

from uuid_utils.compat import uuid7

from maestro.db import Connection, Statements
from maestro.errors import IdempotencyKeyReused, MaestroError
from maestro.job import store
from maestro.job.model import IdempotencyKey, Job, NewJob

_SQL = Statements(__package__)

_Name: TypeAlias = tuple[str, str, str]
_Held: TypeAlias = tuple[bytes, UUID]
"""What a key stands for: the hash of its body and the job's id."""


async def accept(conn: Connection, new: Sequence[NewJob]) -> list[Job | MaestroError]:
    """Accept jobs, with keys or without, in one transaction, and answer for each in the order given.

    A key that was used before, or earlier in this list, stands for its first job: IdempotencyKeyReused where
    the body was another one.
    """
    if not any(job.key for job in new):
        return [*await store.accept(conn, new)]
    async with conn.transaction():  # a key never stands for a job that is not there
        return await _accept(conn, new)


async def _accept(conn: Connection, new: Sequence[NewJob]) -> list[Job | MaestroError]:
    ids = [uuid7() for _ in new]
    firsts: dict[_Name, int] = {}
    for place, job in enumerate(new):
        if job.key:
            firsts.setdefault(_name(job.key), place)
    held = await _claim(conn, [(key, ids[place]) for place in firsts.values() if (key := new[place].key)])
    fresh = [
        place
        for place, job in enumerate(new)
        if job.key is None or held[_name(job.key)] == (job.key.body_hash, ids[place])
    ]
    jobs = await store.insert(conn, [ids[place] for place in fresh], [new[place] for place in fresh])
    known = {job.id: job for job in jobs}
    earlier = [job_id for _, job_id in held.values() if job_id not in known]
    known |= {job.id: job for job in (await store.by_ids(conn, earlier) if earlier else ())}
    return [
        _answer(job.key, held[_name(job.key)], known) if job.key else known[job_id]
        for job_id, job in zip(ids, new, strict=True)
    ]


async def find(conn: Connection, key: IdempotencyKey) -> Job | None:
    """The job that this key stands for, None when it is free.

    Raises IdempotencyKeyReused when it was used with another body.
    """
    held = (await _known(conn, [key])).get(_name(key))
    if held is None:
        return None
    answer = _answer(key, held, {job.id: job for job in await store.by_ids(conn, [held[1]])})
    if isinstance(answer, MaestroError):
        raise answer
    return answer


async def _claim(conn: Connection, asked: Sequence[tuple[IdempotencyKey, UUID]]) -> dict[_Name, _Held]:
    """Take the keys that are free, and tell what each of them stands for now."""
    if not asked:
        return {}
    keys = [key for key, _ in asked]
    values = _arrays(keys) | {
        "body_hashes": [key.body_hash for key in keys],
        "job_ids": [job_id for _, job_id in asked],
    }
    cursor = await conn.execute(_SQL["claim_keys"], values)
    taken = {row["job_id"] for row in await cursor.fetchall()}
    held = {_name(key): (key.body_hash, job_id) for key, job_id in asked if job_id in taken}
    refused = [key for key in keys if _name(key) not in held]
    return held | (await _known(conn, refused) if refused else {})


async def _known(conn: Connection, keys: Sequence[IdempotencyKey]) -> dict[_Name, _Held]:
    cursor = await conn.execute(_SQL["known_keys"], _arrays(keys))
    return {
        (row["caller"], row["route"], row["key"]): (row["body_hash"], row["job_id"])
        for row in await cursor.fetchall()
    }


def _answer(key: IdempotencyKey, held: _Held, jobs: Mapping[UUID, Job]) -> Job | MaestroError:
    body_hash, job_id = held
    return jobs[job_id] if body_hash == key.body_hash else IdempotencyKeyReused()


def _name(key: IdempotencyKey) -> _Name:
    return key.caller, key.route, key.key


def _arrays(keys: Sequence[IdempotencyKey]) -> dict[str, Any]:
    return {
        "callers": [key.caller for key in keys],
        "routes": [key.route for key in keys],
        "keys": [key.key for key in keys],
    }
