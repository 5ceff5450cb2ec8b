"""A real database and a real virtual host for each test."""

import uuid
from collections.abc import Iterator

import psycopg
import pytest

from integration import servers
from maestro.db.migrate import migrate


@pytest.fixture(scope="session")
def database_server() -> servers.Database:
    return servers.start_database("maestro-tests-postgres")


@pytest.fixture(scope="session")
def broker_server() -> servers.Broker:
    return servers.start_broker("maestro-tests-rabbitmq")


@pytest.fixture(scope="session")
def migrated_template(database_server: servers.Database) -> Iterator[str]:
    """A database at head that the tests' own ones are copied from."""
    name = f"template_{uuid.uuid4().hex}"
    database_server.execute(f"CREATE DATABASE {name}")
    migrate(database_server.uri(name))
    yield name
    database_server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_database_uri(database_server: servers.Database) -> Iterator[str]:
    """A database without any table."""
    with servers.database_of(database_server) as uri:
        yield uri


@pytest.fixture
def database_uri(database_server: servers.Database, migrated_template: str) -> Iterator[str]:
    """A database of the test's own with the schema at head."""
    with servers.database_of(database_server, migrated_template) as uri:
        yield uri


@pytest.fixture
def database(database_uri: str) -> Iterator[psycopg.Connection]:
    """A plain autocommitting connection to `database_uri`, to look and to arrange."""
    with psycopg.connect(database_uri, autocommit=True) as connection:
        yield connection


@pytest.fixture
def broker(broker_server: servers.Broker) -> Iterator[servers.Broker]:
    """The shared RabbitMQ with a virtual host of the test's own."""
    with servers.vhost_of(broker_server) as broker:
        yield broker


@pytest.fixture
def own_database() -> Iterator[servers.Database]:
    """A PostgreSQL server for a test that stops it."""
    server = servers.start_database(servers.own_name("postgres"))
    yield server
    server.container.remove()


@pytest.fixture
def own_broker() -> Iterator[servers.Broker]:
    """A RabbitMQ server for a test that stops it."""
    server = servers.start_broker(servers.own_name("rabbitmq"))
    yield server
    server.container.remove()
