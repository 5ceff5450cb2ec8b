"""A client of live logs."""

import json
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any, Self

from integration.api.service import ADMIN_TOKEN, Service, eventually


@dataclass(frozen=True)
class Event:
    name: str
    data: Any
    id: str | None = None


class Follower:
    """Reads a job's live log in a thread from when it is made until the stream ends."""

    def __init__(self, service: Service, job_id: str, after: int | str | None = None) -> None:
        self.events: list[Event] = []
        self.comments: list[str] = []
        self.retry: int | None = None
        self.broke: Exception | None = None
        connection = HTTPConnection(service.root.removeprefix("http://"), timeout=30)
        connection.connect()
        self._socket: socket.socket = connection.sock
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"} | (
            {"Last-Event-ID": str(after)} if after else {}
        )
        connection.request("GET", f"/api/v1/jobs/{job_id}/logs/stream", headers=headers)
        self.reply = connection.getresponse()
        assert self.reply.status == 200, self.reply.read()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _read(self) -> None:
        fields: dict[str, str] = {}
        rest = b""
        try:
            while chunk := self.reply.read1(65536):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._take(line.decode(), fields)
        except (OSError, HTTPException, ValueError) as error:  # a test that minds asks for the whole
            self.broke = error

    def _take(self, line: str, fields: dict[str, str]) -> None:
        name, _, value = line.partition(": ")
        if not line:
            if "data" in fields:
                self.events.append(Event(fields["event"], json.loads(fields["data"]), fields.get("id")))
            fields.clear()
        elif not name:
            self.comments.append(value)
        elif name == "retry":
            self.retry = int(value)
        else:
            assert name in {"event", "id", "data"}, line
            assert name not in fields, line
            fields[name] = value

    @property
    def messages(self) -> list[str]:
        """Of the log lines so far."""
        return [event.data["message"] for event in list(self.events) if event.name == "log"]

    @property
    def statuses(self) -> list[str]:
        """Of the `status` and `end` events so far, each by its name."""
        return [
            f"{event.name} {event.data['status']}"
            for event in list(self.events)
            if event.name in ("status", "end")
        ]

    def until(self, seen: Callable[[Self], object], seconds: float = 10) -> Self:
        eventually(lambda: seen(self), seconds)
        return self

    def whole(self, seconds: float = 20) -> Sequence[Event]:
        """All events, once the stream has ended."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "the stream did not end"
        assert self.broke is None
        return self.events
