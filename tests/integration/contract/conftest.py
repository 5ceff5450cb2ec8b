"""One stack for all tests here."""

from collections.abc import Iterator

import pytest

from integration import servers
from integration.api.service import eventually, serve
from integration.contract.stack import Stack, dispatching


@pytest.fixture(scope="session")
def stack(
    database_server: servers.Database, broker_server: servers.Broker, migrated_template: str
) -> Iterator[Stack]:
    with (
        servers.database_of(database_server, migrated_template) as database_uri,
        servers.vhost_of(broker_server) as broker,
        dispatching(database_uri, broker.amqp_url),
        serve(database_uri, broker.amqp_url) as service,
    ):
        eventually(lambda: service.session.get(f"{service.root}/readyz").json()["broker"] == "ok", 30)
        yield Stack(service, broker, database_uri)
