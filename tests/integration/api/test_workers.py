"""What workers call: start, log, logs, finish, status, cancellation."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import psycopg
import pytest
import requests

from integration.api.service import Service
from maestro.errors import ERROR_HEADER

UNKNOWN = "00000000-0000-7000-8000-000000000000"


def together(*calls: Callable[[], requests.Response]) -> list[requests.Response]:
    """All at once."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def codes(replies: list[requests.Response]) -> list[int]:
    return sorted(reply.status_code for reply in replies)


def test_the_life_of_a_job_of_an_old_bot(service: Service) -> None:
    job = service.job({"a": 1})
    before = service.worker("GET", f"/{job}/status")
    assert before.json() == {
        "status": "pending",
        "terminal": False,
        "started_at": None,
        "completed_at": None,
        "last_heartbeat_at": None,
        "cancellation_requested_at": None,
        "retry_count": 0,
    }
    started = service.worker("POST", f"/{job}/start")
    assert started.status_code == 200
    assert started.json() == {"message": "job started", "job_id": job, "status": "running", "attempt": 1}
    logged = service.worker("POST", f"/{job}/log", {"level": "WARN", "message": "m", "actionable": True})
    assert logged.status_code == 201
    [line] = service.get(f"/jobs/{job}/logs").json()
    assert (line["id"], line["level"], line["message"], line["actionable"]) == (
        logged.json()["log_id"],
        "WARN",
        "m",
        True,
    )
    assert service.worker("GET", f"/{job}/cancellation").json() == {"cancellation_requested": False}
    service.post(f"/jobs/{job}/cancel")
    assert service.worker("GET", f"/{job}/cancellation").json() == {"cancellation_requested": True}
    end = {"status": "completed_no_invoices", "result": {"summary": {"ok": 0}}}
    finished = service.worker("POST", f"/{job}/finish", end)
    assert finished.json() == {"message": "job finished", "job_id": job, "status": "completed_no_invoices"}
    shown = service.get(f"/jobs/{job}").json()
    assert shown["result"] == {"summary": {"ok": 0}}
    assert shown["completedAt"] >= shown["startedAt"] >= shown["createdAt"]
    assert service.worker("GET", f"/{job}/status").json()["terminal"] is True


def test_a_started_job_is_owed_no_message(service: Service, database: psycopg.Connection) -> None:
    service.running()
    assert database.execute("SELECT publish_due_at FROM jobs").fetchone() == (None,)


def test_the_same_token_is_the_same_attempt(service: Service) -> None:
    job = service.running(token="mine")
    again = service.worker("POST", f"/{job}/start", token="mine")
    assert (again.status_code, again.json()["attempt"]) == (200, 1)
    for other in ("yours", None):
        refused = service.worker("POST", f"/{job}/start", token=other)
        assert refused.status_code == 409
        assert "acknowledge" in refused.json()["error"]


def test_without_tokens_a_start_of_a_running_job_is_a_new_attempt(service: Service) -> None:
    job = service.running()
    again = service.worker("POST", f"/{job}/start")
    assert (again.status_code, again.json()["attempt"]) == (200, 2)
    assert service.get(f"/jobs/{job}").json()["retryCount"] == 1
    assert service.worker("POST", f"/{job}/start", token="mine").status_code == 409


def test_an_ended_job_cannot_be_started(service: Service) -> None:
    job = service.job()
    service.post(f"/jobs/{job}/cancel")
    assert service.worker("POST", f"/{job}/start").status_code == 409
    assert service.worker("POST", f"/{job}/start", token="t").status_code == 409


@pytest.mark.parametrize("round_", range(5))
def test_of_two_starts_with_different_tokens_at_once_one_wins(service: Service, round_: int) -> None:
    job = service.job()
    replies = together(
        *(lambda token=token: service.worker("POST", f"/{job}/start", token=token) for token in "ab")
    )
    assert codes(replies) == [200, 409]
    assert service.get(f"/jobs/{job}").json()["attempt"] == 1


