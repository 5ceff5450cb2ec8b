"""Jobs as people drive them: execute, look, cancel, retry."""

import json
import time
from datetime import timedelta

import psycopg
import pytest

from integration.api.service import Service, eventually, insert_automation
from integration.servers import Broker
from maestro_api.job import JobOut, LogLineOut

UNKNOWN = "00000000-0000-7000-8000-000000000000"


def test_execute_commits_then_publishes_and_settles(
    service: Service, api_broker: Broker, database: psycopg.Connection
) -> None:
    with api_broker.connect() as connection:
        channel = connection.channel()
        channel.queue_declare("automation_jobs", exclusive=True)
        made = service.automation(defaultParams={"month": "2026-10", "dry": True})
        eventually(lambda: service.session.get(f"{service.root}/readyz").json()["broker"] == "ok")
        reply = service.post(f"/automations/{made['id']}/execute", {"month": "2026-11"})
        assert reply.status_code == 202
        job = reply.json()
        JobOut.model_validate(job)
        assert job["status"] == "pending"
        assert job["parameters"] == {"month": "2026-11", "dry": True}
        _, properties, body = eventually(
            lambda: (got := channel.basic_get("automation_jobs", auto_ack=True))[0] and got
        )
        assert json.loads(body) == {
            "job_id": job["id"],
            "automation_id": made["id"],
            "script_path": "bot.py",
            "parameters": {"month": "2026-11", "dry": True},
        }
        assert properties.delivery_mode == 2
        debt = "SELECT publish_due_at FROM jobs"
        eventually(lambda: database.execute(debt).fetchone() == (None,))


def test_a_job_that_no_queue_takes_stays_owed(service: Service, database: psycopg.Connection) -> None:
    eventually(lambda: service.session.get(f"{service.root}/readyz").json()["broker"] == "ok")
    service.job()
    time.sleep(0.5)
    [due] = database.execute("SELECT publish_due_at - created_at FROM jobs").fetchone() or [None]
    assert due == timedelta(seconds=5)


def test_execute_takes_no_body_as_no_parameters(service: Service) -> None:
    made = service.automation()
    reply = service.call("POST", f"/automations/{made['id']}/execute")
    assert (reply.status_code, reply.json()["parameters"]) == (202, {})


@pytest.mark.parametrize(
    "body", ["[1]", '"x"', "5", "null", "{", "{'a': 1}", "\ufeff{}", '{"a": NaN}', '{"a": 1e999}']
)
def test_execute_refuses_what_is_no_object(service: Service, body: str) -> None:
    made = service.automation()
    reply = service.call("POST", f"/automations/{made['id']}/execute", data=body.encode())
    assert reply.status_code == 400
    assert reply.json()["error"]


def test_execute_refuses_unknown_suspended_and_ill_fitting(
    service: Service, database: psycopg.Connection
) -> None:
    assert service.post("/automations/12345/execute").status_code == 404
    assert service.post("/automations/0/execute").status_code == 400
    assert service.post(f"/automations/{2**40}/execute").status_code == 400
    paused = insert_automation(database, suspended=True)
    refused = service.post(f"/automations/{paused}/execute")
    assert refused.status_code == 409
    assert "suspend" in refused.json()["error"]
    schema = [
        {"name": "month", "label": "Month", "type": "text", "required": True},
        {"name": "many", "label": "Many", "type": "number"},
    ]
    picky = service.automation("picky", parameterSchema=schema, defaultParams={"many": 1})
    ill = service.post(f"/automations/{picky['id']}/execute", {"many": "x"})
    assert ill.status_code == 422
    assert {field["name"] for field in ill.json()["fields"]} == {"month", "many"}
    assert service.post(f"/automations/{picky['id']}/execute", {"month": "11"}).status_code == 202


