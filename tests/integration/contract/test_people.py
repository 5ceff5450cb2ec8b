"""What people's clients rely on, a test for each row of the contract."""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
import requests

from integration.api.service import ADMIN_TOKEN, eventually, insert_automation
from integration.contract.shapes import (
    AUTOMATION,
    ERROR_CLASS,
    JOB_AS_MAESTRO_SHOWS_IT,
    LOG_LINE,
    OVERVIEW,
    RECORD,
    SCHEDULE,
    SLOT,
    fits,
    has,
)
from integration.contract.stack import Stack

UNKNOWN = "00000000-0000-7000-8000-000000000000"
NOBODY = 2_000_000_000
SCHEMA = [
    {"name": "month", "label": "Month", "type": "text", "required": True, "placeholder": "2026-11"},
    {"name": "from", "label": "From", "type": "date"},
    {"name": "most", "label": "At most", "type": "number"},
    {"name": "kind", "label": "Kind", "type": "select", "options": ["nfe", "nfse"]},
    {"name": "dry", "label": "Dry run", "type": "boolean"},
    {"name": "companies", "label": "Companies", "type": "list", "itemType": "text"},
    {"name": "years", "label": "Years", "type": "list", "itemType": "number"},
]


def test_get_health(stack: Stack) -> None:
    reply = requests.get(f"{stack.service.root}/api/v1/health", timeout=10)
    assert (reply.status_code, reply.json()) == (200, {"status": "ok"})


def test_post_automations(stack: Stack) -> None:
    least = stack.service.post("/automations", {"name": "only what must be", "scriptPath": "bots/least.py"})
    assert least.status_code == 201
    has(least.json(), AUTOMATION)
    assert least.json()["queueName"] == "automation_jobs"
    given = {
        "name": "all of it",
        "description": "of the month",
        "scriptPath": "bots/all.py",
        "queueName": "invoices",
        "parameterSchema": SCHEMA,
        "defaultParams": {"month": "2026-11", "deep": {"er": [1, None]}},
    }
    reply = stack.service.post("/automations", given)
    assert reply.status_code == 201
    has(reply.json(), AUTOMATION)
    assert {field: reply.json()[field] for field in given} == given
    assert stack.service.post("/automations", given).status_code == 409


def test_get_put_and_delete_automations(stack: Stack) -> None:
    made = stack.automation(description="before")
    path = f"/automations/{made['id']}"
    listed = stack.service.get("/automations")
    assert listed.status_code == 200
    assert made in listed.json()
    for each in listed.json():
        has(each, AUTOMATION)
    shown = stack.service.get(path)
    assert (shown.status_code, shown.json()) == (200, made)
    put = stack.service.put(path, {"name": f"{made['name']} 2", "description": "after"})
    assert put.status_code == 200
    changed = {"name": f"{made['name']} 2", "description": "after", "updatedAt": put.json()["updatedAt"]}
    assert put.json() == made | changed
    assert stack.service.get(path).json() == put.json()
    gone = stack.service.delete(path)
    assert (gone.status_code, gone.content) == (204, b"")
    assert stack.service.get(path).status_code == 404


def test_post_automation_execute(stack: Stack) -> None:
    made = stack.automation(parameterSchema=SCHEMA, defaultParams={"month": "2026-11", "dry": True})
    path = f"/automations/{made['id']}/execute"
    empty = stack.service.call("POST", path)
    assert empty.status_code == 202
    fits(empty.json(), JOB_AS_MAESTRO_SHOWS_IT)
    assert (empty.json()["automationId"], empty.json()["status"]) == (made["id"], "pending")
    assert empty.json()["parameters"] == {"month": "2026-11", "dry": True}
    given = stack.service.post(path, {"month": "2026-10", "snake_case": 1, "camelCase": 2})
    assert given.json()["parameters"] == {
        "month": "2026-10",
        "dry": True,
        "snake_case": 1,
        "camelCase": 2,
    }
    for malformed in (b"{", b"[]", b"null", b'"text"'):
        assert stack.service.call("POST", path, data=malformed).status_code == 400
    refused = stack.service.post(path, {"month": None, "most": "many"})
    assert refused.status_code == 422
    assert set(refused.json()) == {"error", "fields"}
    assert [set(field) for field in refused.json()["fields"]] == [{"name", "message"}] * 2
    assert [field["name"] for field in refused.json()["fields"]] == ["month", "most"]
    stack.service.post(f"/automations/{made['id']}/pause")
    assert stack.service.post(path).status_code == 409
    assert stack.service.post(f"/automations/{NOBODY}/execute").status_code == 404


