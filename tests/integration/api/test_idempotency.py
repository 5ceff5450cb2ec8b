"""Idempotency-Key: the same call sent again is the same job."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import requests

from integration.api.service import Service


def execute(service: Service, key: str, body: object = None) -> requests.Response:
    automation = (service.get("/automations").json() or [service.automation()])[0]
    return service.post(
        f"/automations/{automation['id']}/execute", body or {"n": 1}, headers={"Idempotency-Key": key}
    )


def test_the_same_call_is_the_same_job(service: Service) -> None:
    first = execute(service, "k")
    again = execute(service, "k")
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"]
    assert execute(service, "other").json()["id"] != first.json()["id"]
    assert service.get("/jobs").json()["total"] == 2


def test_the_order_of_names_makes_no_other_body(service: Service) -> None:
    first = execute(service, "k", {"a": 1, "b": 10**30})
    assert execute(service, "k", {"b": 10**30, "a": 1}).json()["id"] == first.json()["id"]


def test_another_body_is_refused(service: Service) -> None:
    execute(service, "k")
    refused = execute(service, "k", {"n": 2})
    assert refused.status_code == 422
    assert "send a new key" in refused.json()["error"]


def test_calls_at_once_are_one_job(service: Service) -> None:
    service.automation()
    with ThreadPoolExecutor(16) as callers:
        replies = list(callers.map(lambda _: execute(service, "k"), range(48)))
    assert {reply.status_code for reply in replies} == {202}
    assert len({reply.json()["id"] for reply in replies}) == 1
    assert service.get("/jobs").json()["total"] == 1


def test_a_job_is_found_by_its_key_though_its_automation_takes_no_jobs_now(service: Service) -> None:
    first = execute(service, "k")
    automation = service.get("/automations").json()[0]["id"]
    assert service.post(f"/automations/{automation}/pause").status_code == 200
    assert execute(service, "k").json()["id"] == first.json()["id"]
    assert execute(service, "new").status_code == 409


def test_a_key_is_free_again_after_its_day(service: Service, database: psycopg.Connection) -> None:
    first = execute(service, "k")
    database.execute("UPDATE idempotency_keys SET expires_at = now()")
    assert execute(service, "k", {"n": 2}).json()["id"] != first.json()["id"]


def test_a_retry_under_a_key_is_one_job(service: Service) -> None:
    job = service.job()
    retry = {"Idempotency-Key": "k"}
    replies = [service.post(f"/jobs/{job}/retry", headers=retry) for _ in range(2)]
    assert {reply.status_code for reply in replies} == {202}
    assert len({reply.json()["id"] for reply in replies}) == 1
    # A key belongs to what was called: elsewhere it means something else.
    assert execute(service, "k").json()["id"] != replies[0].json()["id"]


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_an_unusable_key_is_refused(service: Service, key: str) -> None:
    assert execute(service, key).status_code == 400
