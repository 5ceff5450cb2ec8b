"""What Maestro adds to the contract, a test for each row."""

import json
from contextlib import closing
from typing import Any

import pytest
import requests

from integration.api.service import ADMIN_TOKEN, WORKER_KEY, eventually
from integration.contract.shapes import (
    JOB_AS_MAESTRO_SHOWS_IT,
    OCCURRENCE,
    SCHEDULE_AS_MAESTRO_SHOWS_IT,
    UPCOMING,
    fits,
    instant,
    integer,
    status,
    text,
    uuid,
)
from integration.contract.stack import Stack, taken
from integration.contract.test_people import events_of


@pytest.mark.parametrize("call", ["execute", "retry"])
def test_idempotency_key(stack: Stack, call: str) -> None:
    made = stack.automation()
    path = f"/automations/{made['id']}/execute"
    if call == "retry":
        path = f"/jobs/{stack.job(made)['id']}/retry"

    def send(key: str, body: object) -> requests.Response:
        return stack.service.post(path, body, headers={"Idempotency-Key": key})

    first = send("one", {"month": "2026-11"})
    assert first.status_code == 202
    again = send("one", {"month": "2026-11"})
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert send("two", {"month": "2026-11"}).json()["id"] != first.json()["id"]
    if call == "execute":
        other = send("one", {"month": "2026-10"})
        assert (other.status_code, other.json()["fields"]) == (422, [])
        assert "Idempotency-Key" in other.json()["error"]
    stack.change("UPDATE idempotency_keys SET expires_at = now() WHERE job_id = %s", first.json()["id"])
    assert send("one", {"month": "2026-11"}).json()["id"] != first.json()["id"]
    assert send("k" * 256, {}).status_code == 400


def test_post_automation_execute_batch(stack: Stack) -> None:
    made = stack.automation(defaultParams={"dry": True}, parameterSchema=[{"name": "n", "type": "number"}])
    path = f"/automations/{made['id']}/execute/batch"
    reply = stack.service.post(path, [{"n": number} for number in range(1_000)])
    assert reply.status_code == 202
    assert [job["parameters"] for job in reply.json()] == [{"dry": True, "n": n} for n in range(1_000)]
    for job in reply.json()[:3]:
        fits(job, JOB_AS_MAESTRO_SHOWS_IT)
    jobs = f"/jobs?automation_id={made['id']}"
    assert stack.service.get(jobs).json()["total"] == 1_000
    assert stack.service.post(path, []).json() == []
    for malformed in ([{}] * 1_001, {}, [1], None):
        assert stack.service.post(path, malformed).status_code == 400
    refused = stack.service.post(path, [{"n": 1}, {"n": "x"}])
    assert (refused.status_code, [field["name"] for field in refused.json()["fields"]]) == (422, ["1.n"])
    assert stack.service.get(f"{jobs}&limit=1").json()["items"][0]["id"] == reply.json()[-1]["id"]


def test_get_jobs_by_cursor(stack: Stack) -> None:
    made = stack.automation()
    batch = stack.service.post(f"/automations/{made['id']}/execute/batch", [{}] * 7).json()
    ids, cursor = [], ""
    while cursor is not None:
        page = stack.service.get(f"/jobs?automation_id={made['id']}&limit=3{cursor and f'&after={cursor}'}")
        assert page.status_code == 200
        ids += [job["id"] for job in page.json()["items"]]
        cursor = page.json()["nextCursor"]
    assert ids == [job["id"] for job in reversed(batch)]
    assert stack.service.get("/jobs?after=nonsense").status_code == 400


def test_get_job_logs_after_and_limit(stack: Stack) -> None:
    job = stack.running()
    lines = [{"level": "INFO", "message": str(number)} for number in range(5)]
    ids = stack.service.worker("POST", f"/{job}/logs", lines).json()["log_ids"]
    whole = stack.service.get(f"/jobs/{job}/logs").json()
    assert [line["id"] for line in whole] == ids
    assert stack.service.get(f"/jobs/{job}/logs?after={ids[1]}").json() == whole[2:]
    assert stack.service.get(f"/jobs/{job}/logs?after={ids[1]}&limit=2").json() == whole[2:4]


