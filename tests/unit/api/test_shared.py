import asyncio

import pytest

from maestro_api.shared import Shared


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
