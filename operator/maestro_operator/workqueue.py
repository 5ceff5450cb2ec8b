"""The one line of dirty keys. A key is synced by one worker at a time, however often it is marked."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable

from maestro import metrics
from maestro.errors import MaestroError
from maestro_operator.keys import Key

log = logging.getLogger(__name__)

# Between two lines in the log that say the same.
_REPEAT_SECONDS = 30.0


class WorkQueue:
    """Marks in, `sync` calls out: what fails is tried again, later and later, until it works."""

    def __init__(
        self,
        sync: Callable[[Key], Awaitable[None]],
        *,
        workers: int = 16,
        first_backoff: float = 0.5,
        last_backoff: float = 20.0,
    ) -> None:
        self._sync = sync
        self._workers = workers
        self._first_backoff, self._last_backoff = first_backoff, last_backoff
        self._line: asyncio.Queue[Key] = asyncio.Queue()
        self._waiting: set[Key] = set()
        self._running: set[Key] = set()
        self._marked_while_running: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._said: dict[str, float] = {}

    @property
    def depth(self) -> int:
        """How many keys wait."""
        return len(self._waiting)

    def mark(self, key: Key) -> None:
        """Have the key synced soon; once more after the sync that runs now, if one does."""
        if key in self._running:
            self._marked_while_running.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._line.put_nowait(key)

    async def run(self) -> None:
        """Work until canceled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            key = await self._line.get()
            self._waiting.discard(key)
            self._running.add(key)
            try:
                with metrics.sync_of(key.kind.kind):
                    await self._sync(key)
            except MaestroError as error:
                self._say(key, error)
                self._later(key)
            except Exception:
                log.exception("%s could not be synced", key)
                self._later(key)
            else:
                self._failures.pop(key, None)
            finally:
                self._running.discard(key)
            if key in self._marked_while_running:
                self._marked_while_running.discard(key)
                self.mark(key)

    def _later(self, key: Key) -> None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        backoff = min(self._first_backoff * 2 ** (failures - 1), self._last_backoff)
        # Spread, so that what failed together in an outage does not come back together.
        delay = backoff * random.uniform(0.8, 1.2)  # noqa: S311
        asyncio.get_running_loop().call_later(delay, self.mark, key)

    def _say(self, key: Key, error: MaestroError) -> None:
        """Log an error that outages give every key only once in a while."""
        now, words = time.monotonic(), error.message
        if now - self._said.get(words, -_REPEAT_SECONDS) < _REPEAT_SECONDS:
            return
        self._said = {said: at for said, at in self._said.items() if now - at < _REPEAT_SECONDS}
        self._said[words] = now
        log.warning("%s waits and is tried again: %s", key, words)
