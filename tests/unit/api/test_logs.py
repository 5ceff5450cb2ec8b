"""Lines gathered for a moment: written soon, worse ones at once, all at the end."""

import logging
import os
import select
import subprocess
import sys
from collections.abc import Iterator

import pytest

from maestro_api import logs
from maestro_api.logs import GatheringHandler


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def record(text: str, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("n", level, "", 0, text, None, None)


def arrived(reading: int, seconds: float) -> str:
    ready, _, _ = select.select([reading], [], [], seconds)
    return os.read(reading, 65536).decode() if ready else ""


def test_lines_of_a_moment_are_written_together(pipe: tuple[int, int]) -> None:
    handler = GatheringHandler(pipe[1])
    for number in range(3):
        handler.emit(record(f"line {number}"))
    assert arrived(pipe[0], 20) == "line 0\nline 1\nline 2\n"
    handler.emit(record("é\udcff"))
    assert arrived(pipe[0], 20) == "é\\udcff\n"


def test_a_warning_is_written_at_once_with_what_came_before(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "GATHER_SECONDS", 3600)
    handler = GatheringHandler(pipe[1])
    handler.emit(record("before"))
    assert arrived(pipe[0], 0) == ""
    handler.emit(record("now", logging.WARNING))
    assert arrived(pipe[0], 0) == "before\nnow\n"


def test_nothing_is_left_behind_at_the_end() -> None:
    program = """
import logging
from maestro_api.logs import GatheringHandler
logging.basicConfig(level="INFO", format="%(message)s", handlers=[GatheringHandler(2)])
logging.info("the last line")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == "the last line\n"
