"""A job's live log in this process: the database is asked once for all its readers."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

from maestro.errors import NotFound
from maestro.job.live import News, Portion
from maestro.job.model import ENDS, LogLine, Status

Encode: TypeAlias = Callable[[LogLine], bytes]
"""A log line as readers get it."""

History: TypeAlias = Callable[[UUID, int, int], Awaitable[Portion]]
"""Reads a job's lines past an id and up to another, in portions. Raises DatabaseAway."""

_KEPT_OCTETS = 256 * 1024


@dataclass(frozen=True, slots=True)
class Part:
    """What a reader is told next: encoded lines, then the status if there is something to say of it."""

    lines: bytes = b""
    status: Status | None = None


@dataclass(frozen=True, slots=True)
class _Step:
    """What one look at the database found: encoded lines by their ids, and the status after them."""

    lines: Sequence[tuple[int, bytes]]
    status: Status

    @property
    def octets(self) -> int:
        return sum(len(encoded) for _, encoded in self.lines)


class Hub:
    """What was found of a job last, in numbered steps, for readers to take at their own pace.

    Old steps are dropped, so a slow reader costs no memory: it reads what it missed from the database.
    """

    def __init__(self, job_id: UUID, status: Status, last_line: int) -> None:
        self.job_id, self.status, self.last_line = job_id, status, last_line
        self.readers: set[Reader] = set()
        self.gone = False
        self.first = 0
        self._steps: deque[_Step] = deque()
        self._octets = 0

    @property
    def next(self) -> int:
        """The number of the step to come; those from `first` on are at hand."""
        return self.first + len(self._steps)

    @property
    def ended(self) -> bool:
        """Nothing more will be found here."""
        return self.gone or self.status in ENDS

    def step(self, number: int) -> _Step:
        return self._steps[number - self.first]

    def take(self, news: News | None, encode: Encode) -> None:
        """Keep what a look found, None when there is no such job any more, and wake the readers."""
        if news is None:
            self.gone = True
        elif not self._keep(news, encode):
            return
        for reader in self.readers:
            reader.wake()

    def _keep(self, news: News, encode: Encode) -> bool:
        # A job's end is not told before its last line.
        status = self.status if news.portion.more else news.status
        lines = [(line.id, encode(line)) for line in news.portion.lines]
        if not lines and status is self.status:
            return False
        self.status = status
        self.last_line = lines[-1][0] if lines else self.last_line
        self._add(_Step(lines, status))
        return True

    def _add(self, step: _Step) -> None:
        self._steps.append(step)
        self._octets += step.octets
        while self._octets > _KEPT_OCTETS and len(self._steps) > 1:
            self._octets -= self._steps.popleft().octets
            self.first += 1


class Reader:
    """One reader's way through a job's log: its history up to where the hub is, then the hub's steps."""

    def __init__(self, hub: Hub, after: int, history: History, encode: Encode) -> None:
        self.status = hub.status
        """The job's, when the reader came."""
        self.left = False
        """Its client has gone."""
        self.dismissed = False
        self._limit: asyncio.Timeout | None = None
        self._grace = 0.0
        self._hub, self._history, self._encode = hub, history, encode
        self._after = after
        self._woken = asyncio.Event()
        self._catch_up()

    def _catch_up(self) -> None:
        """Where to go by way of the database, and what is so there."""
        self._upto, self._step = self._hub.last_line, self._hub.next
        self._status_there: Status | None = self._hub.status

    async def next(self) -> Part | None:
        """What to tell now, None while nothing is new. Raises DatabaseAway; NotFound when the job is gone."""
        if self._step < self._hub.first:
            self._catch_up()
        if self._after < self._upto:
            return await self._next_of_history()
        if self._status_there:
            arrived, self._status_there = Part(status=self._status_there), None
            return arrived
        if self._step < self._hub.next:
            return self._next_of_hub()
        if self._hub.gone:
            raise NotFound("The job has been deleted.")
        return None

    async def _next_of_history(self) -> Part:
        portion = await self._history(self._hub.job_id, self._after, self._upto)
        self._after = portion.lines[-1].id if portion.more else self._upto
        return Part(b"".join(map(self._encode, portion.lines)))

    def _next_of_hub(self) -> Part:
        step = self._hub.step(self._step)
        self._step += 1
        # Whoever came from another process may have seen lines that this one found only now.
        lines = [(line_id, encoded) for line_id, encoded in step.lines if line_id > self._after]
        self._after = lines[-1][0] if lines else self._after
        return Part(b"".join(encoded for _, encoded in lines), step.status)

    def wake(self) -> None:
        self._woken.set()

    def leave(self) -> None:
        """Its client has gone."""
        self.left = True
        self.wake()

    async def wait(self, seconds: float) -> None:
        """Until something is new, or that long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        self._woken.clear()

    def dismiss(self) -> None:
        """This process can't go on serving it."""
        self.dismissed = True
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time() + self._grace)

    @asynccontextmanager
    async def until_dismissed(self, grace: float = 0) -> AsyncIterator[None]:
        """Raises TimeoutError in the block, wherever that waits, so many seconds after the dismissal."""
        self._grace = grace
        try:
            async with asyncio.timeout(grace if self.dismissed else None) as self._limit:
                yield
        finally:
            self._limit = None