def test_get_automation_last_params(stack: Stack) -> None:
    made = stack.automation(defaultParams={"dry": True})
    path = f"/automations/{made['id']}/last-params"
    before = stack.service.get(path)
    assert (before.status_code, before.json()) == (200, {"parameters": None})
    for month in ("2026-10", "2026-11"):
        stack.job(made, {"month": month})
    stack.change("UPDATE jobs SET user_id = 'ana' WHERE id = %s", stack.job(made, {"month": "other"})["id"])
    after = stack.service.get(path)
    assert (after.status_code, after.json()) == (200, {"parameters": {"month": "2026-11", "dry": True}})
    assert stack.service.get(f"/automations/{NOBODY}/last-params").status_code == 404


@pytest.mark.parametrize(
    ("parameter", "taken", "refused"),
    [
        ("month", ["2026-11", "é"], [11, True, ["x"], {}]),
        ("from", ["23/11/2026", "2026-11-23", "2026-11-23T08:00:00Z"], ["31/02/2026", "soon", 20261123]),
        ("most", [0, -1.5, 10**30], ["5", True, [1]]),
        ("kind", ["nfe", "nfse"], ["cte", 1, ["nfe"]]),
        ("dry", [True, False], ["true", 0, 1]),
        ("companies", [["a", "b"]], ["a", [1], [["a"]]]),
        ("years", [[2025, 2026.5]], [2025, ["2025"], [True]]),
    ],
)
def test_a_parameter_schema(stack: Stack, parameter: str, taken: list[Any], refused: list[Any]) -> None:
    made = stack.automation(parameterSchema=SCHEMA, defaultParams={"month": "2026-11"})
    path = f"/automations/{made['id']}/execute"
    for value in taken:
        reply = stack.service.post(path, {parameter: value})
        assert (reply.status_code, reply.json()["parameters"][parameter]) == (202, value)
    for value in refused:
        reply = stack.service.post(path, {parameter: value})
        assert (reply.status_code, [field["name"] for field in reply.json()["fields"]]) == (422, [parameter])


def test_get_jobs(stack: Stack) -> None:
    made = stack.automation()
    ids = [stack.job(made, {"n": number})["id"] for number in range(4)]
    stack.service.post(f"/jobs/{ids[1]}/cancel")
    instants = [stack.shown(each)["createdAt"] for each in ids]
    base = f"/jobs?automation_id={made['id']}"

    def listed(**query: object) -> dict[str, Any]:
        reply = stack.service.get(base, params=query)
        assert reply.status_code == 200
        assert set(reply.json()) - {"nextCursor"} == {"items", "total", "limit", "offset"}
        return dict(reply.json())

    def ids_of(**query: object) -> list[str]:
        return [job["id"] for job in listed(**query)["items"]]

    whole = listed()
    assert (whole["total"], whole["limit"], whole["offset"]) == (4, 50, 0)
    for job in whole["items"]:
        fits(job, JOB_AS_MAESTRO_SHOWS_IT)
    newest_first = list(reversed(ids))
    assert ids_of() == newest_first
    assert ids_of(limit=2, offset=1) == newest_first[1:3]
    assert listed(limit=2, offset=1)["total"] == 4
    assert listed(limit=200)["limit"] == 200
    assert listed(limit=201)["limit"] == 200
    assert ids_of(status="canceled") == [ids[1]]
    assert ids_of(since=instants[2]) == newest_first[:2]
    assert ids_of(until=instants[2]) == newest_first[2:]
    assert ids_of(user_id="nobody") == []
    stack.change("UPDATE jobs SET user_id = 'ana' WHERE id = %s", ids[0])
    assert ids_of(user_id="ana") == [ids[0]]
    for malformed in ("status=lost", "limit=0", "limit=x", "offset=-1", "since=soon", "until=1795000000"):
        assert stack.service.get(f"{base}&{malformed}").status_code == 400
    assert stack.service.get("/jobs?automation_id=x").status_code == 400


