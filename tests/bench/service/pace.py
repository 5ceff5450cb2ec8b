"""Two ways to watch a worker: give it one job at a time, or count what it does of many."""

import time
from collections.abc import Callable
from pathlib import Path

from bench.service.measured import ScenarioFailed

_INTERVAL = 0.025
_FIRST_SECONDS = 30
_SETTLING_SECONDS = 0.5
_WARM_UP_SECONDS = 2


def send_paced(send: Callable[[int], object], seconds: float, noted: Path) -> None:
    """Send the monotonic time again and again, with rests that let a worker be idle each time.

    The worker appends to `noted`. A first message only tells that it is there: what it notes of that goes.
    Raises ScenarioFailed when nobody takes it.
    """
    send(time.monotonic_ns())
    _await(noted.exists, "no message was taken")
    time.sleep(_SETTLING_SECONDS)
    noted.unlink()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        send(time.monotonic_ns())
        time.sleep(_INTERVAL)
    time.sleep(_SETTLING_SECONDS)


def completed_a_second(count: Callable[[], int], seconds: float) -> float:
    """Jobs a second, from two seconds after the first one on. Raises ScenarioFailed when they run out."""
    _await(count, "no job was done")
    time.sleep(_WARM_UP_SECONDS)
    before, began = count(), time.perf_counter()
    time.sleep(seconds)
    done, elapsed = count() - before, time.perf_counter() - began
    time.sleep(_SETTLING_SECONDS)
    if count() == before + done:
        raise ScenarioFailed("the jobs ran out, or the worker stopped")
    return done / elapsed


def _await(happened: Callable[[], object], what_not: str) -> None:
    deadline = time.monotonic() + _FIRST_SECONDS
    while not happened():
        if time.monotonic() > deadline:
            raise ScenarioFailed(f"{what_not} within {_FIRST_SECONDS} s")
        time.sleep(0.05)
