"""Queues and their dead-letter bindings, declared and looked at over AMQP.

pika's blocking connection belongs to one thread, so each of a few threads has its own and takes calls from a
common line; async callers await `Topology.ensure` and `Topology.delete`.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any, Self, TypeVar

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker, ConnectionClosedByBroker

from maestro.broker.queues import DEAD_LETTER_EXCHANGE, DEAD_LETTER_QUEUE, refused
from maestro.broker.uri import parameters_of
from maestro.errors import BrokerAway, MaestroError, SpecRefused

log = logging.getLogger(__name__)

T = TypeVar("T")

_HEARTBEAT = 30
# Between two looks at an idle connection, well within the heartbeat.
_IDLE_SECONDS = 10.0
# A thousand automations may share a queue: what was ensured so lately is not asked for again.
_TRUSTED_SECONDS = 2.0
# The reply code of a broker that goes down, as against one that refuses.
_SHUTDOWN = 320
_NOT_FOUND = 404


@dataclass(frozen=True)
class QueueState:
    """A queue that can be used; `note` says what about it differs from what was asked for."""

    name: str
    note: str = ""


@dataclass(frozen=True)
class _Ensured:
    """What came of ensuring a queue that began at this time of the monotonic clock."""

    arguments: Mapping[str, Any]
    state: QueueState
    began: float


@dataclass(frozen=True)
class QueueDepth:
    """What a queue holds: messages that no worker has taken, and how many consumers it has."""

    ready: int
    consumers: int


@dataclass(frozen=True)
class DeadLetter:
    """A message that died, and where and why as far as the broker told."""

    body: bytes
    headers: Mapping[str, Any]
    queue: str
    reason: str


Bury = Callable[[Sequence[DeadLetter]], None]
"""Takes dead letters for good; raises when it can't, and they stay in their queue."""


