"""What holds for every call: who may, how JSON goes in and out, and how errors look."""

import re
from typing import Any

import requests

from integration.api.service import ADMIN_TOKEN, WORKER_KEY
from integration.contract.shapes import has, instant
from integration.contract.stack import Stack

OPEN = {"/api/v1/health", "/livez", "/readyz"}
UNKNOWN = "00000000-0000-7000-8000-000000000000"


def calls(stack: Stack) -> list[tuple[str, str]]:
    """Method and path of every call there is, with ids of things there are not."""
    described = requests.get(f"{stack.service.root}/openapi.json", timeout=10).json()
    return [
        (method.upper(), re.sub(r"\{id}", UNKNOWN if "/jobs/" in path else "1", path))
        for path, methods in described["paths"].items()
        for method in methods
    ]


def test_credentials(stack: Stack) -> None:
    wrong = [
        {},
        {"Authorization": "Bearer wrong", "X-Worker-API-Key": "wrong"},
        {"Authorization": ADMIN_TOKEN, "X-Worker-API-Key": ""},
        {"Authorization": f"Bearer {WORKER_KEY}", "X-Worker-API-Key": ADMIN_TOKEN},
    ]
    closed = [(method, path) for method, path in calls(stack) if path not in OPEN]
    assert len(closed) > 20
    for method, path in [*closed, ("GET", "/api/v1/nothing/there")]:
        for headers in wrong:
            reply = requests.request(method, stack.service.root + path, headers=headers, timeout=10)
            assert (reply.status_code, list(reply.json())) == (401, ["error"]), (method, path, headers)
        token_in_query = requests.request(
            method, f"{stack.service.root}{path}?token={ADMIN_TOKEN}", timeout=10
        )
        assert (token_in_query.status_code == 401) == (not path.endswith("/stream")), (method, path)


# The contract's fields that have two names, in camelCase.
AUTOMATION_FIELDS: dict[str, Any] = {
    "scriptPath": "bots/x.py",
    "queueName": "a.queue.with.two.names",
    "parameterSchema": [{"name": "years", "label": "Years", "type": "list", "itemType": "number"}],
    "defaultParams": {"keptAsIs": 1, "kept_as_is": 2},
    "maxConcurrency": 2,
    "startDeadlineSeconds": 60,
    "timeoutSeconds": 90,
    "heartbeatTimeoutSeconds": 30,
    "retryPolicy": {
        "maxAttempts": 2,
        "backoffSeconds": 1,
        "backoffFactor": 1.5,
        "rules": [{"errorClasses": ["PORTAL_DOWN"], "action": "Retry"}],
    },
}


def snake_case(value: Any, *, deep: bool = True) -> Any:
    """The same with every name in snake_case; parameters are nobody's to rename."""
    if isinstance(value, list):
        return [snake_case(each) for each in value]
    if not isinstance(value, dict) or not deep:
        return value
    return {
        re.sub("([A-Z])", lambda found: f"_{found[1].lower()}", name): snake_case(
            each, deep=name not in ("defaultParams", "parameters")
        )
        for name, each in value.items()
    }


def test_json_comes_in_camel_case_and_in_snake_case(stack: Stack) -> None:
    assert snake_case({"retryPolicy": {"maxAttempts": 1}}) == {"retry_policy": {"max_attempts": 1}}
    shown = []
    for number, form in enumerate((AUTOMATION_FIELDS, snake_case(AUTOMATION_FIELDS))):
        made = stack.service.post("/automations", {"name": f"two names {number}", **form})
        assert made.status_code == 201, made.text
        changed = stack.automation(queueName=AUTOMATION_FIELDS["queueName"])
        put = stack.service.put(f"/automations/{changed['id']}", form)
        assert put.status_code == 200, put.text
        shown += [made.json(), put.json()]
    for each in shown:
        assert {field: each[field] for field in AUTOMATION_FIELDS} == AUTOMATION_FIELDS
    fields = {
        "automationId": shown[0]["id"],
        "cronExpression": "0 8 * * 1",
        "isEnabled": False,
        "timeZone": "America/Sao_Paulo",
        "parameters": {"keptAsIs": 1, "kept_as_is": 2},
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": 60,
        "catchUp": {"policy": "None", "windowSeconds": 60},
        "jitterSeconds": 1,
        "calendar": stack.calendar(country="BR"),
        "onHoliday": "Previous",
        "startTime": "2026-01-01T00:00:00+00:00",
        "endTime": "2126-01-01T00:00:00+00:00",
    }
    for form in (fields, snake_case(fields)):
        made = stack.service.post("/schedules", form)
        assert made.status_code == 201, made.text
        other = stack.service.post("/schedules", {"automationId": shown[1]["id"], "cronExpression": "@daily"})
        put = stack.service.put(f"/schedules/{other.json()['id']}", form)
        assert put.status_code == 200, put.text
        for each in (made.json(), put.json()):
            assert {field: each[field] for field in fields} == fields