def test_of_32_finishes_at_once_one_is_recorded(service: Service) -> None:
    job = service.running(token="t")

    def finish(number: int) -> requests.Response:
        body = {"status": "completed", "result": {"by": number}}
        return service.worker("POST", f"/{job}/finish", body, token="t")

    replies = together(*(lambda number=number: finish(number) for number in range(32)))
    assert codes(replies) == [200] + [409] * 31
    winner = next(number for number, reply in enumerate(replies) if reply.ok)
    assert service.get(f"/jobs/{job}").json()["result"] == {"by": winner}


def test_32_equal_finishes_at_once_are_all_fine(service: Service) -> None:
    job = service.running()
    body = {"status": "failed", "result": {"error": "x"}}
    replies = together(*[lambda: service.worker("POST", f"/{job}/finish", body)] * 32)
    assert codes(replies) == [200] * 32


def test_lines_of_many_senders_come_in_the_order_of_their_ids(service: Service) -> None:
    job = service.running()

    def send(sender: int) -> requests.Response:
        lines = [{"level": "INFO", "message": f"{sender} {n}"} for n in range(50)]
        return service.worker("POST", f"/{job}/logs", lines)

    replies = together(*(lambda sender=sender: send(sender) for sender in range(16)))
    assert codes(replies) == [201] * 16
    shown = service.get(f"/jobs/{job}/logs").json()
    assert [line["id"] for line in shown] == sorted(line["id"] for line in shown)
    assert len(shown) == 800
    for sender, reply in enumerate(replies):
        sent = [line for line in shown if line["message"].split()[0] == str(sender)]
        assert [line["message"] for line in sent] == [f"{sender} {n}" for n in range(50)]
        assert [line["id"] for line in sent] == reply.json()["log_ids"]


def test_resent_lines_are_kept_once(service: Service) -> None:
    job = service.running(token="t")
    lines = [{"level": "INFO", "message": str(n), "seq": n} for n in range(10)]
    first = service.worker("POST", f"/{job}/logs", lines[:6], token="t").json()["log_ids"]
    again = service.worker("POST", f"/{job}/logs", lines[4:] + lines[:1], token="t").json()["log_ids"]
    assert again[:2] == first[4:]
    assert again[-1] == first[0]
    assert [line["message"] for line in service.get(f"/jobs/{job}/logs").json()] == [
        str(n) for n in range(10)
    ]
    replies = together(
        *[lambda: service.worker("POST", f"/{job}/log", {**lines[0], "seq": 99}, token="t")] * 8
    )
    assert codes(replies) == [201] * 8
    assert len({reply.json()["log_id"] for reply in replies}) == 1
    assert len(service.get(f"/jobs/{job}/logs").json()) == 11


def test_lines_come_as_ndjson_too(service: Service) -> None:
    job = service.running()
    lines = [{"level": "INFO", "message": "one\ntwo"}, {"level": "ERROR", "message": "é", "actionable": True}]
    body = "\r\n".join(map(json.dumps, lines)) + "\n\n"
    headers = {"X-Worker-API-Key": "a-worker-key", "Content-Type": "application/x-ndjson"}
    url = f"{service.root}/api/v1/worker/jobs/{job}/logs"
    reply = requests.post(url, data=body.encode(), headers=headers, timeout=10)
    assert reply.status_code == 201
    assert len(reply.json()["log_ids"]) == 2
    shown = service.get(f"/jobs/{job}/logs").json()
    assert [(line["message"], line["actionable"]) for line in shown] == [("one\ntwo", False), ("é", True)]
    assert service.worker("POST", f"/{job}/logs", []).json()["log_ids"] == []


