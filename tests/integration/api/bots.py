"""Honest workers over REST: each takes a message, starts its job, finishes it, acknowledges."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pika
import requests

from integration.api.service import WORKER_KEY
from integration.servers import Broker

TRY_AGAIN = (requests.RequestException, pika.exceptions.AMQPError)


class Bots:
    """What they did: the jobs they ran, and the messages whose jobs were not theirs to run."""

    def __init__(self, root: str, broker: Broker, queue: str) -> None:
        self.ran: list[str] = []
        self.refused: list[str] = []
        self._root, self._broker, self._queue = root, broker, queue
        self._done = threading.Event()

    def serve(self) -> None:
        """Through every outage, until told to stop."""
        while not self._done.is_set():
            try:
                self._consume()
            except TRY_AGAIN:
                self._done.wait(0.2)

    def stop(self) -> None:
        self._done.set()

    def _consume(self) -> None:
        with self._broker.connect() as connection, requests.Session() as session:
            channel = connection.channel()
            channel.basic_qos(prefetch_count=1)
            for method, properties, _ in channel.consume(self._queue, inactivity_timeout=0.1):
                if self._done.is_set():
                    return
                if method is not None:
                    self._run(session, properties.message_id)
                    channel.basic_ack(method.delivery_tag)

    def _run(self, session: requests.Session, job: str) -> None:
        headers = {"X-Worker-API-Key": WORKER_KEY, "X-Attempt-Token": uuid4().hex}
        url = f"{self._root}/api/v1/worker/jobs/{job}"
        started = session.post(f"{url}/start", headers=headers, timeout=20)
        if started.status_code == 409:
            self.refused.append(job)
            return
        started.raise_for_status()
        end = {"status": "completed", "result": {"attempt": started.json()["attempt"]}}
        session.post(f"{url}/finish", json=end, headers=headers, timeout=20).raise_for_status()
        self.ran.append(job)


@contextmanager
def working(root: str, broker: Broker, queue: str, count: int = 2) -> Iterator[Bots]:
    """So many bots of one queue until the block ends."""
    bots = Bots(root, broker, queue)
    threads = [threading.Thread(target=bots.serve) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield bots
    finally:
        bots.stop()
        for thread in threads:
            thread.join(30)