def test_get_job(stack: Stack) -> None:
    job = stack.job(parameters={"a": 1})
    shown = stack.service.get(f"/jobs/{job['id']}")
    assert shown.status_code == 200
    fits(shown.json(), JOB_AS_MAESTRO_SHOWS_IT)
    assert shown.json()["userId"] == "admin"
    nothing_yet = ("result", "startedAt", "completedAt", "cancellationRequestedAt")
    assert {field: shown.json()[field] for field in nothing_yet} == dict.fromkeys(nothing_yet)
    assert (shown.json()["retryCount"], shown.json()["lastHeartbeatAt"]) == (0, None)
    stack.service.worker("POST", f"/{job['id']}/start")
    stack.service.worker("POST", f"/{job['id']}/start")
    running = stack.shown(job["id"])
    fits(running, JOB_AS_MAESTRO_SHOWS_IT)
    assert (running["status"], running["retryCount"]) == ("running", 1)
    assert running["lastHeartbeatAt"] >= running["startedAt"] > running["createdAt"]
    stack.service.worker("POST", f"/{job['id']}/finish", {"status": "completed", "result": {"ok": [1]}})
    ended = stack.shown(job["id"])
    fits(ended, JOB_AS_MAESTRO_SHOWS_IT)
    assert (ended["status"], ended["result"]) == ("completed", {"ok": [1]})
    assert ended["completedAt"] > ended["startedAt"]
    assert stack.service.get("/jobs/not-an-id").status_code == 400
    assert stack.service.get(f"/jobs/{UNKNOWN}").status_code == 404


def test_get_job_logs(stack: Stack) -> None:
    job = stack.running()
    assert stack.service.get(f"/jobs/{job}/logs").json() == []
    sent = [("INFO", "first", False), ("WARN", "second", True), ("ERROR", "third <b>&", False)]
    for level, message, actionable in sent:
        line = {"level": level, "message": message, "actionable": actionable}
        assert stack.service.worker("POST", f"/{job}/log", line).status_code == 201
    reply = stack.service.get(f"/jobs/{job}/logs")
    assert reply.status_code == 200
    for each in reply.json():
        fits(each, LOG_LINE)
    kept = [(line["level"], line["message"], line["actionable"]) for line in reply.json()]
    assert kept == sent
    assert {line["jobId"] for line in reply.json()} == {job}
    assert stack.service.get("/jobs/not-an-id/logs").status_code == 400
    assert stack.service.get(f"/jobs/{UNKNOWN}/logs").status_code == 404


def events_of(reply: requests.Response) -> Iterator[tuple[str, Any]]:
    """Each event's name and data; a comment has the name `:`."""
    name = ""
    for line in reply.iter_lines(chunk_size=1, decode_unicode=True):
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)
        elif not field and value:
            yield ":", value


def test_get_job_logs_stream(stack: Stack) -> None:
    job = stack.running()
    path = f"{stack.service.root}/api/v1/jobs/{job}/logs/stream"
    say(stack, job, "one", "two")
    # As a browser's EventSource asks, which can't send headers.
    with closing(requests.get(f"{path}?token={ADMIN_TOKEN}", stream=True, timeout=30)) as reply:
        assert reply.status_code == 200
        assert reply.headers["Content-Type"].startswith("text/event-stream")
        events = events_of(reply)
        assert next(events) == ("status", {"status": "running"})
        history = [next(events), next(events)]
        say(stack, job, "three")
        live = next(events)
        began = time.monotonic()
        assert next(events) == (":", "ping")
        assert 10 < time.monotonic() - began < 20
        stack.service.worker("POST", f"/{job}/finish", {"status": "completed"})
        *changes, last = events
    assert last == ("end", {"status": "completed"})
    assert all(change == ("status", {"status": "completed"}) for change in changes)
    assert [name for name, _ in [*history, live]] == ["log"] * 3
    assert [line for _, line in [*history, live]] == stack.service.get(f"/jobs/{job}/logs").json()
    assert requests.get(path, timeout=10).status_code == 401
    assert requests.get(f"{path}?token=x", timeout=10).status_code == 401
    assert stack.service.get(f"/jobs/{UNKNOWN}/logs/stream").status_code == 404


def say(stack: Stack, job: str, *messages: str) -> None:
    for message in messages:
        line = {"level": "INFO", "message": message}
        assert stack.service.worker("POST", f"/{job}/log", line).status_code == 201


def test_post_job_cancel(stack: Stack) -> None:
    pending = stack.job()["id"]
    reply = stack.service.call("POST", f"/jobs/{pending}/cancel")
    assert (reply.status_code, reply.json()["status"]) == (202, "canceled")
    fits(reply.json(), JOB_AS_MAESTRO_SHOWS_IT)
    assert reply.json() == stack.shown(pending)
    running = stack.running()
    asked = stack.service.post(f"/jobs/{running}/cancel")
    assert (asked.status_code, asked.json()["status"]) == (202, "running")
    assert asked.json()["cancellationRequestedAt"]
    stack.service.worker("POST", f"/{running}/finish", {"status": "canceled"})
    for terminal in (pending, running):
        assert stack.service.post(f"/jobs/{terminal}/cancel").status_code == 409
    assert stack.service.post(f"/jobs/{UNKNOWN}/cancel").status_code == 404
    assert stack.service.post("/jobs/not-an-id/cancel").status_code == 400


