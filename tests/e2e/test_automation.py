"""Automations and Schedules as a platform engineer meets them: kubectl apply, get, describe, delete."""

import json
import time
from pathlib import Path
from typing import Any

import pika
import pytest

from e2e.cluster import DEFINITIONS, Api, Kubectl, automation, eventually, queue_exists, schedule, wait_reason
from maestro.imported import ANNOTATION

SUSPEND = {"errorClasses": ["CREDENTIAL_INVALID"], "action": "Suspend"}
SAMPLES = Path(__file__).parents[2] / "manifests" / "samples"


def refusal(kubectl: Kubectl, body: dict[str, Any], *arguments: str) -> str:
    """What kubectl apply says to an object it must not take."""
    done = kubectl.run("apply", "-f", "-", *arguments, stdin=json.dumps(body))
    assert done.returncode != 0, "this should have been refused"
    return done.stderr


def events(kubectl: Kubectl, name: str) -> set[tuple[str, str]]:
    listed = kubectl.list("events", "--field-selector", f"involvedObject.name={name}")
    return {(event["type"], event["reason"]) for event in listed}


def test_apply_edit_delete_leave_no_trace(kubectl: Kubectl, name: str) -> None:
    kubectl.apply(automation(name, description="first"))
    kubectl.wait_ready("automation", name)
    kubectl.apply(automation(name, description="second"))
    eventually(
        lambda: kubectl.get("automation", name)["status"]["observedGeneration"] == 2, "the edit is observed"
    )
    found = kubectl.get("automation", name)
    assert "finalizers" not in found["metadata"]
    assert not [each for each in found["metadata"].get("annotations", {}) if "kopf" in each]
    assert {each["type"] for each in found["status"]["conditions"]} == {
        "Ready",
        "QueueReady",
        "WorkersAvailable",
        "Suspended",
    }
    began = time.monotonic()
    kubectl("delete", "automation", name, "--timeout=30s")
    assert time.monotonic() - began < 10


def test_columns_and_explanations(kubectl: Kubectl, name: str) -> None:
    kubectl.apply(automation(name))
    kubectl.wait_ready("automation", name)
    header, line = kubectl("get", "auto", name).splitlines()
    assert header.split() == ["NAME", "READY", "QUEUE", "PENDING", "RUNNING", "WORKERS", "LAST", "AGE"]
    assert line.split()[:5] == [name, "True", "automation_jobs", "0", "0"]
    assert "neither changes nor goes" in kubectl("explain", "automation.spec.queueName")
    assert "IANA" in kubectl("explain", "schedules.rps-maestro.io.spec.timeZone")


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("priority", "maxConcurrency"),
        ("maxConcurrency", "the others wait"),
        ("startDeadlineSeconds", "JOB_TIMEOUT"),
        ("timeoutSeconds", "asked to cancel"),
        ("heartbeatTimeoutSeconds", "sign of life"),
        ("retryPolicy.maxAttempts", "the first time included"),
        ("retryPolicy.rules.errorClasses", "CREDENTIAL_INVALID"),
        ("retryPolicy.rules.action", "pauses the automation"),
    ],
)
def test_the_life_of_its_jobs_is_explained(kubectl: Kubectl, field: str, words: str) -> None:
    assert words in " ".join(kubectl("explain", f"automation.spec.{field}").split())


def test_the_life_of_its_jobs_is_taken_up(kubectl: Kubectl, api: Api, name: str) -> None:
    policy = {"maxAttempts": 5, "backoffFactor": 1.5, "rules": [SUSPEND]}
    limits = {"priority": 9, "maxConcurrency": 2, "startDeadlineSeconds": 60, "timeoutSeconds": 1800}
    kubectl.apply(automation(name, **limits, heartbeatTimeoutSeconds=60, retryPolicy=policy))
    kubectl.wait_ready("automation", name)
    found = kubectl.get("automation", name)
    assert found["spec"]["retryPolicy"] == policy | {"backoffSeconds": 10}
    shown = api.get(f"/automations/{found['status']['id']}").json()
    assert {field: shown[field] for field in limits} == limits
    assert (shown["heartbeatTimeoutSeconds"], shown["retryPolicy"]) == (60, found["spec"]["retryPolicy"])


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_samples_are_taken(sample: Path) -> None:
    assert "dry run" in Kubectl(DEFINITIONS)("apply", "--dry-run=server", "-f", str(sample))