def test_awkward_text_is_kept_visibly(service: Service) -> None:
    job = service.running()
    longest = "x" * (1_048_576 - len('[{"level": "INFO", "message": ""}]'))  # as a body of 1 MiB
    texts = ["nul \x00", "half \ud800 pair", "\x1b[31mred", "", longest, "\u2028 😀", '{"\\,NULL}']
    for text in texts:
        assert service.worker("POST", f"/{job}/log", {"level": "INFO", "message": text}).status_code == 201
    shown = [line["message"] for line in service.get(f"/jobs/{job}/logs").json()]
    assert shown == ["nul ␀", "half � pair", *texts[2:]]
    for together in (texts[:4] + texts[5:], [longest]):
        lines = [{"level": "INFO", "message": text} for text in together]
        assert service.worker("POST", f"/{job}/logs", lines).status_code == 201
    assert [line["message"] for line in service.get(f"/jobs/{job}/logs").json()[7:]] == [
        *(shown[:4] + shown[5:]),
        longest,
    ]
    result = {"error": "file \udcff\x00", "deep": _nested(400)}
    end = service.worker("POST", f"/{job}/finish", {"status": "failed", "result": result})
    assert end.status_code == 200
    kept = service.get(f"/jobs/{job}").json()["result"]
    assert kept["error"] == "file �␀"
    assert kept["deep"] == _nested(400)
    assert service.worker("POST", f"/{job}/finish", {"status": "failed", "result": result}).status_code == 200


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_calls_of_another_attempt_are_refused(service: Service) -> None:
    line, end = {"level": "INFO", "message": "m"}, {"status": "completed"}
    tokened, plain = service.running(token="t"), service.running()
    for job, token in ((tokened, "other"), (tokened, None), (plain, "t")):
        for method, path, body in (
            ("POST", "log", line),
            ("POST", "logs", [line]),
            ("POST", "finish", end),
            ("GET", "cancellation", None),
        ):
            reply = service.worker(method, f"/{job}/{path}", body, token=token)
            assert reply.status_code == 409, (path, token)
            assert "attempt" in reply.json()["error"]
    assert service.worker("GET", f"/{tokened}/status").status_code == 200


def test_a_repeated_finish_is_fine_and_another_is_not(service: Service) -> None:
    job = service.running()
    end = {"status": "completed", "result": {"a": 1, "b": [2.5, None]}}
    assert service.worker("POST", f"/{job}/finish", end).status_code == 200
    completed_at = service.get(f"/jobs/{job}").json()["completedAt"]
    assert service.worker("POST", f"/{job}/finish", end).status_code == 200
    for other in ({"status": "failed", "result": end["result"]}, {"status": "completed"}):
        refused = service.worker("POST", f"/{job}/finish", other)
        assert refused.status_code == 409
        assert "completed" in refused.json()["error"]
    assert service.get(f"/jobs/{job}").json()["completedAt"] == completed_at


def test_a_job_never_started_cannot_finish(service: Service) -> None:
    reply = service.worker("POST", f"/{service.job()}/finish", {"status": "completed"})
    assert reply.status_code == 409
    assert "start" in reply.json()["error"]


def test_the_cancellation_poll_is_a_sign_of_life_and_status_is_not(
    service: Service, database: psycopg.Connection
) -> None:
    job = service.running()
    long_ago = "UPDATE jobs SET last_heartbeat_at = '2026-01-01T00:00Z'"
    fresh = "SELECT last_heartbeat_at > '2026-01-02' FROM jobs"
    for path, body, alive in (
        ("status", None, False),
        ("cancellation", None, True),
        ("log", {"level": "INFO", "message": "m"}, True),
    ):
        database.execute(long_ago)
        assert service.worker("POST" if body else "GET", f"/{job}/{path}", body).ok
        assert database.execute(fresh).fetchone() == (alive,), path


