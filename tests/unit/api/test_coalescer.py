"""Lanes over a flush in memory: what shares a commit, in which order, and who is told what."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from psycopg import DataError
from psycopg.errors import (
    CheckViolation,
    DeadlockDetected,
    NumericValueOutOfRange,
    SerializationFailure,
    StatementTooComplex,
    UndefinedTable,
)

from maestro.errors import BadInput, DatabaseAway, MaestroError, NotFound, Overloaded, Unavailable
from maestro_api import coalescer
from maestro_api.coalescer import Lane, followed_up

Call = tuple[str, int]
"""A key and a number."""


class Flushes:
    """Notes each batch and answers with the calls' numbers, once it is let go."""

    def __init__(self, *, held: bool = False) -> None:
        self.batches: list[list[Call]] = []
        self.committed: list[Call] = []
        self.flying = self.most_flying = 0
        self.errors: list[Exception] = []
        self.bad: dict[Call, Exception] = {}
        self.refused: dict[Call, MaestroError] = {}
        self._go = asyncio.Event()
        if not held:
            self._go.set()

    def let_go(self) -> None:
        self._go.set()

    async def __call__(self, calls: Sequence[Call]) -> list[int | MaestroError]:
        self.batches.append(list(calls))
        self.flying += 1
        self.most_flying = max(self.most_flying, self.flying)
        try:
            await self._go.wait()
            await asyncio.sleep(0)
        finally:
            self.flying -= 1
        if self.errors:
            raise self.errors.pop(0)
        for call in calls:
            if call in self.bad:
                raise self.bad[call]
        return [self.refused.get(call, call[1]) for call in calls]

    def note(self, done: Sequence[tuple[Call, int]]) -> None:
        assert [call[1] for call, _ in done] == [answer for _, answer in done]
        self.committed += [call for call, _ in done]


def lane_of(flushes: Flushes, **keywords: Any) -> Lane[Call, int]:
    return Lane(followed_up(flushes, flushes.note), **keywords)


def keyed(flushes: Flushes, *, many: bool = False) -> Lane[Call, int]:
    return lane_of(flushes, key=lambda call: call[0], many_per_key=many)


def send(lane: Lane[Call, int], *calls: Call) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(lane.submit(call)) for call in calls]


def calls_of(*numbers: int, key: str = "") -> list[Call]:
    return [(key or str(number), number) for number in numbers]


