"""REST against the real stack: definitions become custom resources, jobs reach queues and come back."""

import json
from collections.abc import Iterator
from typing import Any

import pika
import pytest
import requests

from e2e.cluster import DEFINITIONS, RELEASE, Api, Kubectl, automation, eventually, secret

AUTOMATION, SCHEDULE = "automations.rps-maestro.io", "schedules.rps-maestro.io"


@pytest.fixture
def bots() -> Kubectl:
    """kubectl where REST writes."""
    return Kubectl(DEFINITIONS)


@pytest.fixture
def made(api: Api, name: str) -> Iterator[dict[str, Any]]:
    """An automation made over REST with a queue of its own, gone after the test."""
    reply = api.post("/automations", {"name": name, "scriptPath": "bots/x.py", "queueName": name})
    assert reply.status_code == 201, reply.text
    yield reply.json()
    api.delete(f"/automations/{reply.json()['id']}?force=true")


@pytest.fixture
def channel() -> Iterator[Any]:
    parameters = pika.URLParameters(secret(f"{RELEASE}-broker", "uri"))
    parameters.host, parameters.port = "127.0.0.1", 5672
    connection = pika.BlockingConnection(parameters)
    yield connection.channel()
    connection.close()


def apply_as(kubectl: Kubectl, manager: str, name: str, **spec: Any) -> None:
    resource = json.dumps(automation(name, DEFINITIONS, **spec))
    kubectl("apply", "--server-side", f"--field-manager={manager}", "-f", "-", stdin=resource)


def test_health_is_open_and_the_rest_is_not(api: Api) -> None:
    assert requests.get(f"{api.url}/health", timeout=10).json() == {"status": "ok"}
    root = api.url.removesuffix("/api/v1")
    assert requests.get(f"{root}/readyz", timeout=10).json()["status"] == "ready"
    assert requests.get(f"{root}/openapi.json", timeout=10).json()["info"]["title"] == "Maestro"
    for path in ("/automations", "/jobs", "/schedules", "/worker/jobs/x/status"):
        assert requests.get(api.url + path, timeout=10).status_code == 401


def test_an_automation_is_a_resource_that_the_operator_takes_up(
    api: Api, bots: Kubectl, made: dict[str, Any]
) -> None:
    bots.wait_ready(AUTOMATION, made["resourceName"])
    resource = bots.get(AUTOMATION, made["resourceName"])
    assert resource["status"]["id"] == made["id"]
    assert resource["spec"] == {
        "displayName": made["name"],
        "scriptPath": "bots/x.py",
        "queueName": made["queueName"],
        # what the schema fills in
        "deletionPolicy": "Retain",
        "heartbeatTimeoutSeconds": 300,
        "retryPolicy": {"maxAttempts": 3, "backoffSeconds": 10, "backoffFactor": 2, "rules": []},
    }
    [listed] = [each for each in api.get("/automations").json() if each["id"] == made["id"]]
    assert listed == made | {"updatedAt": listed["updatedAt"]}
    again = api.post("/automations", {"name": made["name"], "scriptPath": "x"})
    assert again.status_code == 409
    assert (
        len([each for each in bots.list(AUTOMATION) if each["spec"].get("displayName") == made["name"]]) == 1
    )
    assert api.delete(f"/automations/{made['id']}").status_code == 204
    assert api.get(f"/automations/{made['id']}").status_code == 404
    assert bots.run("get", AUTOMATION, made["resourceName"]).returncode != 0


def test_put_shares_a_resource_with_other_managers(api: Api, bots: Kubectl, made: dict[str, Any]) -> None:
    path, resource = f"/automations/{made['id']}", made["resourceName"]
    assert api.put(path, {"defaultParams": {"a": 1}}).json()["defaultParams"] == {"a": 1}
    apply_as(bots, "gitops", resource, description="theirs", suspend=True)
    eventually(lambda: api.get(path).json()["description"] == "theirs", "the operator takes up the edit")
    assert api.put(path, {"scriptPath": "bots/y.py"}).status_code == 200
    refused = api.put(path, {"description": "ours"})
    assert refused.status_code == 409
    assert "gitops" in refused.json()["error"]
    assert "spec.description" in refused.json()["error"]
    assert api.put(f"{path}?force=true", {"description": "ours"}).json()["description"] == "ours"
    spec = bots.get(AUTOMATION, resource)["spec"]
    assert (spec["description"], spec["suspend"], spec["scriptPath"]) == ("ours", True, "bots/y.py")
    assert spec["defaultParams"] == {"a": 1}
    assert api.post(f"{path}/execute").status_code == 409
    kept = api.delete(path)
    assert kept.status_code == 409
    assert "gitops" in kept.json()["error"]
    assert api.delete(f"{path}?force=true").status_code == 204


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"queueName": "amq.mine"}, "amq."),
        ({"parameterSchema": [{"name": "p", "label": "P", "type": "select"}]}, "needs options"),
        ({"description": "x" * 5000}, "description"),
        ({"worker": {"script": "x"}}, "kubectl"),
    ],
)
def test_a_bad_definition_is_refused_and_leaves_nothing(
    api: Api, bots: Kubectl, name: str, fields: dict[str, Any], said: str
) -> None:
    reply = api.post("/automations", {"name": name, "scriptPath": "x", **fields})
    assert reply.status_code == 400
    assert said in reply.json()["error"]
    assert not [each for each in bots.list(AUTOMATION) if each["spec"].get("displayName") == name]
    good = api.post("/automations", {"name": name, "scriptPath": "x"})
    assert good.status_code == 201
    assert api.delete(f"/automations/{good.json()['id']}").status_code == 204


