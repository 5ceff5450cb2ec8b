"""The one place where errors become replies: `{"error": "<a sentence that says what to do>"}`."""

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

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

    error: str


class RefusedField(BaseModel):
    """One parameter that the automation's schema refuses."""

    name: str
    message: str


class RefusedOut(ErrorOut):
    """Valid JSON that the automation's parameter schema refuses."""

    fields: list[RefusedField]


_MEANINGS = {
    400: "The request can't be read; the sentence says which part.",
    403: "These credentials may not do this.",
    404: "There is no such thing.",
    409: "The state of things forbids it now.",
    413: "The body is larger than this server takes.",
    422: "The automation's parameter schema refuses the parameters.",
}


def documented(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The error replies of a route, for OpenAPI. 401, 500 and 503 are common to all and added to each."""
    return {
        code: {"model": RefusedOut if code == 422 else ErrorOut, "description": _MEANINGS[code]}
        for code in codes
    }


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
    if isinstance(error, ParametersRefused):
        body["fields"] = [{"name": field.name, "message": field.message} for field in error.fields]
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
    match error.status_code:
        case 404:
            said = f"There is nothing at {path}; /docs lists what there is."
        case 405:
            said = f"{request.method} is not possible at {path}; /docs lists what is."
        case _:
            said = str(error.detail)
    return Json({"error": said}, error.status_code, dict(error.headers or {}))
