"""Celery and procrastinate as they are measured, on the same servers."""

import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from bench.service import ages, pace
from bench.service.driver import Driver
from bench.service.load import BATCH, BODY, CELERY_SLOTS, CLIENTS, SLOTS
from bench.service.measured import CELERY, PROCRASTINATE, Record
from bench.service.process import answers, running
from bench.service.servers import Servers
from integration.servers import free_port
from maestro.db import Statements

_sql = Statements("bench.service")


class Peer(ABC):
    """What is measured of either: enqueuing, and a worker process of its own."""

    name: str
    module: str
    completed: str
    """The statement that counts jobs done."""

    def __init__(self, servers: Servers, driver: Driver, record: Record, folder: Path) -> None:
        self._servers, self._driver, self._record, self._folder = servers, driver, record, folder

    def measure(self) -> None:
        """Everything, once."""
        with self._record.attempt(f"{self.name} many jobs"), self._place() as place:
            self._enqueue(place)
            self._over_http(place)
            self._no_op(place)
        with self._record.attempt(f"{self.name} latency"), self._place() as place:
            self._latency(place)

    def _enqueue(self, place: "Place") -> None:
        self._record.add("enqueue", self.name, float(self._enqueuer(place, "burst")))

    def _over_http(self, place: "Place") -> None:
        """By a route of a FastAPI application as plain as can be, in one uvicorn process as Maestro's api."""
        port = free_port()
        command = [
            sys.executable,
            "-m",
            "uvicorn",
            f"{self.module}:web",
            "--host=127.0.0.1",
            f"--port={port}",
        ]
        command += ["--loop=uvloop", "--http=httptools", "--no-access-log"]
        ready = answers(f"http://127.0.0.1:{port}/livez")
        with running(f"{self.name}-web", command, place.environment, self._folder, ready) as web:
            self._load_web(port, [web.pid])

    def _load_web(self, port: int, pids: Sequence[int]) -> None:
        call = {"method": "POST", "path": "/execute", "body": BODY, "expect": 202}
        report, load = self._driver.run("call", port, pids, clients=1, **call)
        self._record.add("execute_lone_p50", self.name, report["p50"], load)
        report, load = self._driver.run("call", port, pids, clients=CLIENTS, **call)
        self._record.add("execute", self.name, report["rate"], load)

    def _no_op(self, place: "Place") -> None:
        """What was enqueued before, by one worker."""
        with (
            psycopg.connect(place.database_uri, autocommit=True) as connection,
            self._worker(place),
        ):
            rate = pace.completed_a_second(lambda: self._count(connection), self._driver.seconds)
            self._record.add("no_op", self.name, rate)

    def _latency(self, place: "Place") -> None:
        noted = self._folder / f"{self.name}-ages"
        noted.unlink(missing_ok=True)
        with self._worker(place, {ages.FILE: str(noted)}):
            self._enqueuer(place, "paced", str(noted))
        self._record.add("to_start", self.name, ages.median(noted, "started"))

    def _worker(self, place: "Place", more: dict[str, str] | None = None) -> AbstractContextManager[Any]:
        command = self._worker_command()
        return running(f"{self.name}-worker", command, place.environment | (more or {}), self._folder)

    def _enqueuer(self, place: "Place", how: str, *more: str) -> str:
        arguments = [self.module, how, str(self._driver.seconds), *more]
        return subprocess.run(
            [sys.executable, "-m", "bench.service.enqueue", *arguments],
            env=os.environ | place.environment,
            capture_output=True,
            text=True,
            timeout=self._driver.seconds + 60,
            check=True,
        ).stdout

    @contextmanager
    def _place(self) -> Iterator["Place"]:
        """A database and a virtual host, both empty."""
        with ExitStack() as stack:
            uri = stack.enter_context(self._servers.fresh_database())
            amqp_url = stack.enter_context(self._servers.fresh_broker())
            environment = {
                "BENCH_DATABASE_URI": uri,
                "BENCH_AMQP_URL": amqp_url,
                "BENCH_RESULTS_URL": uri.replace("postgresql://", "db+postgresql+psycopg://"),
            }
            place = Place(uri, environment)
            self._prepare(place)
            yield place

    def _count(self, connection: psycopg.Connection) -> int:
        row = connection.execute(_sql[self.completed]).fetchone()
        return int(row[0]) if row else 0

    @abstractmethod
    def _prepare(self, place: "Place") -> None:
        """Make the tables that don't come by themselves."""

    @abstractmethod
    def _worker_command(self) -> list[str]: ...


@dataclass(frozen=True)
class Place:
    """Where a peer's jobs are, and the environment that tells its processes."""

    database_uri: str
    environment: dict[str, str]


class Celery(Peer):
    """RabbitMQ for the queue, PostgreSQL for the results."""

    name, module, completed = CELERY, "bench.service.celery_app", "completed_by_celery"

    def _prepare(self, place: "Place") -> None:
        """Its worker makes the table of results."""

    def _count(self, connection: psycopg.Connection) -> int:
        try:
            return super()._count(connection)
        except psycopg.errors.UndefinedTable:
            return 0

    def _worker_command(self) -> list[str]:
        options = ["--loglevel=WARNING", f"--concurrency={CELERY_SLOTS}"]
        return [sys.executable, "-m", "celery", "--app", self.module, "worker", *options]


class Procrastinate(Peer):
    """PostgreSQL for all."""

    name, module, completed = PROCRASTINATE, "bench.service.procrastinate_app", "completed_by_procrastinate"

    def _load_web(self, port: int, pids: Sequence[int]) -> None:
        super()._load_web(port, pids)
        many = {"path": "/execute/batch", "body": BODY, "size": BATCH, "expect": 202, "clients": CLIENTS}
        report, load = self._driver.run("batch", port, pids, **many)
        self._record.add("execute_batch", self.name, report["rate"], load)

    def _prepare(self, place: Place) -> None:
        make = f"from {self.module} import make_schema; make_schema()"
        subprocess.run(
            [sys.executable, "-c", make], env=os.environ | place.environment, check=True, timeout=60
        )

    def _worker_command(self) -> list[str]:
        options = ["--log-level=warning", "worker", f"--concurrency={SLOTS}"]
        return [sys.executable, "-m", "procrastinate", f"--app={self.module}.app", *options]
