"""Readers who ask for the same thing share a query, none of them told anything staler than he may be."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")

Query = Callable[[], Awaitable[T]]


class Shared(Generic[T]):
    """`found = await shared.answer(key, query)`.

    Whoever asks while a query for the same key is under way waits for the next one, which begins as soon as
    that one has ended and serves all who came meanwhile. So an answer always comes from a query begun after
    it was asked for: it holds whatever had been committed by then, as if each had asked for himself. At most
    one query for a key is under way and one is next, however many ask.
    """

    def __init__(self) -> None:
        self._last: dict[Hashable, _Flight[T]] = {}

    async def answer(self, key: Hashable, query: Query[T]) -> T:
        """What `query`, or another reader's for the same key, finds. Raises what it raises."""
        last = self._last.get(key)
        if last is None or last.begun:
            self._last[key] = last = _Flight(query, last)
            last.task.add_done_callback(lambda _: self._forget(key))
        # Shielded: a reader who hangs up leaves the query to the others.
        return await asyncio.shield(last.task)

    def _forget(self, key: Hashable) -> None:
        """Unless there is a next one."""
        if self._last[key].task.done():
            del self._last[key]


class _Flight(Generic[T]):
    """A query that is under way, or next after another one."""

    def __init__(self, query: Query[T], after: "_Flight[T] | None") -> None:
        self.begun = False
        self.task = asyncio.create_task(self._run(query, after))
        self.task.add_done_callback(_look)

    async def _run(self, query: Query[T], after: "_Flight[T] | None") -> T:
        if after:
            await asyncio.wait([after.task])
        self.begun = True
        return await query()


class Recent(Generic[T]):
    """`found = await recent.answer(key, query)`: found at most `seconds` ago, or by a query under way.

    The time counts from the end of a query, so that one that takes longer than that does not follow itself
    without a pause. Holds the answers for `most` keys.
    """

    def __init__(self, seconds: float, most: int = 100) -> None:
        self._seconds = seconds
        self._most = most
        self._held: dict[Hashable, _Held[T]] = {}  # the least lately begun first

    async def answer(self, key: Hashable, query: Query[T]) -> T:
        """What `query`, or an earlier one for the same key, has found.

        Raises what it raises; who asks later begins anew.
        """
        held = self._held.get(key)
        if held is None or monotonic() >= held.until:
            self._held.pop(key, None)
            held = self._held[key] = _Held(asyncio.ensure_future(query()))
            held.task.add_done_callback(lambda task: self._ended(key, task))
            while len(self._held) > self._most:
                del self._held[next(iter(self._held))]
        return await asyncio.shield(held.task)

    def _ended(self, key: Hashable, task: asyncio.Future[T]) -> None:
        failed = task.cancelled() or task.exception() is not None
        if (held := self._held.get(key)) is None or held.task is not task:
            return
        held.until = monotonic() + self._seconds
        if failed:
            del self._held[key]


@dataclass(slots=True)
class _Held(Generic[T]):
    task: asyncio.Future[T]
    until: float = inf


def _look(task: asyncio.Future[T]) -> None:
    """Takes note of an error that nobody waits for any more."""
    if not task.cancelled():
        task.exception()
