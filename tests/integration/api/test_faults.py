"""Whatever goes away, and whenever: what was answered with 202 runs once and comes to one end."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import requests

from integration.api.bots import working
from integration.api.service import ADMIN_TOKEN, WORKER_KEY, eventually, insert_automation, serve
from integration.dispatcher.duties import dispatching
from integration.servers import Broker, Database, free_port, wait_for
from maestro.db.migrate import migrate

QUEUE = "q"
STATES = "SELECT status, attempt, count(*) FROM jobs GROUP BY status, attempt ORDER BY status, attempt"


@pytest.fixture
def automation(database_uri: str) -> int:
    with psycopg.connect(database_uri, autocommit=True) as connection:
        return insert_automation(connection, queue=QUEUE)


@pytest.fixture
def own(database_uri: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_uri, autocommit=True) as connection:
        yield connection


def declare(broker: Broker) -> None:
    with broker.connect() as connection:
        connection.channel().queue_declare(QUEUE, durable=True)


def depth(broker: Broker) -> int:
    with broker.connect() as connection:
        return int(connection.channel().queue_declare(QUEUE, passive=True).method.message_count)


def execute(root: str, automation: int, key: str | None = None) -> requests.Response:
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"} | ({"Idempotency-Key": key} if key else {})
    return requests.post(f"{root}/api/v1/automations/{automation}/execute", headers=headers, timeout=20)


def execute_many(root: str, automation: int, count: int) -> list[str]:
    """The ids of so many jobs, asked for by eight clients at once, each of them answered with 202."""
    with ThreadPoolExecutor(8) as clients:
        replies = list(clients.map(lambda _: execute(root, automation), range(count)))
    assert {reply.status_code for reply in replies} == {202}
    return [reply.json()["id"] for reply in replies]


def all_ran_once(database: psycopg.Connection, ids: Sequence[str], ran: Sequence[str]) -> None:
    assert sorted(ran) == sorted(ids)
    assert database.execute(STATES).fetchall() == [("completed", 1, len(ids))]


@contextmanager
def process(database_uri: str, amqp_url: str) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """An api as it is deployed, and its root; killed at the end if it lives."""
    port = free_port()
    environment = os.environ | {
        "MAESTRO_DATABASE_URI": database_uri,
        "MAESTRO_BROKER_URI": amqp_url,
        "MAESTRO_ADMIN_TOKEN": ADMIN_TOKEN,
        "MAESTRO_WORKER_KEY": WORKER_KEY,
        "MAESTRO_API_PORT": str(port),
        "MAESTRO_METRICS_PORT": str(free_port()),
    }
    running = subprocess.Popen([sys.executable, "-m", "maestro_api"], env=environment)
    root = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: requests.get(f"{root}/livez", timeout=1).raise_for_status(), "the api", 30)
        eventually(lambda: requests.get(f"{root}/readyz", timeout=9).json()["broker"] == "ok", 30)
        yield root, running
    finally:
        running.kill()
        running.wait()


def test_five_hundred_executes_without_a_broker_all_run_when_it_is_back(
    database_uri: str, own: psycopg.Connection, own_broker: Broker, automation: int
) -> None:
    declare(own_broker)
    with (
        serve(database_uri, own_broker.amqp_url) as service,
        dispatching(database_uri, own_broker.amqp_url),
    ):
        eventually(lambda: service.session.get(f"{service.root}/readyz").json()["broker"] == "ok", 30)
        own_broker.container.stop()
        ids = execute_many(service.root, automation, 500)
        own_broker.container.start()
        own_broker.wait()
        with working(service.root, own_broker, QUEUE) as bots:
            eventually(lambda: len(bots.ran) >= 500, 90)
    all_ran_once(own, ids, bots.ran)


def test_an_api_killed_before_the_broker_has_confirmed_loses_nothing(
    database_uri: str, own: psycopg.Connection, own_broker: Broker, automation: int
) -> None:
    declare(own_broker)
    with process(database_uri, own_broker.amqp_url) as (root, running):
        own_broker.container.pause()  # it takes no byte and confirms nothing
        ids = execute_many(root, automation, 50)
        assert own.execute("SELECT count(*) FROM jobs WHERE publish_due_at IS NOT NULL").fetchone() == (50,)
        running.kill()
        running.wait()
        own_broker.container.unpause()
        own_broker.wait()
    with (
        serve(database_uri, own_broker.amqp_url) as service,
        dispatching(database_uri, own_broker.amqp_url),
        working(service.root, own_broker, QUEUE) as bots,
    ):
        eventually(lambda: len(bots.ran) >= 50, 60)
        eventually(lambda: depth(own_broker) == 0, 30)
    all_ran_once(own, ids, bots.ran)


HOLD_NOTES = """
CREATE FUNCTION hold_notes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NEW; END $$;
CREATE TRIGGER hold_notes BEFORE UPDATE OF settled_at ON jobs FOR EACH ROW EXECUTE FUNCTION hold_notes();
"""
HELD = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"
END_HELD = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event = 'advisory'"""


