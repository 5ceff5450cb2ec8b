"""Events of occurrences that did not fire, so that `kubectl describe` says why a schedule did not run.

The dispatcher, which has no access to Kubernetes, leaves them in the database. Each is posted under a name of
its own, so posting it again after a crash is harmless.
"""

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from maestro.errors import BadInput, Conflict, MaestroError, Unavailable
from maestro.kube import SCHEDULE
from maestro.schedule import occurrences
from maestro.schedule.cron import zone_of
from maestro.schedule.occurrences import Occurrence, Outcome, Report
from maestro_operator import events
from maestro_operator.keys import Key
from maestro_operator.services import Services
from maestro_operator.worker import MANAGER

log = logging.getLogger(__name__)

_LOOK_SECONDS = 5.0
# While there are more than that, one such portion a second.
_AT_ONCE = 20

# What somebody has to act on, or would want to have known.
_WARNED = {
    "AutomationNotFound",
    "HolidayKnownTooLate",
    "NoBusinessDay",
    "ParametersRefused",
}


class Reports:
    """At most 20 events a second, the oldest first."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def run(self) -> None:
        """Post until canceled."""
        more = False
        while True:
            await asyncio.sleep(1 if more else _LOOK_SECONDS)
            try:
                more = await self.once() == _AT_ONCE
            except MaestroError as error:
                log.info("occurrences are not reported now: %s", error.message)
            except Exception:
                log.exception("occurrences could not be reported")

    async def once(self) -> int:
        """Post a portion; how many there were."""
        async with self._services.database() as connection:
            found = await occurrences.unreported(connection, limit=_AT_ONCE)
        if not found:
            return 0
        outcomes = await asyncio.gather(*map(self._tell, found), return_exceptions=True)
        told = [report.occurrence.id for report, failed in zip(found, outcomes, strict=True) if not failed]
        async with self._services.database() as connection:
            await occurrences.reported(connection, told)
        for failed in outcomes:
            if failed:
                raise failed
        return len(found)

    async def _tell(self, report: Report) -> None:
        """Post its event. Raises Unavailable, after which it is tried again; what is refused is given up."""
        services, key = self._services, Key(SCHEDULE, report.namespace, report.name)
        try:
            resource = await services.current(key)
            if resource is None:
                return  # nobody is left to be told
            await services.call(services.kube.create, manifest(resource, report.occurrence), manager=MANAGER)
        except Conflict:  # it was posted before
            return
        except Unavailable:
            raise
        except MaestroError as error:
            log.info("%s: the event of %s could not be posted: %s", key, report.occurrence.nominal_at, error)


def manifest(resource: Mapping[str, Any], occurrence: Occurrence) -> dict[str, Any]:
    """The event of an occurrence that did not fire."""
    warned = occurrence.outcome == Outcome.MISSED or occurrence.reason in _WARNED
    reason = occurrence.reason or occurrence.outcome.title()
    said = events.Said("Warning" if warned else "Normal", reason, _message(resource, occurrence))
    # With its instant, since ids begin anew in a new database.
    id_ = f"{occurrence.id:x}-{int(occurrence.nominal_at.timestamp()):x}"
    return events.manifest(resource, said, occurrence.decided_at, id_)


def _message(resource: Mapping[str, Any], occurrence: Occurrence) -> str:
    if occurrence.last_nominal_at and occurrence.message:
        return occurrence.message  # of several runs, and it says of which
    which = f"The run of {_local(resource, occurrence.nominal_at)}"
    return f"{which}: {occurrence.outcome}. {occurrence.message or ''}".rstrip()


def _local(resource: Mapping[str, Any], instant: datetime) -> str:
    """As the clocks of the schedule's zone show it."""
    try:
        zone = zone_of(resource.get("status", {}).get("timeZone", "UTC"))
    except BadInput:  # a status of another version
        zone = zone_of("UTC")
    return f"{instant.astimezone(zone):%Y-%m-%d %H:%M %Z}"
