"""What every sync works with: connections, what was seen, and the line of dirty keys."""

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import ParamSpec, TypeVar

from maestro.broker.management import Management
from maestro.broker.topology import Topology
from maestro.db import Connection, Pool, translate_errors
from maestro.kube import AUTOMATION, CALENDAR, SCHEDULE, Kube
from maestro.settings import Settings
from maestro_operator.keys import Key
from maestro_operator.seen import Resource, Seen

P = ParamSpec("P")
T = TypeVar("T")

# Requests under way at once, to the API server and to the broker's management API together.
THREADS = 16


@dataclass(frozen=True)
class Reader:
    """A broker user with this password that may read this queue."""

    user: str
    password: str
    queue: str


@dataclass
class Services:
    """One operator's connections and memory."""

    settings: Settings
    kube: Kube
    pool: Pool
    topology: Topology
    management: Management
    mark: Callable[[Key], None]
    seen: Seen = field(default_factory=Seen)
    deployments: set[Key] = field(default_factory=set)
    """The Automations that have a worker Deployment."""
    readers: set[Reader] = field(default_factory=set)
    """The broker users that this process has set."""
    _awaited: dict[Key, Hashable] = field(default_factory=dict)
    _threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(THREADS, thread_name_prefix="calls")
    )

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking call in a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, partial(function, *args, **kwargs))

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Connection]:
        """A connection whose statements commit one by one. Raises DatabaseAway."""
        with translate_errors():
            async with self.pool.connection() as connection:
                yield connection

    async def current(self, key: Key) -> Resource | None:
        """The resource as last seen; when it was not seen, as the API server has it; None when it is gone."""
        if found := self.seen.get(key):
            return found
        found = await self.call(self.kube.get, key.kind, key.namespace, key.name)
        if found is not None:
            self.seen.put(key, found)
        return found

    def waits_for(self, key: Key, reference: Hashable) -> None:
        """Remember that a refused key may be served once `reference` changes."""
        self._awaited[key] = reference

    def settled(self, key: Key) -> None:
        self._awaited.pop(key, None)

    def waiting(self) -> list[Key]:
        """All keys that were refused."""
        return list(self._awaited)

    def came(self, reference: Hashable) -> None:
        """Mark whoever waits for that reference."""
        for key in [key for key, awaited in self._awaited.items() if awaited == reference]:
            self.mark(key)

    def schedules_of(self, automation: Key) -> list[Key]:
        """The Schedules that name this Automation."""
        return [
            key
            for key, body in self.seen.of_kind(SCHEDULE)
            if key.namespace == automation.namespace and body["spec"]["automation"] == automation.name
        ]

    def users_of(self, calendar: Key) -> list[Key]:
        """Who goes by this BusinessCalendar: those that include it, and theirs, and all their Schedules."""
        namespace, names, found = calendar.namespace, {calendar.name}, list[Key]()
        others = [(key, body) for key, body in self.seen.of_kind(CALENDAR) if key.namespace == namespace]
        while more := [key for key, body in others if key.name not in names and _includes(body, names)]:
            names.update(key.name for key in more)
            found += more
        return found + [
            key
            for key, body in self.seen.of_kind(SCHEDULE)
            if key.namespace == namespace and body["spec"].get("calendar") in names
        ]


def _includes(calendar: Resource, names: set[str]) -> bool:
    return not names.isdisjoint(calendar["spec"].get("include", ()))


def owner_of(resource: Mapping[str, object]) -> Key | None:
    """The Automation that owns an object; None when none does."""
    metadata = resource["metadata"]
    assert isinstance(metadata, Mapping)  # noqa: S101
    for owner in metadata.get("ownerReferences", []):
        if (owner["apiVersion"], owner["kind"]) == (AUTOMATION.api_version, AUTOMATION.kind):
            return Key(AUTOMATION, metadata["namespace"], owner["name"])
    return None
