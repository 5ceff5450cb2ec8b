"""One running api for all tests here, emptied between them: starting one each would take most of the time."""

from collections.abc import Iterator

import psycopg
import pytest

from integration import servers
from integration.api.service import Service, serve

# Ids go on: what the api knows of an automation holds for a second, and its id must not be another's by then.
_EMPTY = """TRUNCATE automations, queue_claims, schedules, calendars, occurrences, jobs, job_logs,
idempotency_keys, queue_states, dead_letters CONTINUE IDENTITY CASCADE"""


@pytest.fixture(scope="session")
def api_broker(broker_server: servers.Broker) -> Iterator[servers.Broker]:
    with servers.vhost_of(broker_server) as broker:
        yield broker


@pytest.fixture(scope="session")
def api_database_uri(database_server: servers.Database, migrated_template: str) -> Iterator[str]:
    with servers.database_of(database_server, migrated_template) as uri:
        yield uri


@pytest.fixture(scope="session")
def running_service(api_database_uri: str, api_broker: servers.Broker) -> Iterator[Service]:
    with serve(api_database_uri, api_broker.amqp_url) as running:
        yield running


@pytest.fixture
def database(api_database_uri: str) -> Iterator[psycopg.Connection]:
    """A plain autocommitting connection to the api's database, to look and to arrange."""
    with psycopg.connect(api_database_uri, autocommit=True) as connection:
        yield connection


@pytest.fixture
def service(running_service: Service, database: psycopg.Connection) -> Service:
    """The api with nothing in it."""
    database.execute(_EMPTY)
    running_service.kube.empty()
    return running_service
