"""A dispatcher in this process, an honest worker, and what tests arrange around them."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from integration.servers import Broker, free_port
from maestro.broker.topology import Topology
from maestro.dispatcher.main import run
from maestro.job import store
from maestro.job.model import Finish, NewJob, Start, Started, Status
from maestro.settings import Settings

T = TypeVar("T")

ARGUMENTS = {"x-dead-letter-exchange": "maestro.dlx"}
"""What the operator, and existing bots, declare queues with."""


def until(probe: Callable[[], T], what: str, seconds: float = 30) -> T:
    """What `probe` returns once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := probe()):
        assert time.monotonic() < deadline, f"not in {seconds:.0f} s: {what}"
        time.sleep(0.05)
    return found


@contextmanager
def dispatching(database_uri: str, amqp_url: str, **settings: Any) -> Iterator[None]:
    """A dispatcher until the block ends."""
    ports = {"health_port": free_port(), "metrics_port": free_port()}
    chosen = Settings(database_uri=database_uri, broker_uri=amqp_url, **ports | settings)
    begun: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        stop = asyncio.Event()
        begun.append((asyncio.get_running_loop(), stop))
        await run(chosen, stop)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="dispatcher")
    thread.start()
    try:
        until(lambda: begun, "the dispatcher begins")
        yield
    finally:
        loop, stop = begun[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        assert not thread.is_alive(), "the dispatcher did not stop"


class Store:
    """The store's functions, a call at a time, each a transaction of its own."""

    def __init__(self, uri: str) -> None:
        self._runner = asyncio.Runner()
        connect = psycopg.AsyncConnection.connect(uri, autocommit=True, row_factory=dict_row)
        self._conn: Any = self._runner.run(connect)

    def ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self._runner.run(function(self._conn, *arguments))

    def close(self) -> None:
        self._runner.run(self._conn.close())
        self._runner.close()


@contextmanager
def working(uri: str, broker: Broker, *queues: str, hold: float = 0.0) -> Iterator[list[str]]:
    """A worker for each of these queues until the block ends; the ids of the jobs that they ran."""
    ran: list[str] = []
    done = threading.Event()

    def work(queue: str) -> None:
        jobs = Store(uri)
        with broker.connect() as connection:
            channel = connection.channel()
            channel.basic_qos(prefetch_count=1)
            for method, properties, _ in channel.consume(queue, inactivity_timeout=0.1):
                if done.is_set():
                    break
                if method is not None:
                    ran.extend(_run(jobs, properties.message_id, hold))
                    channel.basic_ack(method.delivery_tag)
        jobs.close()

    threads = [threading.Thread(target=work, args=(queue,)) for queue in queues]
    for thread in threads:
        thread.start()
    try:
        yield ran
    finally:
        done.set()
        for thread in threads:
            thread.join(20)


def _run(jobs: Store, job_id: str, hold: float) -> list[str]:
    """Run a job; it alone when it was there to be run."""
    token = uuid4().hex
    [answer] = jobs.ask(store.start, [Start(UUID(job_id), token)])
    if not isinstance(answer, Started):
        return []
    time.sleep(hold)
    jobs.ask(store.finish, [Finish(UUID(job_id), Status.COMPLETED, None, token)])
    return [job_id]


@dataclass
class Scene:
    """A database and a virtual host, and what a test does there."""

    uri: str
    broker: Broker
    database: psycopg.Connection
    store: Store = field(init=False)

    def __post_init__(self) -> None:
        self.store = Store(self.uri)

    def automation(self, name: str = "bot", **columns: Any) -> int:
        row = {"namespace": "bots", "name": name, "uid": "u", "display_name": name, "queue": name, **columns}
        names = sql.SQL(", ").join(map(sql.Identifier, row))
        places = sql.SQL(", ").join(map(sql.Placeholder, row))
        insert = sql.SQL("INSERT INTO automations ({}) VALUES ({}) RETURNING id").format(names, places)
        found = self.database.execute(insert, row).fetchone()
        assert found
        return int(found[0])

    def declare(self, *queues: str) -> None:
        """As the operator does it, with their dead-letter bindings."""
        for queue in queues:
            self.ensure(queue, ARGUMENTS)

    def ensure(self, queue: str, arguments: Mapping[str, Any]) -> None:
        with Topology(self.broker.amqp_url, threads=1) as topology:
            asyncio.run(topology.ensure(queue, arguments))

    def accept(self, automation_id: int, count: int = 1) -> list[UUID]:
        """So many jobs, due for publication at once."""
        jobs = self.store.ask(store.accept, [NewJob(automation_id, {"n": n}) for n in range(count)])
        self.database.execute("UPDATE jobs SET publish_due_at = now() WHERE publish_due_at IS NOT NULL")
        return [job.id for job in jobs]

    def published(self, automation_id: int, count: int = 1) -> list[UUID]:
        """So many jobs whose messages are in the queue, with nothing owed any more."""
        ids = self.accept(automation_id, count)
        until(lambda: not self.owed(), "the debts are settled")
        return ids

    def start(self, job_id: UUID, token: str | None = None) -> Any:
        return self.store.ask(store.start, [Start(job_id, token)])[0]

    def finish(self, job_id: UUID, status: Status, token: str | None = None) -> Any:
        return self.store.ask(store.finish, [Finish(job_id, status, None, token)])[0]

    def job(self, job_id: UUID) -> Any:
        return self.store.ask(store.get, job_id)

    def rows(self, statement: str, *values: object) -> list[Any]:
        return self.database.execute(statement.encode(), values).fetchall()

    def owed(self) -> int:
        [(count,)] = self.rows("SELECT count(*) FROM jobs WHERE publish_due_at IS NOT NULL")
        return int(count)

    def ended(self, status: Status = Status.COMPLETED) -> int:
        [(count,)] = self.rows("SELECT count(*) FROM jobs WHERE status = %s", status)
        return int(count)

    def age(self, by: timedelta, table: str, *columns: str) -> None:
        """Move times into the past."""
        for column in columns:
            moved = sql.SQL("UPDATE {0} SET {1} = {1} - %s")
            self.database.execute(moved.format(sql.Identifier(table), sql.Identifier(column)), [by])

    def service_is_up(self) -> None:
        """The apis have been beating for a day, and will."""
        self.database.execute(
            "INSERT INTO service_clock VALUES (true, now() - interval '1 day', now() + interval '1 day')"
        )

    def depth(self, queue: str) -> int:
        with self.broker.connect() as connection:
            found = connection.channel().queue_declare(queue, passive=True)
            return int(found.method.message_count)

    def reject(self, queue: str, count: int = 1) -> None:
        """What a worker does that wants none of these messages."""
        with self.broker.connect() as connection:
            channel = connection.channel()
            for _ in range(count):
                method = until(lambda: channel.basic_get(queue)[0], f"a message is in {queue}")
                channel.basic_nack(method.delivery_tag, requeue=False)
