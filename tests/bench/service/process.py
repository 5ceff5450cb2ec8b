"""Processes that run while something is measured, each ended by its id."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import requests

from bench.service.measured import ScenarioFailed

_START_SECONDS = 60
_STOP_SECONDS = 30


@contextmanager
def running(
    name: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    ready: Callable[[], bool] = lambda: True,
) -> Iterator[subprocess.Popen[bytes]]:
    """The process until the block ends, its output in a file. Raises ScenarioFailed when it ends before."""
    log = folder / f"{name}.log"
    # Anew each time: the access logs of a whole run would be large.
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=os.environ | dict(environment),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _await(process, ready, log)
        yield process
        _refuse_dead(process, log)
    finally:
        _stop(process)


def answers(url: str, headers: Mapping[str, str] | None = None) -> Callable[[], bool]:
    """Whether a GET is answered with 200."""

    def ask() -> bool:
        try:
            return requests.get(url, headers=headers, timeout=2).status_code == 200
        except requests.RequestException:
            return False

    return ask


def _await(process: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not ready():
        _refuse_dead(process, log)
        if time.monotonic() > deadline:
            raise ScenarioFailed(f"not ready within {_START_SECONDS} s; the end of {log}: {_end(log)}")
        time.sleep(0.1)


def _refuse_dead(process: subprocess.Popen[bytes], log: Path) -> None:
    if process.poll() is not None:
        raise ScenarioFailed(f"ended with {process.returncode}; the end of {log}: {_end(log)}")


def _end(log: Path) -> str:
    return log.read_text(errors="replace")[-1500:]


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Its whole group, in the end: Celery's worker has children of its own."""
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
