"""What every request passes, in and out: credentials, an id, one line of access log, and no error unanswered.

Plain ASGI rather than a dependency on each route: whatever is added later is closed until it is opened here,
and a hot call pays for one function instead of a chain of them.
"""

import hmac
import logging
import re
import secrets
from itertools import count
from time import perf_counter
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from maestro import metrics
from maestro.errors import Unauthorized
from maestro.settings import Settings
from maestro_api import errors

log = logging.getLogger("maestro_api.access")
crash_log = logging.getLogger(__name__)

API = "/api/v1"
OPEN = frozenset({"/livez", "/readyz", "/openapi.json", "/docs", f"{API}/health"})
ADMIN = "admin"
"""Who the static admin token stands for."""
_WORKERS = f"{API}/worker/"
_PROBES = frozenset({"/livez", "/readyz", f"{API}/health"})
_STREAM = re.compile(rf"{API}/jobs/[^/]+/logs/stream")
_REQUEST_ID = re.compile(rb"[\w.-]{1,64}")
_PROCESS = secrets.token_hex(4)
_numbers = count()


class Gate:
    """Lets in whoever carries the right credential for the path: people a bearer token, workers their key."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._admin_token = settings.admin_token.get_secret_value().encode()
        self._worker_key = settings.worker_key.get_secret_value().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        request_id = _request_id(headers.get(b"x-request-id", b""))
        status = 0
        began = perf_counter()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            self._admit(scope, headers)
            await self._app(scope, receive, noting)
        except Unauthorized as error:
            await errors.render(error)(scope, receive, noting)
        except ClientDisconnect:
            status = status or 499
        except Exception:
            crash_log.exception("request %s failed", request_id)
            if status:  # half a reply is out; only the broken connection can still say so
                raise
            await errors.unexpected(request_id)(scope, receive, noting)
        finally:
            seconds = perf_counter() - began
            metrics.note_request(scope["method"], _route(scope), status, seconds)
            _log_access(scope, status, seconds, request_id)

    def _admit(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        path = scope["path"]
        if path in OPEN:
            return
        if path.startswith(_WORKERS):
            if not _same(headers.get(b"x-worker-api-key", b""), self._worker_key):
                raise Unauthorized("Send the worker key as X-Worker-API-Key.")
        elif not _same(_token(scope, headers), self._admin_token):
            raise Unauthorized("Send a valid token as Authorization: Bearer <token>.")
        else:
            scope["caller"] = ADMIN


def is_stream(path: str) -> bool:
    """Whether a browser's EventSource may ask for it, which can't send headers: `?token=` is taken there."""
    return _STREAM.fullmatch(path) is not None


def _token(scope: Scope, headers: dict[bytes, bytes]) -> bytes:
    header = headers.get(b"authorization")
    if header is None and is_stream(scope["path"]):
        query: dict[bytes, list[bytes]] = parse_qs(scope["query_string"])
        return query.get(b"token", [b""])[0]
    return _bearer(header or b"")


def _bearer(header: bytes) -> bytes:
    scheme, _, token = header.partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


def _same(given: bytes, wanted: bytes) -> bool:
    """Compared in constant time; an unset secret lets nobody in."""
    return bool(wanted) and hmac.compare_digest(given, wanted)


def _request_id(given: bytes) -> str:
    """The caller's, or one that no other request has: a random beginning for the process, and a number."""
    if given and _REQUEST_ID.fullmatch(given):
        return given.decode()
    return f"{_PROCESS}{next(_numbers):08x}"


def _route(scope: Scope) -> str:
    """The template of the path: paths themselves have no end."""
    route = scope.get("route")
    return metrics.OTHER if route is None else str(getattr(route, "path_format", route.path))


def _log_access(scope: Scope, status: int, seconds: float, request_id: str) -> None:
    # The path as it was sent: its decoded form could hold line breaks. Never the query: it may hold a token.
    level = logging.DEBUG if scope["path"] in _PROBES else logging.INFO
    log.log(
        level,
        "%s %s %d %.1f ms %s",
        scope["method"],
        scope.get("raw_path", b"").decode("ascii", "replace"),
        status,
        seconds * 1000,
        request_id,
    )
