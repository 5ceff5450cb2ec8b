"""Live logs: what a reader is told, in what order, whatever happens meanwhile."""

import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPResponse, IncompleteRead
from typing import Any

import psycopg
import pytest
import requests

from integration.api.events import Event, Follower
from integration.api.service import ADMIN_TOKEN, WORKER_KEY, Service, eventually, serve
from integration.servers import Database
from maestro.db import Statements
from maestro.db.migrate import migrate
from maestro_api import stream
from maestro_api.services import live as live_service

UNKNOWN = "00000000-0000-7000-8000-000000000000"
NO_BROKER = "amqp://guest:guest@127.0.0.1:1/"
STATEMENTS = Statements("maestro.job")


def log(service: Service, job: str, *messages: str) -> None:
    lines = [{"level": "INFO", "message": message} for message in messages]
    assert service.worker("POST", f"/{job}/logs", lines).status_code == 201


def finish(service: Service, job: str, status: str = "completed") -> None:
    assert service.worker("POST", f"/{job}/finish", {"status": status}).status_code == 200


def numbered(start: int, stop: int) -> list[str]:
    return [f"line {number}" for number in range(start, stop)]


def test_history_then_new_lines_then_the_end(service: Service) -> None:
    job = service.running()
    log(service, job, "one", "two\nlines \u2028 \r \x1b[31m \u2400")
    with Follower(service, job) as follower:
        follower.until(lambda seen: len(seen.messages) == 2)
        log(service, job, "three")
        follower.until(lambda seen: len(seen.messages) == 3)
        finish(service, job)
        events = follower.whole()
    lines = service.get(f"/jobs/{job}/logs").json()
    assert events == [
        Event("status", {"status": "running"}),
        *(Event("log", line, str(line["id"])) for line in lines),
        Event("status", {"status": "completed"}),
        Event("end", {"status": "completed"}),
    ]


def test_the_reply_is_a_stream_that_nobody_stores(service: Service) -> None:
    with Follower(service, service.running()) as follower:
        headers = follower.reply.headers
    assert headers["Content-Type"].startswith("text/event-stream")
    assert (headers["Cache-Control"], headers["X-Accel-Buffering"]) == ("no-store", "no")


def test_changes_of_status_are_told(service: Service) -> None:
    job = service.job()
    with Follower(service, job) as follower:
        follower.until(lambda seen: seen.statuses == ["status pending"])
        service.worker("POST", f"/{job}/start")
        follower.until(lambda seen: seen.statuses[1:] == ["status running"])
        log(service, job, "at work")
        service.post(f"/jobs/{job}/cancel")
        finish(service, job, "canceled")
        follower.whole()
    assert follower.statuses[2:] == ["status canceled", "end canceled"]
    assert follower.messages == ["at work"]


def test_a_pending_job_that_is_canceled(service: Service) -> None:
    job = service.job()
    with Follower(service, job) as follower:
        service.post(f"/jobs/{job}/cancel")
        follower.whole()
    assert follower.statuses == ["status pending", "status canceled", "end canceled"]


def test_an_ended_job_is_told_whole_and_its_late_lines_to_who_comes_again(service: Service) -> None:
    job = service.running()
    log(service, job, "one", "two")
    finish(service, job, "failed")
    with Follower(service, job) as follower:
        events = follower.whole()
    assert [event.name for event in events] == ["status", "log", "log", "end"]
    assert follower.statuses == ["status failed", "end failed"]
    last = events[2].id
    with Follower(service, job, after=last) as follower:
        assert [event.name for event in follower.whole()] == ["status", "end"]
    log(service, job, "late")
    with Follower(service, job, after=last) as follower:
        follower.whole()
    assert follower.messages == ["late"]


def test_a_stream_goes_on_after_the_last_event(service: Service) -> None:
    job = service.running()
    log(service, job, *numbered(0, 5))
    third = service.get(f"/jobs/{job}/logs").json()[2]["id"]
    with Follower(service, job, after=third) as follower:
        follower.until(lambda seen: seen.messages == numbered(3, 5))
        log(service, job, "line 5")
        finish(service, job)
        follower.whole()
    assert follower.messages == numbered(3, 6)


