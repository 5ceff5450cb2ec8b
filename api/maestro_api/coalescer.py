"""Concurrent calls of one kind share a statement and a commit, without ever waiting for a timer.

A flush takes every call of its lane that arrived while earlier flushes were in flight: up to two of its own,
up to three of all lanes. So a lone call goes out at once, and the busier the server is, the more calls each
commit carries.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from uuid import UUID

import psycopg
from psycopg.errors import DeadlockDetected, SerializationFailure

from maestro import metrics
from maestro.db import Connection, Pool, autocommit
from maestro.errors import BadInput, DatabaseAway, MaestroError, Overloaded, Unavailable

log = logging.getLogger(__name__)

Call = TypeVar("Call")
Answer = TypeVar("Answer")

Flush = Callable[[Sequence[Call]], Awaitable[Sequence[Answer | MaestroError]]]
"""Commits these calls, all or none, and answers each in its place: a refused one with its exception."""

Write = Callable[[Connection, Sequence[Call]], Awaitable[Sequence[Answer | MaestroError]]]
"""The same on a connection that commits each statement; `write` opens a transaction where it needs one."""

Committed = Callable[[Sequence[tuple[Call, Answer]]], None]
"""Told, in the event loop, calls that were committed, with their answers. Does not wait."""

Changed = Callable[[Sequence[UUID]], None]
"""Told, right after a commit, the jobs that it touched. Neither waits nor raises."""

IN_FLIGHT = 2
"""Flushes of a lane at once: while the server commits one, the next is prepared."""

AT_ONCE = 3
"""Flushes of all lanes at once. Each costs about the same whatever it carries, so fewer are better; yet a
lane whose two wait for a lock leaves one to the others."""

FLUSH_COUNT = 500
FLUSH_BYTES = 1024 * 1024
"""A flush takes no further call once it has this much: it shall not hold its locks, and its callers, long."""

ROW_BYTES = 200
"""What a row takes beside its text, for estimates of a call's size."""

LINE_COUNT = 5_000
LINE_BYTES = 64 * 1024 * 1024
"""What a lane holds, waiting and in flight; further calls are refused."""

TRIES = 4
"""Of a flush that meets a deadlock or a serialization failure, which trying again cures."""

# What was sent is at fault, not the server: a value out of range, a broken constraint, an exceeded limit.
_DATA_CLASSES = ("22", "23", "54")


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Call, Answer]):
    call: Call
    size: int
    since: float
    answer: asyncio.Future[Answer]
    key: Hashable = field(init=False)


class Shared:
    """What lanes over the same database share: their turns, and that it is away."""

    def __init__(self) -> None:
        self.turns = asyncio.Semaphore(AT_ONCE)
        self.lanes: list[Lane[Any, Any]] = []


