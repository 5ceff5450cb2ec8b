"""Queues and users on a real RabbitMQ."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote

import pytest
from pika.exceptions import AMQPError

from integration.servers import Broker
from maestro.broker.management import Management, reading
from maestro.broker.topology import Topology
from maestro.errors import BrokerAway, Forbidden, SpecRefused

CONTRACT = {"x-dead-letter-exchange": "maestro.dlx"}


@pytest.fixture
def topology(broker: Broker) -> Iterator[Topology]:
    with Topology(broker.amqp_url) as topology:
        yield topology


@pytest.fixture
def management(broker: Broker) -> Management:
    return Management(broker.management_uri, broker.vhost)


async def test_a_queue_with_its_dead_letters(topology: Topology, management: Management) -> None:
    state = await topology.ensure("bots.a", CONTRACT)
    again = await topology.ensure("bots.a", CONTRACT)
    assert (state.note, again.note) == ("", "")
    assert management.queues() == {"bots.a", "maestro.dlq"}
    assert management.dead_letter_keys() == {"bots.a"}


async def test_a_rejected_message_reaches_the_dead_letter_queue(topology: Topology, broker: Broker) -> None:
    await topology.ensure("q", CONTRACT)
    with broker.connect() as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("", "q", b"x")
        method, _, _ = channel.basic_get("q")
        channel.basic_nack(method.delivery_tag, requeue=False)
        await asyncio.sleep(0.3)
        assert channel.basic_get("maestro.dlq", auto_ack=True)[2] == b"x"


async def test_many_at_once(topology: Topology, management: Management) -> None:
    await asyncio.gather(*(topology.ensure(f"q{number}", CONTRACT) for number in range(50)))
    assert len(management.dead_letter_keys()) == 50


async def test_what_was_just_ensured_is_asked_for_again_only_when_forgotten(
    topology: Topology, management: Management, broker: Broker
) -> None:
    state = await topology.ensure("q", CONTRACT)
    with broker.connect() as connection:
        connection.channel().queue_delete("q")
    assert await topology.ensure("q", CONTRACT) == state
    assert management.queues() == {"maestro.dlq"}
    topology.forget("q")
    assert await topology.ensure("q", CONTRACT) == state
    assert management.queues() == {"q", "maestro.dlq"}
    assert "other arguments" in (await topology.ensure("q", {})).note


async def test_what_was_deleted_is_made_again(topology: Topology, management: Management) -> None:
    await topology.ensure("q", CONTRACT)
    assert await topology.delete("q")
    await topology.ensure("q", CONTRACT)
    assert (management.queues(), management.dead_letter_keys()) == ({"q", "maestro.dlq"}, {"q"})


async def test_an_existing_queue_is_used_and_noted(topology: Topology, broker: Broker) -> None:
    with broker.connect() as connection:
        connection.channel().queue_declare("old", durable=True, arguments={"x-max-priority": 5})
    state = await topology.ensure("old", CONTRACT)
    assert "other arguments" in state.note
    assert "x-" in state.note


async def test_arguments_the_broker_refuses(topology: Topology) -> None:
    with pytest.raises(SpecRefused, match="invalid arg 'x-max-length'") as refused:
        await topology.ensure("q", {"x-max-length": "many"})
    assert refused.value.condition == "QueueReady"
    with pytest.raises(SpecRefused):
        await topology.ensure("q", {"x-queue-type": "imaginary"})


async def test_a_foreign_dead_letter_exchange_is_said(topology: Topology, broker: Broker) -> None:
    with broker.connect() as connection:
        connection.channel().exchange_declare("maestro.dlx", "topic", durable=True)
    with pytest.raises(SpecRefused, match=r"maestro\.dlx"):
        await topology.ensure("q", CONTRACT)


async def test_only_an_empty_queue_goes(topology: Topology, management: Management, broker: Broker) -> None:
    await topology.ensure("q", CONTRACT)
    with broker.connect() as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("", "q", b"x")
        assert not await topology.delete("q")
        channel.queue_purge("q")
    assert await topology.delete("q")
    assert await topology.delete("q")
    assert (management.queues(), management.dead_letter_keys()) == ({"maestro.dlq"}, set())


async def test_a_reader_reads_its_queue_and_does_nothing_else(
    topology: Topology, management: Management, broker: Broker
) -> None:
    await topology.ensure("bots.a", CONTRACT)
    await topology.ensure("bots.b", CONTRACT)
    user = f"worker.{broker.vhost}.bots.a"
    management.allow_reader(user, "secret", "bots.a")
    assert management.permissions()[user] == reading("bots.a")
    reader = replace(broker, user=quote(user, safe=""), password="secret")
    with reader.connect() as connection:
        channel = connection.channel()
        channel.queue_declare("bots.a", passive=True)
        assert channel.basic_get("bots.a")[0] is None
        with pytest.raises(AMQPError, match="ACCESS_REFUSED"):
            channel.basic_get("bots.b")
        with pytest.raises(AMQPError, match="ACCESS_REFUSED"):
            connection.channel().queue_declare("mine")
    management.drop_user(user)
    management.drop_user(user)
    assert user not in management.permissions()
    with pytest.raises(AMQPError):
        reader.connect()


async def test_a_broker_that_is_away_is_said_and_found_again(own_broker: Broker) -> None:
    with Topology(own_broker.amqp_url) as topology:
        await topology.ensure("q", CONTRACT)
        own_broker.container.stop()
        with pytest.raises(BrokerAway):
            await topology.ensure("other", CONTRACT)
        with pytest.raises(BrokerAway):
            Management(own_broker.management_uri, "/").queues()
        own_broker.container.start()
        own_broker.wait()
        await topology.ensure("q", CONTRACT)


def test_a_refused_manager_is_told_what_it_needs(broker: Broker) -> None:
    wrong = replace(broker, password="wrong")
    with pytest.raises(Forbidden, match="administrator"):
        Management(wrong.management_uri, broker.vhost).queues()
