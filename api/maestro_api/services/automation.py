"""Automations over REST: read from PostgreSQL, written as custom resources."""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from maestro.automation import store
from maestro.automation.model import Automation
from maestro.db import Connection, Pool
from maestro.errors import BadInput, MaestroError, NameTaken, Unavailable
from maestro.kube.client import Resource
from maestro.kube.kinds import AUTOMATION
from maestro.settings import Settings
from maestro_api.database import transaction
from maestro_api.definitions import Definitions, differing, name_for
from maestro_api.known import Known

log = logging.getLogger(__name__)

Spec = Mapping[str, Any]


class Automations:
    """A spec is handed in by the custom resource's field names."""

    def __init__(self, pool: Pool, definitions: Definitions, settings: Settings, known: Known) -> None:
        self._pool = pool
        self._known = known
        self._definitions = definitions
        self._shared_queues = settings.shared_queues

    async def list(self) -> list[Automation]:
        """All in use, by id."""
        async with transaction(self._pool) as conn:
            return await store.list_all(conn)

    async def get(self, automation_id: int) -> Automation:
        """Raises NotFound."""
        async with transaction(self._pool) as conn:
            return await store.get(conn, automation_id)

    async def create(self, spec: Spec) -> Automation:
        """Reserve the name, make the resource, register it. Raises NameTaken, BadInput, SpecRefused."""
        namespace, name = self._definitions.namespace, name_for(spec["displayName"])
        async with transaction(self._pool) as conn:
            reserved = await store.reserve(conn, namespace, name, spec["displayName"])
        try:
            return await self._register(await self._definitions.create(AUTOMATION, name, spec))
        except BaseException:  # also when the caller has hung up: no half of it may stay
            await self._undo(reserved, name)
            raise

    async def _undo(self, reserved: int, name: str) -> None:
        """Take back a creation that failed. What can't be taken back now, the operator's sweep will find."""
        try:
            await self._definitions.remove(AUTOMATION, name, force=True)
            async with transaction(self._pool) as conn:
                await store.retire(conn, self._definitions.namespace, name)
        except MaestroError as error:
            log.warning("the Automation %s could not be taken back: %s", name, error)
        try:
            async with transaction(self._pool) as conn:
                await store.unreserve(conn, reserved)
        except MaestroError as error:
            log.warning("the name of automation %d stays reserved for a while: %s", reserved, error)

    async def change(self, automation_id: int, shown: Spec, *, force: bool) -> Automation:
        """Set the fields whose values differ from what is in force; the others stay whose they are."""
        current = await self.get(automation_id)
        changes = _changes(current, shown)
        if not changes:
            return current
        if "queueName" in changes:
            raise BadInput(
                f"queueName: the queue of an automation never changes; this one's is {current.queue}. "
                "Create another automation for another queue."
            )
        self._definitions.refuse_elsewhere(current.namespace)
        await self._refuse_taken(current, changes)
        return await self._register(
            await self._definitions.change(AUTOMATION, current.name, changes, force=force)
        )

    async def _refuse_taken(self, current: Automation, changes: Spec) -> None:
        """Beforehand, since a resource once written would only show it as a condition."""
        if (wanted := changes.get("displayName")) is None:
            return
        for other in await self.list():
            if (other.namespace, other.display_name) == (current.namespace, wanted) and other != current:
                raise NameTaken(f"The name {wanted!r} is taken by automation {other.id}; choose another one.")

    async def delete(self, automation_id: int, *, force: bool) -> None:
        """Delete the resource; its row is retired at once. Raises NotFound, Forbidden, OwnedElsewhere."""
        current = await self.get(automation_id)
        self._definitions.refuse_elsewhere(current.namespace)
        deleted = await self._definitions.remove(AUTOMATION, current.name, force=force)
        async with self._edit() as conn:
            await store.retire(conn, current.namespace, current.name, uid=deleted or current.uid)

    async def pause(self, automation_id: int, why: str | None) -> Automation:
        """Pause one of whatever namespace: that is no part of its definition. Raises NotFound."""
        async with self._edit() as conn:
            return await store.pause(conn, automation_id, words=why)

    async def resume(self, automation_id: int) -> Automation:
        """Raises NotFound."""
        async with self._edit() as conn:
            return await store.resume(conn, automation_id)

    async def _register(self, resource: Resource) -> Automation:
        async with self._edit() as conn:
            # The operator's to clear up after, before it takes this one up.
            if await store.predecessor(conn, resource):
                raise Unavailable(
                    f"The Automation {resource['metadata']['name']} was deleted and made anew a moment ago; "
                    "try again in a few seconds."
                )
            return await store.register(conn, resource, shared_queues=self._shared_queues)

    @asynccontextmanager
    async def _edit(self) -> AsyncIterator[Connection]:
        """A transaction after which executes see what it changed."""
        try:
            async with transaction(self._pool) as conn:
                yield conn
        finally:
            self._known.forget()


def _changes(current: Automation, wanted: Spec) -> dict[str, Any]:
    """The fields whose wanted value differs from what is in force, so that sending back what was read is no
    change: an effective queue is not a queueName, an inherited name no displayName.
    """
    in_force = {
        "displayName": current.display_name,
        "description": current.description,
        "scriptPath": current.script_path,
        "queueName": current.queue,
        "parameterSchema": current.parameter_schema or [],
        "defaultParams": current.default_params or {},
        "priority": current.priority,
        "maxConcurrency": current.max_concurrency,
        "startDeadlineSeconds": current.start_deadline_seconds,
        "timeoutSeconds": current.timeout_seconds,
        "heartbeatTimeoutSeconds": current.heartbeat_timeout_seconds,
        "retryPolicy": current.retry_policy,
    }
    return differing(wanted, in_force)
