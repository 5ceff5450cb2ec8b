"""JSON replies, written by orjson: dates and UUIDs as they are, stored JSON passed through unparsed."""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

from maestro import jsontext


class Json(Response):
    """A reply whose content is any JSON value; `orjson.Fragment` marks text that is JSON already."""

    media_type = "application/json"

    def __init__(
        self, content: Any, status_code: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(content, status_code, headers)

    def render(self, content: Any) -> bytes:
        return dump(content)


def dump(content: Any) -> bytes:
    """Any JSON value as a reply holds it."""
    return orjson.dumps(content, default=_whole)


def _whole(value: object) -> orjson.Fragment:
    """What orjson itself can't write, an integer past 64 bits for one."""
    return orjson.Fragment(jsontext.dump(value))


def passed_through(text: str | None) -> orjson.Fragment | None:
    """Stored JSON text as a part of a reply."""
    return None if text is None else orjson.Fragment(text)
