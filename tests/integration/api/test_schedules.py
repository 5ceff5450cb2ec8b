"""Schedules over REST: custom resources beside their automations'."""

from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from integration.api.service import Service, insert_calendar

FIELDS = {
    "id",
    "automationId",
    "cronExpression",
    "timeZone",
    "parameters",
    "concurrencyPolicy",
    "startingDeadlineSeconds",
    "catchUp",
    "jitterSeconds",
    "calendar",
    "onHoliday",
    "startTime",
    "endTime",
    "nextRunAt",
    "lastRunAt",
    "lastJob",
    "lastOccurrence",
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


def test_true_in_place_of_one_is_a_change(service: Service) -> None:
    made = make(service, parameters={"all": 1})
    changed = service.put(f"/schedules/{made['id']}", {"parameters": {"all": True}})
    assert changed.json()["parameters"] == {"all": True}
    assert changed.json()["parameters"]["all"] is True


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


ALL = {
    "timeZone": "America/Sao_Paulo",
    "parameters": {"day": "{{today}}"},
    "concurrencyPolicy": "Replace",
    "startingDeadlineSeconds": 600,
    "catchUp": {"policy": "All", "windowSeconds": 7200},
    "jitterSeconds": 30,
    "calendar": "sao-paulo",
    "onHoliday": "Next",
    "startTime": "2026-12-01T00:00:00.5-03:00",
    "endTime": "2126-12-01T00:00:00Z",
}


def test_every_field_reaches_the_resource_and_comes_back(service: Service, api_database_uri: str) -> None:
    insert_calendar(api_database_uri, "sao-paulo", country="BR", subdivision="SP")
    made = make(service, **ALL)
    spec = spec_of(service, made)
    times = {"startTime": "2026-12-01T03:00:00.500000Z", "endTime": "2126-12-01T00:00:00Z"}
    assert {field: spec[field] for field in ALL} == ALL | times
    writes = service.kube.writes
    assert service.put(f"/schedules/{made['id']}", made).json() == made
    assert service.put(f"/schedules/{made['id']}", ALL).json() == made
    assert service.kube.writes == writes
    less = service.put(f"/schedules/{made['id']}", {"catchUp": {"policy": "None"}, "onHoliday": "Run"}).json()
    assert (less["catchUp"], less["onHoliday"]) == ({"policy": "None", "windowSeconds": 3600}, "Run")
    assert spec_of(service, made)["calendar"] == "sao-paulo"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"calendar": "nowhere"}, "maestro-bots: there is no BusinessCalendar nowhere"),
        ({"onHoliday": "Next"}, "onHoliday: "),
        ({"endTime": "2020-01-01T00:00:00Z"}, "endTime: "),
        ({"startTime": "2020-01-01"}, "startTime: "),
        ({"startTime": "0001-01-01T00:00:00+05:00"}, "years"),
        ({"startTime": 1}, "startTime: "),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    service: Service, fields: dict[str, Any], said: str
) -> None:
    made = make(service, startTime="2026-01-01T00:00:00Z")
    writes = service.kube.writes
    body = {"automationId": made["automationId"], "cronExpression": "@daily", "startTime": made["startTime"]}
    for reply in (
        service.post("/schedules", body | fields),
        service.put(f"/schedules/{made['id']}", fields),
    ):
        assert reply.status_code == 400
        assert said.lower() in reply.json()["error"].lower()
    assert service.kube.writes == writes


def test_a_calendar_that_is_gone_stays_in_use_and_is_taken_no_more(
    service: Service, database: psycopg.Connection, api_database_uri: str
) -> None:
    insert_calendar(api_database_uri, "sao-paulo", country="BR")
    made = make(service, calendar="sao-paulo", onHoliday="Next")
    database.execute("UPDATE calendars SET retired_at = now()")
    path = f"/schedules/{made['id']}"
    assert service.put(path, {"calendar": "sao-paulo"}).json() == made
    assert len(service.get(f"{path}/upcoming").json()) == 10
    body = {"automationId": made["automationId"], "cronExpression": "@daily", "calendar": "sao-paulo"}
    assert service.post("/schedules", body).status_code == 400
    assert service.post("/schedules/preview", body).status_code == 400


def test_what_is_upcoming_comes_with_the_jitter(service: Service) -> None:
    made = make(service, jitterSeconds=3600)
    delays = set()
    for each in service.get(f"/schedules/{made['id']}/upcoming?count=3").json():
        runs, effective = (datetime.fromisoformat(each[when]) for when in ("runsAt", "effectiveAt"))
        delays.add((runs - effective).total_seconds())
    [delay] = delays
    assert 0 <= delay <= 3600


def test_what_was_due_before_it_was_made_is_not_upcoming_for_its_jitter(service: Service) -> None:
    made = make(service, cronExpression="* * * * *", jitterSeconds=86_400)
    first, *_ = service.get(f"/schedules/{made['id']}/upcoming").json()
    assert datetime.fromisoformat(first["nominalAt"]) > datetime.fromisoformat(made["createdAt"])
    assert first["runsAt"] == made["nextRunAt"]


def test_a_last_occurrence_that_is_taken_away_with_age_is_none(
    service: Service, database: psycopg.Connection
) -> None:
    made = make(service)
    database.execute("UPDATE schedules SET last_occurrence_id = 4711")
    assert service.get(f"/schedules/{made['id']}").json() == made


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
        ({"cronExpression": "0 0 L-1 * *"}, "L-1"),
        ({"concurrencyPolicy": "Never"}, "concurrencyPolicy: "),
        ({"startingDeadlineSeconds": 0}, "startingDeadlineSeconds: "),
        ({"catchUp": {"windowSeconds": 0}}, "catchUp.windowSeconds: "),
        ({"catchUp": {"policy": "Some"}}, "catchUp.policy: "),
        ({"jitterSeconds": 86401}, "jitterSeconds: "),
        ({"jitterSeconds": True}, "jitterSeconds: "),
        ({"onHoliday": "Later"}, "onHoliday: "),
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
