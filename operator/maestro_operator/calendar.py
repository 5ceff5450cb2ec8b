"""A BusinessCalendar: its row and its status. Schedules go by the row."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

from maestro.calendar.model import Calendar, Definition, definition_of, resolve
from maestro.calendar.store import retire
from maestro.errors import SpecRefused, Unavailable
from maestro.kube import CALENDAR
from maestro.schedule import calendars, store
from maestro.schedule.cron import zone_of
from maestro.settings import Settings
from maestro_operator import status
from maestro_operator.conditions import READY
from maestro_operator.keys import Key
from maestro_operator.seen import Resource
from maestro_operator.services import Services
from maestro_operator.status import Findings

# `resolve`'s reasons, which another calendar's coming or change may end.
OF_OTHERS = ("CalendarNotFound", "IncludeCycle")


async def sync(services: Services, key: Key) -> None:
    """Bring the row to what the resource says, or retire it when the resource is gone. Idempotent."""
    resource = await services.current(key)
    if resource is None:
        await _retire(services, key)
        return
    findings = Findings()
    try:
        await _serve(services, key, resource, findings)
    except SpecRefused as refusal:
        told = _clearer(services, key, refusal)
        findings.note(READY, "False", told.reason, told.message)
        services.waits_for(key, arrivals(key.namespace) if told.reason in OF_OTHERS else None)
    except Unavailable as away:
        await status.write_waiting(services, key, resource, away)
        raise
    await status.write(services, key, resource, findings)


def arrivals(namespace: str) -> tuple[str, str]:
    """What those wait for who lack a calendar; which one, of all that an include leads to, is no matter."""
    return ("calendars", namespace)


def today(settings: Settings) -> date:
    """The day that next holidays are counted from."""
    return datetime.now(zone_of(settings.default_time_zone)).date()


async def _serve(services: Services, key: Key, resource: Resource, findings: Findings) -> None:
    async with services.database() as connection:
        await calendars.register(connection, resource)
        calendar = await store.calendar(connection, key.namespace, key.name)
    findings.fields["nextHolidays"] = _next_holidays(calendar, today(services.settings))
    findings.note(READY, "True", "Registered", "Schedules whose spec.calendar names it go by it.")
    services.settled(key)
    services.came(arrivals(key.namespace))


async def _retire(services: Services, key: Key) -> None:
    services.settled(key)
    async with services.database() as connection:
        row = await retire(connection, key.namespace, key.name)
    if row is not None:
        for user in services.users_of(key):
            services.mark(user)


def _next_holidays(calendar: Calendar, day: date) -> list[dict[str, Any]]:
    """From that day on."""
    found = calendar.next_holidays(day - timedelta(days=1))
    return [{"date": each.day.isoformat(), "name": each.name} for each in found]


def _clearer(services: Services, key: Key, refusal: SpecRefused) -> SpecRefused:
    """Two new ones that include each other wait for each other: only their specs tell that it is for good."""
    if refusal.reason != "CalendarNotFound":
        return refusal
    try:
        resolve(key.name, {each.name: each for each in _applied(services, key.namespace)})
    except SpecRefused as found:
        return found if found.reason == "IncludeCycle" else refusal
    return refusal


def _applied(services: Services, namespace: str) -> Iterator[Definition]:
    """What the namespace's resources say, whether that was taken up or not."""
    for key, body in services.seen.of_kind(CALENDAR):
        if key.namespace == namespace:
            try:
                yield definition_of(body)
            except SpecRefused:
                continue
