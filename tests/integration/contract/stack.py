"""Maestro as its clients and bots find it: the api, a dispatcher, PostgreSQL and RabbitMQ, all running."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pika
import psycopg
import requests

from integration.api.service import Service, eventually, insert_calendar, serve
from integration.servers import Broker, Database, database_of, free_port, vhost_of, wait_for

DEAD_LETTERED = {"x-dead-letter-exchange": "maestro.dlx"}
"""What existing bots declare their queues with."""


@dataclass(frozen=True)
class Stack:
    """The parts, and what tests do with them. Nothing is emptied between tests: each makes its own things."""

    service: Service
    broker: Broker
    database_uri: str

    def automation(self, **fields: Any) -> dict[str, Any]:
        """One made over REST, with a name of its own and a queue of that name."""
        name = f"bot-{uuid4().hex[:12]}"
        return self.service.automation(name, **{"queueName": name} | fields)

    def job(self, automation: dict[str, Any] | None = None, parameters: object = None) -> dict[str, Any]:
        """A pending one."""
        made = automation or self.automation()
        reply = self.service.post(f"/automations/{made['id']}/execute", parameters or {})
        assert reply.status_code == 202, reply.text
        return dict(reply.json())

    def running(self, token: str | None = None) -> str:
        """The id of a job that a worker has started."""
        job = str(self.job()["id"])
        assert self.service.worker("POST", f"/{job}/start", token=token).status_code == 200
        return job

    def shown(self, job: str) -> dict[str, Any]:
        return dict(self.service.get(f"/jobs/{job}").json())

    def ended(self, job: str, seconds: float = 30) -> dict[str, Any]:
        """The job once it has ended."""

        def probe() -> dict[str, Any] | None:
            shown = self.shown(job)
            return None if shown["status"] in ("pending", "running") else shown

        return eventually(probe, seconds)

    @contextmanager
    def queue(self, name: str) -> Iterator[Any]:
        """A channel on which the queue has been declared as bots do."""
        with self.broker.connect() as connection:
            channel = connection.channel()
            channel.queue_declare(name, durable=True, arguments=DEAD_LETTERED)
            yield channel

    def schedule(self, **fields: Any) -> dict[str, Any]:
        """One made over REST, of an automation of its own unless it is told."""
        automation = fields.get("automationId") or self.automation()["id"]
        asked = {"automationId": automation, "cronExpression": "* * * * *", **fields}
        reply = self.service.post("/schedules", asked)
        assert reply.status_code == 201, reply.text
        return dict(reply.json())

    def calendar(self, **spec: Any) -> str:
        """The name of a BusinessCalendar."""
        name = f"calendar-{uuid4().hex[:12]}"
        insert_calendar(self.database_uri, name, **spec)
        return name

    def come_due(self, schedule: dict[str, Any]) -> None:
        """Have its latest minute come due now, as if nobody had looked since before it."""
        self.change(
            "UPDATE schedules SET decided_until = date_trunc('minute', now()) - interval '1 second', "
            "due_at = date_trunc('minute', now()) WHERE id = %s",
            schedule["id"],
        )

    def change(self, statement: str, *values: object) -> None:
        """Arrange what only time or an accident would."""
        with psycopg.connect(self.database_uri, autocommit=True) as connection:
            connection.execute(statement.encode(), values)


def taken(channel: Any, queue: str, seconds: float = 10) -> tuple[pika.BasicProperties, bytes]:
    """The next message of a queue, acknowledged."""

    def message() -> tuple[pika.BasicProperties, bytes] | None:
        method, properties, body = channel.basic_get(queue, auto_ack=True)
        return (properties, body) if method else None

    return eventually(message, seconds)


@contextmanager
def dispatching(database_uri: str, amqp_url: str) -> Iterator[None]:
    """A dispatcher's process until the block ends."""
    port = free_port()
    environment = os.environ | {
        "MAESTRO_DATABASE_URI": database_uri,
        "MAESTRO_BROKER_URI": amqp_url,
        "MAESTRO_HEALTH_PORT": str(port),
    }
    command = [sys.executable, "-c", "from maestro.dispatcher.main import main; main()"]
    process = subprocess.Popen(command, env=environment)
    try:
        wait_for(
            lambda: requests.get(f"http://127.0.0.1:{port}/healthz", timeout=2).raise_for_status(),
            "the dispatcher",
        )
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


@contextmanager
def standing(database: Database, broker: Broker, template: str) -> Iterator[Stack]:
    """A stack with nothing in it, until the block ends."""
    with (
        database_of(database, template) as database_uri,
        vhost_of(broker) as vhost,
        dispatching(database_uri, vhost.amqp_url),
        serve(database_uri, vhost.amqp_url) as service,
    ):
        eventually(lambda: service.session.get(f"{service.root}/readyz").json()["broker"] == "ok", 30)
        yield Stack(service, vhost, database_uri)