def test_a_pause_reaches_the_condition_and_outlives_an_edit(kubectl: Kubectl, api: Api, name: str) -> None:
    kubectl.apply(automation(name))
    kubectl.wait_ready("automation", name)
    assert kubectl.condition("automation", name, "Suspended")["reason"] == "NotSuspended"
    url = f"/automations/{kubectl.get('automation', name)['status']['id']}"
    assert api.post(f"{url}/pause", {"reason": "until Monday"}).status_code == 200
    message = wait_reason(kubectl, "automation", name, "PausedByPerson", "Suspended")
    assert "until Monday" in message
    assert f"{url}/resume" in message
    kubectl.apply(automation(name, description="edited"))
    eventually(lambda: api.get(url).json()["description"] == "edited", "the edit is taken up")
    assert api.post(f"{url}/execute").status_code == 409
    assert api.post(f"{url}/resume").json()["suspended"] is False
    wait_reason(kubectl, "automation", name, "NotSuspended", "Suspended")
    kubectl.apply(automation(name, suspend=True))
    assert "spec.suspend" in wait_reason(kubectl, "automation", name, "SpecSuspended", "Suspended")


def test_an_unknown_field_is_refused_by_name(kubectl: Kubectl, name: str) -> None:
    assert "queueNam" in refusal(kubectl, automation(name, queueNam="x"))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"worker": {}}, "nothing to run"),
        ({"worker": {"script": "x", "command": ["a"]}}, "take out command"),
        ({"worker": {"script": "x", "env": [{"name": "MAESTRO_MODULE", "value": "m"}]}}, "one of them"),
        ({"worker": {"image": "a", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}}, "worker.volumes"),
        ({"worker": {"image": "a", "volumes": [{"name": "maestro-x", "emptyDir": {}}]}}, "Maestro's own"),
        ({"worker": {"image": "a", "env": [{"name": "A", "value": "1", "valueFrom": {}}]}}, "not both"),
        ({"worker": {"image": "a", "runAsUser": 0}}, "runAsUser"),
        ({"worker": {"script": "x" * 65537}}, "65536"),
        ({"queueName": "a\nb"}, "queueName"),
        ({"queueName": "q" * 256}, "queueName"),
        ({"queueName": "maestro.dlq"}, "dead letters"),
        ({"parameterSchema": [{"name": "a", "type": "select"}]}, "needs options"),
        ({"deletionPolicy": "Keep"}, "deletionPolicy"),
        ({"priority": 10}, "spec.priority: Invalid value: 10: spec.priority in body should be less than"),
        ({"priority": "high"}, "spec.priority in body must be of type integer"),
        ({"maxConcurrency": 0}, "spec.maxConcurrency in body should be greater than or equal to 1"),
        ({"startDeadlineSeconds": 0}, "spec.startDeadlineSeconds in body should be greater"),
        ({"timeoutSeconds": 2592001}, "spec.timeoutSeconds in body should be less"),
        ({"heartbeatTimeoutSeconds": 9}, "spec.heartbeatTimeoutSeconds in body should be greater"),
        ({"retryPolicy": {"maxAttempts": 0}}, "spec.retryPolicy.maxAttempts in body should be greater"),
        ({"retryPolicy": {"backoffSeconds": -1}}, "spec.retryPolicy.backoffSeconds in body should be"),
        ({"retryPolicy": {"backoffFactor": 0.5}}, "spec.retryPolicy.backoffFactor in body should be"),
        ({"retryPolicy": {"attempts": 2}}, "spec.retryPolicy.attempts"),
        ({"retryPolicy": {"rules": [{**SUSPEND, "action": "Ignore"}]}}, '"Retry", "Fail", "Suspend"'),
        ({"retryPolicy": {"rules": [{**SUSPEND, "errorClasses": []}]}}, "errorClasses"),
        ({"retryPolicy": {"rules": [{**SUSPEND, "errorClasses": ["a b"]}]}}, "^[A-Z][A-Z0-9_]{0,63}$"),
        ({"retryPolicy": {"rules": [{"action": "Fail"}]}}, "errorClasses: Required value"),
    ],
)
def test_a_bad_spec_is_refused_with_what_to_do(
    kubectl: Kubectl, name: str, spec: dict[str, Any], words: str
) -> None:
    assert words in refusal(kubectl, automation(name, **spec), "--dry-run=server")


@pytest.mark.parametrize(
    "after", [{}, {"queueName": "other"}, {"queueName": "{name}", "queueArguments": {"x-max-priority": 2}}]
)
def test_a_queue_neither_changes_nor_goes(kubectl: Kubectl, name: str, after: dict[str, Any]) -> None:
    kubectl.apply(automation(name, queueName=name, queueArguments={"x-max-priority": 1, "x-b": True}))
    if after.get("queueName") == "{name}":
        after = {**after, "queueName": name}
    assert "once set" in refusal(kubectl, automation(name, **after))