class Lane(Generic[Call, Answer]):
    """`answer = await lane.submit(call)`, and `await lane.close()` at the end.

    Calls of one `key` never overtake each other: while a flush has some, no other takes any. A flush takes
    one call of a key, or with `many_per_key` all, in the order of their arrival. `size` is about the bytes
    that a call holds.
    """

    def __init__(
        self,
        flush: Flush[Call, Answer],
        *,
        key: Callable[[Call], Hashable] | None = None,
        many_per_key: bool = False,
        size: Callable[[Call], int] = lambda _: ROW_BYTES,
        shared: Shared | None = None,
    ) -> None:
        self._flush = flush
        self._key = key
        self._many_per_key = many_per_key
        self._size = size
        self._shared = shared or Shared()
        self._shared.lanes.append(self)
        # The keys with calls, waiting or in flight, and those calls that still wait.
        self._waiting: dict[Hashable, deque[_Waiting[Call, Answer]]] = {}
        self._ready: deque[Hashable] = deque()  # keys whose calls the next flush may take
        self._held_count = self._held_bytes = 0
        self._flights: set[asyncio.Task[None]] = set()
        self._starting = False
        self._closed = False

    @property
    def held(self) -> int:
        """Calls waiting and in flight."""
        return self._held_count

    async def submit(self, call: Call) -> Answer:
        """The answer, once it is committed.

        Raises the refusal of this very call, BadInput when the database can't keep it, Overloaded,
        DatabaseAway. A caller who gives up waiting leaves the call in its flush.
        """
        if self._closed:
            raise Unavailable("This server is stopping; try again in a few seconds.")
        if self._held_count >= LINE_COUNT or self._held_bytes >= LINE_BYTES:
            raise Overloaded
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._hold(_Waiting(call, self._size(call), monotonic(), answer))
        self._start()
        return await answer

    async def close(self) -> None:
        """Take no more calls and wait for the answers to those taken."""
        self._closed = True
        while self._flights:
            await asyncio.wait(self._flights)

    def _hold(self, waiting: _Waiting[Call, Answer]) -> None:
        waiting.key = waiting if self._key is None else self._key(waiting.call)
        self._held_count += 1
        self._held_bytes += waiting.size
        if (calls := self._waiting.get(waiting.key)) is None:
            calls = self._waiting[waiting.key] = deque()
            self._ready.append(waiting.key)
        calls.append(waiting)

    def _start(self) -> None:
        """Begin a flush if there is one to make and few are in flight."""
        if self._ready and not self._starting and len(self._flights) < IN_FLIGHT:
            self._starting = True
            self._flights.add(asyncio.create_task(self._fly()))

    async def _fly(self) -> None:
        # Begun in the next turn of the event loop: all calls that arrived in this one are on board.
        async with self._shared.turns:
            batch = self._take()
            self._starting = False
            self._start()
            try:
                if batch:  # not all refused while this flush waited for its turn
                    await self._commit(batch)
            finally:
                self._release(batch)
        self._flights.discard(asyncio.current_task())
        self._start()

    def _take(self) -> list[_Waiting[Call, Answer]]:
        batch: list[_Waiting[Call, Answer]] = []
        size = 0
        while self._ready and len(batch) < FLUSH_COUNT and size < FLUSH_BYTES:
            calls = self._waiting[self._ready.popleft()]
            batch.append(calls.popleft())
            size += batch[-1].size
            while self._many_per_key and calls and len(batch) < FLUSH_COUNT and size < FLUSH_BYTES:
                batch.append(calls.popleft())
                size += batch[-1].size
        return batch

    def _release(self, batch: Sequence[_Waiting[Call, Answer]]) -> None:
        self._held_count -= len(batch)
        self._held_bytes -= sum(each.size for each in batch)
        for key in {each.key: None for each in batch}:
            if self._waiting[key]:
                self._ready.append(key)
            else:
                del self._waiting[key]
        for each in batch:
            each.answer.cancel()  # nobody is left waiting, whatever ended the flush

    async def _commit(self, batch: Sequence[_Waiting[Call, Answer]]) -> None:
        began = monotonic()
        try:
            answers = await self._tried([each.call for each in batch])
        except DatabaseAway as error:
            _refuse(batch, error)
            for lane in self._shared.lanes:
                lane.refuse_since(began, error)
        except Unavailable as error:
            _refuse(batch, error)
        except Exception as error:  # noqa: BLE001  # one call's doing: in halves, until it stands alone
            if len(batch) == 1:
                _refuse(batch, _refusal(error))
                return
            middle = len(batch) // 2
            await self._commit(batch[:middle])
            await self._commit(batch[middle:])
        else:
            for each, answer in zip(batch, answers, strict=True):
                if isinstance(answer, MaestroError):
                    _refuse([each], answer)
                elif not each.answer.done():
                    each.answer.set_result(answer)

    async def _tried(self, calls: Sequence[Call]) -> Sequence[Answer | MaestroError]:
        for _ in range(TRIES):
            try:
                return await self._flush(calls)
            except (DeadlockDetected, SerializationFailure) as error:
                log.info("a flush of %d calls met %s, trying again", len(calls), type(error).__name__)
        raise Unavailable("Other writes were in the way each time; try again in a few seconds.")

    def refuse_since(self, began: float, error: MaestroError) -> None:
        """Refuse who waited already when a flush began that failed: for the database, as long as it did."""
        for calls in self._waiting.values():
            while calls and calls[0].since < began:
                stale = calls.popleft()
                self._held_count -= 1
                self._held_bytes -= stale.size
                _refuse([stale], error)
        for key in [key for key in self._ready if not self._waiting[key]]:
            del self._waiting[key]
        self._ready = deque(key for key in self._ready if key in self._waiting)


