"""The short way of hot calls: to the same routes, past the framework's machinery, which costs more than them.

A request that fits is bound and answered here. Any other goes on to the framework, also one whose id or token
does not fit: it knows how to say so.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Annotated, Any, TypeVar, get_args, get_origin
from uuid import UUID

from annotated_types import MaxLen, MinLen
from fastapi import Request
from fastapi.params import Depends, Header
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from maestro.errors import MaestroError
from maestro_api import errors
from maestro_api.dependencies import LARGEST_ID, Id

_UUID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_NUMBER = re.compile("[1-9][0-9]{0,9}")

Mark = TypeVar("Mark", Depends, Header)

_Read = Callable[[Scope, str], Any]
"""An argument from the request's scope and the id in its path. Raises ValueError when it doesn't fit."""


class Shortcut:
    """Middleware that answers the calls of these routes, which have one parameter in their path, named id."""

    def __init__(self, app: ASGIApp, routes: Iterable[APIRoute]) -> None:
        self._app = app
        self._hot: dict[tuple[str, str], dict[str, _Hot]] = {}
        for route in routes:
            before, after = route.path.split("{id}")
            for method in route.methods or ():
                self._hot.setdefault((method, before), {})[after] = _Hot.of(route)
        self._befores = tuple({before for _, before in self._hot})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._find(scope) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        hot, arguments = found
        scope["route"] = hot.route
        try:
            reply = await hot.call(Request(scope, receive), arguments)
        except MaestroError as error:
            reply = errors.render(error)
        await reply(scope, receive, send)

    def _find(self, scope: Scope) -> "tuple[_Hot, dict[str, Any]] | None":
        path: str = scope["path"]
        for before in self._befores:
            if path.startswith(before):
                given, slash, after = path[len(before) :].partition("/")
                hot = self._hot.get((scope["method"], before), {}).get(slash + after)
                try:
                    return (hot, hot.arguments(scope, given)) if hot else None
                except ValueError:
                    return None
        return None


@dataclass(frozen=True, slots=True)
class _Hot:
    """A route with what its endpoint takes: arguments read at once, and dependencies that are awaited."""

    route: APIRoute
    endpoint: Callable[..., Awaitable[Response]]
    reads: Mapping[str, _Read]
    dependencies: Mapping[str, Callable[[Request], Awaitable[Any]]]
    request_name: str | None

    @classmethod
    def of(cls, route: APIRoute) -> "_Hot":
        """Raises TypeError at the start for an endpoint that takes what can't be bound here."""
        reads: dict[str, _Read] = {}
        dependencies: dict[str, Callable[[Request], Awaitable[Any]]] = {}
        request_name = None
        for parameter in signature(route.endpoint).parameters.values():
            if parameter.annotation is Request:
                request_name = parameter.name
            elif read := _reader(parameter):
                reads[parameter.name] = read
            elif depends := _dependency(parameter):
                dependencies[parameter.name] = depends
            else:
                raise TypeError(f"{route.endpoint.__name__}: {parameter} can't be bound on the short way")
        return cls(route, route.endpoint, reads, dependencies, request_name)

    def arguments(self, scope: Scope, given: str) -> dict[str, Any]:
        return {name: read(scope, given) for name, read in self.reads.items()}

    async def call(self, request: Request, arguments: dict[str, Any]) -> Response:
        if self.request_name:
            arguments[self.request_name] = request
        for name, dependency in self.dependencies.items():
            arguments[name] = await dependency(request)
        return await self.endpoint(**arguments)


def _reader(parameter: Parameter) -> _Read | None:
    if parameter.name == "id":
        return {UUID: _uuid, Id: _number}.get(parameter.annotation)
    if header := _marked(parameter, Header):
        return _header(header)
    return None


def _dependency(parameter: Parameter) -> Callable[[Request], Awaitable[Any]] | None:
    """One that takes the request alone, as all of ours do."""
    depends = _marked(parameter, Depends)
    return depends.dependency if depends else None


def _marked(parameter: Parameter, mark: type[Mark]) -> Mark | None:
    notes = get_args(parameter.annotation) if get_origin(parameter.annotation) is Annotated else ()
    return next((note for note in notes if isinstance(note, mark)), None)


def _uuid(scope: Scope, given: str) -> UUID:
    if not _UUID.fullmatch(given):
        raise ValueError(given)
    return UUID(given)


def _number(scope: Scope, given: str) -> int:
    if not _NUMBER.fullmatch(given) or (number := int(given)) > LARGEST_ID:
        raise ValueError(given)
    return number


def _header(header: Header) -> _Read:
    """An optional text header between two lengths."""
    wanted = str(header.alias).lower().encode()
    bounds = {type(bound): bound for bound in header.metadata}
    if set(bounds) != {MinLen, MaxLen}:
        raise TypeError(f"{header.alias}: only min_length and max_length can be checked on the short way")
    least, most = bounds[MinLen].min_length, bounds[MaxLen].max_length

    def read(scope: Scope, given: str) -> str | None:
        for name, value in scope["headers"]:
            if name == wanted:
                if not least <= len(value) <= most:
                    raise ValueError(header.alias)
                return str(value.decode("latin-1"))
        return None

    return read
