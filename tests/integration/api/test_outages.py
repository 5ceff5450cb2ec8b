"""Dependencies that are away: at the start, later, and back again; and the process told to stop."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import psycopg
import pytest
import requests

from integration.api.service import ADMIN_TOKEN, Service, eventually, insert_automation, serve
from integration.servers import Broker, Database, free_port, wait_for
from maestro.db.migrate import migrate

NO_BROKER = "amqp://guest:guest@127.0.0.1:1/"


def ready(service: Service) -> tuple[int, dict[str, str]]:
    reply = requests.get(f"{service.root}/readyz", timeout=10)
    return reply.status_code, reply.json()


def test_without_a_broker_jobs_are_accepted_and_owed(database_uri: str) -> None:
    with (
        serve(database_uri, NO_BROKER) as service,
        psycopg.connect(database_uri, autocommit=True) as database,
    ):
        code, said = ready(service)
        assert code == 200
        assert "accepted" in said["broker"]
        for _ in range(20):
            service.job()
        owed = "SELECT count(*) FROM jobs WHERE publish_due_at IS NOT NULL"
        assert database.execute(owed).fetchone() == (20,)


def test_readiness_says_what_is_missing(database_uri: str) -> None:
    with serve(database_uri, NO_BROKER) as service:
        service.kube.away = True
        code, said = ready(service)
        assert (code, said["status"], said["database"]) == (503, "not ready", "ok")
        assert "Kubernetes" in said["kubernetes"]
        service.kube.away = False
        assert ready(service)[0] == 200


def test_postgresql_away_at_the_start_and_again_later(own_database: Database, broker: Broker) -> None:
    migrate(own_database.uri())
    with psycopg.connect(own_database.uri(), autocommit=True) as database:
        automation = insert_automation(database)
    own_database.container.stop()
    with serve(own_database.uri(), broker.amqp_url) as service:
        execute = f"/automations/{automation}/execute"
        for _ in range(2):
            code, said = ready(service)
            assert code == 503
            assert "PostgreSQL" in said["database"]
            refused = service.post(execute)
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
            assert "PostgreSQL" in refused.json()["error"]
            assert requests.get(f"{service.root}/livez", timeout=5).status_code == 200
            own_database.container.start()
            own_database.wait()
            eventually(lambda: ready(service)[0] == 200, 60)
            assert service.post(execute).status_code == 202
            own_database.container.stop()


def test_postgresql_killed_under_load_means_503_and_nothing_that_was_said_to_be_kept_is_lost(
    own_database: Database, broker: Broker
) -> None:
    migrate(own_database.uri())
    with psycopg.connect(own_database.uri(), autocommit=True) as database:
        automation = insert_automation(database)
    with serve(own_database.uri(), broker.amqp_url) as service:
        running = [service.post(f"/automations/{automation}/execute").json()["id"] for _ in range(4)]
        for job in running:
            assert service.worker("POST", f"/{job}/start").status_code == 200
        over = threading.Event()

        def keep(call: Callable[[], requests.Response]) -> list[requests.Response]:
            replies = []
            while not over.is_set():
                replies.append(call())
                time.sleep(0.01 if replies[-1].ok else 0.2)
            return replies

        def line(job: str) -> requests.Response:
            return service.worker("POST", f"/{job}/log", {"level": "INFO", "message": "m"})

        calls = [partial(line, job) for job in running]
        calls += [partial(service.post, f"/automations/{automation}/execute") for _ in range(8)]
        with ThreadPoolExecutor(len(calls)) as clients:
            found = [clients.submit(keep, call) for call in calls]
            time.sleep(1)
            own_database.container.kill()
            time.sleep(3)
            own_database.container.start()
            own_database.wait()
            eventually(lambda: service.post(f"/automations/{automation}/execute").status_code == 202, 60)
            over.set()
        replies = [reply for each in found for reply in each.result()]
        refused = [reply for reply in replies if not reply.ok]
        assert refused
        assert {(reply.status_code, reply.headers["Retry-After"]) for reply in refused} == {(503, "5")}
        with psycopg.connect(own_database.uri()) as database:
            jobs = {str(row[0]) for row in database.execute("SELECT id FROM jobs")}
            lines = {row[0] for row in database.execute("SELECT id FROM job_logs")}
        assert {reply.json()["id"] for reply in replies if reply.status_code == 202} <= jobs
        assert {reply.json()["log_id"] for reply in replies if reply.status_code == 201} <= lines


@pytest.fixture
def own(database_uri: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_uri, autocommit=True) as connection:
        yield connection


@pytest.fixture
def environment(database_uri: str, broker: Broker) -> dict[str, str]:
    return os.environ | {
        "MAESTRO_DATABASE_URI": database_uri,
        "MAESTRO_BROKER_URI": broker.amqp_url,
        "MAESTRO_ADMIN_TOKEN": ADMIN_TOKEN,
        "MAESTRO_API_PORT": str(free_port()),
    }


def test_the_process_finishes_what_it_has_taken_when_told_to_stop(
    environment: dict[str, str], own: psycopg.Connection, broker: Broker
) -> None:
    automation = insert_automation(own)
    with broker.connect() as connection:
        connection.channel().queue_declare("q", durable=True)
    root = f"http://127.0.0.1:{environment['MAESTRO_API_PORT']}"
    process = subprocess.Popen(
        [sys.executable, "-m", "maestro_api"], env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(lambda: requests.get(f"{root}/livez", timeout=1).raise_for_status(), "the api", 30)
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        eventually(lambda: requests.get(f"{root}/readyz", timeout=9).json()["broker"] == "ok", 20)
        taken: list[int] = []

        def keep_executing() -> None:
            with requests.Session() as session:
                while True:
                    try:
                        url = f"{root}/api/v1/automations/{automation}/execute"
                        taken.append(session.post(url, headers=headers, timeout=10).status_code)
                    except requests.ConnectionError:
                        return

        clients = [threading.Thread(target=keep_executing) for _ in range(4)]
        for client in clients:
            client.start()
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        for client in clients:
            client.join(20)
        _, log = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode in (0, -signal.SIGTERM)
    assert "Traceback" not in log
    assert set(taken) == {202}
    accepted = own.execute("SELECT count(*), count(publish_due_at) FROM jobs").fetchone()
    assert accepted is not None
    # A request whose reply the closing connection swallowed may have been committed as well.
    assert len(taken) <= accepted[0] <= len(taken) + 4
    assert accepted[1] == 0, "what was published was not noted before the end"
    assert ADMIN_TOKEN not in log