def test_an_api_killed_before_it_has_noted_a_confirm_sends_messages_twice_and_runs_jobs_once(
    database_uri: str, own: psycopg.Connection, broker: Broker, automation: int
) -> None:
    declare(broker)
    own.execute(HOLD_NOTES)
    own.execute("SELECT pg_advisory_lock(1)")
    with process(database_uri, broker.amqp_url) as (root, running):
        ids = execute_many(root, automation, 50)
        eventually(lambda: depth(broker) == 50, 20)
        eventually(lambda: own.execute(HELD).fetchone(), 20)
        running.kill()
        running.wait()
    own.execute(END_HELD)
    own.execute("DROP TRIGGER hold_notes ON jobs")
    own.execute("SELECT pg_advisory_unlock(1)")
    assert own.execute("SELECT count(*) FROM jobs WHERE publish_due_at IS NOT NULL").fetchone() == (50,)
    with serve(database_uri, broker.amqp_url) as service:
        with dispatching(database_uri, broker.amqp_url):
            eventually(lambda: depth(broker) == 100, 30)
        with working(service.root, broker, QUEUE) as bots:
            eventually(lambda: len(bots.ran) + len(bots.refused) >= 100, 60)
    all_ran_once(own, ids, bots.ran)
    assert sorted(bots.refused) == sorted(ids)


def test_who_sends_a_key_again_after_an_api_was_killed_gets_the_same_job(
    database_uri: str, own: psycopg.Connection, broker: Broker, automation: int
) -> None:
    """Killed at any point between the request and its reply."""
    declare(broker)
    answered: dict[str, str] = {}
    unanswered: list[str] = []

    def keep_executing(root: str) -> None:
        while True:
            key = uuid4().hex
            try:
                reply = execute(root, automation, key)
            except requests.ConnectionError:
                unanswered.append(key)
                return
            assert reply.status_code == 202
            answered[key] = reply.json()["id"]

    with process(database_uri, broker.amqp_url) as (root, running):
        clients = [threading.Thread(target=keep_executing, args=(root,)) for _ in range(8)]
        for client in clients:
            client.start()
        eventually(lambda: len(answered) > 100, 30)
        running.kill()
        for client in clients:
            client.join(30)
    assert len(unanswered) == 8
    with serve(database_uri, broker.amqp_url) as service, dispatching(database_uri, broker.amqp_url):
        again = {key: execute(service.root, automation, key).json()["id"] for key in (*answered, *unanswered)}
        assert answered.items() <= again.items()
        with working(service.root, broker, QUEUE) as bots:
            eventually(lambda: len(bots.ran) >= len(again), 60)
            eventually(lambda: depth(broker) == 0, 30)
    all_ran_once(own, list(again.values()), bots.ran)