def test_last_event_id(stack: Stack) -> None:
    job = stack.running()
    lines = [{"level": "INFO", "message": str(number)} for number in range(5)]
    ids = stack.service.worker("POST", f"/{job}/logs", lines).json()["log_ids"]
    stack.service.worker("POST", f"/{job}/finish", {"status": "completed"})
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}", "Last-Event-ID": str(ids[2])}
    url = f"{stack.service.root}/api/v1/jobs/{job}/logs/stream"
    raw = requests.get(url, headers=headers, timeout=30).text
    sent = [line for line in raw.splitlines() if line.startswith("id: ")]
    assert sent == [f"id: {each}" for each in ids[3:]]
    with closing(requests.get(url, headers=headers, stream=True, timeout=30)) as reply:
        told = list(events_of(reply))
    assert [data["id"] for name, data in told if name == "log"] == ids[3:]
    assert told[-1] == ("end", {"status": "completed"})


@pytest.mark.parametrize("form", ["array", "ndjson"])
def test_post_worker_logs(stack: Stack, form: str) -> None:
    job = stack.running(token="t")
    lines = [{"level": "INFO", "message": f"line {n}", "seq": n} for n in range(1_000)]

    def send(some: list[dict[str, Any]]) -> requests.Response:
        each = [json.dumps(line) for line in some]
        return requests.post(
            f"{stack.service.root}/api/v1/worker/jobs/{job}/logs",
            data="\n".join(each) if form == "ndjson" else f"[{','.join(each)}]",
            headers={"X-Worker-API-Key": WORKER_KEY, "X-Attempt-Token": "t"},
            timeout=30,
        )

    first = send(lines)
    assert first.status_code == 201
    fits(first.json(), {"message": text, "log_ids": lambda ids: all(map(integer, ids))})
    again = send(lines)
    assert (again.status_code, again.json()["log_ids"]) == (201, first.json()["log_ids"])
    assert len(stack.service.get(f"/jobs/{job}/logs").json()) == 1_000
    assert send([*lines, lines[0]]).status_code == 400
    bad = send([lines[0], {"level": "INFO"}])
    assert bad.status_code == 400
    assert "1.message" in bad.json()["error"]


def test_x_attempt_token(stack: Stack) -> None:
    job = stack.job()["id"]
    first = stack.service.worker("POST", f"/{job}/start", token="mine")
    again = stack.service.worker("POST", f"/{job}/start", token="mine")
    assert (first.status_code, first.json()["attempt"], again.json()) == (200, 1, first.json())
    line, end = {"level": "INFO", "message": "m"}, {"status": "completed"}
    calls = [
        ("POST", "log", line),
        ("POST", "logs", [line]),
        ("POST", "heartbeat", None),
        ("GET", "cancellation", None),
        ("POST", "release", None),
        ("POST", "finish", end),
    ]
    for other in ("another", None):
        assert stack.service.worker("POST", f"/{job}/start", token=other).status_code == 409
        for method, call, body in calls:
            assert stack.service.worker(method, f"/{job}/{call}", body, token=other).status_code == 409
    for method, call, body in calls[:4] + calls[5:]:
        assert stack.service.worker(method, f"/{job}/{call}", body, token="mine").ok
    assert stack.shown(job)["status"] == "completed"


def test_post_worker_release(stack: Stack) -> None:
    made = stack.automation()
    with stack.queue(made["queueName"]) as channel:
        job = stack.job(made)["id"]
        taken(channel, made["queueName"])
        assert stack.service.worker("POST", f"/{job}/start", token="first").status_code == 200
        reply = stack.service.worker("POST", f"/{job}/release", token="first")
        assert reply.status_code == 200
        fits(reply.json(), {"message": text, "job_id": uuid, "status": text})
        assert (reply.json()["job_id"], reply.json()["status"]) == (job, "pending")
        assert json.loads(taken(channel, made["queueName"])[1])["job_id"] == job
    assert (stack.shown(job)["status"], stack.shown(job)["retryCount"]) == ("pending", 0)
    second = stack.service.worker("POST", f"/{job}/start", token="second")
    assert (second.status_code, second.json()["attempt"]) == (200, 2)
    assert stack.shown(job)["retryCount"] == 0


