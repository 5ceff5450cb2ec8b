"""One stack for all tests here."""

from collections.abc import Iterator

import pytest

from integration import servers
from integration.contract.stack import Stack, standing


@pytest.fixture(scope="session")
def stack(
    database_server: servers.Database, broker_server: servers.Broker, migrated_template: str
) -> Iterator[Stack]:
    with standing(database_server, broker_server, migrated_template) as stack:
        yield stack
