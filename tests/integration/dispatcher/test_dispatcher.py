"""The dispatcher's process, as it is deployed, against real servers that come and go."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isnan
from pathlib import Path

import psycopg
import pytest
import requests

from integration.servers import Broker, Database, free_port
from maestro.db.migrate import migrate

pytestmark = pytest.mark.timeout(240)

OWED = "SELECT count(*) FROM jobs WHERE publish_due_at IS NOT NULL"


@dataclass
class Process:
    """A running dispatcher, its ports and its log."""

    running: "subprocess.Popen[bytes]"
    port: int
    metrics_port: int
    logfile: Path

    @property
    def log(self) -> str:
        return self.logfile.read_text()

    def health(self) -> int:
        return requests.get(f"http://127.0.0.1:{self.port}/healthz", timeout=5).status_code

    def metrics(self) -> dict[str, float]:
        """Samples by name and labels, as they are written."""
        text = requests.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5).text
        assert "tests-only" not in text
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {sample: float(value) for sample, value in lines}

    def end(self) -> tuple[int, float]:
        """Exit code and seconds after SIGTERM."""
        began = time.monotonic()
        self.running.send_signal(signal.SIGTERM)
        return self.running.wait(30), time.monotonic() - began


Start = Callable[[str, str], Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a dispatcher on a database's and a broker's address."""
    started: list[Process] = []

    def starter(database_uri: str, broker_uri: str) -> Process:
        port, metrics_port = free_port(), free_port()
        logfile = tmp_path / f"dispatcher-{len(started)}.log"
        environment = os.environ | {
            "MAESTRO_DATABASE_URI": database_uri,
            "MAESTRO_BROKER_URI": broker_uri,
            "MAESTRO_HEALTH_PORT": str(port),
            "MAESTRO_METRICS_PORT": str(metrics_port),
        }
        command = [sys.executable, "-c", "from maestro.dispatcher.main import main; main()"]
        with logfile.open("wb") as output:
            running = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        process = Process(running, port, metrics_port, logfile)
        started.append(process)
        return process

    yield starter
    for process in started:
        process.running.kill()
        process.running.wait()


