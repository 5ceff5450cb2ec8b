"""The broker's side of the worker: one message at a time, from a queue it may only read.

pika's loop turns in the main thread, so heartbeats go on while the bot of a job runs elsewhere. On a message
the consumer is cancelled, so that the queue's next message goes to an idle worker and not behind a job of
hours; it consumes again when the job has ended.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from functools import partial
from typing import Any

import pika
import requests
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker

from maestro import metrics
from maestro.broker.uri import parameters_of
from maestro.worker.job import JobRun, Verdict
from maestro.worker.message import JobMessage, UnreadableMessageError
from maestro.worker.settings import WorkerSettings

logger = logging.getLogger(__name__)

_TURN = 0.5
"""The longest sleep of the loop, in seconds; whatever matters wakes it earlier."""
_HEARTBEAT = 30
_LONGEST_PAUSE = 10.0
_AFTER_HAND_BACK = 5.0


class Consumer:
    """Serves the queue until told to stop. All but `_work` happens in the thread that calls `serve`.

    Raises BadInput when the broker's address can't be read: no waiting would mend that.
    """

    def __init__(self, settings: WorkerSettings, session: requests.Session) -> None:
        self._settings, self._session = settings, session
        self._parameters = _parameters(settings)
        self._connection: pika.BlockingConnection | None = None
        self._channel: BlockingChannel | None = None
        self._consumer: str | None = None
        self._job: JobRun | None = None
        self._stopping = False
        self._backoff = _Backoff()

    def serve(self) -> None:
        """Return once stopped and without a job."""
        while not self._done():
            try:
                self._serve_connection()
            # OSError: a host name that does not resolve (yet)
            except (AMQPError, OSError) as error:
                self._lost(error)
        self._disconnect()

    def stop(self) -> None:
        """Take no new message and finish the one in hand. For a signal handler: raises SystemExit where
        waiting would serve nobody."""
        job = self._job
        looping = job is not None or self._consumer is not None
        if self._stopping or not looping:
            self._end_now(job)
        self._stopping = True
        if job is not None:
            logger.info("Told to stop: the running job is finished first.")
            job.stop_waiting()

    def _end_now(self, job: JobRun | None) -> None:
        if job is not None:
            logger.warning("Told to stop again: the running job is handed back.")
            job.hand_back()
        self._mark_ready(False)
        raise SystemExit(0)

    def _done(self) -> bool:
        return self._stopping and self._job is None

    def _serve_connection(self) -> None:
        connection = self._connection = pika.BlockingConnection(self._parameters)
        logger.info("Connected to the broker.")
        while not self._done():
            self._consume_when_idle(connection)
            connection.process_data_events(_TURN)

    def _consume_when_idle(self, connection: pika.BlockingConnection) -> None:
        if self._job is not None or self._stopping or self._consumer is not None or not self._backoff.over():
            return
        try:
            self._consume(connection)
        except ChannelClosedByBroker as error:
            self._mark_ready(False)
            self._backoff.again()
            if self._backoff.to_be_told():
                logger.warning("Queue %s can't be consumed yet: %s", self._settings.queue, error.reply_text)

    def _consume(self, connection: pika.BlockingConnection) -> None:
        if self._channel is None or not self._channel.is_open:
            self._channel = connection.channel()
            self._channel.basic_qos(prefetch_count=1)
            self._channel.add_on_cancel_callback(self._cancelled_by_broker)
        self._consumer = self._channel.basic_consume(self._settings.queue, self._received)
        self._backoff.reset()
        self._mark_ready(True)
        logger.info("Waiting for jobs on %s.", self._settings.queue)

    def _cancelled_by_broker(self, _method: object) -> None:
        logger.warning(
            "The broker cancelled the consumer: queue %s was deleted or moved.", self._settings.queue
        )
        self._consumer = None
        self._mark_ready(False)

    def _received(self, channel: BlockingChannel, method: Any, _properties: object, body: bytes) -> None:
        if self._job is not None or self._stopping:
            channel.basic_nack(method.delivery_tag, requeue=True)
            return
        try:
            message = JobMessage.parse(body)
        except UnreadableMessageError as error:
            logger.error("A message on %s is unreadable and dead-lettered: %s", self._settings.queue, error)
            channel.basic_nack(method.delivery_tag, requeue=False)
            return
        self._take(message, channel, method.delivery_tag)

    def _take(self, message: JobMessage, channel: BlockingChannel, tag: int) -> None:
        self._job = JobRun(self._settings, self._session, message)
        metrics.WORKER_BUSY.set(1)
        delivery = _Delivery(channel, tag)
        # Started before the cancel's round trip, which costs the job nothing then: until the ack, prefetch 1
        # keeps every other message away.
        threading.Thread(target=self._work, args=(self._job, delivery), name="job", daemon=True).start()
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            channel.basic_cancel(consumer)

    def _work(self, job: JobRun, delivery: _Delivery) -> None:
        """The job's thread."""
        try:
            job.run(delivery.settle)
        except Exception:
            logger.exception("A fault of the worker ended a job")
            delivery.settle(Verdict.HAND_BACK)
        if delivery.verdict is Verdict.HAND_BACK:
            self._backoff.wait(_AFTER_HAND_BACK)
        metrics.WORKER_BUSY.set(0)
        self._job = None
        self._wake()

    def _wake(self) -> None:
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(AMQPError):
                connection.add_callback_threadsafe(_nothing)

    def _lost(self, error: Exception) -> None:
        self._mark_ready(False)
        self._disconnect()
        self._backoff.again()
        if self._backoff.to_be_told():
            logger.warning("The broker is away (%s); trying on.", _reason(error))
        while not self._backoff.over() and not self._done():
            time.sleep(0.1)

    def _disconnect(self) -> None:
        connection, self._connection, self._channel, self._consumer = self._connection, None, None, None
        if connection is not None and connection.is_open:
            with contextlib.suppress(AMQPError):
                connection.close()
        self._mark_ready(False)

    def _mark_ready(self, ready: bool) -> None:
        path = self._settings.ready_file
        if path is None:
            return
        try:
            path.touch() if ready else path.unlink(missing_ok=True)
        except OSError as error:
            logger.debug("%s: %s", path, error)


