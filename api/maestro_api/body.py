"""Request bodies: bounded, parsed by our own reader whatever their Content-Type, in camelCase or snake_case.

Bots of the old kind send JSON without saying so, and text that PostgreSQL can't keep; FastAPI's own body
parameters refuse both.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from fastapi import Request
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel
from starlette.requests import ClientDisconnect

from maestro import jsontext
from maestro.errors import BadInput, TooLarge
from maestro_api.errors import sentence
from maestro_api.openapi import reference


class Input(BaseModel):
    """A body with named fields. Unknown ones are ignored, as the old server did."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")


def _number(value: object) -> object:
    if isinstance(value, str | bool):
        raise ValueError("must be a whole number, without quotes")
    return value


WHOLE = BeforeValidator(_number)
"""Annotates an integer, written 7 or 7.0; pydantic would take "7" and true as well.

After a field's bounds: before them, pydantic could not tell the bounds in OpenAPI.
"""
Whole = Annotated[int, WHOLE]
"""An integer without bounds."""


def _written(value: object) -> object:
    """pydantic would take seconds as well."""
    if not isinstance(value, str) or not value[4:5] == "-":
        raise ValueError("must be a time such as 2026-12-01T00:00:00-03:00")
    return value


def _universal(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("is out of the years 1 to 9999") from None


Moment = Annotated[AwareDatetime, BeforeValidator(_written), AfterValidator(_universal)]
"""An instant, RFC 3339 with a zone; UTC once it is read."""

M = TypeVar("M", bound=Input)


async def raw(request: Request) -> bytes:
    """The whole body. Raises TooLarge past the server's limit, before more than that is held."""
    limit: int = request.app.state.settings.body_limit
    if _announced(request) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    more = True
    # By hand, since Starlette's stream() takes three times as long for the one chunk that most bodies are.
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        more = message.get("more_body", False)
        if size > limit:
            raise _too_large(limit)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _announced(request: Request) -> int:
    return next((int(value) for name, value in request.scope["headers"] if name == b"content-length"), 0)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is larger than {limit} bytes; send less at once.")


def read_as(model: type[M], *, required: bool = True) -> Callable[[Request], Awaitable[M]]:
    """A dependency: the body as this model. Raises BadInput naming each field that is wrong.

    Where it is not required, no body at all is an empty object.
    """

    async def read(request: Request) -> M:
        sent = await raw(request)
        return checked(model, jsontext.parse(sent) if sent or required else {})

    return read


def checked(model: type[M], value: Any) -> M:
    """A parsed body as this model."""
    if not isinstance(value, dict):
        raise BadInput("The body must be a JSON object.")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise BadInput(sentence(error)) from None


def described_by(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """What OpenAPI says of a route whose body is this model."""
    content = {"application/json": {"schema": reference(model)}}
    return {"requestBody": {"required": required, "content": content}}
