"""Schedules over REST: read from PostgreSQL, written as custom resources beside their automations'."""

import logging
from collections.abc import Mapping
from typing import Any

from maestro.automation import store as automations
from maestro.automation.model import Automation
from maestro.db import Pool
from maestro.errors import BadInput, MaestroError
from maestro.kube.client import Resource
from maestro.kube.kinds import SCHEDULE
from maestro.schedule import cron, store
from maestro.schedule.model import Schedule
from maestro.settings import Settings
from maestro_api.database import transaction
from maestro_api.definitions import Definitions, name_for

log = logging.getLogger(__name__)

Spec = Mapping[str, Any]


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
        name = name_for(automation.name)
        try:
            resource = await self._definitions.create(SCHEDULE, name, {"automation": automation.name, **spec})
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
        _refuse_unreadable(shown)
        current = await self.get(schedule_id)
        wanted = dict(shown)
        if automation_id is not None:
            wanted["automation"] = (await self._automation(automation_id)).name
        changes = _changes(current, wanted)
        if not changes:
            return current
        self._definitions.refuse_elsewhere(current.namespace)
        return await self._register(
            await self._definitions.change(SCHEDULE, current.name, changes, force=force)
        )

    async def delete(self, schedule_id: int, *, force: bool) -> None:
        """Delete the resource; its row is retired at once. Raises NotFound, Forbidden, OwnedElsewhere."""
        current = await self.get(schedule_id)
        self._definitions.refuse_elsewhere(current.namespace)
        deleted = await self._definitions.remove(SCHEDULE, current.name, force=force)
        async with transaction(self._pool) as conn:
            await store.retire(conn, current.namespace, current.name, uid=deleted or current.uid)

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


def _refuse_unreadable(spec: Spec) -> None:
    """Raises BadInput before anything is written."""
    if "cron" in spec:
        cron.parse(spec["cron"])
    if "timeZone" in spec:
        cron.zone_of(spec["timeZone"])


def _changes(current: Schedule, wanted: Spec) -> dict[str, Any]:
    in_force = {
        "automation": current.automation_name,
        "cron": current.cron,
        "timeZone": current.time_zone,
        "parameters": current.parameters,
        "suspend": current.suspended,
    }
    return {field: value for field, value in wanted.items() if value != in_force[field]}
