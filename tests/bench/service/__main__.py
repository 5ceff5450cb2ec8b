"""Figures of the service on loopback beside Celery and procrastinate: `make bench-service`.

No figure is judged; a scenario that could not be run, or whose calls failed, makes the exit code 1.
"""

import argparse
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from bench.service import host, report
from bench.service.driver import Driver
from bench.service.load import BODY, CLIENTS, FEW_JOBS, MANY_JOBS
from bench.service.maestro import Maestro
from bench.service.measured import DISK, NULL, Record
from bench.service.peers import Celery, Procrastinate
from bench.service.process import answers, running
from bench.service.servers import Servers, started
from integration.servers import free_port

_ROOT = Path(__file__).parents[3]
_CALIBRATION_SECONDS = 2
_IDLE_SECONDS = 3


class Run:
    """The whole of it: servers, what is measured on them, and the collected figures."""

    def __init__(self, chosen: argparse.Namespace, servers: Servers, folder: Path, stack: ExitStack) -> None:
        self.record = Record()
        self._servers, self._folder = servers, folder
        self._driver = Driver(chosen.driver, secrets.token_hex(16), secrets.token_hex(16), chosen.seconds)
        shared = (servers, self._driver, self.record, folder)
        self._maestro = Maestro(*shared, stack.enter_context(servers.template()))
        self._few = stack.enter_context(self._maestro.history(FEW_JOBS))
        self._many = stack.enter_context(self._maestro.history(MANY_JOBS))
        self._celery, self._procrastinate = Celery(*shared), Procrastinate(*shared)

    def round(self, number: int) -> None:
        """Each system once; another one begins each time."""
        systems: list[Callable[[], None]] = [
            self._measure_maestro,
            self._celery.measure,
            self._procrastinate.measure,
        ]
        first = number % len(systems)
        self._calibrate()
        for measure in systems[first:] + systems[:first]:
            measure()

    def _measure_maestro(self) -> None:
        self._maestro.hot_path()
        self._maestro.first_page(self._few)
        self._maestro.reads(self._many)
        self._maestro.live_logs()

    def _calibrate(self) -> None:
        """The driver against a server that does nothing, and the disk without a driver."""
        port = free_port()
        command = [str(self._driver.program), "null", f"-address=127.0.0.1:{port}"]
        call = {"method": "POST", "path": "/execute", "body": BODY, "expect": 202}
        ready = answers(f"http://127.0.0.1:{port}/livez")
        with self.record.attempt("calibration"), running("null", command, {}, self._folder, ready) as server:
            for row, scenario, flags in (("null_call", "call", call), ("null_lifecycle", "lifecycle", {})):
                common = {"clients": CLIENTS, "seconds": _CALIBRATION_SECONDS}
                measured, load = self._driver.run(scenario, port, [server.pid], **common, **flags)
                self.record.add(row, NULL, measured["rate"], load)
            self.record.add("commits", DISK, self._servers.commits_a_second(1))


def main() -> int:
    chosen = _arguments()
    # Told to end, it still ends the processes and containers that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    busy, began = host.busy_cores(_IDLE_SECONDS), time.monotonic()
    print(f"{busy:.2f} of {host.CORES} cores are busy before it begins", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="maestro-bench-"))
    with ExitStack() as stack:
        servers = stack.enter_context(started())
        print("filling the databases", flush=True)
        run = Run(chosen, servers, folder, stack)
        for number in range(chosen.rounds):
            print(f"round {number + 1} of {chosen.rounds}", flush=True)
            run.round(number)
        facts = _facts(chosen, servers, run.record, time.monotonic() - began) | {"busy": f"{busy:.2f}"}
    report.write(chosen.output, report.markdown(run.record, facts))
    print(f"{chosen.output} is written")
    return _judge(run.record, folder)


def _judge(record: Record, folder: Path) -> int:
    if not record.failures:
        shutil.rmtree(folder)
        return 0
    print(f"\nThe processes' last logs are in {folder}.", file=sys.stderr)
    for failure in record.failures:
        print(f"FAILED {failure}", file=sys.stderr)
    return 1


def _facts(chosen: argparse.Namespace, servers: Servers, record: Record, seconds: float) -> dict[str, str]:
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": _commit(),
        "minutes": f"{seconds / 60:.0f}",
        "rounds": f"{chosen.rounds} rounds" if chosen.rounds > 1 else "one round",
        "seconds": f"{chosen.seconds:g}",
        "machine": host.machine(),
        "cores": str(host.CORES),
        "servers": servers.versions(),
        "commits": report.number(statistics.median(record.figures("commits", DISK) or [0])),
        "software": host.software(),
    }


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with changes" if changed else "")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--driver", type=Path, required=True, help="the program that tests/bench/driver.sh makes"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of each figure's measured window")
    parser.add_argument("--output", type=Path, default=_ROOT / "docs" / "benchmarks.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
