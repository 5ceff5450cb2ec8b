"""The fixtures give what they promise."""

import psycopg

from integration.servers import Broker


def test_each_test_has_a_migrated_database(database: psycopg.Connection) -> None:
    row = database.execute("SELECT count(*) FROM jobs").fetchone()
    assert row == (0,)


def test_each_test_has_an_empty_virtual_host(broker: Broker) -> None:
    assert broker.call("GET", f"/queues/{broker.vhost}").json() == []
    broker.connect().close()
