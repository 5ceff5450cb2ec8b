"""GET /jobs/:id/why, as a job goes through what may keep it waiting."""

import psycopg
import pytest
from psycopg.types.json import Jsonb

from integration import servers
from integration.api.service import Service, eventually, serve
from maestro.db.migrate import migrate
from maestro_api.why import WhyOut

UNKNOWN = "00000000-0000-7000-8000-000000000000"


def why(service: Service, job_id: str) -> tuple[str, str]:
    reply = service.get(f"/jobs/{job_id}/why")
    assert reply.status_code == 200, reply.text
    found = WhyOut.model_validate(reply.json())
    assert found.status == service.get(f"/jobs/{job_id}").json()["status"]
    return found.code, found.sentence


@pytest.fixture
def connected(service: Service) -> Service:
    eventually(lambda: service.session.get(f"{service.root}/readyz").json()["broker"] == "ok")
    return service


def set_jobs(database: psycopg.Connection, assignments: str) -> None:
    database.execute(f"UPDATE jobs SET {assignments}".encode())  # noqa: S608  # the tests' own words


def test_each_thing_that_keeps_a_job_waiting_is_told_while_it_does(
    connected: Service, database: psycopg.Connection
) -> None:
    service = connected
    first = service.job()
    automation_id = service.get(f"/jobs/{first}").json()["automationId"]
    job = service.job()
    set_jobs(database, "publish_due_at = now() + interval '30 s'")
    assert why(service, job) == ("PUBLISHING", "Its message is on the way to its queue automation_jobs.")

    set_jobs(database, "publish_due_at = NULL, settled_at = now()")
    assert why(service, job) == ("IN_LINE", "1 job made before it waits in its queue automation_jobs.")
    assert why(service, first)[1].startswith("It is the oldest job in its queue automation_jobs;")

    database.execute(
        """INSERT INTO queue_states (queue, ready, consumers, seen_at)
        VALUES ('automation_jobs', 2, 0, now() - interval '2 minutes')"""
    )
    assert why(service, job)[0] == "IN_LINE"
    database.execute("UPDATE queue_states SET seen_at = now()")
    assert why(service, job)[0] == "NO_WORKER"

    state = {"reason": "ImagePullFailed", "message": "The image x can't be pulled: gone", "readyReplicas": 0}
    database.execute("UPDATE automations SET managed = true, worker_state = %s", [Jsonb(state)])
    assert why(service, job) == (
        "WORKER_IMAGE_PULL_FAILED",
        "No worker of its automation is ready. The image x can't be pulled: gone",
    )

    set_jobs(database, "publish_due_at = now() - interval '1 minute'")
    assert why(service, job)[0] == "BROKER_AWAY"

    database.execute("UPDATE automations SET max_concurrency = 1")
    set_jobs(database, f"publish_due_at = NULL, waits_for_slot = (id = '{job}')")
    code, sentence = why(service, job)
    assert code == "CONCURRENCY_LIMIT"
    assert sentence.startswith("1 of the 1 jobs that its automation's maxConcurrency allows")
    assert sentence.endswith("0 jobs wait before it.")

    assert service.post(f"/automations/{automation_id}/pause", {"reason": "The portal moves"}).ok
    assert why(service, job) == (
        "SUSPENDED",
        "Its automation publishes no jobs now. It is paused: The portal moves. Resume it with POST "
        f"/api/v1/automations/{automation_id}/resume.",
    )
    assert service.post(f"/automations/{automation_id}/resume").ok
    assert why(service, job)[0] == "CONCURRENCY_LIMIT"


def test_waiting_jobs_are_counted_by_priority_then_age(
    connected: Service, database: psycopg.Connection
) -> None:
    jobs = [connected.job() for _ in range(4)]
    database.execute("UPDATE automations SET max_concurrency = 2")
    set_jobs(database, "publish_due_at = NULL, waits_for_slot = true")
    database.execute("UPDATE jobs SET priority = 5 WHERE id = %s", [jobs[3]])
    ahead = [why(connected, job)[1].partition("; ")[2] for job in jobs]
    assert ahead == [
        "1 job waits before it.",
        "2 jobs wait before it.",
        "3 jobs wait before it.",
        "0 jobs wait before it.",
    ]


def test_a_failed_attempt_backs_off_and_one_handed_back_does_not(
    connected: Service, database: psycopg.Connection
) -> None:
    policy = {"rules": [{"errorClasses": ["PORTAL_DOWN"], "action": "Retry"}], "backoffSeconds": 60}
    connected.automation(retryPolicy=policy)
    failed, released = connected.running("t"), connected.running("u")
    result = {"error_class": "PORTAL_DOWN"}
    connected.worker("POST", f"/{failed}/finish", {"status": "failed", "result": result}, "t")
    connected.worker("POST", f"/{released}/release", token="u")
    code, sentence = why(connected, failed)
    assert (code, sentence[:36]) == ("BACKING_OFF", "Attempt 1 failed with PORTAL_DOWN; t")
    assert why(connected, released)[0] in ("PUBLISHING", "IN_LINE")


def test_jobs_that_do_not_wait_are_told_so(connected: Service) -> None:
    running, ended = connected.running(), connected.running()
    connected.worker(
        "POST", f"/{ended}/finish", {"status": "failed", "result": {"error_class": "IP_BLOCKED"}}
    )
    connected.post(f"/jobs/{running}/cancel")
    code, sentence = why(connected, running)
    assert code == "RUNNING"
    assert "in attempt 1, and was asked to stop at" in sentence
    code, sentence = why(connected, ended)
    assert code == "ENDED"
    assert sentence.endswith(": failed with IP_BLOCKED.")


def test_a_broker_that_is_away_keeps_jobs_waiting(empty_database_uri: str) -> None:
    migrate(empty_database_uri)
    nowhere = f"amqp://x:y@127.0.0.1:{servers.free_port()}/x"
    with serve(empty_database_uri, nowhere) as service:
        code, sentence = why(service, service.job())
    assert (code, sentence) == ("BROKER_AWAY", "RabbitMQ is away; the job goes on once it is back.")


def test_unknown_and_unreadable_ids(service: Service) -> None:
    assert service.get(f"/jobs/{UNKNOWN}/why").status_code == 404
    assert service.get("/jobs/x/why").status_code == 400