def _refuse(batch: Sequence[_Waiting[Call, Answer]], error: Exception) -> None:
    for each in batch:
        if not each.answer.done():
            each.answer.set_exception(error)


def _refusal(error: Exception) -> Exception:
    """What a call is told that fails even alone."""
    match error:
        case UnicodeEncodeError():
            said = "it is not storable text"
        case psycopg.Error() if isinstance(error, psycopg.DataError) or _state(error)[:2] in _DATA_CLASSES:
            said = error.diag.message_primary or str(error)
        case _:
            return error
    return BadInput(f"The database can't keep this ({said}); send other values.")


def _state(error: psycopg.Error) -> str:
    return error.sqlstate or ""


def answered(answer: Answer | MaestroError) -> Answer:
    """The answer of a call in a list; raises its refusal."""
    if isinstance(answer, MaestroError):
        raise answer
    return answer


def followed_up(flush: Flush[Call, Answer], committed: Committed[Call, Answer]) -> Flush[Call, Answer]:
    """The flush, after which `committed` is told what it committed, whether or not the callers still wait."""

    async def following_up(calls: Sequence[Call]) -> Sequence[Answer | MaestroError]:
        answers = await flush(calls)
        pairs = zip(calls, answers, strict=True)
        try:
            committed([(call, answer) for call, answer in pairs if not isinstance(answer, MaestroError)])
        except Exception:  # it is committed, whatever comes after
            log.exception("what follows a commit failed")
        return answers

    return following_up


def _measured(flush: Flush[Call, Answer], write: Write[Call, Answer]) -> Flush[Call, Answer]:
    """The flush, told by the metrics under the name of what it writes with."""
    name = getattr(write, "__name__", metrics.OTHER).strip("_")
    rows, seconds = metrics.FLUSH_ROWS.labels(name), metrics.FLUSH_SECONDS.labels(name)

    async def measured(calls: Sequence[Call]) -> Sequence[Answer | MaestroError]:
        rows.observe(len(calls))
        with seconds.time():
            return await flush(calls)

    return measured


class Coalescer:
    """The lanes of a process: `async with Coalescer(pool) as coalescer: lane = coalescer.lane(write, …)`.

    `changed` is told after each commit which jobs it touched. The end waits for what was taken.
    """

    def __init__(self, pool: Pool, changed: Changed = lambda _: None) -> None:
        self._pool = pool
        self.changed = changed
        self._shared = Shared()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(lane.close() for lane in self._shared.lanes))

    def of_jobs(
        self,
        write: Write[Call, Answer],
        job_of: Callable[[Call], UUID],
        *,
        many_per_job: bool = False,
        size: Callable[[Call], int] = lambda _: ROW_BYTES,
        committed: Committed[Call, Answer] = lambda _: None,
    ) -> Lane[Call, Answer]:
        """A lane of calls that each concern one job that is there already."""

        def both(done: Sequence[tuple[Call, Answer]]) -> None:
            committed(done)
            self.changed(list({job_of(call): None for call, _ in done}))

        return self.lane(write, key=job_of, many_per_key=many_per_job, size=size, committed=both)

    def lane(
        self,
        write: Write[Call, Answer],
        *,
        key: Callable[[Call], Hashable] | None = None,
        many_per_key: bool = False,
        size: Callable[[Call], int] = lambda _: ROW_BYTES,
        committed: Committed[Call, Answer] = lambda _: None,
    ) -> Lane[Call, Answer]:
        """A lane that flushes with `write`, on a connection that commits each statement."""

        async def flush(calls: Sequence[Call]) -> Sequence[Answer | MaestroError]:
            async with autocommit(self._pool) as conn:
                return await write(conn, calls)

        followed = followed_up(_measured(flush, write), committed)
        return Lane(followed, key=key, many_per_key=many_per_key, size=size, shared=self._shared)
