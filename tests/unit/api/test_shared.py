import asyncio

import pytest

from maestro_api import shared as shared_module
from maestro_api.shared import Recent, Shared


class Source:
    """A query that takes until it is let go, and tells when it began."""

    def __init__(self) -> None:
        self.begun = 0
        self.failing = False
        self.go = asyncio.Semaphore(0)

    async def __call__(self) -> int:
        self.begun += 1
        number = self.begun
        await self.go.acquire()
        if self.failing:
            raise ValueError(number)
        return number


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_asks_while_a_query_is_under_way_shares_the_next() -> None:
    shared, query = Shared[int](), Source()
    first = asyncio.create_task(shared.answer("k", query))
    await settle()
    later = [asyncio.create_task(shared.answer("k", query)) for _ in range(5)]
    await settle()
    assert query.begun == 1
    query.go.release()
    assert await first == 1
    await settle()
    assert query.begun == 2
    latest = asyncio.create_task(shared.answer("k", query))  # the second has begun: not for this one
    await settle()
    query.go.release()
    assert await asyncio.gather(*later) == [2] * 5
    query.go.release()
    assert await latest == 3


async def test_who_asks_in_the_same_turn_shares_one() -> None:
    shared, query = Shared[int](), Source()
    query.go.release()
    assert await asyncio.gather(*(shared.answer("k", query) for _ in range(5))) == [1] * 5


async def test_other_keys_do_not_wait() -> None:
    shared, query, other = Shared[int](), Source(), Source()
    waiting = asyncio.create_task(shared.answer("k", query))
    other.go.release()
    assert await shared.answer("other", other) == 1
    query.go.release()
    assert await waiting == 1


async def test_who_hangs_up_leaves_the_query_to_the_others() -> None:
    shared, query = Shared[int](), Source()
    gone, stays = (asyncio.create_task(shared.answer("k", query)) for _ in range(2))
    await settle()
    gone.cancel()
    await settle()
    query.go.release()
    assert await stays == 1


async def test_an_error_is_for_all_who_shared_it_and_for_nobody_later() -> None:
    shared, query = Shared[int](), Source()
    query.failing = True
    asked = [asyncio.create_task(shared.answer("k", query)) for _ in range(2)]
    await settle()
    later = asyncio.create_task(shared.answer("k", query))
    await settle()
    query.go.release()
    failed = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(each) for each in failed] == [ValueError] * 2
    query.failing = False
    query.go.release()
    assert await later == 2
    query.failing = True
    query.go.release()
    with pytest.raises(ValueError, match="3"):
        await shared.answer("k", query)


async def test_nothing_is_held_of_what_has_been_answered() -> None:
    shared, query = Shared[int](), Source()
    asked = [asyncio.create_task(shared.answer(key, query)) for key in "abcabc"]
    await settle()
    for _ in range(3):
        query.go.release()
    await asyncio.gather(*asked)
    await settle()
    assert not shared._last


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1_000.0]
    monkeypatch.setattr(shared_module, "monotonic", lambda: now[0])
    return now


async def test_an_answer_is_held_from_when_it_was_found(clock: list[float]) -> None:
    recent, query = Recent[int](2.0), Source()
    first = asyncio.create_task(recent.answer("k", query))
    await settle()
    clock[0] += 60
    query.go.release()
    assert await first == 1
    clock[0] += 1.9
    assert await recent.answer("k", query) == 1
    clock[0] += 0.1
    query.go.release()
    assert await recent.answer("k", query) == 2
    assert query.begun == 2


async def test_who_asks_while_a_query_is_under_way_waits_for_it(clock: list[float]) -> None:
    recent, query = Recent[int](2.0), Source()
    asked = [asyncio.create_task(recent.answer("k", query)) for _ in range(3)]
    await settle()
    clock[0] += 60
    asked.append(asyncio.create_task(recent.answer("k", query)))
    await settle()
    asked[0].cancel()
    query.go.release()
    assert await asyncio.gather(*asked[1:]) == [1] * 3
    assert query.begun == 1


async def test_an_error_is_not_held(clock: list[float]) -> None:
    recent, query = Recent[int](2.0), Source()
    query.failing = True
    query.go.release()
    with pytest.raises(ValueError, match="1"):
        await recent.answer("k", query)
    query.failing = False
    query.go.release()
    assert await recent.answer("k", query) == 2


async def test_of_many_keys_the_latest_are_held(clock: list[float]) -> None:
    recent, query = Recent[int](2.0, most=2), Source()
    for _ in range(4):
        query.go.release()
    assert [await recent.answer(key, query) for key in "abc"] == [1, 2, 3]
    assert [await recent.answer(key, query) for key in "cb"] == [3, 2]
    assert await recent.answer("a", query) == 4
