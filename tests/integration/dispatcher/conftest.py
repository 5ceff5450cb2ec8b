"""What the tests of the dispatcher's duties share."""

from collections.abc import Iterator

import psycopg
import pytest

from integration.dispatcher.duties import Scene, dispatching
from integration.servers import Broker
from maestro.dispatcher import dispatcher


@pytest.fixture
def scene(database_uri: str, database: psycopg.Connection, broker: Broker) -> Iterator[Scene]:
    scene = Scene(database_uri, broker, database)
    yield scene
    scene.store.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dispatchers that do each duty several times a second. What counts as late stays as it is."""
    for pace in ("_CHECK_SECONDS", "_LOOK_SECONDS", "_DRAIN_SECONDS", "_RETENTION_SECONDS"):
        monkeypatch.setattr(dispatcher, pace, 0.2)


@pytest.fixture
def dispatcher_running(impatient: None, scene: Scene) -> Iterator[None]:
    """An impatient dispatcher where the scene is."""
    with dispatching(scene.uri, scene.broker.amqp_url, jobs_retention_days=10, logs_retention_days=10):
        yield
