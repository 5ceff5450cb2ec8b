"""How uvicorn serves the app: what live logs need of a connection, and that none of them holds up the end."""

import socket
from collections.abc import Callable
from typing import cast

import uvicorn
from fastapi import FastAPI
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

SHUTDOWN_SECONDS = 20
"""For requests under way when told to stop; well within the grace that the chart gives the pod."""

KEEP_ALIVE_SECONDS = 75
"""Longer than clients keep idle connections, so that it is they who close them and no request is lost."""

_ABORT = "maestro.abort"


class Server(uvicorn.Server):
    """Dismisses the readers of live logs when told to stop; else it would wait for them until time is up."""

    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                loop="uvloop",
                http=_Protocol,
                ws="none",
                log_config=None,
                access_log=False,  # the gate writes one
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            )
        )
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # uvicorn closes its sockets before it next waits, so nobody who is dismissed comes back here.
        self._app.state.services.live.close()
        await super().shutdown(sockets)


class _Protocol(HttpToolsProtocol):
    """Lets a reply cut its connection: closing it would wait for a peer that takes nothing."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {_ABORT: {"abort": self.transport.abort}}


def abort_of(scope: Scope) -> Callable[[], None]:
    """Cuts the request's connection, dropping what its peer has not taken; harmless once it is closed."""
    return cast("Callable[[], None]", scope["extensions"][_ABORT]["abort"])
