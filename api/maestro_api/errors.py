"""The one place where errors become replies: `{"error": "<a sentence that says what to do>"}`."""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from maestro.errors import (
    ERROR_HEADER,
    BadInput,
    Conflict,
    Forbidden,
    IdempotencyKeyReused,
    KindNotServed,
    MaestroError,
    NotFound,
    ParametersRefused,
    SpecRefused,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from maestro_api.reply import Json

log = logging.getLogger(__name__)

RETRY_AFTER = "5"
"""Seconds after which a dependency that was away is worth another try."""

# The first class that fits decides, so a subclass stands before its parent.
_CODES: tuple[tuple[type[MaestroError], int], ...] = (
    (BadInput, 400),
    (Unauthorized, 401),
    (Forbidden, 403),
    (KindNotServed, 503),  # not the caller's doing, and mended by installing the CRDs
    (NotFound, 404),
    (Conflict, 409),
    (TooLarge, 413),
    (ParametersRefused, 422),
    (IdempotencyKeyReused, 422),
    (SpecRefused, 400),
    (Unavailable, 503),
)


class ErrorOut(BaseModel):
    """What went wrong and what to do."""

    error: str = Field(description="A sentence or two for the person who can act on it.")


class RefusedField(BaseModel):
    """One parameter that the automation's schema refuses."""

    name: str = Field(description="The parameter; in a batch, behind the place of its object, from 0.")
    message: str = Field(description="What is wrong with its value.")


class RefusedOut(ErrorOut):
    """Valid JSON that the automation's parameter schema refuses, or another than its key was used with."""

    fields: list[RefusedField] = Field(
        description="Every parameter that is refused; none where it is the Idempotency-Key."
    )


class Meaning(NamedTuple):
    """What a status stands for, for OpenAPI."""

    description: str
    error: str
    """For example."""


MEANINGS = {
    400: Meaning(
        "The request can't be read; the sentence says which part.",
        "cronExpression: is required; isEnabled: input should be a valid boolean",
    ),
    401: Meaning("Credentials are missing or wrong.", "Send a valid token as Authorization: Bearer <token>."),
    403: Meaning(
        "These credentials may not do this.",
        "REST writes definitions in the namespace maestro-bots only; this one belongs to finance: write it "
        "there with kubectl.",
    ),
    404: Meaning("There is no such thing.", "There is no job 01a209be-81ee-706d-81fe-5fa0b1df12da."),
    409: Meaning(
        "The state of things forbids it now.",
        "The job is completed already; there is nothing left to cancel.",
    ),
    413: Meaning(
        "The body is larger than this server takes.",
        "The body is larger than 1048576 bytes; send less at once.",
    ),
    422: Meaning(
        "The automation's parameter schema refuses the parameters, or the Idempotency-Key stands for another "
        "body.",
        "month: is required",
    ),
    500: Meaning(
        "Something went wrong here.",
        "Something went wrong here; tell the operator of this server request id 5f0c1d2e3b4a5968.",
    ),
    503: Meaning(
        "A dependency is away; try again after Retry-After seconds.",
        "PostgreSQL can't be reached; try again in a few seconds.",
    ),
}
_RETRY_AFTER = {
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}, "example": int(RETRY_AFTER)}
}


def documented(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The error replies of a route, for OpenAPI. 401, 500 and 503 are common to all and added to each."""
    return {code: _described(code) for code in codes}


COMMON = (401, 500, 503)
"""Of every route that is not open to all."""


def _described(code: int) -> dict[str, Any]:
    meaning = MEANINGS[code]
    example: dict[str, Any] = {"error": meaning.error}
    if code == 422:
        example["fields"] = [{"name": "month", "message": "is required"}]
    reply = {
        "model": RefusedOut if code == 422 else ErrorOut,
        "description": meaning.description,
        "content": {"application/json": {"example": example}},
    }
    return reply | {"headers": _RETRY_AFTER} if code == 503 else reply


def install(app: FastAPI) -> None:
    """Render the whole tree, and what the framework itself refuses, the same way."""
    app.add_exception_handler(MaestroError, _maestro_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)


def render(error: MaestroError) -> Json:
    """The reply to an error of ours."""
    code = next((code for kind, code in _CODES if isinstance(error, kind)), 500)
    body: dict[str, Any] = {"error": error.message}
    headers = {ERROR_HEADER: type(error).__name__}
    if code == 503:
        headers["Retry-After"] = RETRY_AFTER
    if code == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if code == 422:
        refused = error.fields if isinstance(error, ParametersRefused) else []
        body["fields"] = [{"name": field.name, "message": field.message} for field in refused]
    return Json(body, code, headers)


def unexpected(request_id: str) -> Json:
    """The reply to an error nobody foresaw; its traceback is in the log beside the same id."""
    return Json(
        {"error": f"Something went wrong here; tell the operator of this server request id {request_id}."},
        500,
    )


def sentence(error: ValidationError | RequestValidationError) -> str:
    """What pydantic refuses, as one line: `cronExpression: is required; isEnabled: …`."""
    return "; ".join(f"{_field(part['loc'])}{_said(part)}" for part in error.errors())


def _field(location: Sequence[str | int]) -> str:
    path = ".".join(str(step) for step in location if step not in ("path", "query", "header", "body"))
    return f"{path}: " if path else ""


def _said(part: Any) -> str:
    match part["type"]:
        case "missing":
            return "is required"
        case "value_error":
            return str(part["ctx"]["error"])
        case "model_type" | "model_attributes_type" | "dict_type":
            return "must be a JSON object"
        case _:
            message = str(part["msg"])
            return message[:1].lower() + message[1:]


# Starlette's signature for handlers takes any Exception; each is installed for the class it names.


async def _maestro_error(request: Request, error: Exception) -> Json:
    assert isinstance(error, MaestroError)  # noqa: S101  # installed for this class
    return render(error)


async def _validation_error(request: Request, error: Exception) -> Json:
    assert isinstance(error, RequestValidationError)  # noqa: S101  # installed for this class
    return render(BadInput(sentence(error)))


async def _http_exception(request: Request, error: Exception) -> Json:
    # Without ERROR_HEADER: that there is no such path says nothing of the job that it was meant for.
    assert isinstance(error, HTTPException)  # noqa: S101  # installed for this class
    path = request.url.path
    headers = dict(error.headers or {})
    match error.status_code:
        case 404:
            said = f"There is nothing at {path}; /docs lists what there is."
        case 405:
            said = f"{request.method} is not possible at {path}; /docs lists what is."
            headers["Allow"] = ", ".join(_allowed(request))
        case _:
            said = str(error.detail)
    return Json({"error": said}, error.status_code, headers)


def _allowed(request: Request) -> list[str]:
    """What is possible at the path; Starlette itself names the methods of but one of its routes."""
    found = iter_route_contexts(request.app.routes)
    routes = [route for route in found if route.original_route.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for route in routes for method in route.methods or ()})
