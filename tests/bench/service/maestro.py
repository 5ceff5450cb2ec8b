"""Maestro as it is measured: one api process and one dispatcher, as in production but for Kubernetes."""

import asyncio
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from bench.service import ages, pace, statements
from bench.service.driver import Driver
from bench.service.load import (
    AUTOMATIONS,
    BATCH,
    BODY,
    CLIENTS,
    JOBS_A_BATCH,
    LINE_INTERVAL,
    LINES_A_CALL,
    READ_JOBS,
    READERS,
    SLOTS,
    STATISTICS,
)
from bench.service.measured import MAESTRO, Load, Record, ScenarioFailed
from bench.service.process import answers, running
from bench.service.servers import Servers
from integration.servers import free_port
from maestro.broker.topology import Topology
from maestro.db import Statements

_sql = Statements("bench.service")
_QUEUE_ARGUMENTS = {"x-dead-letter-exchange": "maestro.dlx"}
_PUBLISHED_SECONDS = 60


@dataclass(frozen=True)
class Service:
    """A running Maestro."""

    port: int
    pids: Sequence[int]
    database_uri: str
    amqp_url: str
    automations: dict[str, int]
    """Ids by name; each has the queue `bench.<name>`."""


class Maestro:
    """Its scenarios, on servers that are shared with its peers."""

    def __init__(self, servers: Servers, driver: Driver, record: Record, folder: Path, template: str) -> None:
        self._servers, self._driver, self._record, self._folder = servers, driver, record, folder
        self._template = template

    @contextmanager
    def history(self, jobs: int) -> Iterator[str]:
        """The URI of a database that holds so many jobs of the past."""
        with self._servers.fresh_database(self._template) as uri:
            ids = _registered(uri, [f"past-{number}" for number in range(AUTOMATIONS)])
            with psycopg.connect(uri, autocommit=True) as connection:
                connection.execute(_sql["history"], {"automation_ids": list(ids.values()), "jobs": jobs})
                connection.execute("VACUUM ANALYZE")
            yield uri

    def hot_path(self) -> None:
        """Execute, run and finish jobs, from an empty database on."""
        with (
            self._record.attempt("Maestro's hot path"),
            self._servers.fresh_database(self._template) as uri,
            self._running(uri, ("execute", "batch", "life", "idle")) as service,
        ):
            self._execute(service)
            self._batch(service)
            self._no_op(service)
            self._lifecycles(service)
            self._lines(service)
            self._latency(service)

    def first_page(self, history_uri: str) -> None:
        """The first page, with few jobs."""
        with self._record.attempt("Maestro's list"), self._running(history_uri) as service:
            report, load = self._load("call", service, clients=CLIENTS, path="/api/v1/jobs?limit=50")
            self._record.add("list", MAESTRO, report["rate"], load)

    def reads(self, history_uri: str) -> None:
        """Pages and statistics, with many jobs, for a lone client."""
        with self._record.attempt("Maestro's reads"), self._running(history_uri) as service:
            self._pages(service)
            self._statistics(service)

    def live_logs(self) -> None:
        """Readers of log streams; its api's statements are counted."""
        with (
            self._record.attempt("Maestro's live logs"),
            self._servers.fresh_database(self._template) as uri,
        ):
            self._servers.log_statements_of(uri)
            with self._running(uri, ("live",)) as service:
                self._readers(service, "live", interval=LINE_INTERVAL, spread="false")
                self._readers(service, "live_spread", interval=LINE_INTERVAL, spread="true")
                self._readers(service, "live_idle", interval="0s", spread="false")

    def _execute(self, service: Service) -> None:
        with self._record.attempt("execute"):
            call: dict[str, Any] = {
                "method": "POST",
                "expect": 202,
                "path": _execute_path(service, "execute"),
                "body": BODY,
            }
            report, load = self._load("call", service, clients=1, **call)
            self._record.add("enqueue", MAESTRO, report["rate"])
            self._record.add("execute_lone_p50", MAESTRO, report["p50"], load)
            report, load = self._load("call", service, clients=CLIENTS, **call)
            self._record.add("execute", MAESTRO, report["rate"], load)
            self._record.add("execute_published", MAESTRO, _published_after(service))

    def _batch(self, service: Service) -> None:
        with self._record.attempt("execute/batch"):
            path = f"{_execute_path(service, 'batch')}/batch"
            many = {"clients": CLIENTS, "size": BATCH, "body": BODY, "expect": 202, "path": path}
            report, load = self._load("batch", service, **many)
            self._record.add("execute_batch", MAESTRO, report["rate"], load)
            self._record.add("execute_batch_published", MAESTRO, _published_after(service))

    def _no_op(self, service: Service) -> None:
        """What `_execute` left in the queue, by one worker."""
        with (
            self._record.attempt("no-op jobs"),
            psycopg.connect(service.database_uri, autocommit=True) as connection,
            self._worker(service, "execute", SLOTS),
        ):
            wanted = {"automation_id": service.automations["execute"]}
            rate = pace.completed_a_second(
                lambda: _count(connection, "completed", **wanted), self._driver.seconds
            )
            self._record.add("no_op", MAESTRO, rate)

    def _lifecycles(self, service: Service) -> None:
        life = {"clients": CLIENTS, "automation": service.automations["life"]}
        with self._record.attempt("lifecycle"):
            report, load = self._load("lifecycle", service, **life)
            self._record.add("lifecycle", MAESTRO, report["rate"], load)
            _published_after(service)
        with self._record.attempt("lifecycle by batches"):
            report, load = self._load("lifecycle-batch", service, size=JOBS_A_BATCH, **life)
            self._record.add("lifecycle_batch", MAESTRO, report["rate"], load)

    def _lines(self, service: Service) -> None:
        life = {"clients": CLIENTS, "automation": service.automations["life"]}
        for row, size in (("lines", 1), ("lines_batch", LINES_A_CALL)):
            with self._record.attempt(row):
                report, load = self._load("lines", service, size=size, **life)
                self._record.add(row, MAESTRO, report["rate"], load)

    def _latency(self, service: Service) -> None:
        """A lone client, a lone idle worker."""
        noted = self._folder / "maestro-ages"
        noted.unlink(missing_ok=True)
        with (
            self._record.attempt("latency"),
            self._worker(service, "idle", 1, {ages.FILE: str(noted)}),
        ):
            pace.send_paced(self._executor(service, "idle"), self._driver.seconds, noted)
            self._record.add("to_socket", MAESTRO, ages.median(noted, "received"))
            self._record.add("to_start", MAESTRO, ages.median(noted, "started"))

    def _pages(self, service: Service) -> None:
        automation_id = max(service.automations.values())
        filters = {
            "pages": "",
            "pages_automation": f"automation_id={automation_id}",
            "pages_status": "status=failed",
            "pages_user": "user_id=user-7",
            "pages_automation_user": f"automation_id={automation_id}&user_id=user-7",
        }
        for row, chosen in filters.items():
            with self._record.attempt(row):
                report, load = self._load("pages", service, filter=chosen)
                self._record.add(row, MAESTRO, report["p99"], load)

    def _statistics(self, service: Service) -> None:
        for row in STATISTICS:
            with self._record.attempt(row):
                report, load = self._load("call", service, path=f"/api/v1/{row}", seconds=1)
                self._record.add(row, MAESTRO, report["p99"], load)
                self._record.add("metrics_first", MAESTRO, report["first"])

    def _readers(self, service: Service, row: str, **pattern: str) -> None:
        with self._record.attempt(row):
            sizes = {"clients": READERS, "jobs": READ_JOBS, "automation": service.automations["live"]}
            report, load = self._load("readers", service, **sizes, **pattern)
            if report["missing"] or report["repeated"]:
                raise ScenarioFailed(f"{report['missing']} lines missing, {report['repeated']} repeated")
            if report["lines"]:
                self._record.add(row, MAESTRO, report["p99"], load)
            sent = self._servers.statements(*report["window"])
            writing, others = statements.split(each for each in sent if each.client != "dispatcher")
            self._record.add(f"{row}_sql", MAESTRO, others / report["seconds"])
            self._record.add(f"{row}_sql_writes", MAESTRO, writing / report["seconds"])

    def _load(self, scenario: str, service: Service, **flags: Any) -> tuple[dict[str, Any], Load]:
        return self._driver.run(scenario, service.port, service.pids, **flags)

    def _worker(
        self, service: Service, automation: str, slots: int, more: dict[str, str] | None = None
    ) -> AbstractContextManager[Any]:
        environment = {"BENCH_AMQP_URL": service.amqp_url, "BENCH_API_PORT": str(service.port)}
        command = [sys.executable, "-m", "bench.service.worker", f"bench.{automation}", str(slots)]
        return running("worker", command, self._driver.environment | environment | (more or {}), self._folder)

    def _executor(self, service: Service, automation: str) -> Callable[[int], None]:
        """A function that executes with the time that it is given, on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        path = _execute_path(service, automation)
        headers = {"Authorization": f"Bearer {self._driver.token}", "Content-Type": "application/json"}

        def execute(sent: int) -> None:
            connection.request("POST", path, json.dumps({"sent": sent}), headers)
            reply = connection.getresponse()
            text = reply.read()
            if reply.status != 202:
                raise ScenarioFailed(f"execute: {reply.status} {text[:200]!r}")

        return execute

    @contextmanager
    def _running(self, database_uri: str, automations: Sequence[str] = ()) -> Iterator[Service]:
        """An api and a dispatcher on this database, with queues of their own."""
        with ExitStack() as stack:
            amqp_url = stack.enter_context(self._servers.fresh_broker())
            ids = _registered(database_uri, automations)
            asyncio.run(_declare(amqp_url, [f"bench.{name}" for name in automations]))
            port, health_port = free_port(), free_port()
            environment = self._environment(database_uri, amqp_url, port, health_port)
            bearer = {"Authorization": f"Bearer {self._driver.token}"}
            ready = answers(f"http://127.0.0.1:{port}/api/v1/jobs?limit=1", bearer)
            api = stack.enter_context(self._process("api", ["maestro_api"], environment, ready))
            ready = answers(f"http://127.0.0.1:{health_port}/healthz")
            dispatcher = stack.enter_context(
                self._process("dispatcher", ["maestro.cli", "dispatcher"], environment, ready)
            )
            yield Service(port, (api.pid, dispatcher.pid), database_uri, amqp_url, ids)

    def _process(
        self, name: str, module: Sequence[str], environment: dict[str, str], ready: Callable[[], bool]
    ) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """Its statements bear its name, its metrics are served as in production."""
        own = {"PGAPPNAME": name, "MAESTRO_METRICS_PORT": str(free_port())}
        return running(name, [sys.executable, "-m", *module], environment | own, self._folder, ready)

    def _environment(self, database_uri: str, amqp_url: str, port: int, health_port: int) -> dict[str, str]:
        return {
            "MAESTRO_DATABASE_URI": database_uri,
            "MAESTRO_BROKER_URI": amqp_url,
            "MAESTRO_BROKER_MANAGEMENT_URI": self._servers.broker.management_uri,
            "MAESTRO_ADMIN_TOKEN": self._driver.token,
            "MAESTRO_WORKER_KEY": self._driver.worker_key,
            "MAESTRO_API_PORT": str(port),
            "MAESTRO_HEALTH_PORT": str(health_port),
        }


def _execute_path(service: Service, automation: str) -> str:
    return f"/api/v1/automations/{service.automations[automation]}/execute"


def _published_after(service: Service) -> float:
    """Seconds from now until the broker has all jobs, so that what comes next is measured alone."""
    began = time.monotonic()
    with psycopg.connect(service.database_uri, autocommit=True) as connection:
        while owed := _count(connection, "owed"):
            if time.monotonic() > began + _PUBLISHED_SECONDS:
                due = _count(connection, "due")
                raise ScenarioFailed(
                    f"{owed} jobs were not published within {_PUBLISHED_SECONDS} s, {due} of them due"
                )
            time.sleep(0.02)
    return time.monotonic() - began


def _count(connection: psycopg.Connection, statement: str, **parameters: Any) -> int:
    [row] = connection.execute(_sql[statement], parameters)
    return int(row[0])


def _registered(database_uri: str, names: Sequence[str]) -> dict[str, int]:
    """Ids by name of all automations there, after these were added."""
    with psycopg.connect(database_uri, autocommit=True) as connection:
        connection.execute(_sql["register"], {"names": list(names)})
        return {name: number for number, name in connection.execute(_sql["registered"])}


async def _declare(amqp_url: str, queues: Sequence[str]) -> None:
    """As the operator does."""
    with Topology(amqp_url) as topology:
        for queue in queues:
            await topology.ensure(queue, _QUEUE_ARGUMENTS)
