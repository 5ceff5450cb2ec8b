"""A step over and over until told to stop, through outages and surprises."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from maestro import metrics
from maestro.errors import Unavailable

log = logging.getLogger(__name__)

Step = Callable[[], Awaitable[float]]
"""Does some work and returns the seconds to rest before the next time."""

OUTAGE_SECONDS = 1.0
SURPRISE_SECONDS = 5.0
STUCK_SECONDS = 60.0
"""A step that takes longer than this hangs: the process is unhealthy."""


class Outage:
    """Says once that a dependency is away, and once that it is back, to whichever of the loops."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._away = False
        self._back_at = 0.0

    def away(self, since: float) -> None:
        """A try begun then (monotonic seconds) found it away. One begun before it came back tells nothing."""
        if since < self._back_at:
            return
        if not self._away:
            log.warning("%s is away, trying again until it is back", self._name)
        self._away = True

    def back(self) -> None:
        self._back_at = time.monotonic()
        if self._away:
            log.info("%s is back", self._name)
        self._away = False


class Loop:
    """One step, its pace and its pulse."""

    def __init__(self, name: str, step: Step, outage: Outage) -> None:
        self.name = name
        self._step = step
        self._outage = outage
        self._due = time.monotonic()
        self._seconds = metrics.STEP_SECONDS.labels(name)
        self._failures = metrics.STEP_FAILURES.labels(name)

    @property
    def alive(self) -> bool:
        """Whether the next step began, or the last one ended, about when it should have."""
        return time.monotonic() < self._due + STUCK_SECONDS

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            seconds = await self._once()
            self._due = time.monotonic() + seconds
            await _rest(stop, seconds)
            self._due = time.monotonic()

    async def _once(self) -> float:
        began = time.monotonic()
        try:
            with self._seconds.time(), self._failures.count_exceptions():
                return await self._step()
        except Unavailable:
            self._outage.away(began)
            return OUTAGE_SECONDS
        except Exception:  # a loop that ended would leave its work undone, in silence
            log.exception("%s failed, trying again in %.0f s", self.name, SURPRISE_SECONDS)
            return SURPRISE_SECONDS


async def _rest(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
