"""Edits of business calendars, with the schedules that go by them, in one transaction."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from maestro.calendar import store
from maestro.calendar.model import resolve
from maestro.calendar.store import Definitions, Registered
from maestro.db import Connection, Statements
from maestro.schedule.model import Times, times_after, timing_of
from maestro.schedule.timing import jitter_of

_sql = Statements(__package__)


@dataclass(frozen=True)
class _User:
    """A schedule that goes by a calendar: what its times follow from."""

    id: int
    namespace: str
    name: str
    cron: str
    time_zone: str
    calendar_name: str
    on_holiday: str
    start_time: datetime | None
    end_time: datetime | None
    jitter_seconds: int
    decided_until: datetime

    def times(self, known: Definitions) -> Times:
        timing = timing_of(self, resolve(self.calendar_name, known))
        jitter = jitter_of(self.namespace, self.name, self.jitter_seconds)
        return times_after(timing, self.decided_until, jitter)


async def register(conn: Connection, resource: Mapping[str, Any]) -> Registered:
    """Bring the calendar up to what its resource says, and the times of its users with it.

    Users are those who name it and those who name one that includes it. What is decided stays decided. Raises
    SpecRefused, which leaves all of it as it is.
    """
    metadata = resource["metadata"]
    async with conn.transaction():
        before = await store.by_name(conn, metadata["namespace"], metadata["name"])
        after = await store.register(conn, resource)
        if before != after:
            await _retime_users(conn, metadata["namespace"], metadata["name"])
    return after


async def retire(conn: Connection, namespace: str, name: str, *, uid: str | None = None) -> Registered | None:
    """Its resource is gone: as `maestro.calendar.store.retire` does it. Its users go on by it."""
    return await store.retire(conn, namespace, name, uid=uid)


async def _retime_users(conn: Connection, namespace: str, name: str) -> None:
    known = (await store.definitions(conn, [namespace]))[namespace]
    names = list(_with_includers(name, known))
    found = await conn.execute(_sql["users_of_calendars"], {"namespace": namespace, "names": names})
    users = [_User(**row) for row in await found.fetchall()]
    if not users:
        return
    # There may be many; whoever else this process serves shall not wait for it.
    times = await asyncio.to_thread(_times_of, users, known)
    await conn.execute(
        _sql["retime"],
        {
            "ids": [user.id for user in users],
            "due_at": [each.due_at for each in times],
            "next_run_at": [each.next_run_at for each in times],
        },
    )


def _times_of(users: Sequence[_User], known: Definitions) -> list[Times]:
    return [user.times(known) for user in users]


def _with_includers(name: str, known: Definitions) -> set[str]:
    found, more = set[str](), {name}
    while more:
        found |= more
        more = {each.name for each in known.values() if found & set(each.include)} - found
    return found