def test_json_goes_out_in_camel_case_and_to_workers_in_snake_case(stack: Stack) -> None:
    job = stack.running()
    people = [
        stack.service.get("/automations").json()[0],
        stack.shown(job),
        stack.service.get("/jobs").json(),
    ]
    for each in people:
        assert not [name for name in each if "_" in name]
    told = stack.service.worker("GET", f"/{job}/status").json()
    assert not [name for name in told if name.lower() != name]


def test_unknown_fields_are_ignored(stack: Stack) -> None:
    made = stack.automation(colour="green")
    assert "colour" not in made
    job = stack.running()
    for call, body in (
        ("log", {"level": "INFO", "message": "m", "colour": "green"}),
        ("heartbeat", {"colour": "green"}),
        ("finish", {"status": "completed", "colour": "green"}),
    ):
        assert stack.service.worker("POST", f"/{job}/{call}", body).ok


def test_errors_are_one_sentence_with_their_status(stack: Stack) -> None:
    made, job = stack.automation(), stack.running()
    large = {"message": "x" * 2 * 1024 * 1024, "level": "INFO"}
    replies = {
        400: [
            stack.service.post("/automations", {"name": "no script"}),
            stack.service.call("POST", "/automations", data=b"{"),
            stack.service.get("/automations/x"),
        ],
        404: [stack.service.get("/automations/2000000000"), stack.service.get("/nothing/there")],
        405: [stack.service.delete("/jobs")],
        409: [stack.service.post("/automations", {"name": made["name"], "scriptPath": "x"})],
        413: [stack.service.worker("POST", f"/{job}/log", large), stack.service.post("/automations", large)],
    }
    for code, found in replies.items():
        for reply in found:
            assert reply.status_code == code, reply.text
            assert reply.headers["Content-Type"] == "application/json"
            assert list(reply.json()) == ["error"]
            assert re.fullmatch(r"[^\n]{15,}", reply.json()["error"])


def test_times_have_a_zone(stack: Stack) -> None:
    made, job = stack.automation(), stack.running()
    has(made, {"createdAt": instant, "updatedAt": instant})
    has(stack.shown(job), {"createdAt": instant, "startedAt": instant})
    has(stack.service.worker("GET", f"/{job}/status").json(), {"started_at": instant})


def test_a_dependency_that_is_away(stack: Stack) -> None:
    stack.service.kube.away = True
    try:
        reply = stack.service.post("/automations", {"name": "later", "scriptPath": "x"})
    finally:
        stack.service.kube.away = False
    assert (reply.status_code, list(reply.json())) == (503, ["error"])
    assert int(reply.headers["Retry-After"]) > 0


def test_any_json_goes_through_unharmed(stack: Stack) -> None:
    deep: Any = None
    for _ in range(400):
        deep = [deep]
    parameters = {"key": 35180834128745000152550010000474281920007498, "deep": deep}
    made = stack.automation(defaultParams=parameters)
    path = f"/automations/{made['id']}"
    assert stack.service.get(path).json()["defaultParams"] == parameters
    assert made in stack.service.get("/automations").json()
    properties = stack.service.get(f"{path}/parameters.schema.json").json()["properties"]
    assert {name: each["default"] for name, each in properties.items()} == parameters
    job = stack.job(made)
    assert job["parameters"] == parameters
    assert stack.service.get(f"{path}/last-params").json() == {"parameters": parameters}
    asked = {"automationId": made["id"], "cronExpression": "@daily", "parameters": parameters}
    assert stack.service.post("/schedules", asked).json()["parameters"] == parameters
    stack.service.worker("POST", f"/{job['id']}/start")
    stack.service.worker("POST", f"/{job['id']}/finish", {"status": "completed", "result": parameters})
    assert stack.shown(job["id"])["result"] == parameters
