"""What the metrics tell of a request's path."""

from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI

from maestro import metrics
from maestro.settings import Settings
from maestro_api.app import create_app

TOKEN, KEY = "an-admin-token", "a-worker-key"


@pytest.fixture(scope="module")
def app() -> FastAPI:
    settings = Settings(
        database_uri="postgresql://x", broker_uri="amqp://x", admin_token=TOKEN, worker_key=KEY
    )
    app = create_app(settings)
    app.state.services = SimpleNamespace(jobs=None, workers=None)  # for calls that are refused before
    return app


async def call(app: FastAPI, method: str, path: str, token: str = TOKEN) -> int:
    """The status of the reply."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"authorization", f"Bearer {token}".encode()), (b"x-worker-api-key", KEY.encode())]
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
    }
    await app(scope, receive, send)
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    ("method", "path", "status", "route"),
    [
        ("GET", "/livez", 200, "/livez"),
        ("GET", "/api/v1/jobs/7", 400, "/api/v1/jobs/{id}"),
        ("PATCH", "/api/v1/jobs/7", 405, "/api/v1/jobs/{id}"),
        ("POST", "/api/v1/worker/jobs/7/start", 400, "/api/v1/worker/jobs/{id}/start"),
        ("GET", "/api/v1/no/such/path", 404, "other"),
    ],
)
async def test_a_route_is_told_by_its_template_and_what_is_none_as_other(
    app: FastAPI, method: str, path: str, status: int, route: str
) -> None:
    before = counted(method, route, status)
    assert await call(app, method, path) == status
    assert counted(method, route, status) - before == 1


async def test_whoever_is_not_let_in_makes_no_series_of_paths(app: FastAPI) -> None:
    before = counted("GET", "other", 401)
    for path in ("/api/v1/jobs", "/api/v1/jobs/7", "/a", "/b"):
        assert await call(app, "GET", path, token="wrong") == 401
    assert counted("GET", "other", 401) - before == 4


def counted(method: str, route: str, status: int) -> float:
    labels = {"method": method, "route": route, "status": str(status)}
    registry = metrics.Registry(metrics.API)
    return registry.get_sample_value("maestro_http_requests_total", labels) or 0
