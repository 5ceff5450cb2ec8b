"""From start to stop of one run of kopf, and the wait for kinds that the cluster does not serve yet."""

import asyncio
import logging
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack
from itertools import chain, repeat

import kopf

from maestro.errors import Forbidden, MaestroError
from maestro.kube import AUTOMATION, CALENDAR, SCHEDULE, Kube
from maestro.settings import Settings
from maestro_operator import core, worker
from maestro_operator.core import Operator
from maestro_operator.sweep import watched

log = logging.getLogger(__name__)

_KINDS_SECONDS = 2.0
_FIRST_BACKOFFS = (1, 1, 2, 3, 5, 8, 13)
_LAST_BACKOFF = 20


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
        if obstacle := await self._obstacle(kube):
            log.warning("Maestro's kinds can't be watched yet: %s Waiting.", obstacle)
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
            if not await self._obstacle(kube):
                log.info("the cluster serves Maestro's kinds now")
                self.again.set()
                return

    async def _obstacle(self, kube: Kube) -> str:
        """Why Maestro's kinds can't be watched yet; empty when they can be."""
        obstacle = ""
        for namespace in watched(self._settings.watch_namespaces):
            try:
                for kind in (AUTOMATION, SCHEDULE, CALENDAR):
                    if not await asyncio.to_thread(kube.serves, kind, namespace):
                        return "The cluster does not serve them; install Maestro's CRDs."
            except Forbidden as forbidden:  # tells nothing of the kinds; another namespace may
                obstacle = forbidden.message
            except MaestroError as error:
                return error.message
            else:
                return ""
        return obstacle


class Backoffs:
    """Seconds between tries of a request, without end: kopf gives a watch up for good when they end.

    kopf iterates anew for each request, so each begins with the first.
    """

    def __iter__(self) -> Iterator[float]:
        return chain(_FIRST_BACKOFFS, repeat(_LAST_BACKOFF))


def configure(settings: kopf.OperatorSettings) -> None:
    settings.posting.level = logging.WARNING
    settings.persistence.diffbase_storage = NoDiffBase()
    # Kinds and namespaces are fixed: nothing cluster-wide is watched, so no cluster-wide grant is needed.
    settings.scanning.disabled = True
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 10
    settings.networking.request_timeout = 30
    settings.networking.error_backoffs = Backoffs()
    settings.watching.label_selectors["apps", "v1", "deployments"] = worker.SELECTOR


def _end_process_if_failed(work: asyncio.Task[None]) -> None:
    """An operator whose work has died must not look alive."""
    if not work.cancelled() and work.exception() is not None:
        log.critical("the operator's work has died", exc_info=work.exception())
        os._exit(1)
