"""One running api for all tests here, emptied between them: starting one each would take most of the time."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import psycopg
import pytest

from integration import servers
from integration.api.service import Service, serve

_EMPTY = "TRUNCATE automations, queue_claims, schedules, jobs, job_logs RESTART IDENTITY CASCADE"


@contextmanager
def database_of(server: servers.Database, template: str) -> Iterator[str]:
    """A database at head that goes with the block."""
    name = f"test_{uuid.uuid4().hex}"
    server.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield server.uri(name)
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def api_broker(broker_server: servers.Broker) -> Iterator[servers.Broker]:
    vhost = f"test-{uuid.uuid4().hex}"
    broker_server.call("PUT", f"/vhosts/{vhost}")
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    broker_server.call("PUT", f"/permissions/{vhost}/{broker_server.user}", everything)
    yield replace(broker_server, vhost=vhost)
    broker_server.call("DELETE", f"/vhosts/{vhost}")


@pytest.fixture(scope="session")
def api_database_uri(database_server: servers.Database, migrated_template: str) -> Iterator[str]:
    with database_of(database_server, migrated_template) as uri:
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