def test_messages_doubled_and_in_any_order_run_each_job_once(
    database_uri: str, own: psycopg.Connection, broker: Broker, automation: int
) -> None:
    declare(broker)
    with serve(database_uri, broker.amqp_url) as service:
        eventually(lambda: service.session.get(f"{service.root}/readyz").json()["broker"] == "ok", 30)
        ids = execute_many(service.root, automation, 60)
        eventually(lambda: depth(broker) == 60)
        with broker.connect() as connection:
            channel = connection.channel()
            sent = [channel.basic_get(QUEUE, auto_ack=True) for _ in ids]
            for copies in (sent[::-1], sent[1::2] + sent[::2], sent):
                for _, properties, body in copies:
                    channel.basic_publish("", QUEUE, body, properties)
        with working(service.root, broker, QUEUE, count=4) as bots:
            eventually(lambda: len(bots.ran) + len(bots.refused) >= 180, 60)
    all_ran_once(own, ids, bots.ran)
    assert len(bots.refused) == 120


@dataclass
class Client:
    """Takes jobs from execute to finish, each call again and again until it is taken, through any outage."""

    root: str
    automation: int
    done: threading.Event
    session: requests.Session = field(default_factory=requests.Session)
    jobs: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    taken: list[tuple[float, int]] = field(default_factory=list)
    """The status of every reply and when it came, by the monotonic clock."""

    def work(self) -> None:
        while not self.done.is_set():
            token = uuid4().hex
            headers = {"Authorization": f"Bearer {ADMIN_TOKEN}", "Idempotency-Key": token}
            job = self.call(f"automations/{self.automation}/execute", headers, {})["id"]
            self.jobs.append(job)
            headers = {"X-Worker-API-Key": WORKER_KEY, "X-Attempt-Token": token}
            path = f"worker/jobs/{job}"
            assert self.call(f"{path}/start", headers, {})["attempt"] == 1
            line = {"level": "INFO", "message": token, "seq": 1}
            self.lines.append(self.call(f"{path}/log", headers, line)["log_id"])
            self.call(f"{path}/heartbeat", headers, {"progress": 1})
            self.call(f"{path}/finish", headers, {"status": "completed", "result": {"by": token}})

    def call(self, path: str, headers: dict[str, str], body: Any) -> Any:
        while True:
            url = f"{self.root}/api/v1/{path}"
            reply = self.session.post(url, json=body, headers=headers, timeout=60)
            self.taken.append((time.monotonic(), reply.status_code))
            if reply.status_code < 300:
                return reply.json()
            assert (reply.status_code, reply.headers["Retry-After"]) == (503, "5"), reply.text
            time.sleep(0.5)


def test_postgresql_away_for_twenty_seconds_makes_nobody_believe_what_is_not_so(
    own_database: Database, broker: Broker
) -> None:
    migrate(own_database.uri())
    with psycopg.connect(own_database.uri(), autocommit=True) as database:
        automation = insert_automation(database, queue=QUEUE)
    declare(broker)
    done = threading.Event()
    with serve(own_database.uri(), broker.amqp_url) as service, ThreadPoolExecutor(8) as pool:
        clients = [Client(service.root, automation, done) for _ in range(8)]
        working = [pool.submit(client.work) for client in clients]
        eventually(lambda: min(len(client.jobs) for client in clients) > 3, 30)
        own_database.container.kill()
        away = time.monotonic()
        time.sleep(20)
        back = time.monotonic()
        own_database.container.start()
        own_database.wait()
        before = [len(client.jobs) for client in clients]
        eventually(lambda: all(len(c.jobs) > b + 2 for c, b in zip(clients, before, strict=True)), 60)
        done.set()
        for each in working:
            each.result(60)  # raises what went wrong in it
    refused = [when for client in clients for when, status in client.taken if status == 503]
    taken = [when for client in clients for when, status in client.taken if status != 503]
    assert len(refused) >= 8
    assert not [when for when in taken if away + 5 < when < back]
    jobs = [job for client in clients for job in client.jobs]
    with psycopg.connect(own_database.uri(), autocommit=True) as database:
        assert database.execute(STATES).fetchall() == [("completed", 1, len(jobs))]
        rows = database.execute("SELECT id::text FROM jobs").fetchall()
        assert {row[0] for row in rows} == set(jobs)
        lines = database.execute("SELECT id FROM job_logs ORDER BY id").fetchall()
        assert [row[0] for row in lines] == sorted(line for client in clients for line in client.lines)
