"""Real PostgreSQL and RabbitMQ for the integration tests, in containers that publish on loopback only.

The shared ones are started once and left running, so that the next run starts at once (`make down` removes
them); each test has a database and a virtual host of its own in them. A test that stops a server gets one
for itself (`own_database`, `own_broker`).
"""

import fcntl
import os
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import pika
import psycopg
import requests

POSTGRES_IMAGE = "postgres:17"
RABBITMQ_IMAGE = "rabbitmq:4.0-management"
LABEL = "io.rps-maestro.tests"
PASSWORD = "tests-only"


def docker(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"docker {' '.join(arguments[:2])} failed: {done.stderr.strip()}")
    return done.stdout.strip()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Container:
    """A container that keeps its published ports when it is stopped and started again."""

    name: str

    def port(self, inside: int) -> int:
        return int(docker("port", self.name, f"{inside}/tcp").splitlines()[0].rsplit(":", 1)[1])

    def stop(self) -> None:
        docker("stop", "--time", "10", self.name)

    def kill(self) -> None:
        docker("kill", self.name)

    def start(self) -> None:
        docker("start", self.name)

    def pause(self) -> None:
        docker("pause", self.name)

    def unpause(self) -> None:
        docker("unpause", self.name)

    def remove(self) -> None:
        docker("rm", "--force", "--volumes", self.name)


@contextmanager
def alone(name: str) -> Iterator[None]:
    """While the block lasts, no other test process of this machine is in one of that name."""
    with (Path(tempfile.gettempdir()) / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run(name: str, image: str, ports: list[int], environment: dict[str, str], *arguments: str) -> Container:
    """Start the container of that name, or take the one that runs already."""
    with alone(name):
        return _run(name, image, ports, environment, *arguments)


def _run(name: str, image: str, ports: list[int], environment: dict[str, str], *arguments: str) -> Container:
    if docker("inspect", "--format", "{{.State.Running}}", name, check=False) != "true":
        docker("rm", "--force", "--volumes", name, check=False)
        published = [part for port in ports for part in ("--publish", f"127.0.0.1:{free_port()}:{port}")]
        variables = [part for key, value in environment.items() for part in ("--env", f"{key}={value}")]
        docker("run", "--detach", "--name", name, "--label", LABEL, *published, *variables, image, *arguments)
    return Container(name)


def wait_for(ready: Callable[[], object], what: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            ready()
        except Exception as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not come up in {seconds:.0f} s") from error
            time.sleep(0.2)
        else:
            return


@dataclass(frozen=True)
class Database:
    """A PostgreSQL server; `uri(name)` is the address of one of its databases."""

    container: Container
    host_port: int

    def uri(self, database: str = "postgres") -> str:
        return f"postgresql://postgres:{PASSWORD}@127.0.0.1:{self.host_port}/{database}"

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.uri(), autocommit=True, connect_timeout=5) as connection:
            connection.execute(statement.encode())

    def wait(self) -> None:
        wait_for(lambda: self.execute("SELECT 1"), "PostgreSQL")


@dataclass(frozen=True)
class Broker:
    """A RabbitMQ server and one virtual host of it."""

    container: Container
    amqp_port: int
    management_port: int
    vhost: str
    user: str = "maestro"
    password: str = PASSWORD

    @property
    def amqp_url(self) -> str:
        return f"amqp://{self.user}:{self.password}@127.0.0.1:{self.amqp_port}/{quote(self.vhost, safe='')}"

    @property
    def management_uri(self) -> str:
        return f"http://{self.user}:{self.password}@127.0.0.1:{self.management_port}"

    def call(self, method: str, path: str, body: object = None) -> requests.Response:
        """One call of the management API; `path` starts below /api."""
        reply = requests.request(method, f"{self.management_uri}/api{path}", json=body, timeout=10)
        reply.raise_for_status()
        return reply

    def connect(self) -> pika.BlockingConnection:
        return pika.BlockingConnection(pika.URLParameters(self.amqp_url))

    def wait(self) -> None:
        wait_for(lambda: (self.call("GET", "/overview"), self.connect().close()), "RabbitMQ")


def start_database(name: str) -> Database:
    container = run(
        name, POSTGRES_IMAGE, [5432], {"POSTGRES_PASSWORD": PASSWORD}, "-c", "max_connections=300"
    )
    database = Database(container, container.port(5432))
    database.wait()
    return database


def start_broker(name: str, vhost: str = "/") -> Broker:
    environment = {"RABBITMQ_DEFAULT_USER": "maestro", "RABBITMQ_DEFAULT_PASS": PASSWORD}
    container = run(name, RABBITMQ_IMAGE, [5672, 15672], environment)
    broker = Broker(container, container.port(5672), container.port(15672), vhost)
    broker.wait()
    return broker


@contextmanager
def database_of(server: Database, template: str | None = None) -> Iterator[str]:
    """The URI of a new database, copied from that one, which goes with the block."""
    name = f"test_{uuid.uuid4().hex}"
    server.execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
    yield server.uri(name)
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def vhost_of(server: Broker) -> Iterator[Broker]:
    """The same server with a new virtual host, which goes with the block."""
    vhost = f"test-{uuid.uuid4().hex}"
    server.call("PUT", f"/vhosts/{vhost}")
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    server.call("PUT", f"/permissions/{vhost}/{server.user}", everything)
    yield replace(server, vhost=vhost)
    server.call("DELETE", f"/vhosts/{vhost}")


def own_name(kind: str) -> str:
    return f"maestro-tests-{kind}-{os.getpid()}-{time.monotonic_ns()}"
