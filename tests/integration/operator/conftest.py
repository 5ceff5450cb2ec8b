"""An operator over a real database and a real broker."""

from collections.abc import AsyncIterator
from copy import deepcopy
from typing import Any

import pytest

from integration.operator.memory import MemoryKube
from integration.servers import Broker
from maestro.kube import AUTOMATION, CALENDAR, SCHEDULE, Kind
from maestro.kube.client import Resource
from maestro.settings import Settings
from maestro_operator import core
from maestro_operator.conditions import find
from maestro_operator.core import Operator
from maestro_operator.keys import Key


class World:
    """Applies and deletes as people do, and syncs what became dirty until nothing is."""

    def __init__(self, operator: Operator, kube: MemoryKube) -> None:
        self.operator = operator
        self.kube = kube
        self.services = operator.services
        self.dirty: list[Key] = []
        self.services.mark = self.dirty.append

    def apply(self, kind: Kind, name: str, **spec: Any) -> Key:
        live = self.kube.get(kind, "bots", name) or {}
        metadata = live.get("metadata", {"namespace": "bots", "name": name, "generation": 0})
        metadata["generation"] += 1
        body = {**live, "apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec}
        stored = self.kube.store(body)
        key = Key.of(kind, stored)
        self.services.seen.put(key, deepcopy(stored))  # as over the wire
        self.dirty.append(key)
        return key

    def automation(self, name: str, **spec: Any) -> Key:
        return self.apply(AUTOMATION, name, **spec)

    def schedule(self, name: str, **spec: Any) -> Key:
        return self.apply(SCHEDULE, name, **spec)

    def calendar(self, name: str, **spec: Any) -> Key:
        return self.apply(CALENDAR, name, **spec)

    def delete(self, key: Key, *, seen: bool = True) -> None:
        """`seen`: the operator is up and watches it happen."""
        body = self.kube.objects.pop((key.kind, key.namespace, key.name))
        self.kube.collect(body["metadata"]["uid"])
        if seen:
            self.services.seen.end(key, body["metadata"]["uid"])
            self.dirty.append(key)
        else:
            self.services.seen.drop(key)

    async def settle(self) -> None:
        while self.dirty:
            key = self.dirty.pop(0)
            await core.sync_one(self.services, key)

    async def sweep(self) -> None:
        await self.operator.sweep.once()
        await self.settle()

    def status(self, key: Key) -> Resource:
        return dict(self.kube.objects[key.kind, key.namespace, key.name].get("status", {}))

    def condition(self, key: Key, type_: str = "Ready") -> tuple[str, str]:
        found = find(self.status(key).get("conditions", []), type_)
        return found.get("status", ""), found.get("reason", "")

    def reasons(self) -> list[tuple[str, str]]:
        """The events so far, by type and reason."""
        return [(event["type"], event["reason"]) for event in self.kube.events]


def settings_for(database_uri: str, broker: Broker) -> Settings:
    return Settings(
        database_uri=database_uri,
        broker_uri=broker.amqp_url,
        broker_management_uri=broker.management_uri,
        watch_namespaces="bots",
        worker_key="key",
        worker_broker_host="",
    )  # type: ignore[call-arg,arg-type]


@pytest.fixture
async def world(database_uri: str, broker: Broker) -> AsyncIterator[World]:
    kube = MemoryKube()
    async with core.opened(settings_for(database_uri, broker), kube) as operator:  # type: ignore[arg-type]
        yield World(operator, kube)
