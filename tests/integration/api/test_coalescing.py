"""Calls that share a commit: each is answered for itself, in order, once."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import LiteralString
from urllib.parse import urlsplit

import psycopg
import requests
from psycopg import sql

from integration.api.service import ADMIN_TOKEN, Service, eventually
from integration.servers import Broker

WAITING = """SELECT count(*) FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND datname = current_database()"""


@contextmanager
def held_up(uri: str, table: LiteralString) -> Iterator[None]:
    """While the block lasts, the table can be read but not written: calls gather behind the first flushes."""
    with psycopg.connect(uri) as connection:
        connection.execute(sql.SQL("LOCK TABLE {} IN SHARE MODE").format(sql.Identifier(table)))
        yield


@contextmanager
def constraint(database: psycopg.Connection, table: LiteralString, check: LiteralString) -> Iterator[None]:
    name = sql.Identifier(table)
    add = sql.SQL("ALTER TABLE {} ADD CONSTRAINT no_poison CHECK ({})")
    database.execute(add.format(name, sql.SQL(check)))
    try:
        yield
    finally:
        database.execute(sql.SQL("ALTER TABLE {} DROP CONSTRAINT no_poison").format(name))


def waiting(database: psycopg.Connection, statements: int) -> bool:
    """Whether that many wait for a lock."""
    return database.execute(WAITING).fetchone() == (statements,)


def test_one_bad_row_among_50_lines_fails_alone(
    service: Service, database: psycopg.Connection, api_database_uri: str
) -> None:
    first, second, *jobs = [service.running() for _ in range(53)]

    def send(job: str, text: str = "fine") -> requests.Response:
        return service.worker("POST", f"/{job}/log", {"level": "INFO", "message": text})

    with constraint(database, "job_logs", "message <> 'poison'"), ThreadPoolExecutor(60) as senders:
        with held_up(api_database_uri, "job_logs"):
            replies = [senders.submit(send, first)]
            eventually(lambda: waiting(database, 1))
            replies.append(senders.submit(send, second))
            eventually(lambda: waiting(database, 2))
            replies += [senders.submit(send, job) for job in jobs[:50]]
            poisoned = senders.submit(send, jobs[50], "poison")
            time.sleep(0.5)
        assert {reply.result().status_code for reply in replies} == {201}
        refused = poisoned.result()
    assert refused.status_code == 400
    assert "can't keep this" in refused.json()["error"]
    kept = database.execute("SELECT job_id::text, message FROM job_logs").fetchall()
    assert sorted(kept) == sorted((job, "fine") for job in [first, second, *jobs[:50]])


def test_one_bad_row_among_50_executes_fails_alone(
    service: Service, database: psycopg.Connection, api_database_uri: str
) -> None:
    made = service.automation()

    def execute(number: int) -> requests.Response:
        return service.post(f"/automations/{made['id']}/execute", {"n": number})

    with constraint(database, "jobs", "parameters <> '{\"n\": 25}'"), ThreadPoolExecutor(60) as callers:
        with held_up(api_database_uri, "jobs"):
            replies = [callers.submit(execute, number) for number in range(50)]
            eventually(lambda: waiting(database, 2))
            time.sleep(0.5)
        codes = [reply.result().status_code for reply in replies]
    assert codes == [400 if number == 25 else 202 for number in range(50)]
    shown = service.get("/jobs?limit=200").json()["items"]
    assert sorted(job["parameters"]["n"] for job in shown) == [n for n in range(50) if n != 25]


def test_executes_at_once_are_each_accepted_and_published_once(
    service: Service, api_broker: Broker, database: psycopg.Connection
) -> None:
    made = service.automation(queueName="at-once")
    eventually(lambda: service.session.get(f"{service.root}/readyz").json()["broker"] == "ok")
    with api_broker.connect() as connection:
        channel = connection.channel()
        channel.queue_declare("at-once", exclusive=True)

        def execute(caller: int) -> list[str]:
            with requests.Session() as session:
                url = f"{service.root}/api/v1/automations/{made['id']}/execute"
                headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
                bodies = [{"by": [caller, number]} for number in range(25)]
                replies = [session.post(url, json=body, headers=headers) for body in bodies]
                assert {reply.status_code for reply in replies} == {202}
                assert [reply.json()["parameters"] for reply in replies] == bodies
                return [reply.json()["id"] for reply in replies]

        with ThreadPoolExecutor(16) as callers:
            accepted = [job for jobs in callers.map(execute, range(16)) for job in jobs]
        assert len(set(accepted)) == 400
        owed = "SELECT count(*), count(publish_due_at) FROM jobs"
        eventually(lambda: database.execute(owed).fetchone() == (400, 0))
        published = []
        while (got := channel.basic_get("at-once", auto_ack=True))[0]:
            published.append(json.loads(got[2])["job_id"])
        assert sorted(published) == sorted(accepted)


def test_a_caller_who_hangs_up_leaves_an_accepted_and_published_job(
    service: Service, api_broker: Broker, database: psycopg.Connection, api_database_uri: str
) -> None:
    made = service.automation(queueName="hung-up")
    eventually(lambda: service.session.get(f"{service.root}/readyz").json()["broker"] == "ok")
    with api_broker.connect() as connection:
        connection.channel().queue_declare("hung-up", exclusive=True)
        with held_up(api_database_uri, "jobs"):
            address = urlsplit(service.root)
            with socket.create_connection((address.hostname, address.port)) as caller:
                request = (
                    f"POST /api/v1/automations/{made['id']}/execute HTTP/1.1\r\nHost: x\r\n"
                    f"Authorization: Bearer {ADMIN_TOKEN}\r\nContent-Length: 0\r\n\r\n"
                )
                caller.sendall(request.encode())
                eventually(lambda: waiting(database, 1))
            time.sleep(0.2)
        settled = "SELECT settled_at IS NOT NULL AND publish_due_at IS NULL FROM jobs"
        eventually(lambda: database.execute(settled).fetchone() == (True,))


def test_10_000_lines_of_a_job_stay_in_order_and_are_kept_once(service: Service) -> None:
    job = service.running(token="t")
    lines = [{"level": "INFO", "message": f"line {n}", "seq": n} for n in range(10_000)]
    for start in range(0, 10_000, 800):
        # Each call repeats the end of the one before, as a sender does that got no answer to it.
        sent = lines[max(start - 200, 0) : start + 800]
        assert service.worker("POST", f"/{job}/logs", sent, token="t").status_code == 201
    shown = service.get(f"/jobs/{job}/logs").json()
    assert [line["message"] for line in shown] == [f"line {n}" for n in range(10_000)]
    assert [line["id"] for line in shown] == sorted({line["id"] for line in shown})


def test_lines_sent_one_by_one_from_many_jobs_stay_in_order(service: Service) -> None:
    jobs = [service.running() for _ in range(12)]

    def work(job: str) -> list[int]:
        lines = ({"level": "INFO", "message": str(n)} for n in range(40))
        replies = [service.worker("POST", f"/{job}/log", line) for line in lines]
        assert {reply.status_code for reply in replies} == {201}
        return [reply.json()["log_id"] for reply in replies]

    with ThreadPoolExecutor(12) as workers:
        ids = list(workers.map(work, jobs))
    for job, given in zip(jobs, ids, strict=True):
        shown = service.get(f"/jobs/{job}/logs").json()
        assert [line["message"] for line in shown] == [str(n) for n in range(40)]
        assert [line["id"] for line in shown] == given


def test_a_batch_is_accepted_whole_in_one_commit_or_not_at_all(
    service: Service, api_broker: Broker, database: psycopg.Connection
) -> None:
    schema = [{"name": "n", "label": "N", "type": "number", "required": True}]
    made = service.automation(queueName="batch", parameterSchema=schema)
    eventually(lambda: service.session.get(f"{service.root}/readyz").json()["broker"] == "ok")
    path = f"/automations/{made['id']}/execute/batch"
    keyed = service.post(path, [{}], headers={"Idempotency-Key": "k"})
    assert (keyed.status_code, "Idempotency-Key" in keyed.json()["error"]) == (400, True)
    refused = service.post(path, [{"n": 0}, {}, {"n": "2"}, {"n": 3}])
    assert refused.status_code == 422
    assert refused.json()["fields"] == [
        {"name": "1.n", "message": "is required"},
        {"name": "2.n", "message": "must be a number, without quotes"},
    ]
    assert service.post(path, [{"n": 0}, 1]).json()["error"].startswith("1: ")
    with constraint(database, "jobs", "parameters <> '{\"n\": 500}'"):
        assert service.post(path, [{"n": n} for n in range(1_000)]).status_code == 400
    assert database.execute("SELECT count(*) FROM jobs").fetchone() == (0,)
    with api_broker.connect() as connection:
        channel = connection.channel()
        channel.queue_declare("batch", exclusive=True)
        reply = service.post(path, [{"n": n} for n in range(1_000)])
        assert reply.status_code == 202
        assert [job["parameters"]["n"] for job in reply.json()] == list(range(1_000))
        commits = "SELECT count(DISTINCT created_at), count(DISTINCT id) FROM jobs"
        assert database.execute(commits).fetchone() == (1, 1_000)
        eventually(lambda: channel.queue_declare("batch", passive=True).method.message_count == 1_000)


def test_an_edit_through_the_api_counts_for_the_next_execute(service: Service) -> None:
    made = service.automation(defaultParams={"a": 1})
    path = f"/automations/{made['id']}"

    def executed() -> requests.Response:
        return service.post(f"{path}/execute")

    for number in range(10):
        assert executed().json()["parameters"] == {"a": number + 1}
        assert service.post(f"{path}/pause").status_code == 200
        assert executed().status_code == 409
        assert service.post(f"{path}/resume").status_code == 200
        assert executed().status_code == 202
        assert service.put(path, {"defaultParams": {"a": number + 2}}).status_code == 200
    assert service.delete(path).status_code == 204
    assert executed().status_code == 404


def test_an_edit_by_others_counts_within_a_second_or_so(
    service: Service, database: psycopg.Connection
) -> None:
    made = service.automation()
    assert service.post(f"/automations/{made['id']}/execute").status_code == 202
    database.execute("UPDATE automations SET suspended = true")
    eventually(lambda: service.post(f"/automations/{made['id']}/execute").status_code == 409, 5)


def test_slow_reads_hold_up_no_write(
    service: Service, database: psycopg.Connection, api_database_uri: str
) -> None:
    made = service.automation()
    assert service.post(f"/automations/{made['id']}/execute").status_code == 202
    readers = [threading.Thread(target=service.get, args=["/schedules"]) for _ in range(8)]
    with psycopg.connect(api_database_uri) as connection:
        connection.execute("LOCK TABLE schedules IN ACCESS EXCLUSIVE MODE")
        for reader in readers:
            reader.start()
        eventually(lambda: waiting(database, 4))
        began = time.monotonic()
        assert service.post(f"/automations/{made['id']}/execute").status_code == 202
        assert time.monotonic() - began < 4, "it waited for a connection of the reads"
    for reader in readers:
        reader.join()


def test_calls_of_one_job_at_once_are_all_answered(service: Service) -> None:
    job = service.running()
    calls: list[Callable[[], requests.Response]] = [
        lambda: service.worker("GET", f"/{job}/cancellation"),
        lambda: service.worker("POST", f"/{job}/heartbeat", {"progress": 0.5}),
        lambda: service.worker("POST", f"/{job}/log", {"level": "INFO", "message": "m"}),
    ]
    with ThreadPoolExecutor(30) as workers:
        replies = list(workers.map(lambda call: call(), calls * 20))
    assert {reply.status_code for reply in replies} == {200, 201}
    assert len(service.get(f"/jobs/{job}/logs").json()) == 20
