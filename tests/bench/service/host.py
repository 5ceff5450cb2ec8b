"""The machine: its name in the report, and whose the CPU time was."""

import os
import platform
import sys
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

CORES = len(os.sched_getaffinity(0))

_TICKS = os.sysconf("SC_CLK_TCK")
_PACKAGES = ("fastapi", "uvicorn", "psycopg", "pika", "celery", "kombu", "procrastinate", "SQLAlchemy")


def busy_seconds() -> float:
    """CPU seconds of all processes since the machine started."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = _numbers(Path("/proc/stat"), 1, 9)
    return (user + nice + system + irq + softirq + steal) / _TICKS


def busy_cores(seconds: float) -> float:
    """How many cores were busy on average in this time, from now."""
    before, began = busy_seconds(), time.monotonic()
    time.sleep(seconds)
    return (busy_seconds() - before) / (time.monotonic() - began)


def used_seconds(pids: Iterable[int]) -> float:
    """CPU seconds that these processes have used."""
    return sum(sum(_numbers(Path(f"/proc/{pid}/stat"), 13, 15)) for pid in pids) / _TICKS


def _numbers(path: Path, first: int, last: int) -> list[int]:
    """Fields of the first line. A process's name, which may hold spaces, counts as one field."""
    line = path.read_text().splitlines()[0]
    head, closing, tail = line.rpartition(")")
    fields = ["pid", *head.split("(", 1)[1:], *tail.split()] if closing else line.split()
    return [int(field) for field in fields[first:last]]


def machine() -> str:
    """Cores, memory, kernel."""
    gibibytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kernel = f"{platform.system()} {platform.release()}"
    return f"{CORES} cores ({_processor()}), {gibibytes:.0f} GiB of memory, {kernel}"


def _processor() -> str:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return names[0] if names else platform.machine()


def software(packages: Sequence[str] = _PACKAGES) -> str:
    """Python and the packages that the figures depend on."""
    python = ".".join(map(str, sys.version_info[:3]))
    return ", ".join([f"Python {python}", *(f"{name} {version(name)}" for name in packages)])
