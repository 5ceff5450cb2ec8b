"""The publisher against a real RabbitMQ: what is settled, what stays owed, how it comes through outages."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from integration.servers import Broker, docker
from maestro import metrics
from maestro.broker import publisher as module
from maestro.broker.message import Message
from maestro.broker.publisher import Publisher

pytestmark = pytest.mark.timeout(180)


@dataclass
class Settlements:
    """What the publisher has settled, call by call."""

    calls: list[list[Message]] = field(default_factory=list)

    async def __call__(self, messages: Sequence[Message]) -> None:
        self.calls.append(list(messages))

    @property
    def messages(self) -> list[Message]:
        return [message for call in self.calls for message in call]


@pytest.fixture
def settlements() -> Settlements:
    return Settlements()


def message(queue: str = "jobs", body: bytes = b"{}") -> Message:
    return Message(uuid4(), queue, body, datetime.now(UTC))


def declare(broker: Broker, queue: str = "jobs") -> None:
    with broker.connect() as connection:
        connection.channel().queue_declare(queue, durable=True)


def depth(broker: Broker, queue: str = "jobs") -> int:
    with broker.connect() as connection:
        declared = connection.channel().queue_declare(queue, passive=True)
        return int(declared.method.message_count)


def waiting(broker: Broker, queue: str = "jobs") -> set[str]:
    """The ids of the messages in the queue."""
    with broker.connect() as connection:
        arrived = connection.channel().consume(queue, auto_ack=True, inactivity_timeout=2)
        return {properties.message_id for _, properties, _ in iter(lambda: next(arrived), (None, None, None))}


async def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


async def test_a_confirmed_message_is_settled_and_persistent(
    broker: Broker, settlements: Settlements
) -> None:
    declare(broker)
    sent = message(body=b'{"job_id": "x"}')
    async with Publisher(broker.amqp_url, settlements) as publisher:
        await until(lambda: publisher.connected)
        publisher.publish([sent])
        await until(lambda: settlements.messages == [sent])
    with broker.connect() as connection:
        _, properties, body = connection.channel().basic_get("jobs", auto_ack=True)
    assert body == sent.body
    assert (properties.delivery_mode, properties.content_type) == (2, "application/json")
    assert properties.message_id == str(sent.job_id)


async def test_a_returned_message_is_not_settled_though_confirmed(
    broker: Broker, settlements: Settlements, caplog: pytest.LogCaptureFixture
) -> None:
    declare(broker)
    lost = [message("nowhere") for _ in range(3)]
    kept = [message() for _ in range(3)]
    async with Publisher(broker.amqp_url, settlements) as publisher:
        await until(lambda: publisher.connected)
        publisher.publish([lost[0], kept[0], lost[1], kept[1], lost[2], kept[2]])
        await until(lambda: len(settlements.messages) == 3)
        await until(lambda: publisher.room == module.LINE_COUNT)  # every confirm has come
    assert settlements.messages == kept
    assert sum("nowhere does not exist" in record.message for record in caplog.records) == 1


async def test_metrics_tell_what_was_confirmed_returned_and_refused(
    broker: Broker, settlements: Settlements
) -> None:
    def told() -> list[float]:
        registry = metrics.Registry(metrics.DISPATCHER)
        names = (f"maestro_publish_{each}_total" for each in ("confirmed", "returned", "nacked"))
        return [registry.get_sample_value(name) or 0 for name in names]

    with broker.connect() as connection:
        full = {"x-max-length": 1, "x-overflow": "reject-publish"}
        connection.channel().queue_declare("jobs", durable=True, arguments=full)
    before = told()
    async with Publisher(broker.amqp_url, settlements) as publisher:
        await until(lambda: publisher.connected)
        publisher.publish([message(), message("nowhere"), message("nowhere")])
        await until(lambda: publisher.room == module.LINE_COUNT)
        for _ in range(3):
            publisher.publish([message()])
        await until(lambda: publisher.room == module.LINE_COUNT)
    assert [now - known for now, known in zip(told(), before, strict=True)] == [1, 2, 3]


async def test_the_same_job_twice_in_flight_to_a_missing_queue_stays_owed(
    broker: Broker, settlements: Settlements
) -> None:
    lost = message("nowhere")
    async with Publisher(broker.amqp_url, settlements) as publisher:
        await until(lambda: publisher.connected)
        publisher.publish([lost, lost])
        await until(lambda: publisher.room == module.LINE_COUNT)
    assert settlements.calls == []


async def test_confirms_that_come_together_are_settled_together(
    broker: Broker, settlements: Settlements
) -> None:
    declare(broker)
    sent = [message() for _ in range(5_000)]
    async with Publisher(broker.amqp_url, settlements) as publisher:
        await until(lambda: publisher.connected)
        publisher.publish(sent)
        await until(lambda: len(settlements.messages) == len(sent))
    assert {each.job_id for each in settlements.messages} == {each.job_id for each in sent}
    assert len(settlements.calls) < len(sent) / 5
    assert max(map(len, settlements.calls)) <= module.SETTLED_AT_ONCE


async def test_what_was_confirmed_in_a_slow_settlement_comes_in_portions(broker: Broker) -> None:
    declare(broker)
    sent = [message() for _ in range(3_500)]
    sizes: list[int] = []

    async def settle(messages: Sequence[Message]) -> None:
        sizes.append(len(messages))
        await asyncio.sleep(1)

    async with Publisher(broker.amqp_url, settle) as publisher:
        await until(lambda: publisher.connected)
        publisher.publish(sent)
        await until(lambda: sum(sizes) == len(sent))
    assert max(sizes) == module.SETTLED_AT_ONCE


async def test_what_exceeds_the_line_stays_owed(broker: Broker, settlements: Settlements) -> None:
    declare(broker)
    async with Publisher(broker.amqp_url, settlements) as publisher:
        await until(lambda: publisher.connected)
        publisher.publish([message() for _ in range(module.LINE_COUNT + 500)])
        await until(lambda: publisher.room == module.LINE_COUNT)
    assert len(settlements.messages) == module.LINE_COUNT


async def test_a_close_waits_for_the_confirms_in_flight(broker: Broker, settlements: Settlements) -> None:
    declare(broker)
    sent = [message() for _ in range(2_000)]
    async with Publisher(broker.amqp_url, settlements) as publisher:
        await until(lambda: publisher.connected)
        publisher.publish(sent)
    assert len(settlements.messages) == len(sent)


async def test_a_failing_settlement_does_not_stop_the_next(broker: Broker, settlements: Settlements) -> None:
    declare(broker)
    first, second = message(), message()
    failed = asyncio.Event()

    async def fail_once(messages: Sequence[Message]) -> None:
        if first in messages:
            failed.set()
            raise RuntimeError("the database said no")
        await settlements(messages)

    async with Publisher(broker.amqp_url, fail_once) as publisher:
        await until(lambda: publisher.connected)
        publisher.publish([first])
        await asyncio.wait_for(failed.wait(), 30)
        publisher.publish([second])
        await until(lambda: settlements.messages == [second])


async def test_confirms_of_a_moment_are_settled_together(broker: Broker) -> None:
    declare(broker)
    sizes: list[int] = []

    async def count(messages: Sequence[Message]) -> None:
        sizes.append(len(messages))

    async with Publisher(broker.amqp_url, count) as publisher:
        await until(lambda: publisher.connected)
        for _ in range(100):
            publisher.publish([message()])
            await asyncio.sleep(0.001)
    assert sum(sizes) == 100
    assert len(sizes) < 50


async def test_one_unsendable_queue_name_costs_the_others_nothing(
    broker: Broker, settlements: Settlements
) -> None:
    declare(broker)
    good = message()
    async with Publisher(broker.amqp_url, settlements) as publisher:
        await until(lambda: publisher.connected)
        publisher.publish([message("q" * 300), good])
        await until(lambda: settlements.messages == [good])
        assert publisher.room == module.LINE_COUNT


async def test_the_broker_may_come_later_and_the_wait_is_said_once(
    own_broker: Broker, settlements: Settlements, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    declare(own_broker)
    own_broker.container.stop()
    async with Publisher(own_broker.amqp_url, settlements) as publisher:
        await until(lambda: "RabbitMQ is away" in caplog.text)
        publisher.publish([message()])  # dropped: it stays owed
        await asyncio.sleep(3)
        assert publisher.room == 0
        own_broker.container.start()
        await until(lambda: publisher.connected, 60)
        sent = message()
        publisher.publish([sent])
        await until(lambda: settlements.messages == [sent])
    assert caplog.text.count("RabbitMQ is away") == 1
    assert caplog.text.count("RabbitMQ is back") == 1
    assert own_broker.password not in caplog.text


async def test_what_was_in_flight_when_the_broker_died_stays_owed(
    own_broker: Broker, settlements: Settlements
) -> None:
    declare(own_broker)
    sent = [message() for _ in range(module.LINE_COUNT)]
    async with Publisher(own_broker.amqp_url, settlements) as publisher:
        await until(lambda: publisher.connected)
        publisher.publish(sent)
        await until(lambda: bool(settlements.messages))
        await asyncio.to_thread(own_broker.container.kill)
        await until(lambda: not publisher.connected)
        await asyncio.sleep(0.5)
        before = len(settlements.messages)
        assert before < len(sent)
        await asyncio.to_thread(own_broker.container.start)
        await until(lambda: publisher.connected, 60)
        sent.append(message())
        publisher.publish(sent[-1:])
        await until(lambda: sent[-1] in settlements.messages)
    assert len(settlements.messages) == before + 1
    assert {str(each.job_id) for each in settlements.messages} <= waiting(own_broker)


async def test_a_wrong_password_is_an_outage_that_is_said_without_it(
    broker: Broker, settlements: Settlements, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = broker.amqp_url.replace(broker.password, "s3cret")
    async with Publisher(wrong, settlements):
        await until(lambda: "RabbitMQ is away" in caplog.text)
    assert "ACCESS_REFUSED" in caplog.text
    assert "s3cret" not in caplog.text


async def test_publishing_pauses_while_the_broker_blocks(
    own_broker: Broker, settlements: Settlements
) -> None:
    declare(own_broker)
    async with Publisher(own_broker.amqp_url, settlements) as publisher:
        await until(lambda: publisher.connected)
        limit = ["exec", own_broker.container.name, "rabbitmqctl", "set_vm_memory_high_watermark"]
        docker(*limit, "absolute", "1")
        publisher.publish([message()])  # a broker tells only those that publish
        await until(lambda: publisher.room == 0)
        publisher.publish([message()])  # refused: it stays owed
        assert publisher.connected
        docker(*limit, "0.6")
        await until(lambda: publisher.room > 0)
        sent = message()
        publisher.publish([sent])
        await until(lambda: sent in settlements.messages)
    assert len(settlements.messages) == 2  # the one in flight when the block began, and the last
