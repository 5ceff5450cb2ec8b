"""What an automation's form needs: the caller's last parameters, and the schema of them."""

import psycopg
from jsonschema import Draft202012Validator

from integration.api.service import Service

SCHEMA = [
    {"name": "month", "label": "Month", "type": "text", "required": True, "placeholder": "2026-11"},
    {"name": "from", "type": "date"},
    {"name": "kind", "type": "select", "options": ["NF-e", "NFS-e"], "required": True},
]


def test_last_parameters_are_the_callers_latest(service: Service, database: psycopg.Connection) -> None:
    made, other = service.automation(defaultParams={"dry": True}), service.automation("other")
    path = f"/automations/{made['id']}/last-params"
    assert service.get(path).json() == {"parameters": None}
    key = 12345678901234567890123456789012345678901234
    first = service.post(f"/automations/{made['id']}/execute", {"month": "2026-10"}).json()["id"]
    service.call("POST", f"/automations/{made['id']}/execute", data=f'{{"key": {key}}}'.encode())
    service.post(f"/automations/{other['id']}/execute", {"n": 1})
    assert service.get(path).json() == {"parameters": {"dry": True, "key": key}}
    service.post(f"/jobs/{first}/retry")
    assert service.get(path).json() == {"parameters": {"dry": True, "month": "2026-10"}}
    service.post(f"/automations/{made['id']}/execute/batch", [{"n": 1}, {"n": 2}])
    assert service.get(path).json() == {"parameters": {"dry": True, "n": 2}}
    # Others' jobs, and those that a schedule made, are not the caller's.
    database.execute("UPDATE jobs SET user_id = NULL WHERE automation_id = %s", [made["id"]])
    assert service.get(path).json() == {"parameters": None}
    database.execute("UPDATE jobs SET user_id = 'ana' WHERE automation_id = %s", [made["id"]])
    assert service.get(path).json() == {"parameters": None}


def test_the_schema_refuses_what_execute_refuses(service: Service) -> None:
    made = service.automation("Form", parameterSchema=SCHEMA, defaultParams={"kind": "NF-e"})
    reply = service.get(f"/automations/{made['id']}/parameters.schema.json")
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/schema+json"
    schema = reply.json()
    assert (schema["title"], schema["required"]) == ("Form", ["month"])
    assert schema["properties"]["month"]["title"] == "Month"
    validator = Draft202012Validator(schema)
    for parameters in (
        {"month": "2026-11"},
        {"month": "2026-11", "from": "29/02/2028", "more": [1]},
        {"month": "2026-11", "from": "29/02/2026"},
        {"month": "", "kind": "NF-e"},
        {"month": "2026-11", "kind": "CT-e"},
        {},
    ):
        executed = service.post(f"/automations/{made['id']}/execute", parameters)
        assert executed.status_code == (202 if validator.is_valid(parameters) else 422), parameters


def test_without_a_schema_anything_goes(service: Service) -> None:
    made = service.automation()
    schema = service.get(f"/automations/{made['id']}/parameters.schema.json").json()
    assert (schema["properties"], schema["required"]) == ({}, [])
    assert Draft202012Validator(schema).is_valid({"any": ["thing"]})


def test_unknown_automations_have_neither(service: Service) -> None:
    for path in ("last-params", "parameters.schema.json"):
        assert service.get(f"/automations/12345/{path}").status_code == 404
        assert service.get(f"/automations/x/{path}").status_code == 400
