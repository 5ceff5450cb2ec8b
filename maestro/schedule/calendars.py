"""Edits of business calendars, with the schedules that go by them, in one transaction."""

import asyncio
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from maestro.calendar import store
from maestro.calendar.model import resolve
from maestro.calendar.store import Definitions, Registered
from maestro.db import Connection, Statements
from maestro.errors import MaestroError
from maestro.schedule.model import Jittered, Times, times_after, timing_of
from maestro.schedule.occurrences import Decided, Outcome, Reason, known_ahead, write_aside
from maestro.schedule.store import current_time
from maestro.schedule.timing import Instant, OnHoliday, between, effective_of, runs_after

log = logging.getLogger(__name__)

_sql = Statements(__package__)

_TICK = timedelta(microseconds=1)
_LANDING = timedelta(hours=25)
"""All that is moved to one day arrives within this."""


@dataclass(frozen=True)
class _User(Jittered):
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
    due_at: datetime | None

    def decided(self, now: datetime) -> datetime:
        """What all is decided up to: until now, unless something is due and not decided yet."""
        until = min(now, self.due_at - _TICK) if self.due_at else now
        return max(self.decided_until, until - self.jitter)


@dataclass(frozen=True)
class _Retimed:
    """What an edit makes of a user."""

    user: _User
    decided_until: datetime
    times: Times
    lost: list[Instant]
    """Those that waited for a day to which the calendar moves them no more, and whose own time has passed."""


async def register(
    conn: Connection, resource: Mapping[str, Any], *, now: datetime | None = None
) -> Registered:
    """Bring the calendar up to what its resource says, and the times of its users with it.

    Users are those who name it and those who name one that includes it. What is decided stays decided, and no
    run of the past comes of it. Raises SpecRefused, which leaves all of it as it is.
    """
    metadata = resource["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    async with conn.transaction():
        before = (await store.definitions(conn, [namespace]))[namespace]
        registered = await store.register(conn, resource)
        if before.get(name) != registered.definition:
            await _retime_users(conn, registered, before, now or await current_time(conn))
    return registered


async def _retime_users(conn: Connection, registered: Registered, before: Definitions, now: datetime) -> None:
    namespace, name = registered.definition.namespace, registered.definition.name
    known = (await store.definitions(conn, [namespace]))[namespace]
    values = {"namespace": namespace, "names": list(_with_includers(name, known))}
    found = await conn.execute(_sql["users_of_calendars"], values)
    users = [_User(**row) for row in await found.fetchall()]
    if not users:
        return
    # There may be many; whoever else this process serves shall not wait for it.
    ahead = await known_ahead(conn, [user.id for user in users], now)
    retimed = await asyncio.to_thread(lambda: list(_retimed_of(users, before, known, now, ahead)))
    await _write_lost(conn, retimed, now)
    await conn.execute(
        _sql["retime"],
        {
            "ids": [each.user.id for each in retimed],
            "decided_until": [each.decided_until for each in retimed],
            "due_at": [each.times.due_at for each in retimed],
            "next_run_at": [each.times.next_run_at for each in retimed],
        },
    )


def _retimed_of(
    users: Sequence[_User],
    before: Definitions,
    known: Definitions,
    now: datetime,
    ahead: Mapping[int, Collection[datetime]],
) -> Iterator[_Retimed]:
    for user in users:
        try:
            yield _retimed(user, before, known, now, ahead.get(user.id, ()))
        except MaestroError as error:
            # Stored by a version that could read it. It is no reason to refuse the calendar.
            log.error("the schedule %s/%s keeps its times: %s", user.namespace, user.name, error)


def _retimed(
    user: _User, before: Definitions, known: Definitions, now: datetime, ahead: Collection[datetime]
) -> _Retimed:
    timing = timing_of(user, resolve(user.calendar_name, known))
    decided_until = user.decided(now)
    lost = list(_lost(user, before, known, decided_until))
    return _Retimed(user, decided_until, times_after(timing, decided_until, user.jitter, ahead), lost)


def _lost(user: _User, before: Definitions, known: Definitions, decided_until: datetime) -> Iterator[Instant]:
    if user.on_holiday != OnHoliday.NEXT:
        return  # what Previous moves no more has run, or does so at its own time
    timing = timing_of(user, resolve(user.calendar_name, before))
    first = next(runs_after(timing, decided_until), None)
    if first is None:
        return
    awaited = between(timing, decided_until, first.effective + _LANDING)
    timing = timing_of(user, resolve(user.calendar_name, known))
    for each in awaited:
        if each.nominal <= decided_until and effective_of(timing, each.nominal) <= decided_until:
            yield each


async def _write_lost(conn: Connection, retimed: Sequence[_Retimed], now: datetime) -> None:
    message = "It waited for the next business day; then its own day became one, when its time had passed."
    lost = [
        Decided(
            each.user.id,
            instant.nominal,
            instant.nominal,
            instant.nominal + each.user.jitter,
            Outcome.MISSED,
            Reason.CALENDAR_CHANGED,
            message,
        )
        for each in retimed
        for instant in each.lost
    ]
    await write_aside(conn, lost, now)


def _with_includers(name: str, known: Definitions) -> set[str]:
    found, more = set[str](), {name}
    while more:
        found |= more
        more = {each.name for each in known.values() if found & set(each.include)} - found
    return found
