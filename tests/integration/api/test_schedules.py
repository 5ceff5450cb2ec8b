"""Schedules over REST: custom resources beside their automations'."""

from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from integration.api.service import Service

FIELDS = {
    "id",
    "automationId",
    "cronExpression",
    "timeZone",
    "parameters",
    "nextRunAt",
    "isEnabled",
    "createdAt",
    "updatedAt",
    "namespace",
    "resourceName",
}


def make(service: Service, **fields: Any) -> dict[str, Any]:
    automation = service.get("/automations").json() or [service.automation()]
    body = {"automationId": automation[0]["id"], "cronExpression": "0 8 * * 1-5", **fields}
    reply = service.post("/schedules", body)
    assert reply.status_code == 201, reply.text
    return dict(reply.json())


def spec_of(service: Service, schedule: dict[str, Any]) -> dict[str, Any]:
    return dict(service.kube.objects["Schedule", "maestro-bots", schedule["resourceName"]]["spec"])


def test_created_schedule_is_a_resource_with_an_integer_id(service: Service) -> None:
    automation = service.automation("Bot")
    made = make(service, parameters={"day": "{{today}}"}, timeZone="America/Sao_Paulo")
    assert set(made) == FIELDS
    assert made["automationId"] == automation["id"]
    assert made["isEnabled"] is True
    assert datetime.fromisoformat(made["nextRunAt"]).astimezone(UTC).hour == 11
    assert spec_of(service, made) == {
        "automation": automation["resourceName"],
        "cron": "0 8 * * 1-5",
        "parameters": {"day": "{{today}}"},
        "timeZone": "America/Sao_Paulo",
    }
    assert service.get(f"/schedules/{made['id']}").json() == made
    assert service.get("/schedules").json() == [made]


def test_disabled_schedules_are_listed_on_demand(service: Service) -> None:
    made = make(service, is_enabled=False)
    assert spec_of(service, made)["suspend"] is True
    assert (made["isEnabled"], made["nextRunAt"]) == (False, None)
    assert service.get("/schedules").json() == []
    assert service.get("/schedules?include_disabled=true").json() == [made]
    enabled = service.put(f"/schedules/{made['id']}", {"isEnabled": True}).json()
    assert enabled["isEnabled"] is True
    assert enabled["nextRunAt"]
    assert service.get("/schedules").json() == [enabled]


def test_put_changes_what_it_names_and_delete_ends_it(service: Service) -> None:
    made = make(service, parameters={"a": 1})
    assert service.put(f"/schedules/{made['id']}", made).json() == made
    changed = service.put(f"/schedules/{made['id']}", {"cron_expression": "@hourly"}).json()
    assert (changed["cronExpression"], changed["parameters"]) == ("@hourly", {"a": 1})
    other = service.automation("other")
    moved = service.put(f"/schedules/{made['id']}", {"automationId": other["id"]}).json()
    assert moved["automationId"] == other["id"]
    assert service.delete(f"/schedules/{made['id']}").status_code == 204
    assert service.get(f"/schedules/{made['id']}").status_code == 404
    assert service.delete(f"/schedules/{made['id']}").status_code == 404
    assert not [key for key in service.kube.objects if key[0] == "Schedule"]


def test_delete_leaves_a_namesake_that_came_at_once(
    service: Service, database: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, delete = make(service), service.kube.delete

    def delete_and_make_anew(*arguments: Any, **keywords: Any) -> bool:
        database.execute("UPDATE schedules SET uid = 'of the new one'")
        return delete(*arguments, **keywords)

    monkeypatch.setattr(service.kube, "delete", delete_and_make_anew)
    assert service.delete(f"/schedules/{made['id']}").status_code == 204
    assert service.get(f"/schedules/{made['id']}").status_code == 200


def test_what_others_manage_is_refused_or_taken_over(service: Service) -> None:
    made = make(service)
    theirs = {
        "kind": "Schedule",
        "metadata": {"namespace": "maestro-bots", "name": made["resourceName"]},
        "spec": {"suspend": True},
    }
    service.kube.apply(theirs, manager="flux")
    assert "flux" in service.delete(f"/schedules/{made['id']}").json()["error"]
    assert service.delete(f"/schedules/{made['id']}?force=1").status_code == 204


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"cronExpression": "* * * *"}, "five"),
        ({"cronExpression": "61 * * * *"}, "61"),
        ({"cronExpression": "* * * * * *"}, "five"),
        ({"cronExpression": ""}, ""),
        ({"cronExpression": None}, "cronExpression: "),
        ({"automationId": "x"}, "automationId: "),
        ({"automationId": 4711}, "4711"),
        ({"automationId": 2**70}, ""),
        ({"parameters": [1]}, "parameters: "),
        ({"timeZone": "Mars/Olympus"}, "Mars/Olympus"),
        ({"isEnabled": "perhaps"}, "isEnabled: "),
    ],
)
def test_bad_schedules_are_refused_in_words(
    service: Service, database: psycopg.Connection, fields: dict[str, Any], said: str
) -> None:
    automation = service.automation()
    body = {"automationId": automation["id"], "cronExpression": "* * * * *"} | fields
    reply = service.post("/schedules", body)
    assert reply.status_code == 400
    assert said in reply.json()["error"]
    made = make(service)
    if None not in fields.values():  # which in a change means: leave it as it is
        changed = service.put(f"/schedules/{made['id']}", fields)
        assert changed.status_code == 400
    assert service.get("/schedules").json() == [made]