def test_lines_bear_the_time_they_were_written(service: Service, database: psycopg.Connection) -> None:
    job = service.running()
    database.execute("UPDATE jobs SET created_at = '2026-01-01T00:00Z'")
    written = {
        "2026-01-02T03:04:05.678901Z": "2026-01-02T03:04:05.678901+00:00",
        "2026-01-02T03:04:06-03:00": "2026-01-02T06:04:06+00:00",
        "2026-01-02T03:04:07": "2026-01-02T03:04:07+00:00",
        # A clock that is wrong loses no line: before its job was made, and after now, are brought to those.
        "0001-01-01T00:00:00+14:00": "2026-01-01T00:00:00+00:00",
    }
    lines = [{"level": "INFO", "message": "m", "timestamp": each} for each in written]
    ahead = {"level": "INFO", "message": "m", "timestamp": "9999-12-31T23:59:59-14:00"}
    plain = {"level": "INFO", "message": "m", "timestamp": None}
    assert service.worker("POST", f"/{job}/logs", [*lines, ahead, plain]).status_code == 201
    shown = [datetime.fromisoformat(line["timestamp"]) for line in service.get(f"/jobs/{job}/logs").json()]
    assert shown[:-2] == [datetime.fromisoformat(each) for each in written.values()]
    [now] = database.execute("SELECT now()").fetchone() or [None]
    assert all(abs(each - now).total_seconds() < 60 for each in shown[-2:])


def test_lines_of_a_canceled_job_are_still_kept(service: Service) -> None:
    job = service.job()
    service.post(f"/jobs/{job}/cancel")
    assert service.worker("POST", f"/{job}/log", {"level": "INFO", "message": "late"}).status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "start", None),
        ("POST", "log", {"level": "INFO", "message": "m"}),
        ("POST", "logs", [{"level": "INFO", "message": "m"}]),
        ("POST", "finish", {"status": "completed"}),
        ("GET", "status", None),
        ("GET", "cancellation", None),
    ],
)
def test_unknown_and_unreadable_ids(service: Service, method: str, path: str, body: object) -> None:
    unknown = service.worker(method, f"/{UNKNOWN}/{path}", body)
    assert (unknown.status_code, UNKNOWN in unknown.json()["error"]) == (404, True)
    assert unknown.headers[ERROR_HEADER] == "NotFound"
    unreadable = service.worker(method, f"/nonsense/{path}", body)
    assert (unreadable.status_code, unreadable.headers[ERROR_HEADER]) == (400, "BadInput")


def test_a_path_that_does_not_exist_says_nothing_of_the_job(service: Service) -> None:
    missing = service.worker("POST", f"/{service.job()}/begin")
    assert (missing.status_code, ERROR_HEADER in missing.headers) == (404, False)


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("log", {"level": "TRACE", "message": "m"}, "level: "),
        ("log", {"message": "m"}, "level: is required"),
        ("log", {"level": "INFO"}, "message: is required"),
        ("log", {"level": "INFO", "message": 5}, "message: "),
        ("log", {"level": "INFO", "message": "m", "seq": -1}, "seq: "),
        ("log", {"level": "INFO", "message": "m", "seq": 2**63}, "seq: "),
        ("log", {"level": "INFO", "message": "m", "timestamp": "yesterday"}, "timestamp: write a time"),
        ("log", {"level": "INFO", "message": "m", "timestamp": "2026-11-23"}, "timestamp: write a time"),
        ("log", {"level": "INFO", "message": "m", "timestamp": 1795000000}, "timestamp: write a time"),
        ("logs", [{"level": "INFO", "message": "m", "timestamp": ""}], "0.timestamp: write a time"),
        ("log", "text", "object"),
        ("logs", [{"level": "INFO", "message": "m"}] * 1001, "1000"),
        ("logs", [{"level": "INFO", "message": "m"}, {"level": "x", "message": "m"}], "1.level: "),
        ("logs", ["text"], "0: must be a JSON object"),
        ("finish", {"status": "running"}, "status: "),
        ("finish", {"status": "done"}, "status: input should be 'completed', 'completed_no_invoices', "),
        ("finish", {}, "status: is required"),
    ],
)
def test_bad_bodies_are_refused_in_words(service: Service, path: str, body: object, said: str) -> None:
    job = service.running()
    reply = service.worker("POST", f"/{job}/{path}", body)
    assert reply.status_code == 400
    assert said in reply.json()["error"]
    assert service.get(f"/jobs/{job}/logs").json() == []


def test_a_token_has_a_bound(service: Service) -> None:
    job = service.job()
    assert service.worker("POST", f"/{job}/start", token="t" * 129).status_code == 400
