"""Every 30 seconds, what exists is held against what should: whatever drifted is marked dirty.

The sweep itself repairs nothing, so there is one way to bring things about: `sync`.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from maestro.automation import store
from maestro.automation.model import Automation
from maestro.broker.management import Permissions, reading
from maestro.calendar import store as calendar_store
from maestro.errors import Forbidden, MaestroError
from maestro.kube import (
    AUTOMATION,
    CALENDAR,
    CONFIG_MAP,
    DEPLOYMENT,
    POD,
    SCHEDULE,
    SECRET,
    SERVICE_ACCOUNT,
    Kind,
)
from maestro.schedule import store as schedule_store
from maestro_operator import calendar, deploy, worker
from maestro_operator.conditions import says
from maestro_operator.keys import Key
from maestro_operator.seen import Resource
from maestro_operator.services import Services, owner_of
from maestro_operator.status import conditions_of

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
        # Namespaces this sweep may not list (all of), and those of the last one.
        self._closed: set[str] = set()
        self._closed_before: set[str] = set()

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
        self._closed_before, self._closed = self._closed, set()
        listed = await self._list_resources()
        automations, others, uncleared = await self._rows()
        self._compare_rows(listed, [*map(_automation_row, automations), *others])
        self._compare_holidays(listed)
        for row in uncleared:
            services.mark(_key(row))
        await self._compare_workers(automations)
        await self._compare_broker(automations)
        self._finished = time.monotonic()

    async def _list_resources(self) -> dict[Key, Resource]:
        listed: dict[Key, Resource] = {}
        for kind in (AUTOMATION, SCHEDULE, CALENDAR):
            for body in await self._list(kind):
                listed[Key.of(kind, body)] = body
                self._services.seen.put(Key.of(kind, body), body)
            for key, _ in self._services.seen.of_kind(kind):
                if key not in listed and key.namespace not in self._closed:
                    # Gone, or made since the list began: the next sync asks.
                    self._services.seen.drop(key)
        return listed

    async def _list(self, kind: Kind, labels: str = "") -> list[Resource]:
        services, found = self._services, list[Resource]()
        for namespace in watched(services.settings.watch_namespaces):
            # The chart grants nothing of workers in the release's namespace, as none may be there.
            if namespace in self._closed or (labels and namespace == services.settings.release_namespace):
                continue
            try:
                found += await services.call(services.kube.list, kind, namespace, labels=labels)
            except Forbidden as forbidden:
                if namespace is None:
                    raise
                self._close(namespace, forbidden)
        return found

    def _close(self, namespace: str, forbidden: Forbidden) -> None:
        """Leave a namespace alone in this sweep: its Role is gone, or with the namespace itself."""
        self._closed.add(namespace)
        if namespace not in self._closed_before:
            log.warning("%s is left alone for now: %s", namespace, forbidden.message)

    async def _rows(self) -> tuple[list[Automation], list[Row], list[Automation]]:
        async with self._services.database() as connection:
            await store.drop_stale_reservations(connection)
            await store.cancel_orphans(connection)
            automations = await store.list_all(connection)
            uncleared = await store.uncleared(connection)
            schedules = await schedule_store.list_all(connection, include_disabled=True)
            calendars = [row.definition for row in await calendar_store.list_all(connection)]
        rows = [Row(Key(SCHEDULE, row.namespace, row.name), row.uid, row.generation) for row in schedules]
        rows += [Row(Key(CALENDAR, row.namespace, row.name), row.uid, row.generation) for row in calendars]
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
        absent = {key for key in known if key not in listed and self._is_listed(key)}
        for key in absent & self._absent:
            mark(key)
        self._absent = absent

    def _compare_holidays(self, listed: Mapping[Key, Resource]) -> None:
        """Mark calendars whose status tells of a holiday that is over."""
        today = calendar.today(self._services.settings).isoformat()
        for key, body in listed.items():
            told = body.get("status", {}).get("nextHolidays", ())
            if key.kind == CALENDAR and told and told[0]["date"] < today:
                self._services.mark(key)

    def _is_listed(self, key: Key) -> bool:
        """A row in a namespace that was not listed is left alone: its resource may well exist."""
        namespaces = self._services.settings.watch_namespaces
        return key.namespace not in self._closed and (namespaces == ["*"] or key.namespace in namespaces)

    async def _compare_workers(self, automations: Iterable[Automation]) -> None:
        """Mark Automations that lack one of their worker's objects, or have one and no worker."""
        services = self._services
        deployments = await self._list(DEPLOYMENT, worker.SELECTOR)
        owners = {DEPLOYMENT: {owner_of(each) for each in deployments}}
        for kind in (SECRET, SERVICE_ACCOUNT, CONFIG_MAP):
            owners[kind] = {owner_of(each) for each in await self._list(kind, worker.SELECTOR)}
        unlisted = {key for key in services.deployments if key.namespace in self._closed}
        services.deployments = unlisted | {key for key in owners[DEPLOYMENT] if key}
        for row in automations:
            key = _key(row)
            resource = services.seen.get(key)
            if resource is None or key.namespace in self._closed:
                continue  # gone, or soon to be seen: the rows' comparison knows
            wanted = _worker_kinds(resource)
            if any((key in owners[kind]) != (kind in wanted) for kind in owners):
                services.mark(key)
        await self._compare_pods([each for each in deployments if deploy.is_waiting(each)])

    async def _compare_pods(self, waiting: Sequence[Resource]) -> None:
        """Mark Automations whose pods tell another reason for not being ready than their status."""
        if not waiting:
            return
        pods: defaultdict[tuple[str, str], list[Resource]] = defaultdict(list)
        for pod in await self._list(POD, worker.SELECTOR):
            pods[_place(pod)].append(pod)
        for deployment in waiting:
            key = owner_of(deployment)
            resource = key and self._services.seen.get(key)
            found = deploy.state_of(deployment, pods[_place(deployment)])
            if key and resource and not says(conditions_of(resource), found.condition):
                self._services.mark(key)

    async def _compare_broker(self, automations: Iterable[Automation]) -> None:
        """Mark Automations whose queue, dead-letter binding or user the broker lacks."""
        services, management = self._services, self._services.management
        queues = await services.call(management.queues)
        bound = await services.call(management.dead_letter_keys)
        permissions = await services.call(management.permissions)
        services.readers = {
            reader for reader in services.readers if permissions.get(reader.user) == reading(reader.queue)
        }
        for row in automations:
            complete = row.queue in queues and row.queue in bound
            if not complete:
                services.topology.forget(row.queue)
            readable = not row.managed or permissions.get(self._user(row)) == reading(row.queue)
            if services.seen.get(_key(row)) is not None and not (complete and readable):
                services.mark(_key(row))
        await self._drop_strays(permissions)

    async def _drop_strays(self, permissions: Mapping[str, Permissions]) -> None:
        """Drop users of workers that are no more, should one have been left behind."""
        services, prefix = self._services, worker.user_prefix(self._services.settings.vhost)
        strays = {user for user in permissions if user.startswith(prefix)}
        # Read after the users: a worker's row is written before its user, so none just made looks stray.
        async with services.database() as connection:
            strays -= {self._user(row) for row in await store.list_all(connection) if row.managed}
        for user in strays:
            log.info("the broker's user %s has no worker any more and is dropped", user)
            await services.call(services.management.drop_user, user)

    def _user(self, row: Automation) -> str:
        return worker.broker_user(self._services.settings.vhost, row.namespace, row.name)


def _place(body: Resource) -> tuple[str, str]:
    """What a worker's Deployment and its pods have in common."""
    metadata = body["metadata"]
    return metadata["namespace"], metadata["labels"][worker.AUTOMATION_LABEL]


def watched(namespaces: list[str]) -> list[str | None]:
    """The namespaces to list one by one; None alone stands for the whole cluster."""
    return [None] if namespaces == ["*"] else list(namespaces)


def _worker_kinds(resource: Resource) -> set[Kind]:
    if "worker" not in resource["spec"]:
        return set()
    kinds = {DEPLOYMENT, SECRET, SERVICE_ACCOUNT}
    return kinds | {CONFIG_MAP} if "script" in resource["spec"]["worker"] else kinds


def _key(row: Automation) -> Key:
    return Key(AUTOMATION, row.namespace, row.name)


def _automation_row(row: Automation) -> Row:
    return Row(_key(row), row.uid, row.generation)