def test_what_is_refused_before_a_stream_begins(service: Service) -> None:
    for path, code in ((UNKNOWN, 404), ("not-an-id", 400)):
        reply = service.get(f"/jobs/{path}/logs/stream")
        assert (reply.status_code, list(reply.json())) == (code, ["error"])
    job = service.job()
    for last in ("x", "-1", str(2**63)):
        reply = service.get(f"/jobs/{job}/logs/stream", headers={"Last-Event-ID": last})
        assert reply.status_code == 400
        assert "last-event-id" in reply.json()["error"].lower()


def test_a_token_in_the_query_opens_streams_alone(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    job = service.job()
    service.post(f"/jobs/{job}/cancel")

    def code(path: str, token: str = ADMIN_TOKEN, **headers: str) -> int:
        url = f"{service.root}/api/v1{path}?token={token}"
        return requests.get(url, headers=headers, timeout=10).status_code

    stream_path = f"/jobs/{job}/logs/stream"
    with caplog.at_level(logging.DEBUG, logger="maestro_api"):
        assert code(stream_path) == 200
        assert code(stream_path, "wrong") == 401
        assert code(stream_path, "") == 401
        assert code(stream_path, Authorization="Bearer wrong") == 401
        for path in ("/jobs", f"/jobs/{job}", f"/jobs/{job}/logs", f"/worker/jobs/{job}/logs/stream"):
            assert code(path) == 401, path
        assert code(f"/worker/jobs/{job}/status", WORKER_KEY) == 401
    assert "logs/stream 401" in caplog.text
    assert ADMIN_TOKEN not in caplog.text


def insert_lines(database: psycopg.Connection, job: str, count: int, message: str) -> None:
    """`message` with %s for the line's number, as workers would have left them."""
    database.execute(
        "INSERT INTO job_logs (job_id, attempt, level, message)"
        " SELECT %s, 1, 'INFO', format(%s, n) FROM generate_series(0, %s) AS n",
        (job, message, count - 1),
    )


def test_ten_thousand_lines_of_history_and_on(service: Service, database: psycopg.Connection) -> None:
    job = service.running()
    insert_lines(database, job, 10_000, "line %s")
    with ExitStack() as opened:
        followers = [opened.enter_context(Follower(service, job)) for _ in range(3)]
        followers[0].until(lambda seen: len(seen.messages) > 500)
        log(service, job, "line 10000")
        finish(service, job)
        for follower in followers:
            follower.whole(60)
            assert follower.messages == numbered(0, 10_001)


def test_lines_of_a_megabyte_arrive_whole(service: Service, database: psycopg.Connection) -> None:
    job = service.running()
    insert_lines(database, job, 3, f"%s {'x' * 1_048_570}")
    with Follower(service, job) as follower:
        follower.until(lambda seen: len(seen.messages) == 3, 30)
        insert_lines(database, job, 3, f"%s {'y' * 1_048_570}")
        finish(service, job)
        follower.whole(30)
    assert [message[:3] for message in follower.messages] == ["0 x", "1 x", "2 x", "0 y", "1 y", "2 y"]
    assert {len(message) for message in follower.messages} == {1_048_572}


@contextmanager
def slow_reader(service: Service, job: str) -> Iterator[HTTPResponse]:
    """A client that takes as little of the stream as the system lets it, until it is read."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(30)
        client.connect(("127.0.0.1", int(service.root.rsplit(":", 1)[1])))
        request = f"GET /api/v1/jobs/{job}/logs/stream?token={ADMIN_TOKEN} HTTP/1.1\r\nHost: x\r\n\r\n"
        client.sendall(request.encode())
        reply = HTTPResponse(client)
        reply.begin()
        yield reply


@pytest.fixture
def impatient(database_uri: str) -> Iterator[Service]:
    with serve(database_uri, NO_BROKER, log_stream_patience=1) as service:
        yield service


def open_streams(service: Service) -> int:
    return int(service.app.state.services.live.open)


def test_a_slow_reader_is_dropped_and_slows_nobody(impatient: Service) -> None:
    job = impatient.running()
    with slow_reader(impatient, job) as slow, Follower(impatient, job) as quick:
        for start in range(0, 10_000, 1_000):
            log(impatient, job, *(f"{number} {'x' * 800}" for number in range(start, start + 1_000)))
            quick.until(lambda seen, upto=start + 1_000: len(seen.messages) == upto, 5)  # type: ignore[misc]
        time.sleep(3)
        *told, last, rest = slow.read().split(b"\n\n")
        assert last.startswith(b'event: error\ndata: {"error":')
        assert b"Last-Event-ID" in last
        assert rest == b""
        assert all(each.startswith((b"event: status\n", b"event: log\n")) for each in told)
        assert len(told) < 10_000
        finish(impatient, job)
        quick.whole()
    assert [message.split()[0] for message in quick.messages] == [str(number) for number in range(10_000)]
    eventually(lambda: open_streams(impatient) == 0)


def test_a_reader_that_takes_nothing_is_cut_off(impatient: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_LAST_SECONDS", 1)
    job = impatient.running()
    with slow_reader(impatient, job) as stuck:
        for _ in range(10):
            log(impatient, job, *["x" * 800] * 1_000)
        eventually(lambda: open_streams(impatient) == 0, 20)
        with pytest.raises((IncompleteRead, ConnectionResetError)):
            stuck.read()


def test_who_falls_behind_reads_on_in_order(service: Service) -> None:
    job = service.running()
    with slow_reader(service, job) as behind:
        for start in range(0, 10_000, 1_000):
            log(service, job, *(f"{number} {'x' * 800}" for number in range(start, start + 1_000)))
        finish(service, job)
        lines = behind.read().split(b"\n")
    data = [json.loads(line.removeprefix(b"data: ")) for line in lines if line.startswith(b"data: ")]
    messages = [each["message"] for each in data if "message" in each]
    assert [message.split()[0] for message in messages] == [str(number) for number in range(10_000)]
    assert data[-1] == {"status": "completed"}


def test_pings_keep_a_silent_stream_open(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stream.PING_SECONDS == 15
    monkeypatch.setattr(stream, "PING_SECONDS", 0.2)
    with Follower(service, service.job()) as follower:
        follower.until(lambda seen: len(seen.comments) >= 3)
    assert set(follower.comments) == {"ping"}
    assert follower.statuses == ["status pending"]


def test_more_streams_than_there_may_be_are_refused_until_one_closes(database_uri: str) -> None:
    with serve(database_uri, NO_BROKER, log_streams=2) as service:
        job = service.job()
        with Follower(service, job):
            with Follower(service, job):
                refused = service.get(f"/jobs/{job}/logs/stream")
                assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
                assert "?after=" in refused.json()["error"]
            eventually(lambda: open_streams(service) == 1)
            with Follower(service, job) as third:
                third.until(lambda seen: seen.statuses)


def test_what_one_process_accepts_another_tells(database_uri: str) -> None:
    with serve(database_uri, NO_BROKER) as one, serve(database_uri, NO_BROKER) as other:
        job = one.job()
        with Follower(other, job) as follower:
            one.worker("POST", f"/{job}/start")
            # Five times sooner than it would be found without being told of.
            for number in range(5):
                log(one, job, f"line {number}")
                follower.until(lambda seen, upto=number: len(seen.messages) > upto, 2)  # type: ignore[misc]
            finish(one, job, "failed")
            follower.whole(2)
        assert follower.messages == numbered(0, 5)
        assert follower.statuses == ["status pending", "status running", "status failed", "end failed"]


LISTENERS = (
    "FROM pg_stat_activity"
    " WHERE datname = current_database() AND query LIKE '%LISTEN job_changes' AND pid <> pg_backend_pid()"
)


def test_hearing_again_after_the_listening_connection_was_lost(
    database_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that nothing is found but what is told, or looked for when hearing begins anew.
    monkeypatch.setattr(live_service, "_RECHECK_SECONDS", 3600)
    with (
        psycopg.connect(database_uri, autocommit=True) as database,
        serve(database_uri, NO_BROKER) as service,
        Follower(service, job := service.running()) as follower,
    ):
        for number in range(3):
            database.execute(f"SELECT pg_terminate_backend(pid, 5000) {LISTENERS}".encode())
            log(service, job, f"line {number}")
            follower.until(lambda seen, upto=number: len(seen.messages) > upto)  # type: ignore[misc]
        eventually(lambda: database.execute(f"SELECT pid {LISTENERS}".encode()).fetchone())
        database.execute("NOTIFY job_changes, 'what nobody of ours would say'")
        log(service, job, "line 3")
        follower.until(lambda seen: seen.messages == numbered(0, 4))


def test_a_restarted_database_loses_and_doubles_nothing(own_database: Database) -> None:
    migrate(own_database.uri())
    with serve(own_database.uri(), NO_BROKER) as service:
        job, other = service.running(), service.job()
        with Follower(service, job) as follower, ExitStack() as stopped:
            done = threading.Event()
            sender = threading.Thread(target=keep_logging, args=(service, job, done))
            sender.start()
            stopped.callback(sender.join)
            stopped.callback(done.set)
            follower.until(lambda seen: len(seen.messages) > 20)
            own_database.container.stop()
            refused = service.get(f"/jobs/{other}/logs/stream")
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
            own_database.container.start()
            own_database.wait()
            before = len(follower.messages)
            follower.until(lambda seen: len(seen.messages) > before + 20, 60)
            stopped.close()
            finish(service, job)
            follower.whole()
        kept = [line["message"] for line in service.get(f"/jobs/{job}/logs").json()]
        assert follower.messages == kept == numbered(0, len(kept))
        assert follower.statuses == ["status running", "status completed", "end completed"]


def keep_logging(service: Service, job: str, done: threading.Event) -> None:
    """A worker that sends each line until it is kept."""
    number = 0
    while not done.is_set():
        line = {"level": "INFO", "message": f"line {number}", "seq": number}
        if service.worker("POST", f"/{job}/log", line).status_code == 201:
            number += 1
        else:
            time.sleep(0.1)


def test_shutdown_dismisses_readers_at_once_and_they_go_on_elsewhere(database_uri: str) -> None:
    with serve(database_uri, NO_BROKER) as staying:
        with ExitStack() as opened:
            with serve(database_uri, NO_BROKER) as stopping:
                job = stopping.running()
                followers = [opened.enter_context(Follower(stopping, job)) for _ in range(20)]
                opened.enter_context(slow_reader(stopping, job))
                for _ in range(8):
                    log(stopping, job, *["x" * 800] * 1_000)
                for follower in followers:
                    follower.until(lambda seen: len(seen.messages) == 8_000, 60)
                began = time.monotonic()
            assert time.monotonic() - began < 10, "the end waited for a reader that takes nothing"
            for follower in followers:
                last = follower.whole()[-1]
                assert last.name == "log"
                assert follower.retry is not None
                assert 500 <= follower.retry <= 3_000
        log(staying, job, "afterwards")
        finish(staying, job)
        with Follower(staying, job, after=last.id) as follower:
            follower.whole()
        assert follower.messages == ["afterwards"]


def test_many_readers_cost_a_bounded_number_of_statements(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = {STATEMENTS[name] for name in ("news", "portion", "log_head", "tell_changes")}
    said: list[str] = []
    execute = psycopg.AsyncConnection.execute

    async def noting(connection: Any, statement: Any, *arguments: Any, **keywords: Any) -> Any:
        if statement in ours:
            said.append(statement)
        return await execute(connection, statement, *arguments, **keywords)

    jobs = [service.running() for _ in range(6)]
    with ExitStack() as opened:
        followers = [opened.enter_context(Follower(service, job)) for job in jobs for _ in range(10)]
        for follower in followers:
            follower.until(lambda seen: seen.statuses)
        time.sleep(1)
        monkeypatch.setattr(psycopg.AsyncConnection, "execute", noting)
        time.sleep(6)
        # An empty one asks whether a connection lives; the api says every 10 s that it is up.
        assert set(said) == {STATEMENTS["news"]}
        assert len(said) <= 2
        said.clear()
        began, rounds = time.monotonic(), 0
        while time.monotonic() < began + 4:
            for job in jobs:
                log(service, job, f"line {rounds}")
            rounds += 1
        for follower in followers:
            follower.until(lambda seen, upto=rounds: len(seen.messages) == upto)  # type: ignore[misc]
        seconds = time.monotonic() - began
        assert len(said) <= 20 * seconds + 2
        assert set(said) == {STATEMENTS["news"], STATEMENTS["tell_changes"]}
        for follower in followers:
            assert follower.messages == numbered(0, rounds)
