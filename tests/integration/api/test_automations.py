"""Automations over REST: custom resources written by the rules of server-side apply, rows read."""

import re
import threading
from typing import Any

import psycopg
import pytest

from integration.api.service import Service, insert_automation
from maestro.errors import BadInput, NotFound

FIELDS = {
    "id",
    "name",
    "description",
    "scriptPath",
    "queueName",
    "defaultParams",
    "parameterSchema",
    "priority",
    "maxConcurrency",
    "startDeadlineSeconds",
    "timeoutSeconds",
    "heartbeatTimeoutSeconds",
    "retryPolicy",
    "suspended",
    "suspendedReason",
    "suspendedMessage",
    "createdAt",
    "updatedAt",
    "namespace",
    "resourceName",
}


def spec_of(service: Service, automation: dict[str, str]) -> dict[str, object]:
    return dict(service.kube.objects["Automation", "maestro-bots", automation["resourceName"]]["spec"])


def apply_as(
    service: Service, manager: str, automation: dict[str, str], force: bool = False, **spec: object
) -> None:
    metadata = {"namespace": "maestro-bots", "name": automation["resourceName"]}
    resource = {"kind": "Automation", "metadata": metadata, "spec": spec}
    service.kube.apply(resource, manager=manager, force=force)


def test_created_automation_is_a_resource_with_an_integer_id(service: Service) -> None:
    made = service.automation(
        "Notas Fiscais - São Paulo",
        description="d",
        queueName="notas",
        parameterSchema=[{"name": "month", "label": "Month", "type": "list", "itemType": "text"}],
        defaultParams={"month": ["2026-11"]},
    )
    assert set(made) == FIELDS
    assert isinstance(made["id"], int)
    assert re.fullmatch(r"notas-fiscais-sao-paulo-[a-z0-9]{5}", made["resourceName"])
    assert spec_of(service, made) == {
        "displayName": "Notas Fiscais - São Paulo",
        "scriptPath": "bot.py",
        "description": "d",
        "queueName": "notas",
        "parameterSchema": [{"name": "month", "label": "Month", "type": "list", "itemType": "text"}],
        "defaultParams": {"month": ["2026-11"]},
    }
    assert service.get(f"/automations/{made['id']}").json() == made
    assert service.get("/automations").json() == [made]


def test_snake_case_comes_in_as_well(service: Service) -> None:
    schema = [{"name": "n", "label": "N", "type": "list", "item_type": "number"}]
    body = {
        "name": "n",
        "script_path": "s.py",
        "queue_name": "q",
        "parameter_schema": schema,
        "default_params": {"n": [1]},
    }
    reply = service.post("/automations", body)
    assert reply.status_code == 201
    shown = reply.json()
    assert (shown["scriptPath"], shown["queueName"], shown["defaultParams"]) == ("s.py", "q", {"n": [1]})
    assert shown["parameterSchema"] == [{"name": "n", "label": "N", "type": "list", "itemType": "number"}]


def test_the_life_of_its_jobs_is_set_and_shown(service: Service) -> None:
    plain = service.automation("plain")
    policy = {"maxAttempts": 3, "backoffSeconds": 10, "backoffFactor": 2, "rules": []}
    assert (plain["priority"], plain["heartbeatTimeoutSeconds"], plain["retryPolicy"]) == (0, 300, policy)
    assert (plain["maxConcurrency"], plain["startDeadlineSeconds"], plain["timeoutSeconds"]) == (None,) * 3
    rules = [{"errorClasses": ["PORTAL_DOWN", "MY_OWN"], "action": "Retry"}]
    given = {
        "priority": 9,
        "maxConcurrency": 2,
        "startDeadlineSeconds": 60,
        "timeoutSeconds": 3600,
        "heartbeatTimeoutSeconds": 120,
        "retryPolicy": {"maxAttempts": 5, "rules": rules},
    }
    made = service.automation("full", **given)
    kept = given | {"retryPolicy": policy | {"maxAttempts": 5, "rules": rules}}
    assert {field: made[field] for field in given} == kept
    assert {field: spec_of(service, made)[field] for field in given} == kept
    writes = service.kube.writes
    assert service.put(f"/automations/{made['id']}", made).json() == made
    assert service.kube.writes == writes
    snake = {"max_concurrency": 3, "retry_policy": {"max_attempts": 1}}
    changed = service.put(f"/automations/{made['id']}", snake).json()
    assert (changed["maxConcurrency"], changed["retryPolicy"]) == (3, policy | {"maxAttempts": 1})
    assert changed["timeoutSeconds"] == 3600


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("priority", 10),
        ("priority", True),
        ("maxConcurrency", 0),
        ("startDeadlineSeconds", 0),
        ("timeoutSeconds", "3600"),
        ("heartbeatTimeoutSeconds", 9),
        ("retryPolicy.maxAttempts", 0),
        ("retryPolicy.backoffFactor", 0.5),
        ("retryPolicy.rules.0.errorClasses.0", "portal down"),
        ("retryPolicy.rules.0.action", "Ignore"),
    ],
)
def test_bad_limits_are_refused_by_name(service: Service, field: str, value: object) -> None:
    rule = {"errorClasses": ["PORTAL_DOWN"], "action": "Retry"}
    body: dict[str, Any] = {"name": "n", "scriptPath": "x", "retryPolicy": {"rules": [rule]}}
    *path, last = [int(step) if step.isdigit() else step for step in field.split(".")]
    place: Any = body
    for step in path:
        place = place[step]
    place[last] = value
    reply = service.post("/automations", body)
    assert reply.status_code == 400
    assert f"{field}: " in reply.json()["error"]
    assert not service.kube.objects


