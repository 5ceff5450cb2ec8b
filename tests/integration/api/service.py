"""The api run by uvicorn on a loopback port, as `python -m maestro_api` runs it."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psycopg
import requests
from fastapi import FastAPI
from psycopg import sql

from integration.api.fake_kube import FakeKube
from integration.servers import free_port, wait_for
from maestro.db import open_pool
from maestro.schedule import calendars
from maestro.settings import Settings
from maestro_api.app import create_app
from maestro_api.server import Server

T = TypeVar("T")

ADMIN_TOKEN, WORKER_KEY = "an-admin-token", "a-worker-key"


@dataclass
class Service:
    """A running api with what tests need around it."""

    root: str
    kube: FakeKube
    settings: Settings
    app: FastAPI
    session: requests.Session = field(default_factory=requests.Session)

    def call(self, method: str, path: str, **keywords: Any) -> requests.Response:
        """A person's call below /api/v1."""
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"} | keywords.pop("headers", {})
        url = f"{self.root}/api/v1{path}"
        return self.session.request(method, url, headers=headers, timeout=30, **keywords)

    def get(self, path: str, **keywords: Any) -> requests.Response:
        return self.call("GET", path, **keywords)

    def post(self, path: str, body: Any = None, **keywords: Any) -> requests.Response:
        return self.call("POST", path, json=body, **keywords)

    def put(self, path: str, body: Any = None, **keywords: Any) -> requests.Response:
        return self.call("PUT", path, json=body, **keywords)

    def delete(self, path: str, **keywords: Any) -> requests.Response:
        return self.call("DELETE", path, **keywords)

    def worker(
        self, method: str, path: str, body: Any = None, token: str | None = None, **keywords: Any
    ) -> requests.Response:
        """A worker's call below /worker/jobs."""
        headers = {"X-Worker-API-Key": WORKER_KEY} | ({"X-Attempt-Token": token} if token else {})
        url = f"{self.root}/api/v1/worker/jobs{path}"
        return self.session.request(method, url, json=body, headers=headers, timeout=30, **keywords)

    def automation(self, name: str = "bot", **spec: Any) -> dict[str, Any]:
        """One made over REST."""
        reply = self.post("/automations", {"name": name, "scriptPath": "bot.py", **spec})
        assert reply.status_code == 201, reply.text
        return dict(reply.json())

    def job(self, parameters: dict[str, Any] | None = None) -> str:
        """The id of a pending job of the first automation, made when there is none."""
        known = self.get("/automations").json() or [self.automation()]
        reply = self.post(f"/automations/{known[0]['id']}/execute", parameters or {})
        assert reply.status_code == 202, reply.text
        return str(reply.json()["id"])

    def running(self, token: str | None = None) -> str:
        """The id of a job that a worker has started."""
        job_id = self.job()
        assert self.worker("POST", f"/{job_id}/start", token=token).status_code == 200
        return job_id


@contextmanager
def serve(database_uri: str, amqp_url: str, **settings: Any) -> Iterator[Service]:
    """The api until the block ends."""
    port = free_port()
    chosen = Settings(
        database_uri=database_uri,
        broker_uri=amqp_url,
        admin_token=ADMIN_TOKEN,
        worker_key=WORKER_KEY,
        **settings,
    )
    kube = FakeKube()
    app = create_app(chosen, connect=lambda: kube)
    server = Server(app, "127.0.0.1", port)
    thread = threading.Thread(target=server.run, name="api")
    thread.start()
    service = Service(f"http://127.0.0.1:{port}", kube, chosen, app)
    try:
        wait_for(lambda: requests.get(f"{service.root}/livez", timeout=1).raise_for_status(), "the api", 20)
        yield service
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive(), "the api did not stop"


def eventually(probe: Callable[[], T], seconds: float = 10) -> T:
    """What `probe` returns once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := probe()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s"
        time.sleep(0.02)
    return found


def insert_automation(database: psycopg.Connection, **columns: Any) -> int:
    """A registered automation of any namespace, as the operator would have left it."""
    row = {
        "namespace": "elsewhere",
        "name": "theirs",
        "display_name": "theirs",
        "queue": "q",
        "uid": "u",
        **columns,
    }
    names = sql.SQL(", ").join(map(sql.Identifier, row))
    places = sql.SQL(", ").join(map(sql.Placeholder, row))
    statement = sql.SQL("INSERT INTO automations ({}) VALUES ({}) RETURNING id").format(names, places)
    found = database.execute(statement, row).fetchone()
    assert found
    return int(found[0])


def insert_calendar(database_uri: str, name: str, *, generation: int = 1, **spec: Any) -> None:
    """A BusinessCalendar as the operator takes it up; REST makes none."""
    metadata = {"namespace": "maestro-bots", "name": name, "uid": f"of {name}", "generation": generation}
    resource = {"metadata": metadata, "spec": spec}

    async def register() -> None:
        async with open_pool(database_uri, size=1) as pool, pool.connection() as connection:
            await calendars.register(connection, resource)

    asyncio.run(register())