def test_post_worker_heartbeat(stack: Stack) -> None:
    job = stack.running()
    reply = stack.service.worker("POST", f"/{job}/heartbeat", {"progress": 0.25, "message": "page 1 of 4"})
    assert (reply.status_code, reply.json()) == (200, {"cancellation_requested": False})
    shown = stack.shown(job)
    assert (shown["progress"], shown["progressMessage"]) == (0.25, "page 1 of 4")
    stack.service.post(f"/jobs/{job}/cancel")
    bare = stack.service.worker("POST", f"/{job}/heartbeat")
    assert (bare.status_code, bare.json()) == (200, {"cancellation_requested": True})
    assert stack.shown(job)["progress"] == 0.25
    for progress in (-0.1, 1.1, "half"):
        assert stack.service.worker("POST", f"/{job}/heartbeat", {"progress": progress}).status_code == 400


def test_what_a_job_shows(stack: Stack) -> None:
    made = stack.automation(priority=7, startDeadlineSeconds=3600)
    job = stack.job(made)
    fits(job, JOB_AS_MAESTRO_SHOWS_IT)
    assert (job["attempt"], job["progress"], job["queue"]) == (0, None, made["queueName"])
    assert (job["scheduleId"], job["scheduledFor"], job["errorClass"]) == (None, None, None)
    assert job["priority"] == 7
    assert job["startDeadline"] > job["createdAt"]
    stack.service.worker("POST", f"/{job['id']}/start")
    assert stack.shown(job["id"])["attempt"] == 1


def test_get_schedules_include_disabled(stack: Stack) -> None:
    made = stack.automation()
    asked = {"automationId": made["id"], "cronExpression": "@daily", "isEnabled": False}
    disabled = stack.service.post("/schedules", asked).json()
    assert disabled["nextRunAt"] is None
    assert disabled not in stack.service.get("/schedules").json()
    assert disabled not in stack.service.get("/schedules?include_disabled=false").json()
    assert disabled in stack.service.get("/schedules?include_disabled=true").json()


def test_what_a_schedule_shows(stack: Stack) -> None:
    least = stack.schedule()
    fits(least, SCHEDULE_AS_MAESTRO_SHOWS_IT)
    absent = {
        "timeZone": "UTC",
        "concurrencyPolicy": "Allow",
        "startingDeadlineSeconds": None,
        "catchUp": {"policy": "Last", "windowSeconds": 3600},
        "jitterSeconds": 0,
        "calendar": None,
        "onHoliday": "Skip",
        "startTime": None,
        "endTime": None,
        "lastRunAt": None,
        "lastJob": None,
        "lastOccurrence": None,
    }
    assert {field: least[field] for field in absent} == absent
    given = {
        "timeZone": "America/Sao_Paulo",
        "concurrencyPolicy": "Queue",
        "startingDeadlineSeconds": 600,
        "catchUp": {"policy": "All", "windowSeconds": 60},
        "jitterSeconds": 30,
        "calendar": stack.calendar(country="BR"),
        "onHoliday": "Next",
        "startTime": "2026-01-01T00:00:00Z",
        "endTime": "2126-01-01T00:00:00Z",
    }
    made = stack.schedule(**given)
    fits(made, SCHEDULE_AS_MAESTRO_SHOWS_IT)
    shown = given | {"startTime": "2026-01-01T00:00:00+00:00", "endTime": "2126-01-01T00:00:00+00:00"}
    assert {field: made[field] for field in given} == shown
    put = stack.service.put(f"/schedules/{least['id']}", given)
    assert put.status_code == 200, put.text
    assert {field: put.json()[field] for field in given} == shown


