"""One running operator: the work queue, the sweep, run facts and reports over one set of connections."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from typing import Any, assert_never

from maestro import metrics
from maestro.broker.management import Management
from maestro.broker.topology import Topology
from maestro.db import note_pools, open_pool
from maestro.errors import MaestroError
from maestro.kube import AUTOMATION, CALENDAR, SCHEDULE, Kind, Kube
from maestro.settings import Settings
from maestro_operator import automation, calendar, schedule
from maestro_operator.facts import Facts
from maestro_operator.keys import Key
from maestro_operator.reports import Reports
from maestro_operator.services import Services, owner_of
from maestro_operator.sweep import Sweep
from maestro_operator.workqueue import WorkQueue

log = logging.getLogger(__name__)

# The kubelet waits a second by default, and several dependencies are asked one after the other.
_PROBE_SECONDS = 0.3


class Operator:
    """Takes what the watches see, and keeps everything in step with it."""

    def __init__(self, services: Services, queue: WorkQueue) -> None:
        self.services = services
        self.queue = queue
        self.sweep = Sweep(services)
        self.facts = Facts(services)
        self.reports = Reports(services)

    async def run(self) -> None:
        """Work until canceled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.queue.run())
            group.create_task(self.sweep.run())
            group.create_task(self.facts.run())
            group.create_task(self.reports.run())

    def saw(self, kind: Kind, event: str | None, body: Mapping[str, Any]) -> None:
        """A resource as a watch event has it; `event` is ADDED, MODIFIED, DELETED, or None from the list."""
        key = Key.of(kind, body)
        before = self.services.seen.get(key)
        if event == "DELETED":
            self.services.seen.end(key, body["metadata"]["uid"])
        else:
            self.services.seen.put(key, dict(body))
            if before and _stages(before) == _stages(body):
                return  # a status, most likely of our own writing
        self.queue.mark(key)

    def saw_deployment(self, event: str | None, body: Mapping[str, Any]) -> None:
        """A worker's Deployment changed: its Automation's status may follow, or its drift be repaired."""
        key = owner_of(body)
        if key is None:
            return
        if event == "DELETED":
            self.services.deployments.discard(key)
        else:
            self.services.deployments.add(key)
        self.queue.mark(key)

    def note(self) -> None:
        """Set the metrics of the pool, the line and the sweep."""
        note_pools(self.services.pool)
        metrics.WORKQUEUE_DEPTH.set(self.queue.depth)
        metrics.SWEEP_AGE.set(self.sweep.age)

    async def database_state(self) -> str:
        return await _state(self._ask_database())

    async def broker_state(self) -> str:
        return await _state(self.services.topology.ping())

    async def _ask_database(self) -> None:
        async with self.services.database() as connection:
            await connection.execute("SELECT 1")


async def _state(question: Awaitable[None]) -> str:
    """What a probe tells of a dependency, soon enough that its absence never fails the probe itself."""
    try:
        await asyncio.wait_for(question, _PROBE_SECONDS)
    except MaestroError as error:
        return error.message
    except TimeoutError:
        return f"no answer within {_PROBE_SECONDS} s"
    return "ok"


def _stages(body: Mapping[str, Any]) -> tuple[Any, ...]:
    """What changes when there is something to do: another object of that name, another spec, its deletion."""
    metadata = body["metadata"]
    return metadata["uid"], metadata["generation"], metadata.get("deletionTimestamp")


@asynccontextmanager
async def opened(settings: Settings, kube: Kube) -> AsyncIterator[Operator]:
    """An operator with its connections; none of them waits for its server to be there."""
    database_uri = settings.database_uri.get_secret_value()
    with Topology(settings.broker_uri.get_secret_value()) as topology:
        async with open_pool(
            database_uri, size=settings.database_pool_size, autocommit=True, pooled=settings.pooled
        ) as pool:
            management = Management(settings.management_uri, settings.vhost)

            async def sync(key: Key) -> None:
                await sync_one(services, key)

            queue = WorkQueue(sync)
            services = Services(settings, kube, pool, topology, management, queue.mark)
            operator = Operator(services, queue)
            with metrics.served(metrics.Registry(metrics.OPERATOR, operator.note), settings.metrics_port):
                yield operator


async def sync_one(services: Services, key: Key) -> None:
    """Bring what the key names about, by its kind."""
    if key.kind == AUTOMATION:
        await automation.sync(services, key)
    elif key.kind == SCHEDULE:
        await schedule.sync(services, key)
    elif key.kind == CALENDAR:
        await calendar.sync(services, key)
    else:
        assert_never(key.kind)  # type: ignore[arg-type]
