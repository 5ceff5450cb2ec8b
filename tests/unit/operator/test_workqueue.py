"""The line of dirty keys."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from maestro.errors import BrokerAway
from maestro.kube import AUTOMATION
from maestro_operator.keys import Key
from maestro_operator.workqueue import WorkQueue


def key(name: str) -> Key:
    return Key(AUTOMATION, "bots", name)


@asynccontextmanager
async def running(sync: Callable[[Key], Awaitable[None]], **options: float) -> AsyncIterator[WorkQueue]:
    queue = WorkQueue(sync, workers=4, first_backoff=0.01, last_backoff=0.02, **options)  # type: ignore[arg-type]
    work = asyncio.create_task(queue.run())
    yield queue
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def until(reached: Callable[[], bool]) -> None:
    """Wait for it, however busy the machine; what exceeds it would come within the moment after."""
    for _ in range(1_000):
        if reached():
            break
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert reached()


async def test_marks_of_a_waiting_key_are_one_sync() -> None:
    synced: list[Key] = []

    async def sync(each: Key) -> None:
        synced.append(each)

    async with running(sync) as queue:
        for _ in range(10):
            queue.mark(key("a"))
        await until(lambda: bool(synced))
    assert synced == [key("a")]


async def test_a_key_marked_while_it_runs_runs_once_more_and_never_beside_itself() -> None:
    calls: Counter[str] = Counter()
    inside: set[Key] = set()

    async def sync(each: Key) -> None:
        assert each not in inside
        inside.add(each)
        calls[each.name] += 1
        await asyncio.sleep(0.1)
        inside.discard(each)

    async with running(sync) as queue:
        queue.mark(key("a"))
        await until(lambda: calls["a"] > 0)
        for _ in range(5):
            queue.mark(key("a"))
        await until(lambda: calls["a"] == 2 and not inside)
    assert calls == {"a": 2}


async def test_keys_run_side_by_side() -> None:
    together = asyncio.Barrier(4)

    met: list[Key] = []

    async def sync(each: Key) -> None:
        await asyncio.wait_for(together.wait(), 5)
        met.append(each)

    async with running(sync) as queue:
        for name in "abcd":
            queue.mark(key(name))
        await until(lambda: len(met) == 4)


async def test_it_knows_how_many_wait() -> None:
    gate = asyncio.Event()

    async def sync(_: Key) -> None:
        await gate.wait()

    async with running(sync) as queue:
        for name in "abcdef":
            queue.mark(key(name))
            queue.mark(key(name))
        await until(lambda: queue.depth == 2)  # of six, four are being synced
        gate.set()
        await until(lambda: queue.depth == 0)


@pytest.mark.parametrize("error", [BrokerAway(), RuntimeError("a bug")])
async def test_what_fails_is_tried_until_it_works_and_stops_nobody_else(error: Exception) -> None:
    calls: Counter[str] = Counter()

    async def sync(each: Key) -> None:
        calls[each.name] += 1
        if each.name == "bad" and calls["bad"] < 4:
            raise error

    async with running(sync) as queue:
        queue.mark(key("bad"))
        queue.mark(key("good"))
        await until(lambda: calls == {"bad": 4, "good": 1})
    assert calls == {"bad": 4, "good": 1}
