"""The life of a job on the cluster: its log live, a lost worker, slots, and why it waits."""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import Any

import pytest
import requests

from e2e.cluster import Api, Kubectl, automation, eventually, scripted

pytestmark = pytest.mark.timeout(400)

TALKING = """
import time

def run(parameters, context):
    for number in range(5):
        context.log.info("step %d", number)
        time.sleep(1)
"""
SLOW_AT_FIRST = """
import time

def run(parameters, context):
    context.log.info("attempt %d", context.attempt)
    if context.attempt == 1:
        time.sleep(600)
    return {"attempt": context.attempt}
"""
SLEEPING = """
import time

def run(parameters, context):
    time.sleep(2)
"""


def ready(kubectl: Kubectl, name: str) -> int:
    """The automation's id once it is ready, its workers too if it has any."""
    kubectl.wait_ready("automation", name)
    found = kubectl.get("automation", name)
    if "worker" in found["spec"]:
        kubectl("wait", f"automation/{name}", "--for=condition=WorkersAvailable", "--timeout=120s")
    return int(found["status"]["id"])


def execute(api: Api, automation_id: int) -> str:
    reply = api.post(f"/automations/{automation_id}/execute", {})
    assert reply.status_code == 202, reply.text
    return str(reply.json()["id"])


def events_of(reply: requests.Response) -> Iterator[tuple[str, Any, float]]:
    """Each event's name and data, and when it came."""
    name = ""
    for line in reply.iter_lines(chunk_size=1, decode_unicode=True):
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value), time.monotonic()


def test_a_log_is_live(kubectl: Kubectl, api: Api, name: str) -> None:
    kubectl.apply(scripted(name, TALKING))
    job = execute(api, ready(kubectl, name))
    # As a browser's EventSource asks.
    url = f"{api.url}/jobs/{job}/logs/stream?token={api.token}"
    with closing(requests.get(url, stream=True, timeout=60)) as reply:
        assert reply.status_code == 200
        assert reply.headers["Content-Type"].startswith("text/event-stream")
        events = list(events_of(reply))
    assert events[0][0] == "status"
    assert events[-1][:2] == ("end", {"status": "completed"})
    lines = [(data["message"], came) for event, data, came in events if event == "log"]
    assert [message for message, _ in lines] == [f"step {number}" for number in range(5)]
    assert lines[-1][1] - lines[0][1] > 2  # told as they were written, not at the end
    assert [data for event, data, _ in events if event == "log"] == api.get(f"/jobs/{job}/logs").json()


def test_the_job_of_a_killed_pod_is_rescued(kubectl: Kubectl, api: Api, name: str) -> None:
    kubectl.apply(scripted(name, SLOW_AT_FIRST, heartbeatTimeoutSeconds=10))
    job = execute(api, ready(kubectl, name))
    eventually(lambda: api.get(f"/jobs/{job}/logs").json(), "the first attempt is at work")
    [pod] = kubectl.list("pods", "-l", f"rps-maestro.io/automation={name}")
    kubectl("delete", "pod", pod["metadata"]["name"], "--force", "--grace-period=0")
    ended = api.wait_ended(job, 120)
    assert (ended["status"], ended["result"]) == ("completed", {"attempt": 2})
    assert (ended["attempt"], ended["retryCount"]) == (2, 1)
    kept = [line["message"] for line in api.get(f"/jobs/{job}/logs").json()]
    assert [message for message in kept if message.startswith("attempt")] == ["attempt 1", "attempt 2"]


def test_no_more_jobs_run_than_there_are_slots(kubectl: Kubectl, api: Api, name: str) -> None:
    limited = automation(name, maxConcurrency=2, worker={"script": SLEEPING, "replicas": 3})
    kubectl.apply(limited)
    automation_id = ready(kubectl, name)
    reply = api.post(f"/automations/{automation_id}/execute/batch", [{}] * 7)
    assert reply.status_code == 202, reply.text
    jobs = [api.wait_ended(job["id"], 120) for job in reply.json()]
    assert {job["status"] for job in jobs} == {"completed"}
    began, ended = (
        sorted(map(_instant, (job[what] for job in jobs))) for what in ("startedAt", "completedAt")
    )
    at_once = [
        sum(each <= moment for each in began) - sum(each <= moment for each in ended) for moment in began
    ]
    assert max(at_once) == 2


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def wait_why(api: Api, job: str, code: str) -> str:
    """The sentence once the code is that."""

    def told() -> str | None:
        found = api.get(f"/jobs/{job}/why").json()
        return str(found["sentence"]) if found["code"] == code else None

    return eventually(told, f"job {job} waits for {code}", 120, every=1)


def test_why_a_job_without_a_worker_waits(kubectl: Kubectl, api: Api, name: str) -> None:
    kubectl.apply(automation(name, queueName=name))
    job = execute(api, ready(kubectl, name))
    assert name in wait_why(api, job, "NO_WORKER")


def test_why_a_job_whose_worker_has_no_node_waits(kubectl: Kubectl, api: Api, name: str) -> None:
    kubectl.apply(automation(name, worker={"script": SLEEPING, "nodeSelector": {"no": "such-node"}}))
    eventually(lambda: kubectl.get("automation", name).get("status", {}).get("id"), "it is registered")
    job = execute(api, kubectl.get("automation", name)["status"]["id"])
    assert "node" in wait_why(api, job, "WORKER_UNSCHEDULABLE")
