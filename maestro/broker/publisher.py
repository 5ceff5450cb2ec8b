"""The one publisher connection of a process: persistent, mandatory, confirmed, and never in anybody's way.

pika's loop runs in a thread of its own; the asyncio side only appends to a line and is handed what was
settled. Whatever can't go out (the broker away or blocking, the line full, a queue missing, the connection
lost before the confirm) is dropped here without a word to the caller: the debt in the database stays, and the
dispatcher pays it.
"""

import asyncio
import logging
import threading
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from types import TracebackType
from typing import Any, Self

import pika
from pika.adapters.utils.connection_workflow import AMQPConnectionWorkflowFailed, AMQPConnectorException
from pika.exceptions import ShortStringTooLong

from maestro import metrics
from maestro.broker.message import Message
from maestro.broker.uri import parameters_of
from maestro.errors import DatabaseAway

log = logging.getLogger(__name__)

Settled = Callable[[Sequence[Message]], Awaitable[None]]

IN_FLIGHT = 1_000
"""Confirms awaited at once; enough to keep the broker busy, few enough to publish again after a loss."""

LINE_COUNT = 10_000
"""Messages waiting or in flight at most; what exceeds stays owed."""

LINE_BYTES = 64 * 1024 * 1024
"""The same bound for bodies, so that large parameters can't fill the memory."""

GATHER_SECONDS = 0.05
"""Confirms that come within that time are handed over together. A job that is started meanwhile owes nothing
any more: where workers are idle, nothing is left to note."""

SETTLED_AT_ONCE = 1_000
"""Messages handed over together at most: while they are noted, the starts of their jobs wait."""

CLOSE_SECONDS = 3.0
"""How long a clean close waits for the confirms in flight."""

_FIRST_BACKOFF, _LAST_BACKOFF = 0.2, 5.0
_PERSISTENT = 2


