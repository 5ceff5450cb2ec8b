"""Schedules over REST: read from PostgreSQL, written as custom resources beside their automations'."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from maestro.automation import store as automations
from maestro.automation.model import Automation
from maestro.calendar.model import Calendar
from maestro.db import Pool, autocommit
from maestro.errors import BadInput, MaestroError, SpecRefused
from maestro.kube.client import Resource
from maestro.kube.kinds import SCHEDULE
from maestro.schedule import cron, occurrences, store
from maestro.schedule.model import Schedule
from maestro.schedule.occurrences import Occurrence
from maestro.schedule.timing import OnHoliday, Timing, runs_after
from maestro.schedule.upcoming import Upcoming, upcoming
from maestro.settings import Settings
from maestro_api.database import transaction
from maestro_api.definitions import Definitions, differing, name_for

log = logging.getLogger(__name__)

Spec = Mapping[str, Any]

PREVIEWED = 10
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Page:
    """Occurrences, the latest instant first, and the cursor of the next page if there is one."""

    items: list[Occurrence]
    next: str | None


class Schedules:
    """A spec is handed in by the custom resource's field names, less its automation, which has an id here."""

    def __init__(self, pool: Pool, definitions: Definitions, settings: Settings) -> None:
        self._pool = pool
        self._definitions = definitions
        self._default_time_zone = settings.default_time_zone

    async def list(self, *, include_disabled: bool) -> list[Schedule]:
        """The enabled ones, or all."""
        async with transaction(self._pool) as conn:
            return await store.list_all(conn, include_disabled)

    async def get(self, schedule_id: int) -> Schedule:
        """Raises NotFound."""
        async with transaction(self._pool) as conn:
            return await store.get(conn, schedule_id)

    async def create(self, automation_id: int, spec: Spec) -> Schedule:
        """Make the resource and register it. Raises BadInput, Forbidden."""
        _refuse_unreadable(spec)
        automation = await self._automation(automation_id)
        await self._calendar(automation.namespace, spec.get("calendar"))
        name = name_for(automation.name)
        wanted = {"automation": automation.name, **_plain(spec)}
        try:
            resource = await self._definitions.create(SCHEDULE, name, wanted)
            return await self._register(resource)
        except BaseException:  # also when the caller has hung up: no half of it may stay
            await self._undo(name)
            raise

    async def _undo(self, name: str) -> None:
        """Take back a creation that failed. What can't be taken back now, the operator's sweep will find."""
        try:
            await self._definitions.remove(SCHEDULE, name, force=True)
            async with transaction(self._pool) as conn:
                await store.retire(conn, self._definitions.namespace, name)
        except MaestroError as error:
            log.warning("the Schedule %s could not be taken back: %s", name, error)

    async def change(
        self, schedule_id: int, automation_id: int | None, shown: Spec, *, force: bool
    ) -> Schedule:
        """Set the fields whose values differ from what is in force; the others stay whose they are."""
        current = await self.get(schedule_id)
        _refuse_unreadable(_in_force(current) | dict(shown), shown)
        wanted = dict(shown)
        if automation_id is not None:
            wanted["automation"] = (await self._automation(automation_id)).name
        changes = _changes(current, wanted)
        if not changes:
            return current
        self._definitions.refuse_elsewhere(current.namespace)
        await self._calendar(current.namespace, changes.get("calendar"))
        return await self._register(
            await self._definitions.change(SCHEDULE, current.name, _plain(changes), force=force)
        )

    async def delete(self, schedule_id: int, *, force: bool) -> None:
        """Delete the resource; its row is retired at once. Raises NotFound, Forbidden, OwnedElsewhere."""
        current = await self.get(schedule_id)
        self._definitions.refuse_elsewhere(current.namespace)
        deleted = await self._definitions.remove(SCHEDULE, current.name, force=force)
        async with transaction(self._pool) as conn:
            await store.retire(conn, current.namespace, current.name, uid=deleted or current.uid)

    async def occurrences(self, schedule_id: int, *, limit: int, after: str | None) -> Page:
        """What became of its instants. Raises NotFound, BadInput when `after` is no cursor."""
        before = None if after is None else _instant_of(after)
        async with autocommit(self._pool) as conn:
            await store.get(conn, schedule_id)
            found = await occurrences.list_of(conn, schedule_id, limit=limit + 1, before=before)
        more = len(found) > limit
        return Page(found[:limit], _cursor_of(found[limit - 1]) if more else None)

    async def upcoming(self, schedule_id: int, count: int) -> Sequence[Upcoming]:
        """Its next instants, of whatever fate; none while it is suspended. Raises NotFound."""
        async with autocommit(self._pool) as conn:
            schedule = await store.get(conn, schedule_id)
            timing = await store.timing(conn, schedule)
            now = await store.current_time(conn)
            known = (await occurrences.known_ahead(conn, [schedule.id], now)).get(schedule.id, ())
        if schedule.suspended:
            return []
        if schedule.decided_until:  # an edit gives up what jitter held back
            now = max(now, schedule.decided_until + schedule.jitter)
        # In a thread, since a rare expression takes a while.
        return await asyncio.to_thread(upcoming, timing, schedule.jitter, now, count, known)

    async def preview(self, spec: Spec, namespace: str | None) -> Sequence[datetime]:
        """The next instants at which a schedule like that would run. Raises BadInput."""
        _refuse_unreadable(spec)
        calendar = await self._calendar(namespace or self._definitions.namespace, spec.get("calendar"))
        timing = Timing(
            cron.parse(spec["cron"]),
            cron.zone_of(spec.get("timeZone") or self._default_time_zone),
            calendar,
            OnHoliday(spec.get("onHoliday") or OnHoliday.SKIP),
            spec.get("startTime"),
            spec.get("endTime"),
        )
        async with autocommit(self._pool) as conn:
            now = await store.current_time(conn)
        return await asyncio.to_thread(_next_runs, timing, now)

    async def _calendar(self, namespace: str, name: str | None) -> Calendar | None:
        """The calendar of that name. Raises BadInput saying how to get it there."""
        if name is None:
            return None
        async with autocommit(self._pool) as conn:
            try:
                return await store.calendar(conn, namespace, name)
            except SpecRefused as refused:
                raise BadInput(f"calendar, in the namespace {namespace}: {refused.message}") from refused

    async def _automation(self, automation_id: int) -> Automation:
        """The automation of a schedule to write. Raises BadInput for an unknown one, Forbidden elsewhere."""
        async with transaction(self._pool) as conn:
            known = {automation.id: automation for automation in await automations.list_all(conn)}
        if automation_id not in known:
            raise BadInput(f"automationId: there is no automation {automation_id}.")
        self._definitions.refuse_elsewhere(known[automation_id].namespace)
        return known[automation_id]

    async def _register(self, resource: Resource) -> Schedule:
        async with transaction(self._pool) as conn:
            return await store.register(conn, resource, default_time_zone=self._default_time_zone)


