"""How old a message is where it arrives.

Its sender puts the time into it by the monotonic clock, which all processes of a machine share; whoever
receives it appends its age to a file.
"""

import os
import statistics
import time
from pathlib import Path

FILE = "BENCH_AGES"
"""The environment variable that names the file."""


def note(what: str, sent: int) -> None:
    """Append what happened and how many nanoseconds after `sent`, which is 0 in messages without a time."""
    path = os.environ.get(FILE)
    if path and sent:
        with Path(path).open("a") as file:
            file.write(f"{what} {time.monotonic_ns() - sent}\n")


def median(path: Path, what: str) -> float:
    """In milliseconds. Raises ValueError when nothing of the kind was noted."""
    noted = (line.split() for line in path.read_text().splitlines())
    found = [int(age) for happened, age in noted if happened == what]
    if not found:
        raise ValueError(f"no message was {what}")
    return statistics.median(found) / 1e6
