"""What readers of a job's live log come to, whatever the pace of each."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import pytest

from maestro.errors import NotFound
from maestro.job.live import News, Portion
from maestro.job.model import Level, LogLine, Status
from maestro_api.hub import Hub, Part, Reader

JOB = UUID(int=1)


def lines(*ids: int, message: str = "m") -> list[LogLine]:
    return [
        LogLine(each, JOB, datetime(2026, 11, 23, tzinfo=UTC), Level.INFO, message, False) for each in ids
    ]


def encode(line: LogLine) -> bytes:
    return b"%d%b " % (line.id, line.message.encode())


class Database:
    """A job's lines, read two at a time."""

    def __init__(self, *ids: int) -> None:
        self.ids = ids
        self.reads = 0

    async def history(self, job_id: UUID, after: int, upto: int) -> Portion:
        assert job_id == JOB
        self.reads += 1
        left = [each for each in self.ids if after < each <= upto]
        return Portion(lines(*left[:2]), len(left) > 2)


def hub_at(last_line: int, status: Status = Status.RUNNING) -> Hub:
    return Hub(JOB, status, last_line)


def reader_of(hub: Hub, database: Database | None = None, after: int = 0) -> Reader:
    reader = Reader(hub, after, (database or Database()).history, encode)
    hub.readers.add(reader)
    return reader


def found(*ids: int, status: Status = Status.RUNNING, more: bool = False, message: str = "m") -> News:
    return News(status, Portion(lines(*ids, message=message), more))


async def parts(reader: Reader) -> Sequence[Part]:
    """All that there is for now."""
    told = []
    while (part := await reader.next()) is not None:
        told.append(part)
    return told


def ids(told: Sequence[Part]) -> list[int]:
    return [int(each.partition(b"m")[0]) for part in told for each in part.lines.split()]


async def test_history_in_portions_then_steps() -> None:
    hub = hub_at(9)
    reader = reader_of(hub, Database(2, 3, 5, 7, 9), after=2)
    hub.take(found(11, 12), encode)
    assert await parts(reader) == [
        Part(b"3m 5m "),
        Part(b"7m 9m "),
        Part(status=Status.RUNNING),
        Part(b"11m 12m ", Status.RUNNING),
    ]
    hub.take(found(status=Status.COMPLETED), encode)
    assert await parts(reader) == [Part(b"", Status.COMPLETED)]


async def test_a_history_without_its_last_line_is_read_once() -> None:
    database = Database(1, 2)
    assert ids(await parts(reader_of(hub_at(9), database))) == [1, 2]
    assert database.reads == 1


async def test_a_reader_that_has_everything_asks_the_database_for_nothing() -> None:
    database = Database()
    assert await parts(reader_of(hub_at(9), database, after=9)) == [Part(status=Status.RUNNING)]
    assert database.reads == 0


async def test_an_ended_job_tells_its_end_after_its_lines() -> None:
    told = await parts(reader_of(hub_at(2, Status.FAILED), Database(1, 2)))
    assert told == [Part(b"1m 2m "), Part(status=Status.FAILED)]


async def test_the_end_waits_for_the_last_line() -> None:
    hub = hub_at(0)
    reader = reader_of(hub)
    hub.take(found(1, 2, status=Status.COMPLETED, more=True), encode)
    assert not hub.ended
    assert (await parts(reader))[-1] == Part(b"1m 2m ", Status.RUNNING)
    hub.take(found(3, status=Status.COMPLETED), encode)
    assert hub.ended
    assert await parts(reader) == [Part(b"3m ", Status.COMPLETED)]


async def test_lines_that_a_reader_saw_elsewhere_are_not_told_again() -> None:
    hub = hub_at(3)
    reader = reader_of(hub, Database(1, 2, 3), after=5)
    hub.take(found(4, 5, 6), encode)
    hub.take(found(7), encode)
    assert ids(await parts(reader)) == [6, 7]


async def test_who_falls_behind_goes_by_way_of_the_database() -> None:
    hub, big = hub_at(0), "m" + "x" * 100_000
    quick, slow = reader_of(hub), reader_of(hub, Database(*range(1, 9)))
    seen: list[int] = []
    for number in range(1, 9):
        status = Status.PENDING if number == 3 else Status.RUNNING
        hub.take(found(number, message=big, status=status), encode)
        seen += ids(await parts(quick))
    assert seen == list(range(1, 9))
    assert hub.first > 0
    told = await parts(slow)
    assert ids(told) == list(range(1, 9))
    assert told[-1] == Part(status=Status.RUNNING)
    hub.take(found(9), encode)
    assert ids(await parts(slow)) == [9]


async def test_who_falls_behind_within_its_history_loses_and_doubles_nothing() -> None:
    hub, big = hub_at(4), "m" + "x" * 100_000
    slow = reader_of(hub, Database(*range(1, 13)))
    assert ids([part for part in [await slow.next()] if part]) == [1, 2]
    for number in range(5, 13):
        hub.take(found(number, message=big), encode)
    assert ids(await parts(slow)) == list(range(3, 13))


async def test_steps_are_kept_up_to_a_size() -> None:
    hub = hub_at(0)
    for number in range(1, 1_001):
        hub.take(found(number, message="m" + "x" * 10_000), encode)
    assert 1 <= hub.next - hub.first < 30
    hub.take(found(1_001, message="m" + "x" * 1_000_000), encode)
    assert hub.next - hub.first == 1


async def test_readers_are_woken_by_what_is_new_alone() -> None:
    hub = hub_at(0)
    reader = reader_of(hub)
    await parts(reader)

    async def woken(within: float) -> None:
        async with asyncio.timeout(within):
            await reader.wait(60)

    hub.take(found(), encode)
    with pytest.raises(TimeoutError):
        await woken(0.05)
    hub.take(found(1), encode)
    await woken(5)
    with pytest.raises(TimeoutError):
        await woken(0.05)


async def test_a_job_that_is_gone_is_told_of_after_its_lines() -> None:
    hub = hub_at(0)
    reader = reader_of(hub)
    hub.take(found(1), encode)
    hub.take(None, encode)
    assert hub.ended
    assert [await reader.next(), await reader.next()][1] == Part(b"1m ", Status.RUNNING)
    with pytest.raises(NotFound):
        await reader.next()


@pytest.mark.parametrize("earlier", [True, False])
async def test_a_dismissed_reader_waits_no_longer(earlier: bool) -> None:
    reader = reader_of(hub_at(0))
    if earlier:
        reader.dismiss()
    else:
        asyncio.get_running_loop().call_later(0.01, reader.dismiss)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60), reader.until_dismissed():
            await asyncio.sleep(120)
    assert reader.dismissed