def test_pause_and_resume_at_run_time(service: Service, database: psycopg.Connection) -> None:
    made = service.automation()
    url, writes = f"/automations/{made['id']}", service.kube.writes
    paused = service.post(f"{url}/pause", {"reason": "the portal\nis down"})
    assert paused.status_code == 200
    shown = paused.json()
    assert (shown["suspended"], shown["suspendedReason"]) == (True, "PausedByPerson")
    assert "paused: the portal is down. Resume it with" in shown["suspendedMessage"]
    assert service.get(url).json() == shown
    refused = service.post(f"{url}/execute")
    assert refused.status_code == 409
    assert f"POST /api/v1{url}/resume" in refused.json()["error"]
    assert service.call("POST", f"{url}/pause").json()["suspendedMessage"].startswith("It is paused. ")
    resumed = service.post(f"{url}/resume")
    assert (resumed.status_code, resumed.json()) == (200, made)
    assert service.post(f"{url}/resume").json() == made
    assert service.post(f"{url}/execute").status_code == 202
    assert service.kube.writes == writes
    theirs = insert_automation(database)
    assert service.post(f"/automations/{theirs}/pause").json()["suspended"] is True


def test_what_its_spec_suspends_is_not_resumed_over_rest(
    service: Service, database: psycopg.Connection
) -> None:
    theirs = insert_automation(database, suspended=True)
    resumed = service.post(f"/automations/{theirs}/resume")
    assert (resumed.status_code, resumed.json()["suspendedReason"]) == (200, "SpecSuspended")
    assert "spec.suspend: false" in service.post(f"/automations/{theirs}/execute").json()["error"]


def test_pause_refuses_what_it_cannot_read(service: Service) -> None:
    made = service.automation()
    assert service.post("/automations/99/pause").status_code == 404
    assert service.post("/automations/99/resume").status_code == 404
    for body in ("[]", '{"reason": 5}', "{", '{"reason": "' + "x" * 501 + '"}'):
        assert service.call("POST", f"/automations/{made['id']}/pause", data=body).status_code == 400
    assert service.get(f"/automations/{made['id']}").json() == made


def test_a_name_is_taken_once_and_free_again_after_delete(service: Service) -> None:
    first = service.automation("same")
    again = service.post("/automations", {"name": "same", "scriptPath": "x"})
    assert again.status_code == 409
    assert "same" in again.json()["error"]
    assert service.delete(f"/automations/{first['id']}").status_code == 204
    assert service.get(f"/automations/{first['id']}").status_code == 404
    assert service.automation("same")["id"] != first["id"]


