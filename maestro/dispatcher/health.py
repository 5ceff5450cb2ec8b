"""GET /healthz: 200 while every loop turns, 503 naming those that do not."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from maestro.dispatcher.loops import Loop

_PATIENCE_SECONDS = 5.0


@asynccontextmanager
async def serve_health(port: int, loops: Sequence[Loop]) -> AsyncIterator[None]:
    """Answer probes on `port` while the context is open."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _PATIENCE_SECONDS)
            writer.write(_reply(request, loops))
            await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever does not speak HTTP gets no answer
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "0.0.0.0", port)  # noqa: S104  # the kubelet comes from outside
    try:
        yield
    finally:
        server.close()


def _reply(request: bytes, loops: Sequence[Loop]) -> bytes:
    if not request.startswith((b"GET /healthz ", b"HEAD /healthz ")):
        return _http("404 Not Found", "not found")
    stuck = [loop.name for loop in loops if not loop.alive]
    return _http("503 Service Unavailable", f"stuck: {', '.join(stuck)}") if stuck else _http("200 OK", "ok")


def _http(status: str, text: str) -> bytes:
    headers = f"Content-Type: text/plain\r\nContent-Length: {len(text) + 1}\r\nConnection: close"
    return f"HTTP/1.1 {status}\r\n{headers}\r\n\r\n{text}\n".encode()
