"""What statuses tell of runs (counts, last and next run), refreshed without hurry and never in a storm.

The same look at the database finds those that were paused or resumed since.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

from maestro.automation import store
from maestro.automation.store import RunFacts
from maestro.errors import MaestroError
from maestro.kube import AUTOMATION, SCHEDULE
from maestro.schedule import store as schedule_store
from maestro_operator import automation, schedule, status
from maestro_operator.conditions import says, timestamp
from maestro_operator.keys import Key
from maestro_operator.services import Services

log = logging.getLogger(__name__)

_LOOK_SECONDS = 5.0
# A change is shown at once unless the object was written within the last minute.
_SECONDS_PER_OBJECT = 60.0
_PATCHES_PER_SECOND = 20


class Facts:
    """At most one patch a minute per object and 20 a second in all."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._written: dict[Key, float] = {}

    async def run(self) -> None:
        """Refresh until canceled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await self.once()
            except MaestroError as error:
                log.info("run facts are not refreshed now: %s", error.message)
            except Exception:
                log.exception("run facts could not be refreshed")

    async def once(self) -> None:
        """Write what changed for those whose minute is over."""
        async with self._services.database() as connection:
            automations = await store.run_facts(connection)
            schedules = await schedule_store.list_all(connection, include_disabled=True)
        wanted = {Key(AUTOMATION, each.namespace, each.name): self._run_fields(each) for each in automations}
        wanted |= {Key(SCHEDULE, row.namespace, row.name): schedule.run_fields(row) for row in schedules}
        self._mark_pauses(automations)
        self._written = {key: at for key, at in self._written.items() if key in wanted}
        for key, fields in self._due(wanted):
            resource = self._services.seen.get(key)
            if resource is None or not await status.patch(self._services, key, resource, fields):
                continue
            self._written[key] = time.monotonic()
            await asyncio.sleep(1 / _PATCHES_PER_SECOND)

    def _mark_pauses(self, automations: Sequence[RunFacts]) -> None:
        """A pause or its end comes through the database alone; its sync writes the condition."""
        for each in automations:
            key = Key(AUTOMATION, each.namespace, each.name)
            resource = self._services.seen.get(key)
            if resource is None or "id" not in resource.get("status", {}):
                continue  # its first sync will see
            if not says(status.conditions_of(resource), automation.suspended(each.suspension)):
                self._services.mark(key)

    def _due(self, wanted: dict[Key, dict[str, Any]]) -> Iterator[tuple[Key, dict[str, Any]]]:
        for key, fields in wanted.items():
            resource = self._services.seen.get(key)
            # Before its first sync an object has no status of ours to add to.
            if resource is None or "id" not in resource.get("status", {}):
                continue
            if time.monotonic() - self._written.get(key, -_SECONDS_PER_OBJECT) >= _SECONDS_PER_OBJECT:
                yield key, fields

    def _run_fields(self, facts: RunFacts) -> dict[str, Any]:
        """A merge patch merges objects, so a field that may go is named.

        What waits in a shared queue is no fact of one automation, and would be written to all that share it.
        """
        jobs: dict[str, Any] = {"pending": facts.pending, "running": facts.running}
        if facts.last_status and facts.last_finished_at:
            jobs |= {"lastStatus": facts.last_status, "lastFinishedTime": timestamp(facts.last_finished_at)}
        shared = facts.queue in self._services.settings.shared_queues
        return {"jobs": jobs, "queue": {"name": facts.queue, "messages": None if shared else facts.messages}}
