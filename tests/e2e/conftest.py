"""What e2e tests share; the pieces themselves are in `e2e.cluster`."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pika
import pytest

from e2e.cluster import DEFINITIONS, RELEASE, Api, Kubectl, empty, secret


def pytest_sessionstart(session: pytest.Session) -> None:
    """Whatever a killed run left in the tests' namespace goes first."""
    _empty_once(session)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """This run's things go at its end."""
    _empty_once(session)


def _empty_once(session: pytest.Session) -> None:
    # Test processes side by side share the namespace: the one that started them empties it.
    if not hasattr(session.config, "workerinput") and not session.config.option.collectonly:
        empty(Kubectl())


@pytest.fixture(scope="session")
def kubectl() -> Kubectl:
    return Kubectl()


@pytest.fixture(scope="session")
def release() -> Kubectl:
    """kubectl in the release's own namespace."""
    return Kubectl(RELEASE)


@pytest.fixture(scope="session")
def api() -> Api:
    return Api(secret(f"{RELEASE}-auth", "admin-token"))


@pytest.fixture(scope="session")
def worker_key() -> str:
    return secret(f"{RELEASE}-auth", "worker-key")


@pytest.fixture
def broker() -> Iterator[pika.BlockingConnection]:
    """The release's RabbitMQ, as its administrator."""
    user, password, vhost = (secret("maestro-broker", key) for key in ("username", "password", "vhost"))
    address = f"127.0.0.1:5672/{quote(vhost, safe='')}"
    url = f"amqp://{quote(user, safe='')}:{quote(password, safe='')}@{address}?heartbeat=0"
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        yield connection


@pytest.fixture(scope="session")
def nfe_summary(api: Api) -> int:
    """The first example's id; `make up` applies it as well."""
    definitions = Kubectl(DEFINITIONS)
    definitions("apply", "-f", str(Path(__file__).parents[2] / "examples" / "01-nfe-summary"))
    definitions.wait_ready("automation", "nfe-summary", 120)
    return int(definitions.get("automation", "nfe-summary")["status"]["id"])


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"e2e-{uuid.uuid4().hex[:8]}"