def test_post_job_retry(stack: Stack) -> None:
    job = stack.job(parameters={"month": "2026-11", "list": [1, "x", None]})
    stack.service.post(f"/jobs/{job['id']}/cancel")
    reply = stack.service.call("POST", f"/jobs/{job['id']}/retry")
    assert reply.status_code == 202
    fits(reply.json(), JOB_AS_MAESTRO_SHOWS_IT)
    new = reply.json()
    assert new["id"] != job["id"]
    assert (new["status"], new["parameters"]) == ("pending", job["parameters"])
    assert (new["automationId"], new["retryCount"]) == (job["automationId"], 0)
    assert stack.shown(job["id"])["status"] == "canceled"
    assert stack.service.post(f"/jobs/{UNKNOWN}/retry").status_code == 404
    assert stack.service.post("/jobs/not-an-id/retry").status_code == 400


def test_schedules(stack: Stack) -> None:
    made = stack.automation()
    asked = {"automationId": made["id"], "cronExpression": "30 8 * * 1-5", "parameters": {"a": [1]}}
    reply = stack.service.post("/schedules", asked)
    assert reply.status_code == 201
    schedule = reply.json()
    has(schedule, SCHEDULE)
    assert schedule | asked | {"isEnabled": True} == schedule
    path = f"/schedules/{schedule['id']}"
    shown = stack.service.get(path)
    assert (shown.status_code, shown.json()) == (200, schedule)
    least = stack.service.post("/schedules", {"automationId": made["id"], "cronExpression": "@daily"}).json()
    assert (least["parameters"], least["isEnabled"]) == ({}, True)
    disabled = stack.service.put(path, {"isEnabled": False})
    assert (disabled.status_code, disabled.json()["isEnabled"]) == (200, False)
    has(disabled.json(), SCHEDULE)
    enabled_ones = stack.service.get("/schedules")
    assert enabled_ones.status_code == 200
    ids = [each["id"] for each in enabled_ones.json()]
    assert schedule["id"] not in ids
    assert least["id"] in ids
    for bad in ("61 * * * *", "* * * *", "tomorrow", ""):
        assert stack.service.post("/schedules", asked | {"cronExpression": bad}).status_code == 400
        assert stack.service.put(path, {"cronExpression": bad}).status_code == 400
    gone = stack.service.delete(path)
    assert (gone.status_code, gone.content) == (204, b"")
    assert stack.service.get(path).status_code == 404


def test_a_schedule_runs_its_automation(stack: Stack) -> None:
    made = stack.automation(defaultParams={"month": "2026-11"})
    asked = {"automationId": made["id"], "cronExpression": "* * * * *", "parameters": {"a": 1}}
    schedule = stack.service.post("/schedules", asked).json()
    stack.come_due(schedule)
    found = eventually(lambda: stack.service.get(f"/jobs?automation_id={made['id']}").json()["items"], 20)
    stack.service.delete(f"/schedules/{schedule['id']}")
    assert (found[-1]["scheduleId"], found[-1]["parameters"]) == (
        schedule["id"],
        {"month": "2026-11", "a": 1},
    )
    assert found[-1]["scheduledFor"]


def test_last_day_of_month_lists_and_placeholders(stack: Stack) -> None:
    for expression in ("0 6 L * *", "0 6 8,15,L * *", "0 6 1,L 1-6 *"):
        assert stack.schedule(cronExpression=expression)["cronExpression"] == expression
    for bad in ("0 6 L-3 * *", "0 6 LW * *", "0 6 * * 5L", "0 6 * L *", "L 6 * * *"):
        reply = stack.service.post("/schedules", {"automationId": 1, "cronExpression": bad})
        assert (reply.status_code, list(reply.json())) == (400, ["error"])
    made = stack.automation()
    given = {
        "day": "{{today}}",
        "deep": [{"span": "from {{ first_of_last_month }} to {{last_of_last_month}}"}],
        "kept": "{{nonsense}} {{today+x}}",
        "{{today}}": 1,
    }
    schedule = stack.schedule(automationId=made["id"], timeZone="Pacific/Kiritimati", parameters=given)
    assert schedule["parameters"] == given
    stack.come_due(schedule)
    [*_, job] = eventually(lambda: stack.service.get(f"/jobs?automation_id={made['id']}").json()["items"], 20)
    stack.service.delete(f"/schedules/{schedule['id']}")
    nominal = datetime.fromisoformat(job["scheduledFor"]).astimezone(ZoneInfo("Pacific/Kiritimati"))
    last = nominal.replace(day=1) - timedelta(days=1)
    assert job["parameters"] == {
        "day": f"{nominal:%d/%m/%Y}",
        "deep": [{"span": f"from {last.replace(day=1):%d/%m/%Y} to {last:%d/%m/%Y}"}],
        "kept": "{{nonsense}} {{today+x}}",
        "{{today}}": 1,
    }


