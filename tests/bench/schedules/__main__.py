"""Figures of the firing of schedules on loopback: `make bench-schedules`.

Many schedules of which all are due in the same minute, until the broker has confirmed the last job's message;
and what very many that are not due cost a dispatcher. No figure is judged; what could not be measured makes
the exit code 1.
"""

import argparse
import asyncio
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg

from bench.schedules import page
from bench.schedules.page import DUE, IDLE
from bench.service import host, report
from bench.service.measured import MAESTRO, Record, ScenarioFailed
from bench.service.process import answers, running
from bench.service.servers import Servers, started
from integration.servers import free_port
from maestro.broker.topology import Topology
from maestro.db import Statements, open_pool
from maestro.schedule import calendars

_ROOT = Path(__file__).parents[3]
_sql = Statements("bench.schedules")

AUTOMATIONS = 100
ZONES = ("UTC", "America/Sao_Paulo", "Europe/Berlin")
CALENDAR = "br"

_PACKAGES = ("psycopg", "pika", "croniter", "holidays")
_LEAD_SECONDS = 15
"""From when the schedules are there until they are due, at least."""
_PUBLISHED_SECONDS = 120
_SETTLE_SECONDS = 5
"""After its start a dispatcher does each duty for the first time."""


class Run:
    """Servers, what is measured on them, and the collected figures."""

    def __init__(self, servers: Servers, folder: Path, template: str) -> None:
        self.record = Record()
        self._servers, self._folder, self._template = servers, folder, template

    def due(self) -> None:
        """All in the same minute, in a fresh database, once."""
        with (
            self.record.attempt(f"{DUE:,} due at once"),
            self._servers.fresh_database(self._template) as uri,
            self._dispatching(uri),
            psycopg.connect(uri, autocommit=True) as connection,
        ):
            asyncio.run(_register_calendar(uri))
            minute = _next_minute()
            _fill(connection, DUE, minute, crons_of(minute))
            self._await_published(connection, minute)
            [(lags,)] = connection.execute(_sql["lags"]).fetchall()
            for row, figure in zip(("p50", "p99", "max"), lags, strict=True):
                self.record.add(row, MAESTRO, figure)
            if connection.execute(_sql["once"], {"count": DUE}).fetchone() != (True,):
                raise ScenarioFailed("some schedule did not fire once")

    def idle(self, seconds: float) -> None:
        """CPU time of a dispatcher with no schedules, and with very many, none of them due."""
        for row, count in (("idle_none", 0), ("idle_many", IDLE)):
            with (
                self.record.attempt(f"{count:,} idle schedules"),
                self._servers.fresh_database(self._template) as uri,
                psycopg.connect(uri, autocommit=True) as connection,
            ):
                in_a_year = datetime.now(UTC) + timedelta(days=365)
                _fill(connection, count, in_a_year, crons_of(in_a_year))
                connection.execute("VACUUM ANALYZE")
                with self._dispatching(uri) as pid:
                    time.sleep(_SETTLE_SECONDS)
                    before, began = host.used_seconds([pid]), time.monotonic()
                    time.sleep(seconds)
                    used = host.used_seconds([pid]) - before
                    self.record.add(row, MAESTRO, used / (time.monotonic() - began) * 100)

    def _await_published(self, connection: psycopg.Connection, due: datetime) -> None:
        time.sleep(max(0, (due - datetime.now(UTC)).total_seconds()))
        deadline = time.monotonic() + _PUBLISHED_SECONDS
        while connection.execute(_sql["unpublished"], {"count": DUE}).fetchone() != (0,):
            if time.monotonic() > deadline:
                raise ScenarioFailed(f"not all jobs were published within {_PUBLISHED_SECONDS} s")
            time.sleep(0.5)

    @contextmanager
    def _dispatching(self, database_uri: str) -> Iterator[int]:
        """A dispatcher's process, by its id."""
        with self._servers.fresh_broker() as amqp_url:
            asyncio.run(_declare(amqp_url))
            port = free_port()
            environment = {
                "MAESTRO_DATABASE_URI": database_uri,
                "MAESTRO_BROKER_URI": amqp_url,
                "MAESTRO_HEALTH_PORT": str(port),
                "MAESTRO_METRICS_PORT": str(free_port()),
            }
            command = [sys.executable, "-m", "maestro.cli", "dispatcher"]
            ready = answers(f"http://127.0.0.1:{port}/healthz")
            with running("dispatcher", command, environment, self._folder, ready) as process:
                yield process.pid


