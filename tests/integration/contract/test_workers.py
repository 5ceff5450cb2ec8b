"""What bots rely on, a test for each row of the contract's worker calls."""

import json
from typing import Any

import pytest
import requests

from integration.api.service import WORKER_KEY
from integration.contract.shapes import boolean, fits, instant, integer, maybe, status, text, uuid
from integration.contract.stack import Stack, taken

UNKNOWN = "00000000-0000-7000-8000-000000000000"
LEVELS = ("DEBUG", "INFO", "WARNING", "WARN", "ERROR", "CRITICAL")
ENDS = ("completed", "completed_no_invoices", "failed", "canceled")
ERROR_CLASSES = (
    "CREDENTIAL_INVALID",
    "IP_BLOCKED",
    "CAPTCHA_FAILED",
    "INFRA_DESTINO_INDISPONIVEL",
    "INVALID_PARAMETERS",
    "RATE_LIMITED",
    "PORTAL_DOWN",
    "JOB_TIMEOUT",
    "PARTIAL_FAILURE",
    "UNKNOWN",
    "WORKER_LOST",
)


def test_the_message_on_the_queue(stack: Stack) -> None:
    made = stack.automation(defaultParams={"dry": False})
    with stack.queue(made["queueName"]) as channel:
        job = stack.job(made, {"month": "2026-11", "é": ["😀", 10**30, None]})
        properties, body = taken(channel, made["queueName"])
    assert properties.delivery_mode == 2
    assert json.loads(body) == {
        "job_id": job["id"],
        "automation_id": made["id"],
        "script_path": "bot.py",
        "parameters": {"dry": False, "month": "2026-11", "é": ["😀", 10**30, None]},
    }


def test_the_shared_default_queue(stack: Stack) -> None:
    with stack.queue("automation_jobs") as channel:
        job = stack.job(stack.automation(queueName=None))
        _, body = taken(channel, "automation_jobs")
    assert json.loads(body)["job_id"] == job["id"]


def test_start(stack: Stack) -> None:
    job = stack.job()["id"]
    reply = stack.service.worker("POST", f"/{job}/start", {"whatever": ["is", "ignored"]})
    assert reply.status_code == 200
    fits(reply.json(), {"message": text, "job_id": uuid, "status": text, "attempt": integer})
    assert (reply.json()["job_id"], reply.json()["status"]) == (job, "running")
    garbage = requests.post(
        f"{stack.service.root}/api/v1/worker/jobs/{stack.job()['id']}/start",
        data=b"\x00not json",
        headers={"X-Worker-API-Key": WORKER_KEY},
        timeout=10,
    )
    assert garbage.status_code == 200


def test_start_after_a_redelivery(stack: Stack) -> None:
    made = stack.automation(retryPolicy={"maxAttempts": 3})
    job = stack.job(made)["id"]
    for attempt in (1, 2, 3):
        reply = stack.service.worker("POST", f"/{job}/start")
        assert (reply.status_code, reply.json()["attempt"]) == (200, attempt)
    assert stack.service.worker("POST", f"/{job}/start").status_code == 409
    shown = stack.shown(job)
    assert (shown["status"], shown["errorClass"]) == ("failed", "WORKER_LOST")
    assert shown["result"]["error_class"] == "WORKER_LOST"


def test_log(stack: Stack) -> None:
    job = stack.running()
    for level in LEVELS:
        reply = stack.service.worker("POST", f"/{job}/log", {"level": level, "message": f"as {level}"})
        assert reply.status_code == 201
        fits(reply.json(), {"message": text, "log_id": integer})
    marked = stack.service.worker(
        "POST", f"/{job}/log", {"level": "ERROR", "message": "act", "actionable": True}
    )
    kept = stack.service.get(f"/jobs/{job}/logs").json()
    assert [line["level"] for line in kept] == [*LEVELS, "ERROR"]
    assert [line["actionable"] for line in kept] == [False] * len(LEVELS) + [True]
    assert kept[-1]["id"] == marked.json()["log_id"]
    for level in ("TRACE", "info", "", None, 20):
        bad = stack.service.worker("POST", f"/{job}/log", {"level": level, "message": "m"})
        assert (bad.status_code, list(bad.json())) == (400, ["error"])


@pytest.mark.parametrize("end", ENDS)
def test_finish(stack: Stack, end: str) -> None:
    job, bare = stack.running(), stack.running()
    reply = stack.service.worker("POST", f"/{job}/finish", {"status": end, "result": {"a": [1, None]}})
    assert reply.status_code == 200
    fits(reply.json(), {"message": text, "job_id": uuid, "status": text})
    assert (reply.json()["job_id"], reply.json()["status"]) == (job, end)
    assert (stack.shown(job)["status"], stack.shown(job)["result"]) == (end, {"a": [1, None]})
    assert stack.service.worker("POST", f"/{bare}/finish", {"status": end}).status_code == 200
    assert (stack.shown(bare)["status"], stack.shown(bare)["result"]) == (end, None)