class Publisher:
    """`async with Publisher(uri, settled) as publisher: publisher.publish(messages)`.

    `settled` gets, in the event loop, the messages that the broker has confirmed and did not return.
    """

    def __init__(self, uri: str, settled: Settled) -> None:
        self._parameters = _parameters(uri)
        self._settled = settled
        self._lock = threading.Lock()
        # Under the lock, since both sides touch them:
        self._line: deque[Message] = deque()
        self._held_count = 0
        self._held_bytes = 0
        self._connection: Any = None  # open, with a channel ready; None while away
        self._blocked = False
        self._pump_asked = False
        self._confirmed: list[Message] = []
        # The thread's alone:
        self._channel: Any = None
        self._next_tag = 1
        self._in_flight: dict[int, Message] = {}
        self._returned: Counter[str] = Counter()
        self._missing: set[str] = set()  # queues that returned a message, each said once
        self._said_away = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        # The event loop's alone:
        self._loop: asyncio.AbstractEventLoop
        self._handover: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._in_thread(self._finish)
        await asyncio.to_thread(self._thread.join, CLOSE_SECONDS + 2)
        if self._handover:
            await self._handover

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""
        return self._connection is not None

    def note(self) -> None:
        """Set the metrics of the connection and of what is on its way."""
        metrics.PUBLISHER_CONNECTED.set(self.connected)
        metrics.PUBLISH_IN_FLIGHT.set(self._held_count)

    @property
    def room(self) -> int:
        """How many more messages would be taken now; 0 while the broker is away or blocks publishers."""
        with self._lock:
            return self._room()

    def _room(self) -> int:
        if self._connection is None or self._blocked or self._stopping.is_set():
            return 0
        return LINE_COUNT - self._held_count if self._held_bytes < LINE_BYTES else 0

    def publish(self, messages: Sequence[Message]) -> None:
        """Send these off. Neither waits nor raises: what can't go out stays owed in the database."""
        with self._lock:
            for message in messages:
                if self._room() <= 0:
                    break
                self._line.append(message)
                self._held_count += 1
                self._held_bytes += len(message.body)
            ask = bool(self._line) and not self._pump_asked
            self._pump_asked = self._pump_asked or ask
        if ask:
            self._in_thread(self._pump)

    def _in_thread(self, call: Callable[[], None]) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.ioloop.add_callback_threadsafe(call)

    # From here on, in the publisher's thread.

    def _run(self) -> None:
        backoff = _FIRST_BACKOFF
        while not self._stopping.is_set():
            try:
                if self._connect_and_serve():
                    backoff = _FIRST_BACKOFF
            except Exception:  # a process whose publisher thread died would owe forever
                log.exception("the connection to RabbitMQ failed in a way nobody foresaw, connecting anew")
            self._stopping.wait(backoff)
            backoff = min(backoff * 2, _LAST_BACKOFF)

    def _connect_and_serve(self) -> bool:
        """Hold one connection until it ends; whether it had come up at all."""
        came_up = False

        def ready(channel: Any) -> None:
            nonlocal came_up
            came_up = True
            self._open(connection, channel)

        connection = _Gathering(
            self._parameters,
            on_open_callback=lambda opened: opened.channel(on_open_callback=self._prepare(ready)),
            on_open_error_callback=self._ended,
            on_close_callback=self._ended,
        )
        connection.add_on_connection_blocked_callback(self._on_blocked)
        connection.add_on_connection_unblocked_callback(self._on_unblocked)
        self._watch_for_stop(connection)
        try:
            connection.ioloop.start()
        finally:
            self._forget()
            connection.ioloop.close()
        return came_up

    def _watch_for_stop(self, connection: Any) -> None:
        """While connecting there is nothing to finish: give up at once when told to stop."""
        if connection.is_open:
            return
        if self._stopping.is_set():
            connection.ioloop.stop()
        else:
            connection.ioloop.call_later(0.2, lambda: self._watch_for_stop(connection))

    def _prepare(self, ready: Callable[[Any], None]) -> Callable[[Any], None]:
        def opened(channel: Any) -> None:
            channel.add_on_return_callback(self._on_return)
            channel.add_on_close_callback(_close_connection)
            channel.confirm_delivery(self._on_confirm, callback=lambda _: ready(channel))

        return opened

    def _open(self, connection: Any, channel: Any) -> None:
        self._channel, self._next_tag = channel, 1
        with self._lock:
            self._connection, self._blocked = connection, False
        log.info("RabbitMQ is back" if self._said_away else "connected to RabbitMQ")
        self._said_away = False
        if self._stopping.is_set():
            self._finish()

    def _ended(self, connection: Any, error: BaseException) -> None:
        if not self._stopping.is_set() and not self._said_away:
            log.warning("RabbitMQ is away, trying again until it is back: %s", _cause(error))
            self._said_away = True
        connection.ioloop.stop()

    def _forget(self) -> None:
        """With the connection goes what was in the line or awaited its confirm: all that stays owed."""
        with self._lock:
            self._connection = None
            self._line.clear()
            self._held_count = self._held_bytes = 0
            self._pump_asked = False
        self._channel = None
        self._in_flight.clear()
        self._returned.clear()

    def _pump(self) -> None:
        """Write what waits in the line, up to the bound of confirms in flight."""
        with self._lock:
            self._pump_asked = False
            count = min(IN_FLIGHT - len(self._in_flight), len(self._line))
            batch = [self._line.popleft() for _ in range(count)] if self._may_write() else []
        if batch:
            with self._channel.connection.gathered():
                for message in batch:
                    self._write(message)

    def _write(self, message: Message) -> None:
        try:
            self._channel.basic_publish("", message.queue, message.body, _properties(message), mandatory=True)
        except ShortStringTooLong:
            # Refused by pika before a byte was sent: it must not cost the others their connection.
            log.error("job %s: the name of its queue exceeds 255 bytes", message.job_id)
            with self._lock:
                self._release([message])
        else:
            self._in_flight[self._next_tag] = message
            self._next_tag += 1

    def _may_write(self) -> bool:
        return self._channel is not None and self._channel.is_open and not self._blocked

    def _on_blocked(self, connection: Any, frame: Any) -> None:
        """The broker is short of memory or disk: what waits stays owed, and is paid afterwards."""
        log.warning("RabbitMQ blocks publishers (%s); messages wait in the database", _reason(frame))
        with self._lock:
            self._blocked = True
            self._release(self._line)
            self._line.clear()

    def _on_unblocked(self, connection: Any, frame: Any) -> None:
        log.info("RabbitMQ takes messages again")
        with self._lock:
            self._blocked = False

    def _on_return(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        """No queue took it. The broker confirms it all the same, right after this."""
        metrics.PUBLISH_RETURNED.inc()
        self._returned[properties.message_id] += 1
        if method.routing_key not in self._missing:
            self._missing.add(method.routing_key)
            log.warning("queue %s does not exist; its jobs are published once it does", method.routing_key)

    def _on_confirm(self, frame: Any) -> None:
        accepted = isinstance(frame.method, pika.spec.Basic.Ack)
        done = self._take(frame.method.delivery_tag, multiple=frame.method.multiple)
        settled = [message for message in done if not self._was_returned(message) and accepted]
        metrics.PUBLISH_CONFIRMED.inc(len(settled))
        metrics.PUBLISH_NACKED.inc(0 if accepted else len(done))
        self._missing.difference_update(message.queue for message in settled)
        with self._lock:
            self._release(done)
            first = bool(settled) and not self._confirmed
            self._confirmed += settled
        if first:
            self._loop.call_soon_threadsafe(self._hand_over)
        self._pump()

    def _take(self, tag: int, *, multiple: bool) -> list[Message]:
        # Tags are written in order, and a dict keeps that order.
        tags = list(takewhile(lambda known: known <= tag, self._in_flight)) if multiple else [tag]
        return [self._in_flight.pop(known) for known in tags if known in self._in_flight]

    def _was_returned(self, message: Message) -> bool:
        key = str(message.job_id)
        if key not in self._returned:
            return False
        self._returned[key] -= 1
        if not self._returned[key]:
            del self._returned[key]
        return True

    def _release(self, messages: Sequence[Message]) -> None:
        self._held_count -= len(messages)
        self._held_bytes -= sum(len(message.body) for message in messages)

    def _finish(self) -> None:
        """Close once every confirm has come, or after a while without."""
        connection = self._connection
        connection.ioloop.call_later(CLOSE_SECONDS, connection.ioloop.stop)
        self._pump()
        self._close_when_done()

    def _close_when_done(self) -> None:
        if self._in_flight or self._line:
            self._connection.ioloop.call_later(0.01, self._close_when_done)
        else:
            _close_connection(self._channel, None)

    # From here on, in the event loop again.

    def _hand_over(self) -> None:
        if self._handover is None or self._handover.done():
            self._handover = self._loop.create_task(self._hand_over_all())

    async def _hand_over_all(self) -> None:
        """One call at a time, for what was confirmed meanwhile."""
        batch: list[Message] = []
        while True:
            hurry = self._stopping.is_set() or len(batch) == SETTLED_AT_ONCE
            await asyncio.sleep(0 if hurry else GATHER_SECONDS)
            if not (batch := self._take_confirmed()):
                return
            try:
                await self._settled(batch)
            # What isn't noted stays owed and goes out once more, which changes nothing.
            except DatabaseAway:
                log.warning("%d messages were confirmed but not noted: PostgreSQL is away", len(batch))
            except Exception:  # the next batches must still be handed over
                log.exception("%d messages were confirmed but not noted", len(batch))

    def _take_confirmed(self) -> list[Message]:
        with self._lock:
            batch = self._confirmed[:SETTLED_AT_ONCE]
            del self._confirmed[:SETTLED_AT_ONCE]
        return batch


class _Gathering(pika.SelectConnection):  # type: ignore[misc]  # pika has no types
    """Sends what is written within `gathered` at once; pika makes three system calls for each message."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        self._gathered: list[bytes] | None = None
        super().__init__(*arguments, **keywords)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        self._gathered = []
        try:
            yield
        finally:
            data, self._gathered = b"".join(self._gathered), None
            if data:
                super()._adapter_emit_data(data)

    def _adapter_emit_data(self, data: bytes) -> None:
        if self._gathered is None:
            super()._adapter_emit_data(data)
        else:
            self._gathered.append(data)


def _parameters(uri: str) -> pika.URLParameters:
    # pika tells of every failed attempt in several lines; this module says once that the broker is away.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    parameters = parameters_of(uri, "MAESTRO_BROKER_URI")
    parameters.socket_timeout = 5
    parameters.stack_timeout = 10
    if "heartbeat=" not in uri:
        parameters.heartbeat = 30
    parameters.client_properties = {"connection_name": "maestro publisher"}
    return parameters


def _properties(message: Message) -> pika.BasicProperties:
    return pika.BasicProperties(
        content_type="application/json", delivery_mode=_PERSISTENT, message_id=str(message.job_id)
    )


def _close_connection(channel: Any, reason: Any) -> None:
    """A channel alone is never lost: the whole connection starts over."""
    if channel.connection.is_open:
        channel.connection.close()


def _reason(frame: Any) -> str:
    reason = frame.method.reason
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)


def _cause(error: BaseException) -> str:
    """The innermost of the errors that pika wraps around a failed connection attempt."""
    while True:
        if isinstance(error, AMQPConnectionWorkflowFailed) and error.exceptions:
            error = error.exceptions[-1]
        elif isinstance(error, AMQPConnectorException) and isinstance(
            inner := getattr(error, "exception", None), BaseException
        ):
            error = inner
        else:
            return f"{type(error).__name__}: {error}"
