"""From start to stop of one run of kopf, and the wait for kinds that the cluster does not serve yet."""

import asyncio
import logging
import os
from contextlib import AsyncExitStack

import kopf

from maestro.errors import MaestroError
from maestro.kube import AUTOMATION, SCHEDULE, Kube
from maestro.settings import Settings
from maestro_operator import core, worker
from maestro_operator.core import Operator
from maestro_operator.sweep import watched

log = logging.getLogger(__name__)

_KINDS_SECONDS = 2.0


class NoDiffBase(kopf.DiffBaseStorage):
    """We compare with what is live, so no last state is built (dear for each event) or kept."""

    def build(self, **_: object) -> kopf.BodyEssence:
        return kopf.BodyEssence({})

    def fetch(self, **_: object) -> None:
        return None

    def store(self, **_: object) -> None:
        return None


class Lifecycle:
    """Holds the operator of one run. `again` is set when kopf must run anew, since the kinds have come."""

    def __init__(self, settings: Settings) -> None:
        self.again = asyncio.Event()
        self._settings = settings
        self._stack = AsyncExitStack()
        self._operator: Operator | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def operator(self) -> Operator:
        assert self._operator is not None  # handlers run after start  # noqa: S101
        return self._operator

    async def start(self, kopf_settings: kopf.OperatorSettings) -> None:
        configure(kopf_settings)
        kube = await asyncio.to_thread(Kube.connect)
        self._operator = await self._stack.enter_async_context(core.opened(self._settings, kube))
        work = asyncio.create_task(self._operator.run())
        work.add_done_callback(_end_process_if_failed)
        self._tasks = [work]
        if not await self._kinds_served(kube):
            log.warning("the cluster does not serve Maestro's kinds; install the CRDs. Waiting for them.")
            self._tasks.append(asyncio.create_task(self._await_kinds(kube)))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    async def _await_kinds(self, kube: Kube) -> None:
        """kopf looks for kinds only at its start: have it start again once they are there."""
        while True:
            await asyncio.sleep(_KINDS_SECONDS)
            if await self._kinds_served(kube):
                log.info("the cluster serves Maestro's kinds now")
                self.again.set()
                return

    async def _kinds_served(self, kube: Kube) -> bool:
        namespace = watched(self._settings.watch_namespaces)[0]
        try:
            served = [
                await asyncio.to_thread(kube.serves, kind, namespace) for kind in (AUTOMATION, SCHEDULE)
            ]
        except MaestroError as error:
            log.info("whether the cluster serves Maestro's kinds is not known: %s", error.message)
            return False
        return all(served)


def configure(settings: kopf.OperatorSettings) -> None:
    settings.posting.level = logging.WARNING
    settings.persistence.diffbase_storage = NoDiffBase()
    # Kinds and namespaces are fixed: nothing cluster-wide is watched, so no cluster-wide grant is needed.
    settings.scanning.disabled = True
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 10
    settings.networking.request_timeout = 30
    settings.watching.label_selectors["apps", "v1", "deployments"] = worker.SELECTOR


def _end_process_if_failed(work: asyncio.Task[None]) -> None:
    """An operator whose work has died must not look alive."""
    if not work.cancelled() and work.exception() is not None:
        log.critical("the operator's work has died", exc_info=work.exception())
        os._exit(1)
