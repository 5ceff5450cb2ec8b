"""Who gets in, and that every error is answered the same way."""

import logging
import re
from collections.abc import Iterator

import pytest
import requests

from integration.api.service import ADMIN_TOKEN, WORKER_KEY, Service, eventually
from maestro_api.app import create_app
from maestro_api.gate import OPEN

METHODS = ("GET", "POST", "PUT", "DELETE")


def routes(service: Service) -> Iterator[tuple[str, str]]:
    described = create_app(service.settings).openapi()
    for path, operations in described["paths"].items():
        for method in operations:
            yield method.upper(), re.sub(r"\{\w+\}", "1", path)


def test_every_route_but_the_open_ones_asks_for_credentials(service: Service) -> None:
    seen = set()
    for method, path in routes(service):
        seen.add(path)
        reply = requests.request(method, service.root + path, timeout=10)
        if path in OPEN:
            assert reply.status_code == 200, path
        else:
            assert reply.status_code == 401, path
            assert reply.json()["error"]
    assert {"/api/v1/automations", "/api/v1/worker/jobs/1/start", "/livez"} <= seen
    assert {"/openapi.json", "/docs"} == {path for path in OPEN if path not in seen}


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
def test_the_description_is_open(service: Service, path: str) -> None:
    assert requests.get(service.root + path, timeout=10).status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/metrics", "/api/v1", "/api/v1/nothing", "/api/v1/worker/jobs", "//livez"]
)
def test_what_does_not_exist_is_closed_as_well(service: Service, path: str) -> None:
    assert requests.get(service.root + path, timeout=10).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": ADMIN_TOKEN},
        {"Authorization": f"Basic {ADMIN_TOKEN}"},
        {"Authorization": f"Bearer {ADMIN_TOKEN}x"},
        {"X-Worker-API-Key": WORKER_KEY},
    ],
)
def test_wrong_credentials_of_people(service: Service, headers: dict[str, str]) -> None:
    reply = requests.get(f"{service.root}/api/v1/jobs", headers=headers, timeout=10)
    assert reply.status_code == 401
    assert reply.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "headers", [{"X-Worker-API-Key": "wrong"}, {"Authorization": f"Bearer {ADMIN_TOKEN}"}]
)
def test_wrong_credentials_of_workers(service: Service, headers: dict[str, str]) -> None:
    job = service.job()
    url = f"{service.root}/api/v1/worker/jobs/{job}/start"
    assert requests.post(url, headers=headers, timeout=10).status_code == 401
    assert service.get(f"/jobs/{job}").json()["status"] == "pending"


def test_unknown_paths_and_methods_are_errors_like_all_others(service: Service) -> None:
    unknown = service.get("/nothing")
    assert (unknown.status_code, list(unknown.json())) == (404, ["error"])
    wrong = service.call("PATCH", "/jobs")
    assert (wrong.status_code, list(wrong.json())) == (405, ["error"])
    assert wrong.headers["Allow"] == "GET"
    assert service.call("PATCH", "/automations/1").headers["Allow"] == "DELETE, GET, PUT"
    docs = service.session.post(f"{service.root}/docs")
    assert (docs.status_code, "GET" in docs.headers["Allow"]) == (405, True)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [1_048_577, 2 * 1024 * 1024, 20 * 1024 * 1024])
def test_large_bodies_are_refused(service: Service, size: int, chunked: bool) -> None:
    made = service.automation()
    body = b'{"a": "' + b"x" * size + b'"}'
    sent = iter([body[:1000], body[1000:]]) if chunked else body
    reply = service.call("POST", f"/automations/{made['id']}/execute", data=sent)
    assert reply.status_code == 413
    assert "1048576" in reply.json()["error"]


def test_a_body_of_just_the_limit_is_taken(service: Service) -> None:
    made = service.automation()
    body = b'{"a": "' + b"x" * (1_048_576 - 9) + b'"}'
    assert service.call("POST", f"/automations/{made['id']}/execute", data=body).status_code == 202


def test_what_nobody_foresaw_is_answered_with_an_id_and_logged(
    service: Service, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr("maestro_api.automation.automation_json", broken)
    service.kube.empty()
    reply = service.post("/automations", {"name": "n", "scriptPath": "x"}, headers={"X-Request-ID": "abc-1"})
    assert reply.status_code == 500
    assert "abc-1" in reply.json()["error"]
    assert "secret" not in reply.text
    assert "a secret detail" in caplog.text
    assert "request abc-1 failed" in caplog.text


def test_the_access_log_is_one_line_without_secrets(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    def lines() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == "maestro_api.access"]

    with caplog.at_level(logging.INFO, logger="maestro_api.access"):
        service.get("/jobs?token=hidden&limit=1")
        service.get("/no%0Athing")
        eventually(lambda: len(lines()) == 2)  # a line is written once its reply is out
    assert re.fullmatch(r"GET /api/v1/jobs 200 \d+\.\d ms [0-9a-f]{16}", lines()[0])
    assert lines()[1].startswith("GET /api/v1/no%0Athing 404 ")
    assert ADMIN_TOKEN not in caplog.text
    assert "hidden" not in caplog.text


def test_replies_carry_the_request_id(service: Service) -> None:
    assert service.get("/jobs", headers={"X-Request-ID": "r.1"}).headers["X-Request-ID"] == "r.1"
    assert service.get("/jobs", headers={"X-Request-ID": "bad id!"}).headers["X-Request-ID"] != "bad id!"