def test_a_queue_never_changes(api: Api, made: dict[str, Any]) -> None:
    refused = api.put(f"/automations/{made['id']}", {"queueName": "another"})
    assert refused.status_code == 400
    assert "queueName" in refused.json()["error"]


def test_a_job_goes_out_and_comes_back(
    api: Api, bots: Kubectl, worker_key: str, made: dict[str, Any], channel: Any
) -> None:
    bots.wait_ready(AUTOMATION, made["resourceName"])
    reply = api.post(f"/automations/{made['id']}/execute", {"month": "2026-11"})
    assert reply.status_code == 202
    job = reply.json()
    method, _, body = eventually(
        lambda: got if (got := channel.basic_get(made["queueName"]))[0] else None, "message"
    )
    assert json.loads(body) == {
        "job_id": job["id"],
        "automation_id": made["id"],
        "script_path": "bots/x.py",
        "parameters": {"month": "2026-11"},
    }
    session = requests.Session()
    session.headers["X-Worker-API-Key"] = worker_key
    worker = f"{api.url}/worker/jobs/{job['id']}"
    assert session.get(f"{worker}/status", timeout=10).json()["status"] == "pending"
    assert session.post(f"{worker}/start", timeout=10).json()["status"] == "running"
    line = {"level": "INFO", "message": "reading"}
    assert session.post(f"{worker}/log", json=line, timeout=10).status_code == 201
    assert api.post(f"/jobs/{job['id']}/cancel").status_code == 202
    assert session.get(f"{worker}/cancellation", timeout=10).json() == {"cancellation_requested": True}
    end = {"status": "canceled", "result": {"error": "asked to stop"}}
    assert session.post(f"{worker}/finish", json=end, timeout=10).status_code == 200
    channel.basic_ack(method.delivery_tag)
    shown = api.get(f"/jobs/{job['id']}").json()
    assert (shown["status"], shown["result"]) == ("canceled", end["result"])
    assert [each["message"] for each in api.get(f"/jobs/{job['id']}/logs").json()] == ["reading"]
    assert api.get(f"/jobs?automation_id={made['id']}").json()["items"] == [shown]
    again = api.post(f"/jobs/{job['id']}/retry").json()
    assert again["parameters"] == {"month": "2026-11"}
    assert api.post(f"/jobs/{again['id']}/cancel").json()["status"] == "canceled"


def test_a_schedule_is_a_resource_too(api: Api, bots: Kubectl, made: dict[str, Any]) -> None:
    body = {"automationId": made["id"], "cronExpression": "0 8 1 1 *", "parameters": {"a": 1}}
    assert "five" in api.post("/schedules", body | {"cronExpression": "0 8 1 1"}).json()["error"]
    reply = api.post("/schedules", body)
    assert reply.status_code == 201
    schedule = reply.json()
    path = f"/schedules/{schedule['id']}"
    assert "-01-01T08:00:00" in schedule["nextRunAt"]
    bots.wait_ready(SCHEDULE, schedule["resourceName"])
    resource = bots.get(SCHEDULE, schedule["resourceName"])
    assert resource["status"]["id"] == schedule["id"]
    assert resource["spec"]["automation"] == made["resourceName"]
    assert schedule in api.get("/schedules").json()
    disabled = api.put(path, {"isEnabled": False}).json()
    assert (disabled["isEnabled"], disabled["nextRunAt"]) == (False, None)
    assert bots.get(SCHEDULE, schedule["resourceName"])["spec"]["suspend"] is True
    assert schedule["id"] not in [each["id"] for each in api.get("/schedules").json()]
    assert disabled in api.get("/schedules?include_disabled=true").json()
    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404


def test_automations_of_other_namespaces_are_executed_but_not_written(
    api: Api, kubectl: Kubectl, name: str
) -> None:
    kubectl.apply(automation(name, scriptPath="x"))
    kubectl.wait_ready(AUTOMATION, name)
    number = kubectl.get(AUTOMATION, name)["status"]["id"]
    assert api.get(f"/automations/{number}").json()["namespace"] == kubectl.namespace
    job = api.post(f"/automations/{number}/execute").json()
    assert api.post(f"/jobs/{job['id']}/cancel").json()["status"] == "canceled"
    refused = api.delete(f"/automations/{number}")
    assert refused.status_code == 403
    assert "kubectl" in refused.json()["error"]
    kubectl("delete", AUTOMATION, name)
    eventually(lambda: api.get(f"/automations/{number}").status_code == 404, "the operator retires it")
