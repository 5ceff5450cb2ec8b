"""Two ways to watch a worker: give it one job at a time, or count what it does of many."""

import time
from collections.abc import Callable

from bench.service.measured import ScenarioFailed

_INTERVAL = 0.025
_FIRST_SECONDS = 30
_SETTLING_SECONDS = 0.5


def send_paced(send: Callable[[int], object], seconds: float) -> None:
    """Send the monotonic time again and again, with rests that let a worker be idle each time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        send(time.monotonic_ns())
        time.sleep(_INTERVAL)
    time.sleep(_SETTLING_SECONDS)


def completed_a_second(count: Callable[[], int], seconds: float) -> float:
    """Jobs a second, from half a second after the first one on. Raises ScenarioFailed when they run out."""
    deadline = time.monotonic() + _FIRST_SECONDS
    while not count():
        if time.monotonic() > deadline:
            raise ScenarioFailed(f"no job was done within {_FIRST_SECONDS} s")
        time.sleep(0.05)
    time.sleep(_SETTLING_SECONDS)
    before, began = count(), time.perf_counter()
    time.sleep(seconds)
    done, elapsed = count() - before, time.perf_counter() - began
    time.sleep(_SETTLING_SECONDS)
    if count() == before + done:
        raise ScenarioFailed("the jobs ran out, or the worker stopped")
    return done / elapsed
