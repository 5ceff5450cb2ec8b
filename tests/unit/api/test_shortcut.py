"""What the short way takes, what it leaves to the framework, and that both answer alike."""

import json
from collections.abc import MutableMapping
from typing import Annotated, Any
from uuid import UUID

import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request
from fastapi.routing import APIRoute
from starlette.middleware import Middleware

from maestro.errors import Conflict
from maestro_api import app as application
from maestro_api import errors
from maestro_api.dependencies import AttemptToken, Id
from maestro_api.reply import Json
from maestro_api.shortcut import Shortcut

JOB = "0197b7a0-0000-7000-8000-000000000001"


async def _name(request: Request) -> str:
    return str(request.query_params.get("name"))


router = APIRouter()


@router.post("/jobs/{id}/start", status_code=201)
async def start(id: UUID, request: Request, token: AttemptToken = None) -> Json:  # noqa: A002
    return Json({"job": id, "token": token, "body": (await request.body()).decode()}, 201)


@router.post("/automations/{id}/execute")
async def execute(id: Id, name: Annotated[str, Depends(_name)]) -> Json:  # noqa: A002
    if id == 9:
        raise Conflict("not nine")
    return Json({"id": id, "name": name})


ROUTES = [route for route in router.routes if isinstance(route, APIRoute)]


def served(*, short: bool) -> FastAPI:
    made = FastAPI(redirect_slashes=False, middleware=[Middleware(Shortcut, routes=ROUTES)] if short else [])
    errors.install(made)
    made.include_router(router)
    return made


async def call(
    method: str, path: str, headers: dict[str, str] | None = None, *, short: bool = True
) -> tuple[int, Any, MutableMapping[str, Any]]:
    """The status, the body and the scope of a request with the body `x`."""
    named = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    path, _, query = path.partition("?")
    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": named,
    }
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"x", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await served(short=short)(scope, receive, send)
    return sent[0]["status"], json.loads(b"".join(part.get("body", b"") for part in sent)), scope


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (f"/jobs/{JOB}/start", {}),
        (f"/jobs/{JOB}/start", {"X-Attempt-Token": "mine"}),
        ("/automations/7/execute?name=x", {}),
        ("/automations/9/execute", {}),
        (f"/automations/{2**31 - 1}/execute", {}),
    ],
)
async def test_what_fits_is_answered_as_the_framework_would(path: str, headers: dict[str, str]) -> None:
    code, body, scope = await call("POST", path, headers)
    assert "fastapi_inner_astack" not in scope, "the framework was asked"
    assert scope["route"] in ROUTES
    assert (code, body) == (await call("POST", path, headers, short=False))[:2]


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "/jobs/nonsense/start", {}),
        ("POST", f"/jobs/{JOB.upper()}/start", {}),
        ("POST", f"/jobs/{JOB}\n/start", {}),
        ("POST", f"/jobs/{JOB}/start/", {}),
        ("POST", f"/jobs/{JOB}/begin", {}),
        ("POST", f"/jobs/{JOB}", {}),
        ("GET", f"/jobs/{JOB}/start", {}),
        ("POST", f"/jobs/{JOB}/start", {"X-Attempt-Token": ""}),
        ("POST", f"/jobs/{JOB}/start", {"X-Attempt-Token": "t" * 129}),
        ("POST", "/automations/0/execute", {}),
        ("POST", "/automations/-1/execute", {}),
        ("POST", f"/automations/{2**31}/execute", {}),
        ("POST", "/automations/٣/execute", {}),
    ],
)
async def test_what_does_not_fit_is_the_frameworks(method: str, path: str, headers: dict[str, str]) -> None:
    code, body, _ = await call(method, path, headers)
    assert (code, body) == (await call(method, path, headers, short=False))[:2]
    assert code >= 400 or JOB in str(body)


@pytest.mark.parametrize(
    "annotation", [Annotated[str, Query()], Annotated[str | None, Header(alias="X-A", pattern="a")]]
)
def test_what_cannot_be_bound_is_refused_at_the_start(annotation: Any) -> None:
    async def endpoint(id: UUID, other: Any) -> None:  # noqa: A002
        raise NotImplementedError

    endpoint.__annotations__["other"] = annotation
    with pytest.raises(TypeError, match="short way"):
        Shortcut(FastAPI(), [APIRoute("/a/{id}/b", endpoint)])


def test_every_hot_call_is_a_route() -> None:
    assert {route.endpoint for route in application.hot_routes()} == set(application.HOT)