def test_what_belongs_to_another_namespace_is_forbidden(stack: Stack) -> None:
    with psycopg.connect(stack.database_uri, autocommit=True) as connection:
        theirs = insert_automation(connection)
    for method, path, body in (
        ("PUT", f"/automations/{theirs}", {"description": "ours"}),
        ("DELETE", f"/automations/{theirs}", None),
        ("POST", "/schedules", {"automationId": theirs, "cronExpression": "@daily"}),
    ):
        reply = stack.service.call(method, path, json=body)
        assert (reply.status_code, list(reply.json())) == (403, ["error"])


RANGES = {"24h": timedelta(hours=1), "7d": timedelta(days=1), "30d": timedelta(days=1)}
"""And what one step of a series is."""


def ended_as(stack: Stack, made: dict[str, Any], status: str, result: object = None) -> None:
    job = stack.job(made)["id"]
    stack.service.worker("POST", f"/{job}/start")
    end = stack.service.worker("POST", f"/{job}/finish", {"status": status, "result": result})
    assert end.status_code == 200


@pytest.mark.parametrize("range_", RANGES)
def test_get_metrics(stack: Stack, range_: str) -> None:
    reply = stack.service.get(f"/metrics?range={range_}")
    assert reply.status_code == 200
    fits(reply.json(), OVERVIEW)
    assert 0 <= (reply.json()["successRate24h"] or 0) <= 1
    assert stack.service.get("/metrics?range=1y").status_code == 400


@pytest.mark.parametrize("range_", RANGES)
def test_get_metrics_jobs_per_hour(stack: Stack, range_: str) -> None:
    ended_as(stack, stack.automation(), "completed")

    def latest() -> dict[str, Any] | None:
        reply = stack.service.get(f"/metrics/jobs-per-hour?range={range_}")
        assert reply.status_code == 200
        slots = reply.json()
        for slot in slots:
            fits(slot, SLOT)
            assert slot["total"] >= slot["succeeded"] + slot["failed"]
        assert len(slots) == int(range_[:-1])
        hours = [datetime.fromisoformat(slot["hour"]) for slot in slots]
        assert {later - earlier for earlier, later in pairwise(hours)} == {RANGES[range_]}
        return dict(slots[-1]) if slots[-1]["succeeded"] else None

    assert eventually(latest)


def test_get_metrics_automations(stack: Stack) -> None:
    made = stack.automation()
    for status in ("completed", "completed_no_invoices", "failed", "canceled", *["completed"] * 10):
        ended_as(stack, made, status)

    def mine() -> dict[str, Any] | None:
        reply = stack.service.get("/metrics/automations")
        assert reply.status_code == 200
        for each in reply.json():
            fits(each, RECORD)
        [record] = [each for each in reply.json() if each["automationId"] == made["id"]]
        return dict(record) if record["total"] == 14 else None

    record = eventually(mine)
    assert record["name"] == made["name"]
    counts = ("succeeded", "failed", "canceled", "manual", "scheduled")
    assert [record[each] for each in counts] == [12, 1, 1, 14, 0]
    assert record["successRate"] == pytest.approx(12 / 13, abs=0.01)
    assert 0 <= record["durationP50S"] <= record["durationP95S"] < 60
    assert record["lastStatus"] == "completed"
    assert record["recent"] == [*["completed"] * 10, "canceled", "failed"]


def test_get_metrics_error_classes(stack: Stack) -> None:
    made = stack.automation()
    ended_as(stack, made, "failed", {"error_class": "CAPTCHA_FAILED"})

    def told() -> bool:
        reply = stack.service.get("/metrics/error-classes")
        assert reply.status_code == 200
        for each in reply.json():
            fits(each, ERROR_CLASS)
        return "CAPTCHA_FAILED" in [each["errorClass"] for each in reply.json()]

    assert eventually(told)