def test_get_schedule_occurrences(stack: Stack) -> None:
    schedule = stack.schedule(concurrencyPolicy="Forbid")
    path = f"/schedules/{schedule['id']}"
    nothing = stack.service.get(f"{path}/occurrences")
    assert (nothing.status_code, nothing.json()) == (200, {"items": [], "nextCursor": None})
    stack.come_due(schedule)
    [fired] = eventually(lambda: stack.service.get(f"{path}/occurrences").json()["items"], 20)
    stack.service.put(path, {"isEnabled": False})
    fits(fired, OCCURRENCE)
    assert (fired["outcome"], fired["reason"], fired["count"]) == ("fired", None, 1)
    assert stack.shown(fired["jobId"])["scheduledFor"] == fired["nominalAt"] == fired["effectiveAt"]
    shown = stack.service.get(path).json()
    assert shown["lastJob"] == {"id": fired["jobId"], "status": "pending"}
    assert shown["lastOccurrence"] == {
        field: fired[field] for field in ("nominalAt", "outcome", "reason", "message")
    }
    stack.change(
        "INSERT INTO occurrences (schedule_id, nominal_at, effective_at, due_at, outcome, reason, message) "
        "SELECT %s, t, t, t, 'skipped', 'Holiday', 'Natal' "
        "FROM generate_series('2025-12-25 00:00Z'::timestamptz, '2025-12-25 00:04Z', '1 minute') AS t",
        schedule["id"],
    )
    listed = [fired]
    cursor = stack.service.get(f"{path}/occurrences?limit=1").json()["nextCursor"]
    while cursor:
        page = stack.service.get(f"{path}/occurrences?limit=2&after={cursor}").json()
        assert 1 <= len(page["items"]) <= 2
        listed += page["items"]
        cursor = page["nextCursor"]
    assert [each["outcome"] for each in listed] == ["fired", *["skipped"] * 5]
    assert [each["nominalAt"] for each in listed] == sorted({each["nominalAt"] for each in listed})[::-1]
    assert stack.service.get(f"{path}/occurrences").json()["items"] == listed
    assert stack.service.get(f"{path}/occurrences?limit=100000").status_code == 200
    for bad in ("limit=0", "limit=x", "after=x", "after="):
        assert stack.service.get(f"{path}/occurrences?{bad}").status_code == 400
    assert stack.service.get("/schedules/2000000000/occurrences").status_code == 404


def test_get_schedule_upcoming(stack: Stack) -> None:
    everyday = {"cronExpression": "0 12 * * *", "calendar": stack.calendar(weekend=["Sunday"])}
    schedule = stack.schedule(**everyday, onHoliday="Next", startTime="2030-01-04T00:00:00Z")
    path = f"/schedules/{schedule['id']}/upcoming"
    reply = stack.service.get(f"{path}?count=4")
    assert reply.status_code == 200
    for each in reply.json():
        fits(each, UPCOMING)
    # 6 January 2030 is a Sunday.
    assert [
        (each["nominalAt"][8:10], each["effectiveAt"][8:10], each["outcome"]) for each in reply.json()
    ] == [
        ("04", "04", "run"),
        ("05", "05", "run"),
        ("06", "07", "merged"),
        ("07", "07", "run"),
    ]
    assert [each["runsAt"] for each in reply.json() if each["outcome"] == "run"] == [
        f"2030-01-{day}T12:00:00+00:00" for day in ("04", "05", "07")
    ]
    assert reply.json()[0]["runsAt"] == schedule["nextRunAt"]
    assert len(stack.service.get(path).json()) == 10
    stack.service.put(f"/schedules/{schedule['id']}", {"isEnabled": False})
    assert stack.service.get(path).json() == []
    assert stack.service.get(f"{path}?count=0").status_code == 400
    assert stack.service.get("/schedules/2000000000/upcoming").status_code == 404