class Topology:
    """Declares and deletes queues on a few connections of its own; connects at the first call."""

    def __init__(self, uri: str, threads: int = 4) -> None:
        self._threads = threads
        self._parameters = parameters_of(uri, "MAESTRO_BROKER_URI")
        self._parameters.heartbeat = _HEARTBEAT
        self._parameters.socket_timeout = 5
        self._parameters.blocked_connection_timeout = 30
        self._parameters.connection_attempts = 1
        self._parameters.client_properties = {"connection_name": "maestro topology"}
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        # By name, the latest last.
        self._ensured: dict[str, _Ensured] = {}

    def __enter__(self) -> Self:
        for number in range(self._threads):
            threading.Thread(target=self._serve, name=f"topology-{number}", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for _number in range(self._threads):
            self._calls.put(None)

    async def ensure(self, name: str, arguments: Mapping[str, Any]) -> QueueState:
        """Declare a queue and bind `maestro.dlq` for what it dead-letters.

        An existing queue with other arguments is used as it is, and noted. What was ensured alike within the
        last two seconds is taken to be there still; see `forget`. Raises BrokerAway, or SpecRefused with the
        broker's words when it takes neither. `queues.refuse_unusable` has been asked before.
        """
        began = monotonic()
        known = self._ensured.get(name)
        if known and known.arguments == arguments and began - known.began < _TRUSTED_SECONDS:
            return known.state
        state = await self._call(lambda channel: _ensure(channel, name, dict(arguments)))
        self._remember(name, _Ensured(dict(arguments), state, began))
        return state

    def forget(self, name: str) -> None:
        """Ask the broker at the next `ensure`: it was seen to lack the queue or its binding."""
        self._ensured.pop(name, None)

    def _remember(self, name: str, ensured: _Ensured) -> None:
        self.forget(name)
        self._ensured[name] = ensured
        while ensured.began - self._ensured[oldest := next(iter(self._ensured))].began > _TRUSTED_SECONDS:
            self.forget(oldest)

    async def delete(self, name: str) -> bool:
        """Delete a queue with its dead-letter binding; False when messages in it kept it from going."""
        try:
            return await self._call(lambda channel: _delete(channel, name))
        finally:
            self.forget(name)

    async def look(self, name: str) -> QueueDepth | None:
        """What a queue holds now, None when there is none. Raises BrokerAway."""
        return await self._call(lambda channel: _look(channel, name))

    async def drain_dead_letters(self, bury: Bury, limit: int) -> int:
        """Have up to `limit` dead letters buried and acknowledge them; how many they were.

        `bury` runs in the connection's thread. Raises BrokerAway, and what `bury` raises.
        """
        return await self._call(lambda channel: _drain(channel, bury, limit))

    async def ping(self) -> None:
        """Raises BrokerAway when the broker can't be reached."""
        await self._call(lambda channel: None)

    async def _call(self, work: "Callable[[BlockingChannel], T]") -> T:
        future: Future[T] = Future()
        self._calls.put(_Call(work, future))
        return await asyncio.wrap_future(future)

    def _serve(self) -> None:
        session = _Session(self._parameters)
        while True:
            try:
                call = self._calls.get(timeout=_IDLE_SECONDS)
            except queue.Empty:
                session.beat()
                continue
            if call is None:
                session.close()
                return
            call.answer(session)


class _Session:
    """One thread's connection and channel, opened when needed."""

    def __init__(self, parameters: pika.URLParameters) -> None:
        self._parameters = parameters
        self._connection: pika.BlockingConnection | None = None
        self._channel: BlockingChannel | None = None

    def run(self, work: Callable[[BlockingChannel], T]) -> T:
        """Do the work on an open channel, once more when the connection turns out to be dead."""
        try:
            return work(self._open())
        except (AMQPError, OSError) as error:
            log.debug("the broker's connection is renewed after %r", error)
            self.close()
        try:
            return work(self._open())
        except (AMQPError, OSError) as error:
            self.close()
            raise BrokerAway(f"RabbitMQ can't be reached: {_words(error)}") from error

    def beat(self) -> None:
        if self._connection is None:
            return
        try:
            self._connection.process_data_events(0)
        except (AMQPError, OSError):
            self.close()

    def close(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        try:
            if connection is not None and connection.is_open:
                connection.close()
        except (AMQPError, OSError):
            log.debug("the broker's connection was gone before it was closed")

    def _open(self) -> BlockingChannel:
        if self._connection is None or not self._connection.is_open:
            self._connection = pika.BlockingConnection(self._parameters)
            self._channel = None
        if self._channel is None or not self._channel.is_open:
            self._channel = self._connection.channel()
        return self._channel


class _Call:
    """Work for a channel, and where its result goes."""

    def __init__(self, work: Callable[[BlockingChannel], Any], future: Future[Any]) -> None:
        self._work = work
        self._future = future

    def answer(self, session: _Session) -> None:
        if not self._future.set_running_or_notify_cancel():
            return
        try:
            self._future.set_result(session.run(self._work))
        except (MaestroError, CancelledError) as error:
            self._future.set_exception(error)
        except Exception as error:
            log.exception("a call to the broker failed")
            self._future.set_exception(error)


def _ensure(channel: BlockingChannel, name: str, arguments: dict[str, Any]) -> QueueState:
    state = _declare(channel, name, arguments)
    try:
        _bind(channel, name)
    except ChannelClosedByBroker as error:
        if error.reply_code != _NOT_FOUND:
            raise
        _make_dead_letter_ends(channel.connection)
        _bind(channel, name)
    return state


def _bind(channel: BlockingChannel, name: str) -> None:
    """Dead letters come with the name of the queue they were in as their routing key."""
    with _opened(channel) as opened:
        opened.queue_bind(DEAD_LETTER_QUEUE, DEAD_LETTER_EXCHANGE, name)


@contextmanager
def _opened(channel: BlockingChannel) -> Iterator[BlockingChannel]:
    """The channel, or another one for a moment when a refusal has closed it."""
    if channel.is_open:
        yield channel
        return
    other = channel.connection.channel()
    try:
        yield other
    finally:
        if other.is_open:
            other.close()


def _declare(channel: BlockingChannel, name: str, arguments: dict[str, Any]) -> QueueState:
    try:
        channel.queue_declare(name, durable=True, arguments=arguments)
    except ChannelClosedByBroker as refusal:
        return _use_existing(channel, name, refusal)
    except ConnectionClosedByBroker as refusal:
        if refusal.reply_code == _SHUTDOWN:
            raise
        raise refused(name, _words(refusal)) from refusal
    return QueueState(name)


def _use_existing(closed: BlockingChannel, name: str, refusal: ChannelClosedByBroker) -> QueueState:
    """The queue as somebody else declared it, or the refusal when there is none."""
    with _opened(closed) as channel:
        try:
            channel.queue_declare(name, passive=True)
        except ChannelClosedByBroker:
            raise refused(name, _words(refusal)) from refusal
    return QueueState(name, f"It exists with other arguments and is used as it is ({_words(refusal)}).")


def _make_dead_letter_ends(connection: pika.BlockingConnection) -> None:
    channel = connection.channel()
    try:
        channel.exchange_declare(DEAD_LETTER_EXCHANGE, exchange_type="direct", durable=True)
        channel.queue_declare(DEAD_LETTER_QUEUE, durable=True)
    except ChannelClosedByBroker as error:
        raise SpecRefused(
            "DeadLetteringRefused",
            f"RabbitMQ refused what dead letters need: {_words(error)}. Delete the exchange "
            f"{DEAD_LETTER_EXCHANGE} and the queue {DEAD_LETTER_QUEUE} that somebody else made there.",
            condition="QueueReady",
        ) from error
    channel.close()


def _delete(channel: BlockingChannel, name: str) -> bool:
    try:
        channel.queue_delete(name, if_empty=True)
    except ChannelClosedByBroker as refusal:
        if refusal.reply_code == 406:
            return False
        raise
    channel.queue_unbind(DEAD_LETTER_QUEUE, DEAD_LETTER_EXCHANGE, name)
    return True


def _look(channel: BlockingChannel, name: str) -> QueueDepth | None:
    with _opened(channel) as opened:
        try:
            found = opened.queue_declare(name, passive=True)
        except ChannelClosedByBroker as error:
            if error.reply_code != _NOT_FOUND:
                raise
            return None
    return QueueDepth(found.method.message_count, found.method.consumer_count)


def _drain(channel: BlockingChannel, bury: Bury, limit: int) -> int:
    letters: list[DeadLetter] = []
    tag = 0
    try:
        while len(letters) < limit:
            method, properties, body = channel.basic_get(DEAD_LETTER_QUEUE)
            if method is None:
                break
            letters.append(_letter(properties.headers or {}, method.routing_key, body or b""))
            tag = method.delivery_tag
        if letters:
            bury(letters)
            channel.basic_ack(tag, multiple=True)
    except ChannelClosedByBroker as error:
        if error.reply_code != _NOT_FOUND:
            raise
        return 0  # nothing has been dead-lettered where nobody has declared the queue for it
    except BaseException:
        channel.close()  # what is not acknowledged goes back
        raise
    return len(letters)


def _letter(headers: Mapping[str, Any], routing_key: str, body: bytes) -> DeadLetter:
    """Of a letter that died several times, the first time counts: later ones happened on the way here."""
    deaths = headers.get("x-death")
    death = deaths[-1] if isinstance(deaths, list) and deaths and isinstance(deaths[-1], dict) else {}
    return DeadLetter(
        body,
        headers,
        str(headers.get("x-first-death-queue") or death.get("queue") or routing_key),
        str(headers.get("x-first-death-reason") or death.get("reason") or "unknown"),
    )


def _words(error: Exception) -> str:
    """What the broker said, without pika's wrapping."""
    if isinstance(error, ChannelClosedByBroker | ConnectionClosedByBroker):
        return str(error.reply_text)
    return str(error) or repr(error)
