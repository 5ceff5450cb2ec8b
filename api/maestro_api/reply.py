"""JSON replies, written by orjson: dates and UUIDs as they are, stored JSON passed through unparsed."""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

from maestro import jsontext


class Json(Response):
    """A reply whose content orjson can write; `orjson.Fragment` marks text that is JSON already.

    Parameters and results are such text: orjson writes no integer past 64 bits and nothing nested deeply.
    """

    media_type = "application/json"

    def __init__(
        self, content: Any, status_code: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(content, status_code, headers)

    def render(self, content: Any) -> bytes:
        return dump(content)


def dump(content: Any) -> bytes:
    """The content as a reply holds it."""
    return orjson.dumps(content)


def passed_through(text: str | None) -> orjson.Fragment | None:
    """Stored JSON text as a part of a reply."""
    return None if text is None else orjson.Fragment(text)


def whole(value: Any) -> orjson.Fragment:
    """A JSON value of any depth and with integers of any length as a part of a reply."""
    return orjson.Fragment(jsontext.dump(value))