def test_finish_refuses_what_is_no_end(stack: Stack) -> None:
    job = stack.running()
    for no_end in ("running", "pending", "done", "", None):
        bad = stack.service.worker("POST", f"/{job}/finish", {"status": no_end})
        assert (bad.status_code, list(bad.json())) == (400, ["error"])
    assert stack.shown(job)["status"] == "running"


def test_finish_sent_again(stack: Stack) -> None:
    job = stack.running()
    end = {"status": "failed", "result": {"error": "x", "error_class": "PORTAL_DOWN"}}
    first = stack.service.worker("POST", f"/{job}/finish", end)
    shown = stack.shown(job)
    again = stack.service.worker("POST", f"/{job}/finish", end)
    assert (again.status_code, again.json()) == (200, first.json())
    assert stack.service.worker("POST", f"/{job}/finish", {"status": "completed"}).status_code == 409
    assert stack.shown(job) == shown


def test_status(stack: Stack) -> None:
    job = stack.job()["id"]
    shape = {
        "status": status,
        "terminal": boolean,
        "started_at": maybe(instant),
        "completed_at": maybe(instant),
        "last_heartbeat_at": maybe(instant),
        "cancellation_requested_at": maybe(instant),
        "retry_count": integer,
    }

    def told() -> dict[str, Any]:
        before = stack.shown(job)
        reply = stack.service.worker("GET", f"/{job}/status")
        assert reply.status_code == 200
        fits(reply.json(), shape)
        assert stack.shown(job) == before
        return dict(reply.json())

    pending = told()
    assert pending == dict.fromkeys(shape) | {"status": "pending", "terminal": False, "retry_count": 0}
    stack.service.worker("POST", f"/{job}/start")
    stack.service.post(f"/jobs/{job}/cancel")
    running = told()
    assert (running["status"], running["terminal"], running["completed_at"]) == ("running", False, None)
    assert running["started_at"]
    assert running["last_heartbeat_at"]
    assert running["cancellation_requested_at"]
    stack.service.worker("POST", f"/{job}/start")
    stack.service.worker("POST", f"/{job}/finish", {"status": "canceled"})
    ended = told()
    assert (ended["status"], ended["terminal"], ended["retry_count"]) == ("canceled", True, 1)
    assert ended["completed_at"]


def test_cancellation(stack: Stack) -> None:
    job = stack.running()
    stack.change("UPDATE jobs SET last_heartbeat_at = now() - interval '1 hour' WHERE id = %s", job)
    silent = stack.shown(job)["lastHeartbeatAt"]
    reply = stack.service.worker("GET", f"/{job}/cancellation")
    assert (reply.status_code, reply.json()) == (200, {"cancellation_requested": False})
    assert stack.shown(job)["lastHeartbeatAt"] > silent
    stack.service.post(f"/jobs/{job}/cancel")
    assert stack.service.worker("GET", f"/{job}/cancellation").json() == {"cancellation_requested": True}


@pytest.mark.parametrize(
    ("method", "call", "body"),
    [
        ("POST", "start", None),
        ("POST", "log", {"level": "INFO", "message": "m"}),
        ("POST", "logs", [{"level": "INFO", "message": "m"}]),
        ("POST", "finish", {"status": "completed"}),
        ("GET", "status", None),
        ("GET", "cancellation", None),
        ("POST", "heartbeat", None),
        ("POST", "release", None),
    ],
)
def test_unknown_jobs_and_bad_ids(stack: Stack, method: str, call: str, body: object) -> None:
    unknown = stack.service.worker(method, f"/{UNKNOWN}/{call}", body)
    assert (unknown.status_code, list(unknown.json())) == (404, ["error"])
    for bad in ("not-an-id", "12", "%20"):
        reply = stack.service.worker(method, f"/{bad}/{call}", body)
        assert (reply.status_code, list(reply.json())) == (400, ["error"])
    # People's credentials open nothing here.
    assert stack.service.call(method, f"/worker/jobs/{UNKNOWN}/{call}", json=body).status_code == 401


def test_the_conventions_of_results(stack: Stack) -> None:
    for error_class in ERROR_CLASSES:
        made = stack.automation(retryPolicy={"maxAttempts": 1})
        job = stack.job(made)["id"]
        stack.service.worker("POST", f"/{job}/start")
        result = {"error": "what happened", "error_type": "PortalError", "error_class": error_class}
        end = {"status": "failed", "result": result}
        assert stack.service.worker("POST", f"/{job}/finish", end).status_code == 200
        shown = stack.shown(job)
        assert (shown["status"], shown["result"], shown["errorClass"]) == ("failed", result, error_class)
    job = stack.running()
    failed = [{"company": "12", "error_class": "CREDENTIAL_INVALID", "message": "the password has expired"}]
    summary = {"ok": 3, "failed": failed, "no_data": 1, "skipped": 0}
    partial = {"partial_success": True, "summary": summary, "error_class": "PARTIAL_FAILURE"}
    stack.service.worker("POST", f"/{job}/finish", {"status": "completed", "result": partial})
    assert (stack.shown(job)["result"], stack.shown(job)["errorClass"]) == (partial, None)