def _parameters(settings: WorkerSettings) -> pika.URLParameters:
    parameters = parameters_of(settings.amqp_url.get_secret_value(), "MAESTRO_AMQP_URL")
    parameters.heartbeat = _HEARTBEAT
    parameters.socket_timeout = 5
    parameters.client_properties = {"connection_name": f"maestro worker: {settings.queue}"}
    return parameters


class _Backoff:
    """When to try again: soon at first, then every `_LONGEST_PAUSE` seconds."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._tries, self._until = 0, 0.0

    def again(self) -> None:
        self.wait(min(0.2 * 2**self._tries, _LONGEST_PAUSE))
        self._tries += 1

    def wait(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    def over(self) -> bool:
        return time.monotonic() >= self._until

    def to_be_told(self) -> bool:
        """Not each time: a line for the first failure, then one a minute or so."""
        return self._tries == 1 or self._tries % 6 == 0


class _Delivery:
    """A message that is not settled yet; the first verdict counts."""

    def __init__(self, channel: BlockingChannel, tag: int) -> None:
        self._channel, self._tag = channel, tag
        self.verdict: Verdict | None = None

    def settle(self, verdict: Verdict) -> None:
        """Called by the job's thread; the answer to the broker leaves from the loop's."""
        if self.verdict is None:
            self.verdict = verdict
            # A lost connection has handed the message back; start tells whoever gets it next whose job it is.
            with contextlib.suppress(AMQPError):
                answer = partial(_answer, self._channel, self._tag, verdict)
                self._channel.connection.add_callback_threadsafe(answer)


def _answer(channel: BlockingChannel, tag: int, verdict: Verdict) -> None:
    if not channel.is_open:
        return
    match verdict:
        case Verdict.ACCEPT:
            channel.basic_ack(tag)
        case Verdict.HAND_BACK:
            channel.basic_nack(tag, requeue=True)
        case Verdict.REFUSE:
            channel.basic_nack(tag, requeue=False)


def _reason(error: Exception) -> str:
    return str(error) or next((str(part) for part in error.args), "") or type(error).__name__


def _nothing() -> None:
    """Something for the loop to wake up for."""