def test_two_creations_of_one_name_at_once_make_one(service: Service) -> None:
    codes: list[int] = []
    body = {"name": "race", "scriptPath": "x"}
    threads = [
        threading.Thread(target=lambda: codes.append(service.post("/automations", body).status_code))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [201] + [409] * 7
    assert len(service.kube.objects) == 1


def test_a_creation_that_fails_leaves_nothing(service: Service, database: psycopg.Connection) -> None:
    service.kube.refusal = BadInput("spec.queueName: Invalid value")
    refused = service.post("/automations", {"name": "n", "scriptPath": "x"})
    assert (refused.status_code, refused.json()["error"]) == (400, "spec.queueName: Invalid value")
    service.kube.refusal = NotFound('namespaces "maestro-bots" not found')
    missing = service.post("/automations", {"name": "n", "scriptPath": "x"})
    assert missing.status_code == 503
    assert "maestro-bots" in missing.json()["error"]
    service.kube.refusal = None
    service.kube.away = True
    away = service.post("/automations", {"name": "n", "scriptPath": "x"})
    assert (away.status_code, away.headers["Retry-After"]) == (503, "5")
    service.kube.away = False
    assert database.execute("SELECT count(*) FROM automations").fetchone() == (0,)
    assert service.automation("n")["name"] == "n"


def test_a_queue_of_another_namespace_is_refused_and_nothing_stays(
    service: Service, database: psycopg.Connection
) -> None:
    database.execute("INSERT INTO queue_claims (queue, namespace) VALUES ('theirs', 'elsewhere')")
    reply = service.post("/automations", {"name": "n", "scriptPath": "x", "queueName": "theirs"})
    assert reply.status_code == 400
    assert "elsewhere" in reply.json()["error"]
    assert not service.kube.objects
    assert service.get("/automations").json() == []


def test_put_changes_what_it_names_and_keeps_the_rest(service: Service) -> None:
    made = service.automation(description="old", defaultParams={"a": 1})
    changed = service.put(f"/automations/{made['id']}", {"description": "new"})
    assert changed.status_code == 200
    assert changed.json() == made | {"description": "new", "updatedAt": changed.json()["updatedAt"]}
    assert spec_of(service, made) == {
        "displayName": "bot",
        "scriptPath": "bot.py",
        "description": "new",
        "defaultParams": {"a": 1},
    }


def test_putting_back_what_was_read_writes_nothing(service: Service) -> None:
    made = service.automation()
    writes = service.kube.writes
    assert made["queueName"] == "automation_jobs"
    assert service.put(f"/automations/{made['id']}", made).json() == made
    assert service.kube.writes == writes


def test_put_leaves_fields_of_other_managers_alone(service: Service) -> None:
    made = service.automation()
    apply_as(service, "argocd", made, suspend=True, description="theirs")
    # REST shows what is registered; the operator would have done this.
    service.put(f"/automations/{made['id']}", {"scriptPath": "new.py"})
    assert spec_of(service, made)["suspend"] is True
    refused = service.put(f"/automations/{made['id']}", {"description": "mine"})
    assert refused.status_code == 409
    assert "argocd" in refused.json()["error"]
    assert "description" in refused.json()["error"]
    taken = service.put(f"/automations/{made['id']}?force=true", {"description": "mine"})
    assert taken.status_code == 200
    assert spec_of(service, made) == {
        "displayName": "bot",
        "scriptPath": "new.py",
        "suspend": True,
        "description": "mine",
    }


def test_delete_asks_before_it_takes_what_others_manage(service: Service) -> None:
    made = service.automation()
    apply_as(service, "argocd", made, suspend=True)
    refused = service.delete(f"/automations/{made['id']}")
    assert refused.status_code == 409
    assert "argocd" in refused.json()["error"]
    assert service.delete(f"/automations/{made['id']}?force=true").status_code == 204
    assert not service.kube.objects


def test_delete_cancels_pending_jobs_and_keeps_their_history(service: Service) -> None:
    made = service.automation()
    job = service.post(f"/automations/{made['id']}/execute").json()
    service.delete(f"/automations/{made['id']}")
    ended = service.get(f"/jobs/{job['id']}").json()
    assert ended["status"] == "canceled"
    assert ended["result"]["reason"] == "AUTOMATION_DELETED"
    assert service.post(f"/automations/{made['id']}/execute").status_code == 404
    assert service.post(f"/jobs/{job['id']}/retry").status_code == 404


def test_delete_leaves_a_namesake_that_came_at_once(
    service: Service, database: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, delete = service.automation(), service.kube.delete

    def delete_and_make_anew(*arguments: Any, **keywords: Any) -> bool:
        database.execute("UPDATE automations SET uid = 'of the new one'")
        return delete(*arguments, **keywords)

    monkeypatch.setattr(service.kube, "delete", delete_and_make_anew)
    assert service.delete(f"/automations/{made['id']}").status_code == 204
    assert service.get(f"/automations/{made['id']}").status_code == 200


def test_one_made_anew_is_left_to_the_operator_until_the_old_one_is_cleared(service: Service) -> None:
    made = service.automation()
    job = service.post(f"/automations/{made['id']}/execute").json()
    service.kube.objects["Automation", "maestro-bots", made["resourceName"]]["metadata"]["uid"] = "new"
    refused = service.put(f"/automations/{made['id']}", {"description": "x"})
    assert refused.status_code == 503
    assert "made anew" in refused.json()["error"]
    assert service.get(f"/jobs/{job['id']}").json()["status"] == "pending"


def test_renaming_to_a_taken_name_is_refused_before_anything_is_written(service: Service) -> None:
    service.automation("one")
    two = service.automation("two")
    writes = service.kube.writes
    assert service.put(f"/automations/{two['id']}", {"name": "one"}).status_code == 409
    assert service.kube.writes == writes
    assert service.put(f"/automations/{two['id']}", {"name": "three"}).json()["name"] == "three"


def test_automations_of_other_namespaces_can_be_read_and_executed_but_not_written(
    service: Service, database: psycopg.Connection
) -> None:
    theirs = insert_automation(database)
    assert service.get(f"/automations/{theirs}").json()["namespace"] == "elsewhere"
    assert service.post(f"/automations/{theirs}/execute").status_code == 202
    for refused in (
        service.put(f"/automations/{theirs}", {"description": "x"}),
        service.delete(f"/automations/{theirs}"),
        service.post("/schedules", {"automationId": theirs, "cronExpression": "* * * * *"}),
    ):
        assert refused.status_code == 403
        assert "kubectl" in refused.json()["error"]


def test_a_resource_that_is_gone_is_deleted_all_the_same(service: Service) -> None:
    made = service.automation()
    service.kube.objects.clear()
    assert service.put(f"/automations/{made['id']}", {"description": "x"}).status_code == 404
    assert service.delete(f"/automations/{made['id']}").status_code == 204
    assert service.get(f"/automations/{made['id']}").status_code == 404


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "name: is required"),
        ({"name": "n"}, "scriptPath: is required"),
        ({"name": "", "scriptPath": "x"}, "name: "),
        ({"name": 5, "scriptPath": "x"}, "name: "),
        ({"name": "a\nb", "scriptPath": "x"}, "name: must not hold line breaks"),
        ({"name": "n", "scriptPath": "x", "queueName": "amq.gen"}, "amq."),
        ({"name": "n", "scriptPath": "x", "queueName": "maestro.dlq"}, "dead letters"),
        ({"name": "n", "scriptPath": "x", "queueName": "q" * 256}, "255 bytes"),
        ({"name": "n", "scriptPath": "x", "queueName": "a\nb"}, "control characters"),
        (
            {"name": "n", "scriptPath": "x", "parameterSchema": [{"name": "p", "type": "color"}]},
            "parameterSchema.0.type",
        ),
        ({"name": "n", "scriptPath": "x", "defaultParams": []}, "defaultParams: "),
        ({"name": "n", "scriptPath": "x", "worker": {}}, "kubectl"),
        ({"name": "n", "scriptPath": "x", "suspend": True}, "/pause"),
        ({"name": "n", "scriptPath": "x", "deletionPolicy": "Delete"}, "kubectl"),
        ({"name": "n", "scriptPath": "x", "queueArguments": {}}, "kubectl"),
        ([], "must be a JSON object"),
    ],
)
def test_bad_definitions_are_refused_in_words(service: Service, body: object, said: str) -> None:
    reply = service.post("/automations", body)
    assert reply.status_code == 400
    assert said in reply.json()["error"]
    assert not service.kube.objects


@pytest.mark.parametrize("fields", [{}, {"queueName": "mine"}])
def test_a_queue_never_changes(service: Service, fields: dict[str, str]) -> None:
    made = service.automation(**fields)
    refused = service.put(f"/automations/{made['id']}", {"queueName": "another"})
    assert refused.status_code == 400
    assert made["queueName"] in refused.json()["error"]
    assert service.get(f"/automations/{made['id']}").json() == made


def test_put_refuses_worker_too(service: Service) -> None:
    made = service.automation()
    assert service.put(f"/automations/{made['id']}", {"worker": {"script": "x"}}).status_code == 400
    assert service.put("/automations/999999999", {"description": "x"}).status_code == 404
    assert service.delete("/automations/999999999").status_code == 404