def _refuse_unreadable(spec: Spec, given: Spec | None = None) -> None:
    """Raises BadInput before anything is written, for what was `given` (all of it unless that is told)."""
    named = spec if given is None else given
    if "cron" in named:
        cron.parse(named["cron"])
    if "timeZone" in named:
        cron.zone_of(named["timeZone"])
    if "onHoliday" in named and named["onHoliday"] != OnHoliday.SKIP and spec.get("calendar") is None:
        raise BadInput(
            "onHoliday: says what becomes of a run on a day that a calendar closes; send calendar."
        )
    if {"startTime", "endTime"} & set(named):
        start, end = spec.get("startTime"), spec.get("endTime")
        if start and end and end < start:
            raise BadInput("endTime: must not lie before startTime.")


def _changes(current: Schedule, wanted: Spec) -> dict[str, Any]:
    in_force = _in_force(current)
    return differing(wanted, in_force)


def _in_force(current: Schedule) -> dict[str, Any]:
    return {
        "automation": current.automation_name,
        "cron": current.cron,
        "timeZone": current.time_zone,
        "parameters": current.parameters,
        "suspend": current.suspended,
        "concurrencyPolicy": current.concurrency_policy,
        "startingDeadlineSeconds": current.starting_deadline_seconds,
        "catchUp": {
            "policy": current.catch_up_policy,
            "windowSeconds": current.catch_up_window_seconds,
        },
        "jitterSeconds": current.jitter_seconds,
        "calendar": current.calendar_name,
        "onHoliday": current.on_holiday,
        "startTime": current.start_time,
        "endTime": current.end_time,
    }


def _plain(spec: Spec) -> dict[str, Any]:
    """As a resource holds it: times as text."""
    return {
        field: value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value
        for field, value in spec.items()
    }


def _next_runs(timing: Timing, now: datetime) -> list[datetime]:
    return [instant.effective for instant in islice(runs_after(timing, now), PREVIEWED)]


def _cursor_of(last: Occurrence) -> str:
    """Where the next page begins: the last nominal instant, in microseconds."""
    return str((last.nominal_at - _EPOCH) // timedelta(microseconds=1))


def _instant_of(cursor: str) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=int(cursor))
    except (ValueError, OverflowError):
        raise BadInput(
            "after: this is no cursor; send the nextCursor of a page as it is, or leave after out to begin "
            "with the latest."
        ) from None
