"""A real HTTP server that speaks the worker's part of the contract and remembers what it was told."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

from maestro.errors import ERROR_HEADER

WORKER_KEY = "the-worker-key"


@dataclass
class Call:
    """One request as it arrived."""

    what: str
    job_id: str
    token: str
    body: Any
    at: float = field(default_factory=time.monotonic)


@dataclass
class Reply:
    status: int
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)
    strangers: bool = False
    """As a proxy would answer, or another server at a mistaken address."""

    @property
    def all_headers(self) -> dict[str, str]:
        refusal = self.status >= 400 and not self.strangers
        return self.headers | ({ERROR_HEADER: "SomeError"} if refusal else {})


class Contract:
    """The calls that a worker makes under /api/v1/worker/jobs; `answer` may be replaced by a test."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.canceled: set[str] = set()
        self.answer: Callable[[Call], Reply | None] = lambda _call: None
        self._is_up = True
        self._server = self._listen(0)
        self.port = self._server.server_port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v1"

    def down(self) -> None:
        """Answer nobody, as a stopped server does."""
        self._is_up = False
        self._server.shutdown()
        self._server.server_close()

    def up(self) -> None:
        self._server = self._listen(self.port)
        self._is_up = True

    def of(self, job_id: str, *whats: str) -> list[Call]:
        return [
            call for call in list(self.calls) if call.job_id == job_id and (not whats or call.what in whats)
        ]

    def lines(self, job_id: str) -> list[tuple[str, str]]:
        """Level and message of each line, in the order of their numbers, each number once."""
        numbered = {line["seq"]: line for call in self.of(job_id, "logs") for line in call.body}
        assert sorted(numbered) == list(range(1, len(numbered) + 1))
        return [(numbered[number]["level"], numbered[number]["message"]) for number in sorted(numbered)]

    def wait_for(self, job_id: str, what: str, seconds: float = 20) -> Call:
        deadline = time.monotonic() + seconds
        while not (found := self.of(job_id, what)):
            assert time.monotonic() < deadline, (
                f"no {what} of {job_id}; came: {[c.what for c in self.of(job_id)]}"
            )
            time.sleep(0.01)
        return found[0]

    def finished(self, job_id: str, seconds: float = 20) -> tuple[str, Any]:
        body = self.wait_for(job_id, "finish", seconds).body
        return body["status"], body["result"]

    def take(self, call: Call, key: str | None) -> Reply:
        if key != WORKER_KEY:
            return Reply(401, {"error": "unknown worker key"})
        if refused := self.answer(call):
            return refused
        self.calls.append(call)
        return self._accepted(call)

    def _accepted(self, call: Call) -> Reply:
        job = {"message": "ok", "job_id": call.job_id}
        match call.what:
            case "start":
                return Reply(200, job | {"status": "running", "attempt": 1})
            case "logs":
                return Reply(201, {"message": "ok", "log_ids": [line["seq"] for line in call.body]})
            case "finish":
                return Reply(200, job | {"status": call.body["status"]})
            case "release":
                return Reply(200, job | {"status": "pending"})
            case "heartbeat":
                return Reply(200, {"cancellation_requested": call.job_id in self.canceled})
        return Reply(404, {"error": f"no such call: {call.what}"})

    def _listen(self, port: int) -> ThreadingHTTPServer:
        contract = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"null")
                self._respond(body)

            def do_GET(self) -> None:
                self._respond(None)

            def _respond(self, body: Any) -> None:
                if not contract._is_up:
                    self.close_connection = True  # a kept connection dies with its server
                    return
                *_, job_id, what = self.path.split("/")
                call = Call(what, job_id, self.headers.get("X-Attempt-Token", ""), body)
                reply = contract.take(call, self.headers.get("X-Worker-API-Key"))
                data = json.dumps(reply.body).encode()
                self.send_response(reply.status)
                for name, value in reply.all_headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server


def new_job() -> str:
    return str(uuid4())