def test_a_job_shows_what_became_of_it(service: Service, database: psycopg.Connection) -> None:
    failed, at_work = service.running(), service.running()
    service.worker(
        "POST", f"/{failed}/finish", {"status": "failed", "result": {"error_class": "PORTAL_DOWN"}}
    )
    database.execute(
        """UPDATE jobs SET priority = 3, start_deadline = created_at, progress = 0.25,
        progress_message = 'a page', attempt = 4, released = 1 WHERE id = %s""",
        [at_work],
    )
    ended, shown = service.get(f"/jobs/{failed}").json(), service.get(f"/jobs/{at_work}").json()
    assert (ended["errorClass"], ended["priority"], ended["progress"]) == ("PORTAL_DOWN", 0, None)
    assert (shown["errorClass"], shown["priority"], shown["startDeadline"]) == (None, 3, shown["createdAt"])
    assert (shown["progress"], shown["progressMessage"]) == (0.25, "a page")
    assert (shown["attempt"], shown["retryCount"]) == (4, 2)
    assert service.get("/jobs").json()["items"] == [shown, ended]


def test_text_that_postgresql_cannot_keep_is_made_visible(service: Service) -> None:
    made = service.automation()
    key = 12345678901234567890123456789012345678901234
    body = f'{{"a\\u0000": "x\\u0000y", "b": "\\ud83d", "c": {key}, "d": "é😀"}}'
    reply = service.call("POST", f"/automations/{made['id']}/execute", data=body.encode())
    assert reply.status_code == 202
    shown = service.get(f"/jobs/{reply.json()['id']}").json()["parameters"]
    assert shown == {
        "a␀": "x␀y",
        "b": "�",
        "c": key,
        "d": "é😀",
    }


def test_unknown_and_unreadable_job_ids(service: Service) -> None:
    for method, path in (("GET", ""), ("GET", "/logs"), ("POST", "/cancel"), ("POST", "/retry")):
        assert service.call(method, f"/jobs/{UNKNOWN}{path}").status_code == 404
        assert service.call(method, f"/jobs/not-an-id{path}").status_code == 400


def test_cancel_ends_a_pending_job_and_asks_a_running_one(service: Service) -> None:
    pending = service.job()
    reply = service.post(f"/jobs/{pending}/cancel")
    assert reply.status_code == 202
    assert reply.json()["status"] == "canceled"
    assert reply.json()["completedAt"]
    again = service.post(f"/jobs/{pending}/cancel")
    assert again.status_code == 409
    assert "canceled" in again.json()["error"]
    running = service.running()
    asked = service.post(f"/jobs/{running}/cancel").json()
    assert asked["status"] == "running"
    assert asked["cancellationRequestedAt"]
    assert service.post(f"/jobs/{running}/cancel").json() == asked


def test_retry_makes_a_new_job_of_the_same_parameters(service: Service) -> None:
    job = service.job({"a": [1, {"b": None}]})
    again = service.post(f"/jobs/{job}/retry")
    assert again.status_code == 202
    assert again.json()["id"] != job
    assert again.json()["parameters"] == {"a": [1, {"b": None}]}
    assert again.json()["status"] == "pending"


def test_logs_come_whole_or_after_a_line(service: Service) -> None:
    job = service.running()
    assert service.get(f"/jobs/{job}/logs").json() == []
    for start in range(0, 11_000, 1_000):
        lines = [{"level": "INFO", "message": f"line {n}"} for n in range(start, start + 1_000)]
        assert service.worker("POST", f"/{job}/logs", lines).status_code == 201
    whole = service.get(f"/jobs/{job}/logs").json()
    assert [line["message"] for line in whole] == [f"line {n}" for n in range(11_000)]
    LogLineOut.model_validate(whole[0])
    tail = service.get(f"/jobs/{job}/logs?after={whole[3]['id']}&limit=2100").json()
    assert tail == whole[4:2104]
    assert service.get(f"/jobs/{job}/logs?after={whole[8_999]['id']}&limit=2000").json() == whole[9_000:]
    assert service.get(f"/jobs/{job}/logs?limit=9000").json() == whole[:9_000]
    assert service.get(f"/jobs/{job}/logs?after={whole[-1]['id']}").json() == []
    assert service.get(f"/jobs/{job}/logs?limit=0").status_code == 400
    assert service.get(f"/jobs/{job}/logs?after={2**63}").status_code == 400