async def turns() -> None:
    """Until everything that can go on has gone on."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_lone_call_is_flushed_at_once() -> None:
    flushes = Flushes(held=True)
    lane = lane_of(flushes)
    [task] = send(lane, ("a", 1))
    await asyncio.sleep(0)  # it submits
    await asyncio.sleep(0)  # the flush begins
    assert flushes.batches == [[("a", 1)]]
    flushes.let_go()
    assert await task == 1
    assert lane.held == 0


async def test_calls_of_one_turn_share_a_flush() -> None:
    flushes = Flushes()
    calls = calls_of(*range(50))
    assert await asyncio.gather(*send(lane_of(flushes), *calls)) == list(range(50))
    assert flushes.batches == [calls]
    assert flushes.committed == calls


async def test_what_arrives_during_two_flushes_goes_into_the_next_together() -> None:
    flushes = Flushes(held=True)
    lane = lane_of(flushes)
    tasks = []
    for number in range(10):
        tasks += send(lane, ("a", number))
        await turns()
    assert flushes.batches == [[("a", 0)], [("a", 1)]]
    flushes.let_go()
    assert await asyncio.gather(*tasks) == list(range(10))
    assert flushes.batches[2:] == [[("a", number) for number in range(2, 10)]]
    assert flushes.most_flying == 2


async def test_a_flush_is_bounded_by_count_and_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coalescer, "FLUSH_COUNT", 3)
    flushes = Flushes()
    await asyncio.gather(*send(lane_of(flushes), *calls_of(*range(7))))
    assert [len(batch) for batch in flushes.batches] == [3, 3, 1]
    monkeypatch.setattr(coalescer, "FLUSH_BYTES", 100)
    heavy = Flushes()
    lane = lane_of(heavy, size=lambda call: call[1])
    await asyncio.gather(*send(lane, *calls_of(60, 60, 500, 60, 60)))
    assert [[call[1] for call in batch] for batch in heavy.batches] == [[60, 60], [500], [60, 60]]


@pytest.mark.parametrize("bound", ["LINE_COUNT", "LINE_BYTES"])
async def test_beyond_what_a_lane_holds_calls_are_refused(
    bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coalescer, bound, 4)
    flushes = Flushes(held=True)
    lane = lane_of(flushes, size=lambda _: 1)
    tasks = send(lane, *calls_of(*range(4)))
    await turns()
    with pytest.raises(Overloaded):
        await lane.submit(("a", 4))
    flushes.let_go()
    assert await asyncio.gather(*tasks) == [0, 1, 2, 3]
    assert await lane.submit(("a", 4)) == 4


async def test_a_flush_has_one_call_of_a_key_and_no_two_flushes_have_the_same() -> None:
    flushes = Flushes(held=True)
    lane = keyed(flushes)
    tasks = send(lane, ("a", 1), ("a", 2), ("b", 3), ("a", 4))
    await turns()
    tasks += send(lane, ("c", 5), ("b", 6), ("a", 7))
    await turns()
    assert flushes.batches == [[("a", 1), ("b", 3)], [("c", 5)]]
    flushes.let_go()
    assert await asyncio.gather(*tasks) == [1, 2, 3, 4, 5, 6, 7]
    assert [call for call in flushes.committed if call[0] == "a"] == [("a", n) for n in (1, 2, 4, 7)]
    assert [call for call in flushes.committed if call[0] == "b"] == [("b", 3), ("b", 6)]
    assert all(len({key for key, _ in batch}) == len(batch) for batch in flushes.batches)
    assert lane.held == 0


async def test_many_calls_of_a_key_stay_in_order_over_flushes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coalescer, "FLUSH_COUNT", 4)
    flushes = Flushes()
    lane = keyed(flushes, many=True)
    calls = [(key, number) for number in range(11) for key in "ab"]
    tasks = []
    for start in range(0, len(calls), 5):
        tasks += send(lane, *calls[start : start + 5])
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    for key in "ab":
        assert [number for kept, number in flushes.committed if kept == key] == list(range(11))
    assert any(len(batch) == 4 for batch in flushes.batches)
    assert flushes.most_flying == 2


async def test_a_refused_call_is_told_alone_and_not_counted_as_committed() -> None:
    flushes = Flushes()
    flushes.refused[("2", 2)] = NotFound("no job 2")
    one, two, three = send(lane_of(flushes), *calls_of(1, 2, 3))
    with pytest.raises(NotFound, match="no job 2"):
        await two
    assert (await one, await three) == (1, 3)
    assert flushes.committed == calls_of(1, 3)


@pytest.mark.parametrize(
    "error",
    [
        CheckViolation("class 23"),
        NumericValueOutOfRange("class 22"),
        StatementTooComplex("class 54"),
        DataError("refused before it was sent"),
        UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
    ],
)
async def test_one_bad_row_among_50_fails_alone(error: Exception) -> None:
    flushes = Flushes()
    flushes.bad[("17", 17)] = error
    tasks = send(lane_of(flushes), *calls_of(*range(50)))
    await asyncio.wait(tasks)
    with pytest.raises(BadInput, match="can't keep this"):
        tasks.pop(17).result()
    assert [task.result() for task in tasks] == [number for number in range(50) if number != 17]
    assert sorted(call[1] for call in flushes.committed) == [task.result() for task in tasks]
    assert len(flushes.batches) <= 13  # twice the depth of the halving, and the first


async def test_what_nobody_foresaw_is_told_as_it_is_and_to_its_call_alone() -> None:
    flushes = Flushes()
    flushes.bad[("1", 1)] = ZeroDivisionError()
    flushes.bad[("2", 2)] = UndefinedTable("gone")
    zero, one, two, three = send(lane_of(flushes), *calls_of(0, 1, 2, 3))
    with pytest.raises(ZeroDivisionError):
        await one
    with pytest.raises(UndefinedTable):
        await two
    assert (await zero, await three) == (0, 3)


@pytest.mark.parametrize("error", [DeadlockDetected("d"), SerializationFailure("s")])
async def test_what_trying_again_cures_is_tried_again(error: Exception) -> None:
    flushes = Flushes()
    flushes.errors = [error] * (coalescer.TRIES - 1)
    calls = calls_of(1, 2)
    assert await asyncio.gather(*send(lane_of(flushes), *calls)) == [1, 2]
    assert flushes.batches == [calls] * coalescer.TRIES
    flushes.errors = [error] * coalescer.TRIES
    with pytest.raises(Unavailable):
        await lane_of(flushes).submit(("a", 1))


async def test_while_the_database_is_away_all_are_told_and_nothing_is_tried_again() -> None:
    flushes = Flushes()
    flushes.errors = [DatabaseAway()]
    tasks = send(lane_of(flushes), *calls_of(1, 2))
    await asyncio.wait(tasks)
    assert [type(task.exception()) for task in tasks] == [DatabaseAway] * 2
    assert (len(flushes.batches), flushes.committed) == (1, [])


async def test_who_waited_as_long_as_the_flush_that_failed_is_told_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coalescer, "IN_FLIGHT", 1)
    monkeypatch.setattr(coalescer, "FLUSH_COUNT", 1)
    flushes = Flushes(held=True)
    lane = keyed(flushes)
    tasks = send(lane, ("a", 1), ("b", 2), ("b", 3), ("a", 4))
    await turns()
    later = send(lane, ("c", 5))
    await turns()
    flushes.errors = [DatabaseAway()]
    flushes.let_go()
    await asyncio.wait(tasks)
    assert [type(task.exception()) for task in tasks] == [DatabaseAway] * 4
    assert await asyncio.gather(*later) == [5]
    assert flushes.batches == [[("a", 1)], [("c", 5)]]
    assert lane.held == 0


async def test_lanes_take_turns_and_none_takes_them_all() -> None:
    shared = coalescer.Shared()
    one, two = Flushes(held=True), Flushes(held=True)
    lanes = [lane_of(flushes, shared=shared) for flushes in (one, two)]
    tasks = []
    for number in range(4):
        for lane in lanes:
            tasks += send(lane, ("a", number))
            await turns()
    assert (len(one.batches), len(two.batches)) == (2, 1)
    one.let_go()
    two.let_go()
    assert await asyncio.gather(*tasks) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert two.batches[1] == [("a", 1), ("a", 2), ("a", 3)]


async def test_who_waits_for_a_turn_while_the_database_is_away_is_told_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coalescer, "AT_ONCE", 1)
    shared = coalescer.Shared()
    slow, away, other = Flushes(held=True), Flushes(), Flushes()
    away.errors = [DatabaseAway()]
    tasks = []
    for flushes in (slow, away, other):
        tasks += send(lane_of(flushes, shared=shared), ("a", 1))
        await turns()
    slow.let_go()
    assert await tasks[0] == 1
    for task in tasks[1:]:
        with pytest.raises(DatabaseAway):
            await task
    assert (len(away.batches), other.batches) == (1, [])


async def test_who_hangs_up_takes_nobody_along() -> None:
    flushes = Flushes(held=True)
    lane = lane_of(flushes)
    flying = send(lane, *calls_of(1, 2))
    await turns()
    flying += send(lane, ("3", 3))
    await turns()
    waiting = send(lane, *calls_of(4, 5))
    await turns()
    flying[0].cancel()
    waiting[0].cancel()
    await turns()
    flushes.let_go()
    assert await asyncio.gather(*flying[1:], waiting[1]) == [2, 3, 5]
    await lane.close()
    # What was taken is done and followed up, for whomever.
    assert sorted(flushes.committed) == calls_of(1, 2, 3, 4, 5)
    assert (flying[0].cancelled(), waiting[0].cancelled()) == (True, True)


async def test_a_follow_up_that_fails_makes_no_committed_call_fail(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("a broken follow-up")

    lane = Lane(followed_up(Flushes(), broken))
    assert await asyncio.gather(*send(lane, *calls_of(1, 2))) == [1, 2]
    assert "a broken follow-up" in caplog.text


async def test_the_end_waits_for_what_was_taken_and_takes_no_more() -> None:
    flushes = Flushes(held=True)
    lane = keyed(flushes)
    tasks = send(lane, ("a", 1), ("a", 2), ("a", 3), ("b", 4))
    await turns()
    closing = asyncio.create_task(lane.close())
    await turns()
    with pytest.raises(Unavailable, match="stopping"):
        await lane.submit(("c", 5))
    assert not closing.done()
    flushes.let_go()
    await closing
    assert [task.result() for task in tasks] == [1, 2, 3, 4]