def test_a_queue_rabbitmq_refuses_is_told_with_what_to_do(kubectl: Kubectl, name: str) -> None:
    kubectl.apply(automation(name, queueName=f"amq.{name}"))
    message = wait_reason(kubectl, "automation", name, "QueueRefused", "QueueReady")
    assert "RabbitMQ's own" in message
    assert "another" in message or "apply it again" in message
    assert kubectl.condition("automation", name)["status"] == "False"
    eventually(lambda: ("Warning", "QueueRefused") in events(kubectl, name), "a Warning says so")


def test_a_way_into_other_queues_is_refused(
    kubectl: Kubectl, broker: pika.BlockingConnection, name: str
) -> None:
    aimed = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "another"}
    kubectl.apply(automation(name, queueName=name, queueArguments=aimed))
    message = wait_reason(kubectl, "automation", name, "QueueRefused", "QueueReady")
    assert "maestro.dlx" in message
    assert not queue_exists(broker, name)


def test_a_taken_display_name_is_told_and_recovers(kubectl: Kubectl, name: str) -> None:
    holder, loser = f"{name}-a", f"{name}-b"
    kubectl.apply(automation(holder, displayName=name))
    kubectl.wait_ready("automation", holder)
    kubectl.apply(automation(loser, displayName=name))
    assert holder in wait_reason(kubectl, "automation", loser, "DisplayNameTaken")
    eventually(lambda: ("Warning", "DisplayNameTaken") in events(kubectl, loser), "a Warning says so")
    kubectl("delete", "automation", holder)
    kubectl.wait_ready("automation", loser)
    eventually(lambda: ("Normal", "Registered") in events(kubectl, loser), "an event says it is over")


def test_deleting_cancels_pending_jobs_and_keeps_their_history(kubectl: Kubectl, api: Api, name: str) -> None:
    kubectl.apply(automation(name, queueName=name))
    kubectl.wait_ready("automation", name)
    automation_id = kubectl.get("automation", name)["status"]["id"]
    job_id = api.post(f"/automations/{automation_id}/execute", {}).json()["id"]
    kubectl("delete", "automation", name)
    job = api.wait_ended(job_id, 30)
    assert (job["status"], job["result"]["reason"]) == ("canceled", "AUTOMATION_DELETED")
    assert api.get(f"/automations/{automation_id}").status_code == 404
    eventually(
        lambda: ("Warning", "QueueRetained") in events(kubectl, name), "a Warning says the queue stays"
    )


def test_an_old_servers_id_is_imported_once(kubectl: Kubectl, api: Api, name: str) -> None:
    kubectl.apply(automation(f"{name}-0"))
    kubectl.wait_ready("automation", f"{name}-0")
    # Far enough from those that tests beside this one are given.
    number = str(kubectl.get("automation", f"{name}-0")["status"]["id"] + 500)
    first, second = automation(name), automation(f"{name}-2")
    for body in (first, second):
        body["metadata"]["annotations"] = {ANNOTATION: number}
    kubectl.apply(first)
    kubectl.wait_ready("automation", name)
    assert api.get(f"/automations/{number}").json()["resourceName"] == name
    kubectl.apply(second)
    assert name in wait_reason(kubectl, "automation", f"{name}-2", "IdTaken")
    kubectl("annotate", "automation", f"{name}-2", f"{ANNOTATION}-")
    kubectl.wait_ready("automation", f"{name}-2", 90)


def test_a_schedule_may_come_before_its_automation(kubectl: Kubectl, name: str) -> None:
    kubectl.apply(schedule(name, automation=name, cron="0 6 * * *", timeZone="America/Sao_Paulo"))
    assert name in wait_reason(kubectl, "schedules.rps-maestro.io", name, "AutomationNotFound")
    kubectl.apply(automation(name))
    kubectl.wait_ready("schedules.rps-maestro.io", name)
    status = kubectl.get("schedules.rps-maestro.io", name)["status"]
    assert status["timeZone"] == "America/Sao_Paulo"
    assert status["nextRunTime"].endswith("T09:00:00Z")


@pytest.mark.parametrize(
    ("spec", "reason", "words"),
    [
        ({"cron": "61 * * * *"}, "InvalidCron", "minute"),
        ({"cron": "@daily", "timeZone": "Mars/Olympus"}, "InvalidTimeZone", "Mars"),
    ],
)
def test_a_bad_schedule_is_told_with_what_to_do(
    kubectl: Kubectl, name: str, spec: dict[str, str], reason: str, words: str
) -> None:
    kubectl.apply(schedule(name, automation=name, **spec))
    assert words in wait_reason(kubectl, "schedules.rps-maestro.io", name, reason)
    eventually(lambda: ("Warning", reason) in events(kubectl, name), "a Warning says so")
