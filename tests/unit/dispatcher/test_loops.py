"""Loops go on through outages and surprises, say each outage once, and know when they hang."""

import asyncio
import logging
import time

import pytest

from maestro import metrics
from maestro.dispatcher import loops
from maestro.dispatcher.health import _reply
from maestro.dispatcher.loops import Loop, Outage
from maestro.errors import DatabaseAway


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "OUTAGE_SECONDS", 0.001)
    monkeypatch.setattr(loops, "SURPRISE_SECONDS", 0.001)


async def test_an_outage_is_said_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    stop, outage, calls = asyncio.Event(), Outage("PostgreSQL"), 0

    async def step() -> float:
        nonlocal calls
        calls += 1
        if calls <= 5:
            raise DatabaseAway
        outage.back()
        stop.set()
        return 0

    await asyncio.wait_for(Loop("fire", step, outage).run(stop), 10)
    assert [record.message for record in caplog.records] == [
        "PostgreSQL is away, trying again until it is back",
        "PostgreSQL is back",
    ]


async def test_a_surprise_is_logged_and_the_loop_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    stop, calls = asyncio.Event(), 0

    async def step() -> float:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError("nobody thought of this")
        stop.set()
        return 0

    await asyncio.wait_for(Loop("fire", step, Outage("PostgreSQL")).run(stop), 10)
    assert calls == 2
    assert "nobody thought of this" in caplog.text


async def test_metrics_tell_of_each_step_and_of_those_that_failed() -> None:
    stop, calls = asyncio.Event(), 0

    async def step() -> float:
        nonlocal calls
        calls += 1
        match calls:
            case 1:
                raise DatabaseAway
            case 2:
                raise RuntimeError("nobody thought of this")
        stop.set()
        return 0

    await asyncio.wait_for(Loop("told", step, Outage("PostgreSQL")).run(stop), 10)
    registry = metrics.Registry(metrics.DISPATCHER)
    names = ("maestro_dispatcher_step_seconds_count", "maestro_dispatcher_step_failures_total")
    assert [registry.get_sample_value(name, {"step": "told"}) for name in names] == [3, 2]


async def test_a_stop_ends_a_long_rest() -> None:
    stop = asyncio.Event()

    async def step() -> float:
        asyncio.get_running_loop().call_later(0.01, stop.set)
        return 3600

    await asyncio.wait_for(Loop("partitions", step, Outage("PostgreSQL")).run(stop), 10)


async def test_a_step_that_hangs_makes_the_process_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "STUCK_SECONDS", 0.05)
    stop = asyncio.Event()

    async def hang() -> float:
        await asyncio.sleep(3600)
        return 0

    async def rest() -> float:
        return 3600

    stuck, resting = Loop("pay", hang, Outage("x")), Loop("partitions", rest, Outage("x"))
    tasks = [asyncio.create_task(loop.run(stop)) for loop in (stuck, resting)]
    await asyncio.sleep(0.2)
    assert (stuck.alive, resting.alive) == (False, True)
    assert b"503" in _reply(b"GET /healthz HTTP/1.1\r\n", [stuck, resting])
    assert b"stuck: pay" in _reply(b"GET /healthz HTTP/1.1\r\n", [stuck, resting])
    assert b"200 OK" in _reply(b"GET /healthz HTTP/1.1\r\n", [resting])
    assert b"404" in _reply(b"GET / HTTP/1.1\r\n", [resting])
    for task in tasks:
        task.cancel()


def test_a_try_that_began_before_it_came_back_tells_of_no_new_outage(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    outage, began = Outage("PostgreSQL"), time.monotonic()
    outage.away(began)
    outage.back()
    outage.away(began)
    outage.away(time.monotonic() + 1)
    said = [record.getMessage() for record in caplog.records]
    away = "PostgreSQL is away, trying again until it is back"
    assert said == [away, "PostgreSQL is back", away]
