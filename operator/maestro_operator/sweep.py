"""Every 30 seconds, what exists is held against what should: whatever drifted is marked dirty.

The sweep itself repairs nothing, so there is one way to bring things about: `sync`.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass

from maestro.automation import store
from maestro.automation.model import Automation
from maestro.broker.topology import dead_letter_key
from maestro.errors import MaestroError
from maestro.kube import AUTOMATION, CONFIG_MAP, DEPLOYMENT, SCHEDULE, SECRET, SERVICE_ACCOUNT, Kind
from maestro.schedule import store as schedule_store
from maestro_operator import worker
from maestro_operator.keys import Key
from maestro_operator.seen import Resource
from maestro_operator.services import Services, owner_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """What the database has of a resource."""

    key: Key
    uid: str | None
    generation: int


class Sweep:
    """Compares and marks; `age` is how long ago a sweep last went through."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._finished = time.monotonic()
        # Rows whose resource the last successful list did not have.
        self._absent: set[Key] = set()

    @property
    def age(self) -> float:
        return time.monotonic() - self._finished

    async def run(self) -> None:
        """Sweep until canceled; a sweep that fails is only late."""
        while True:
            await asyncio.sleep(self._services.settings.sweep_seconds)
            try:
                await self.once()
            except MaestroError as error:
                log.warning("the sweep is put off: %s", error.message)
            except Exception:
                log.exception("the sweep failed")

    async def once(self) -> None:
        """One sweep. What one dependency's absence hides waits for the next sweep; the rest is compared."""
        services = self._services
        for key in services.waiting():
            services.mark(key)
        listed = await self._list_resources()
        automations, schedules, uncleared = await self._rows()
        self._compare_rows(listed, [*map(_automation_row, automations), *schedules])
        for row in uncleared:
            services.mark(_key(row))
        await self._compare_workers(automations)
        await self._compare_broker(automations)
        self._finished = time.monotonic()

    async def _list_resources(self) -> dict[Key, Resource]:
        listed: dict[Key, Resource] = {}
        for kind in (AUTOMATION, SCHEDULE):
            for body in await self._list(kind):
                listed[Key.of(kind, body)] = body
                self._services.seen.put(Key.of(kind, body), body)
            for key, _ in self._services.seen.of_kind(kind):
                if key not in listed:
                    # Gone, or made since the list began: the next sync asks.
                    self._services.seen.drop(key)
        return listed

    async def _list(self, kind: Kind, labels: str = "") -> list[Resource]:
        services = self._services
        namespaces = watched(services.settings.watch_namespaces)
        lists = [
            await services.call(services.kube.list, kind, namespace, labels=labels)
            for namespace in namespaces
        ]
        return [body for found in lists for body in found]

    async def _rows(self) -> tuple[list[Automation], list[Row], list[Automation]]:
        async with self._services.database() as connection:
            await store.drop_stale_reservations(connection)
            await store.cancel_orphans(connection)
            automations = await store.list_all(connection)
            uncleared = await store.uncleared(connection)
            schedules = await schedule_store.list_all(connection, include_disabled=True)
        rows = [Row(Key(SCHEDULE, row.namespace, row.name), row.uid, row.generation) for row in schedules]
        return automations, rows, uncleared

    def _compare_rows(self, listed: dict[Key, Resource], rows: Iterable[Row]) -> None:
        """Mark resources the database does not have as they are, and rows whose resource is gone for good."""
        mark = self._services.mark
        known = {row.key: row for row in rows}
        for key, body in listed.items():
            row, metadata = known.get(key), body["metadata"]
            seen = body.get("status", {}).get("observedGeneration")
            if row is None or (row.uid, row.generation, seen) != (
                metadata["uid"],
                metadata["generation"],
                metadata["generation"],
            ):
                mark(key)
        namespaces = self._services.settings.watch_namespaces
        absent = {key for key in known if key not in listed and _is_watched(key, namespaces)}
        for key in absent & self._absent:
            mark(key)
        self._absent = absent

    async def _compare_workers(self, automations: Iterable[Automation]) -> None:
        """Mark Automations that lack one of their worker's objects, or have one and no worker."""
        services = self._services
        owners = {
            kind: {owner_of(each) for each in await self._list(kind, worker.SELECTOR)}
            for kind in (DEPLOYMENT, SECRET, SERVICE_ACCOUNT, CONFIG_MAP)
        }
        services.deployments = {key for key in owners[DEPLOYMENT] if key}
        for row in automations:
            key = _key(row)
            resource = services.seen.get(key)
            if resource is None:
                continue  # gone, or soon to be seen: the rows' comparison knows
            wanted = _worker_kinds(resource)
            if any((key in owners[kind]) != (kind in wanted) for kind in owners):
                services.mark(key)

    async def _compare_broker(self, automations: Iterable[Automation]) -> None:
        """Mark Automations whose queue, dead-letter binding or user the broker lacks."""
        services, management = self._services, self._services.management
        queues = await services.call(management.queues)
        bound = await services.call(management.dead_letter_keys)
        users = await services.call(management.users)
        services.readers = {reader for reader in services.readers if reader[0] in users}
        for row in automations:
            user = worker.broker_user(services.settings.vhost, row.namespace, row.name)
            complete = row.queue in queues and dead_letter_key(row.queue, row.arguments) in bound
            in_service = services.seen.get(_key(row)) is not None
            if in_service and (not complete or (row.managed and user not in users)):
                services.mark(_key(row))


def watched(namespaces: list[str]) -> list[str | None]:
    """The namespaces to list one by one; None alone stands for the whole cluster."""
    return [None] if namespaces == ["*"] else list(namespaces)


def _is_watched(key: Key, namespaces: list[str]) -> bool:
    """A row in a namespace that is watched no more is left alone: its resource may well exist."""
    return namespaces == ["*"] or key.namespace in namespaces


def _worker_kinds(resource: Resource) -> set[Kind]:
    if "worker" not in resource["spec"]:
        return set()
    kinds = {DEPLOYMENT, SECRET, SERVICE_ACCOUNT}
    return kinds | {CONFIG_MAP} if "script" in resource["spec"]["worker"] else kinds


def _key(row: Automation) -> Key:
    return Key(AUTOMATION, row.namespace, row.name)


def _automation_row(row: Automation) -> Row:
    return Row(_key(row), row.uid, row.generation)