def test_post_schedules_preview(stack: Stack) -> None:
    def preview(**asked: Any) -> requests.Response:
        return stack.service.post("/schedules/preview", {"cronExpression": "0 18 L * *", **asked})

    last_days = {"timeZone": "America/Sao_Paulo", "startTime": "2027-01-01T00:00:00-03:00"}
    plain = preview(**last_days)
    assert plain.status_code == 200
    assert len(plain.json()) == 10
    assert all(map(instant, plain.json()))
    assert plain.json()[:2] == ["2027-01-31T21:00:00+00:00", "2027-02-28T21:00:00+00:00"]
    calendar = stack.calendar(country="BR", subdivision="SP")
    business_days = preview(**last_days, calendar=calendar, onHoliday="Previous")
    assert business_days.json()[:2] == ["2027-01-29T21:00:00+00:00", "2027-02-26T21:00:00+00:00"]
    ended = preview(**last_days, endTime="2027-02-28T18:00:00-03:00")
    assert ended.json() == plain.json()[:2]
    assert preview(**last_days, endTime="2027-01-02T00:00:00Z").json() == []
    for bad, said in (
        ({"cronExpression": "0 18 L-1 * *"}, "L"),
        ({"timeZone": "Mars/Olympus"}, "Mars/Olympus"),
        ({"calendar": "nowhere"}, "nowhere"),
        ({"calendar": calendar, "namespace": "elsewhere"}, "elsewhere"),
        ({"calendar": calendar, "onHoliday": "Later"}, "onHoliday"),
        ({"onHoliday": "Next"}, "calendar"),
        ({"startTime": "tomorrow"}, "startTime"),
        ({"startTime": "2027-01-01T00:00:00"}, "startTime"),
        ({"endTime": "2026-01-01T00:00:00Z", **last_days}, "endTime"),
    ):
        reply = preview(**bad)
        assert (reply.status_code, said in reply.json()["error"]) == (400, True), reply.text


def test_what_is_at_the_root(stack: Stack) -> None:
    root = stack.service.root
    for path in ("/livez", "/readyz", "/openapi.json", "/docs"):
        assert requests.get(root + path, timeout=10).status_code == 200
    assert requests.get(f"{root}/openapi.json", timeout=10).json()["openapi"].startswith("3.")
    metrics = requests.get(f"{root}/metrics", headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}, timeout=10)
    assert metrics.status_code == 200
    assert metrics.headers["Content-Type"].startswith("text/plain")
    assert "# TYPE " in metrics.text


def test_get_job_why(stack: Stack) -> None:
    made = stack.automation(maxConcurrency=1)
    path = f"/automations/{made['id']}"

    def why(job: str) -> dict[str, Any]:
        reply = stack.service.get(f"/jobs/{job}/why")
        assert reply.status_code == 200
        fits(reply.json(), {"status": status, "code": text, "sentence": text})
        assert reply.json()["sentence"]
        return dict(reply.json())

    with stack.queue(made["queueName"]) as channel:
        first, second = (stack.job(made)["id"] for _ in range(2))
        taken(channel, made["queueName"])
        assert stack.service.worker("POST", f"/{first}/start").status_code == 200
        assert (why(first)["status"], why(first)["code"]) == ("running", "RUNNING")
        assert (why(second)["status"], why(second)["code"]) == ("pending", "CONCURRENCY_LIMIT")
        stack.service.post(f"{path}/pause", {"reason": "until Monday"})
        assert why(second)["code"] == "SUSPENDED"
        assert "until Monday" in why(second)["sentence"]
        stack.service.post(f"{path}/resume")
        stack.service.worker("POST", f"/{first}/finish", {"status": "completed"})
        assert (why(first)["status"], why(first)["code"]) == ("completed", "ENDED")
        taken(channel, made["queueName"])
        # Nobody consumes that queue, as the dispatcher sees within some seconds.
        assert eventually(lambda: why(second)["code"] == "NO_WORKER", 30)
    assert stack.service.get("/jobs/not-an-id/why").status_code == 400
    assert stack.service.get("/jobs/00000000-0000-7000-8000-000000000000/why").status_code == 404