async def _declare(amqp_url: str) -> None:
    with Topology(amqp_url, threads=1) as topology:
        await topology.ensure("bench", {"x-dead-letter-exchange": "maestro.dlx"})


async def _register_calendar(uri: str) -> None:
    metadata = {"namespace": "maestro-bots", "name": CALENDAR, "uid": "uid", "generation": 1}
    spec = {"country": "BR", "subdivision": "SP", "weekend": []}
    async with open_pool(uri, size=1) as pool, pool.connection() as connection:
        await calendars.register(connection, {"metadata": metadata, "spec": spec})


def _next_minute() -> datetime:
    soon = datetime.now(UTC) + timedelta(seconds=_LEAD_SECONDS + 60)
    return soon.replace(second=0, microsecond=0)


def crons_of(instant: datetime) -> dict[str, Sequence[str]]:
    """By zone, expressions of many forms that have this instant."""
    crons = {}
    for zone in ZONES:
        local = instant.astimezone(ZoneInfo(zone))
        minute, hour, weekday = local.minute, local.hour, local.isoweekday() % 7
        crons[zone] = [
            f"{minute} * * * *",
            f"{minute} {hour} * * *",
            *(f"{minute} {hour},{(hour + other) % 24} * * {weekday}" for other in range(1, 12)),
            *(f"{minute} {hour} {local.day},{day},L * *" for day in range(1, 28)),
            f"*/5,{minute} * * {local.month} *",
        ]
    return crons


def _fill(
    connection: psycopg.Connection, count: int, due_at: datetime, crons: dict[str, Sequence[str]]
) -> None:
    """So many schedules of mixed forms and zones; each fourth goes by a business calendar, unless idle."""
    zones = [ZONES[number % len(ZONES)] for number in range(count)]
    chosen = [crons[zone][number // len(ZONES) % len(crons[zone])] for number, zone in enumerate(zones)]
    calendar = [CALENDAR if count == DUE and number % 4 == 0 else None for number in range(count)]
    connection.execute(_sql["automations"], {"count": AUTOMATIONS})
    connection.execute(
        _sql["schedules"],
        {
            "automations": AUTOMATIONS,
            "due_at": due_at,
            "crons": chosen,
            "time_zones": zones,
            "calendars": calendar,
        },
    )


def main() -> int:
    chosen = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    busy, began = host.busy_cores(3), time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="maestro-bench-"))
    with started() as servers, servers.template() as template:
        run = Run(servers, folder, template)
        for number in range(chosen.rounds):
            print(f"round {number + 1} of {chosen.rounds}", flush=True)
            run.due()
        if chosen.idle_seconds:
            run.idle(chosen.idle_seconds)
        facts = {
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "commit": _commit(),
            "minutes": f"{(time.monotonic() - began) / 60:.0f}",
            "rounds": f"{chosen.rounds} rounds" if chosen.rounds > 1 else "one round",
            "machine": host.machine(),
            "busy": f"{busy:.2f}",
            "servers": servers.versions(),
            "software": host.software(_PACKAGES),
            "forms": str(len(crons_of(datetime.now(UTC))["UTC"])),
            "zones": str(len(ZONES)),
            "idle": f"{chosen.idle_seconds:g}",
        }
    report.write(chosen.output, page.markdown(run.record, facts), page.BEGIN, page.END)
    print(f"{chosen.output} is written")
    if run.record.failures:
        print(f"The dispatcher's last log is in {folder}.", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty= with changes"]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=3, help="of schedules due at once; each takes a minute or two"
    )
    parser.add_argument("--idle-seconds", type=float, default=60, help="0 leaves it out")
    parser.add_argument("--output", type=Path, default=_ROOT / "docs" / "benchmarks.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