def until(probe: Callable[[], bool], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < deadline, f"not in {seconds:.0f} s: {what}"
        time.sleep(0.05)


def automation(database: psycopg.Connection, queue: str = "jobs") -> int:
    insert = """INSERT INTO automations (namespace, name, uid, display_name, script_path, queue)
                VALUES ('bots', 'bot', 'a', 'bot', 'bot.py', %s) RETURNING id"""
    row = database.execute(insert, [queue]).fetchone()
    assert row
    return int(row[0])


def owe(database: psycopg.Connection, automation_id: int, count: int) -> None:
    database.execute(
        """INSERT INTO jobs (id, automation_id, publish_due_at)
           SELECT gen_random_uuid(), %s, now() FROM generate_series(1, %s)""",
        [automation_id, count],
    )


def schedule(database: psycopg.Connection, name: str, seconds: float, cron: str | None = None) -> None:
    """A schedule whose run of this minute is due in so many seconds; the next tomorrow, or as cron says."""
    now = datetime.now(UTC)
    database.execute(
        """INSERT INTO schedules (namespace, name, uid, automation_name, cron, time_zone, decided_until,
                                  due_at)
           VALUES ('bots', %s, 's', 'bot', %s, 'UTC', %s, %s)""",
        [
            name,
            cron or f"{now.minute} {now.hour} * * *",
            now.replace(second=0, microsecond=0) - timedelta(seconds=1),
            now + timedelta(seconds=seconds),
        ],
    )


def declare(broker: Broker, queue: str = "jobs") -> None:
    with broker.connect() as connection:
        connection.channel().queue_declare(queue, durable=True)


def depth(broker: Broker, queue: str = "jobs") -> int:
    with broker.connect() as connection:
        return int(connection.channel().queue_declare(queue, passive=True).method.message_count)


def settled(database: psycopg.Connection) -> bool:
    return database.execute(OWED).fetchone() == (0,)


def test_it_fires_publishes_and_settles(
    database_uri: str, database: psycopg.Connection, broker: Broker, start: Start
) -> None:
    declare(broker)
    automation_id = automation(database)
    schedule(database, "soon", 2)
    process = start(database_uri, broker.amqp_url)
    until(lambda: depth(broker) == 1, "the job's message is in the queue")
    until(lambda: settled(database), "the debt is settled")
    with broker.connect() as connection:
        _, properties, body = connection.channel().basic_get("jobs", auto_ack=True)
    row = database.execute("SELECT j.id::text, s.last_job_id = j.id FROM jobs j, schedules s").fetchone()
    assert row == (properties.message_id, True)
    assert json.loads(body) == {
        "job_id": properties.message_id,
        "automation_id": automation_id,
        "script_path": "bot.py",
        "parameters": {},
    }
    assert process.health() == 200
    found = process.metrics()
    assert found["maestro_publish_confirmed_total"] == 1
    assert found["maestro_publisher_connected"] == 1
    assert found["maestro_debts_overdue"] == 0
    assert found['maestro_dispatcher_step_seconds_count{step="fire"}'] > 0
    assert found["maestro_database_pool_size"] > 0
    code, seconds = process.end()
    assert (code, seconds < 10) == (0, True)


def test_it_pays_old_debts_and_keeps_those_without_a_queue(
    database_uri: str, database: psycopg.Connection, broker: Broker, start: Start
) -> None:
    automation_id = automation(database)
    owe(database, automation_id, 1_200)
    process = start(database_uri, broker.amqp_url)
    until(lambda: "queue jobs does not exist" in process.log, "it says that the queue is missing")
    time.sleep(1)
    assert database.execute(OWED).fetchone() == (1_200,)
    declare(broker)
    # as if the claims of 30 s had run out
    database.execute("UPDATE jobs SET publish_due_at = now()")
    until(lambda: settled(database), "the debts are settled")
    assert depth(broker) == 1_200


def test_two_at_once_fire_each_instant_once(
    database_uri: str, database: psycopg.Connection, broker: Broker, start: Start
) -> None:
    declare(broker)
    automation(database)
    for number in range(300):
        schedule(database, f"s-{number}", 4 + number % 3, "* * * * *")
    for _ in range(2):
        start(database_uri, broker.amqp_url)
    late = "SELECT count(*) FROM schedules WHERE last_job_id IS NULL"
    until(lambda: database.execute(late).fetchone() == (0,), "all have fired", 60)
    ticks = "SELECT count(*), count(DISTINCT (schedule_id, scheduled_for)) FROM jobs"
    made, distinct = database.execute(ticks).fetchone() or (0, 1)
    assert made == distinct
    until(lambda: settled(database), "all debts are settled")
    assert depth(broker) >= made


def test_debts_are_paid_when_the_broker_is_back(
    database_uri: str, database: psycopg.Connection, own_broker: Broker, start: Start
) -> None:
    declare(own_broker)
    automation_id = automation(database)
    own_broker.container.stop()
    process = start(database_uri, own_broker.amqp_url)
    until(lambda: "RabbitMQ is away" in process.log, "it says that the broker is away")
    owe(database, automation_id, 500)
    schedule(database, "in-the-outage", 0)
    until(
        lambda: database.execute("SELECT count(*) FROM jobs").fetchone() == (501,), "schedules fire meanwhile"
    )
    assert process.health() == 200
    own_broker.container.start()
    own_broker.wait()
    until(lambda: settled(database), "the debts are settled", 60)
    assert depth(own_broker) == 501
    assert process.log.count("RabbitMQ is away") == 1
    assert process.log.count("RabbitMQ is back") == 1


def test_postgresql_may_come_later_and_go_and_come_again(
    own_database: Database, broker: Broker, start: Start
) -> None:
    declare(broker)
    migrate(own_database.uri())
    with psycopg.connect(own_database.uri(), autocommit=True) as database:
        automation(database)
    own_database.container.stop()
    process = start(own_database.uri(), broker.amqp_url)
    until(lambda: "PostgreSQL is away" in process.log, "it says that the database is away")
    assert process.health() == 200
    assert isnan(process.metrics()["maestro_debts_overdue"])
    for outage, seconds in ((1, 35), (2, 5)):
        time.sleep(seconds)  # 35 s: a backoff that doubles would by now rest for 30 s more
        own_database.container.start()
        own_database.wait()
        came = time.monotonic()
        until(lambda outage=outage: process.log.count("PostgreSQL is back") == outage, "it goes on", 60)
        assert time.monotonic() - came < 10
        if outage == 1:
            own_database.container.kill()
            until(lambda: process.log.count("PostgreSQL is away") == 2, "it notices the second outage")
    with psycopg.connect(own_database.uri(), autocommit=True) as database:
        schedule(database, "after", 0)
        until(lambda: depth(broker) == 1, "it fires")
    assert process.log.count("PostgreSQL is away") == 2
    assert "tests-only" not in process.log
    assert "Traceback" not in process.log


def test_it_ends_soon_while_everything_is_away(start: Start) -> None:
    nobody = free_port()
    process = start(f"postgresql://x:y@127.0.0.1:{nobody}/x", f"amqp://x:y@127.0.0.1:{nobody}/")
    until(lambda: "PostgreSQL is away" in process.log and "RabbitMQ is away" in process.log, "it says so")
    code, seconds = process.end()
    assert (code, seconds < 10) == (0, True), process.log
    assert "Traceback" not in process.log
