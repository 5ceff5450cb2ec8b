"""Automations read for executes: seldom, together, and never from before an edit."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from maestro.errors import NotFound
from maestro_api import known
from maestro_api.coalescer import Coalescer, Lane
from maestro_api.known import Known


class Database:
    """What each automation is now, and how often it was asked; stands in for the coalescer too."""

    def __init__(self) -> None:
        self.version: dict[int, str] = {1: "one", 2: "two"}
        self.asked: list[list[int]] = []
        self.go = asyncio.Event()
        self.go.set()

    def lane(self, write: object) -> Lane[int, Any]:
        return Lane(self.read)

    async def read(self, ids: Sequence[int]) -> list[Any]:
        self.asked.append(sorted(set(ids)))
        found = [self.version.get(each) or NotFound(f"no {each}") for each in ids]
        await self.go.wait()
        return found


def known_of(database: Database) -> Known:
    return Known(cast("Coalescer", database))


async def test_those_asked_for_at_once_share_a_read_and_the_next_ones_none() -> None:
    database = Database()
    automations = known_of(database)
    found = await asyncio.gather(*(automations.get(each) for each in [1, 2] * 20))
    assert found == ["one", "two"] * 20
    assert await automations.get(1) == "one"
    assert database.asked == [[1, 2]]


async def test_what_was_read_holds_for_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(known, "monotonic", lambda: now)
    database = Database()
    automations = known_of(database)
    await automations.get(1)
    database.version[1] = "one, edited by others"
    now += 0.9
    assert await automations.get(1) == "one"
    now += 0.2
    assert await automations.get(1) == "one, edited by others"


async def test_an_edit_here_counts_at_once_also_for_reads_under_way() -> None:
    database = Database()
    automations = known_of(database)
    await automations.get(2)
    database.go.clear()
    early = asyncio.create_task(automations.get(1))
    await asyncio.sleep(0.01)
    database.version |= {1: "one, edited", 2: "two, edited"}
    automations.forget()
    database.go.set()
    assert await early == "one"  # asked for before the edit was over
    assert await automations.get(1) == "one, edited"
    assert await automations.get(2) == "two, edited"


async def test_one_that_is_not_there_is_asked_for_each_time() -> None:
    database = Database()
    automations = known_of(database)
    for _ in range(2):
        with pytest.raises(NotFound):
            await automations.get(3)
    database.version[3] = "three"
    assert await automations.get(3) == "three"
