"""A job's live log, as server-sent events.

A reader is told the job's status, all lines so far and those to come, each with its id, and at last the end:

    event: status
    data: {"status":"running"}

    event: log
    id: 17
    data: {"id":17,"jobId":"…","timestamp":"…","level":"INFO","message":"…","actionable":false}

    event: end
    data: {"status":"completed"}
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Header, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from maestro.errors import DatabaseAway, NotFound
from maestro.job.model import ENDS, LogLine, Status
from maestro_api import hub
from maestro_api.dependencies import Live
from maestro_api.errors import documented
from maestro_api.gate import API
from maestro_api.job import line_json
from maestro_api.server import abort_of

router = APIRouter(prefix=f"{API}/jobs", tags=["jobs"])

PING = b": ping\n\n"
PING_SECONDS = 15.0

_SLICE = 64 * 1024
_OUTAGE_SECONDS = 1.0
_LAST_SECONDS = 30.0
"""For a client to take what it was sent when its stream ends."""
_FAREWELL_SECONDS = 1.0
"""The same when this process is stopping."""
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
    # A connection is not worth more than its stream, and can be cut with it.
    "Connection": "close",
}
_TOO_SLOW = "You took the log too slowly; connect again with the last line's id as Last-Event-ID."


def log_event(line: LogLine) -> bytes:
    """A log line as an event."""
    return b"event: log\nid: %d\ndata: %b\n\n" % (line.id, orjson.dumps(line_json(line)))


def _status_event(name: bytes, status: Status) -> bytes:
    return b'event: %b\ndata: {"status":"%b"}\n\n' % (name, status.encode())


def _error_event(message: str) -> bytes:
    return b"event: error\ndata: %b\n\n" % orjson.dumps({"error": message})


def _farewell() -> bytes:
    """Has readers connect again, in not quite the same moment."""
    return b": this process is stopping\nretry: %d\n\n" % random.randint(500, 3_000)  # noqa: S311


async def _reader(
    id: UUID,  # noqa: A002
    live: Live,
    last_event_id: Annotated[
        int,
        Header(ge=0, le=2**63 - 1, description="Only lines with larger ids: to go on where a stream broke."),
    ] = 0,
) -> AsyncIterator[hub.Reader]:
    async with live.reader(id, last_event_id) as reader:
        yield reader


class Stream(Response):
    """The events of one reader, sent as fast as its client takes them.

    A plain ASGI reply, since it has to tell a client that takes nothing from a job that says nothing.
    """

    media_type = "text/event-stream"

    def __init__(self, reader: hub.Reader, patience: float) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers(_HEADERS)
        self._reader, self._patience = reader, patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        teller = _Teller(self._reader, send, self._patience)
        leaving = asyncio.create_task(_note_leaving(self._reader, receive))
        try:
            async with self._reader.until_dismissed():
                last = await teller.tell()
        except _TooSlow:
            last = _error_event(_TOO_SLOW)
        except NotFound as error:
            last = _error_event(error.message)
        except TimeoutError:
            last = _farewell()
        finally:
            leaving.cancel()
        await self._send_last(teller.unfinished + last, send, abort_of(scope))

    async def _send_last(self, events: bytes, send: Send, abort: Callable[[], None]) -> None:
        """Send and close. A client that does not take it in time is cut off, as it could stay so for good."""
        message = {"type": "http.response.body", "body": events}
        try:
            async with asyncio.timeout(_LAST_SECONDS), self._reader.until_dismissed(_FAREWELL_SECONDS):
                await send(message)
        except TimeoutError:
            abort()
            await send(message)  # says nothing any more, and returns once the connection is gone
        else:
            seconds = _FAREWELL_SECONDS if self._reader.dismissed else _LAST_SECONDS
            asyncio.get_running_loop().call_later(seconds, abort)


async def _note_leaving(reader: hub.Reader, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    reader.leave()


class _TooSlow(Exception):
    """The client does not take what it is sent."""


class _Teller:
    """Writes what a reader comes to, and the pings."""

    def __init__(self, reader: hub.Reader, send: Send, patience: float) -> None:
        self.unfinished = b""
        """What is missing of the event that the client has a part of."""
        self._reader, self._send, self._patience = reader, send, patience
        self._status = reader.status
        self._ping_due = time.monotonic() + PING_SECONDS

    async def tell(self) -> bytes:
        """Write all there is to tell but the last event, which is returned. Raises _TooSlow or NotFound."""
        await self._write(_status_event(b"status", self._status))
        while not self._reader.left:
            part = await self._next()
            if part is None:
                await self._reader.wait(self._ping_due - time.monotonic())
            else:
                await self._write(self._events(part))
                if part.status in ENDS:
                    return _status_event(b"end", part.status)
            await self._ping()
        return b""

    async def _next(self) -> hub.Part | None:
        try:
            return await self._reader.next()
        except DatabaseAway:
            await asyncio.sleep(_OUTAGE_SECONDS)
            return hub.Part()

    def _events(self, part: hub.Part) -> bytes:
        if part.status is None or part.status == self._status:
            return part.lines
        self._status = part.status
        told = _status_event(b"status", part.status)
        return part.lines + told if part.status in ENDS else told + part.lines

    async def _ping(self) -> None:
        if time.monotonic() >= self._ping_due:
            await self._write(PING)
            self._ping_due = time.monotonic() + PING_SECONDS

    async def _write(self, events: bytes) -> None:
        """Sends slice by slice, for the time that each may take."""
        for start in range(0, len(events), _SLICE):
            self.unfinished = _rest_of_event(events, start)
            try:
                async with asyncio.timeout(self._patience):
                    await self._send(
                        {
                            "type": "http.response.body",
                            "body": events[start : start + _SLICE],
                            "more_body": True,
                        }
                    )
            except TimeoutError:
                raise _TooSlow from None
        self.unfinished = b""


def _rest_of_event(events: bytes, start: int) -> bytes:
    """What is missing of the event of which a part lies before `start`."""
    if start == 0:
        return b""
    end = events.index(b"\n\n", max(start - 2, 0)) + 2
    return events[start:end]


_EXAMPLE = """event: status
data: {"status":"running"}

event: log
id: 4711
data: {"id":4711,"jobId":"01a209be-81ee-706d-81fe-5fa0b1df12da",\
"timestamp":"2026-11-23T08:00:01.234567+00:00","level":"INFO","message":"fetching","actionable":false}

event: end
data: {"status":"completed"}

"""
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events: `status`; a `log` for each line so far and to come; `status` "
        "when it changes; `end`. A stream that breaks off for a reason of its own says it in an `error`.",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}},
    }
}


@router.get(
    "/{id}/logs/stream",
    status_code=200,
    response_class=Response,  # Stream's media type would become that of the errors too
    responses=_STREAM | documented(400, 404),
)
async def stream_job_logs(reader: Annotated[hub.Reader, Depends(_reader)], request: Request) -> Stream:
    """The log live. A stream that broke goes on after `Last-Event-ID`; that of an ended job ends at once."""
    return Stream(reader, request.app.state.settings.log_stream_patience)
