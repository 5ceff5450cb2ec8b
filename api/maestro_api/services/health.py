"""What this process needs and whether it is there."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from maestro.broker.publisher import Publisher
from maestro.db import Pool
from maestro.errors import DatabaseAway, KubernetesAway, MaestroError
from maestro_api.database import transaction
from maestro_api.definitions import Definitions

_PATIENCE = 2.0
"""Seconds a dependency has to answer; a probe gives up soon after."""


@dataclass(frozen=True)
class Readiness:
    """`ok` or a sentence for each dependency."""

    database: str
    kubernetes: str
    broker: str

    @property
    def ready(self) -> bool:
        """Without the broker jobs are still accepted: they are owed, and published once it is back."""
        return self.database == self.kubernetes == "ok"


class Health:
    """Asks the dependencies, each at most once at a time however often probes come."""

    def __init__(self, pool: Pool, definitions: Definitions, publisher: Publisher) -> None:
        self._pool = pool
        self._publisher = publisher
        self._database = _Check(self._ask_database, DatabaseAway())
        self._kubernetes = _Check(definitions.ping, KubernetesAway())

    async def readiness(self) -> Readiness:
        database, kubernetes = await asyncio.gather(self._database.result(), self._kubernetes.result())
        return Readiness(database, kubernetes, self._broker())

    def _broker(self) -> str:
        if self._publisher.connected:
            return "ok"
        return "RabbitMQ is away; jobs are accepted and published once it is back."

    async def _ask_database(self) -> None:
        async with transaction(self._pool) as conn:
            await conn.execute("SELECT 1")


class _Check:
    def __init__(self, ask: Callable[[], Awaitable[None]], too_slow: MaestroError) -> None:
        self._ask = ask
        self._too_slow = too_slow
        self._asking: asyncio.Task[str] | None = None

    async def result(self) -> str:
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._outcome())
        # Shielded: a thread that waits for a dead peer can't be canceled, so the next probe joins it.
        try:
            return await asyncio.wait_for(asyncio.shield(self._asking), _PATIENCE)
        except TimeoutError:
            return self._too_slow.message

    async def _outcome(self) -> str:
        try:
            await self._ask()
        except MaestroError as error:
            return error.message
        except Exception as error:  # noqa: BLE001  # a probe reports, whatever it is
            return f"{type(error).__name__}: {error}"
        return "ok"
