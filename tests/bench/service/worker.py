"""A worker in plain pika and http.client that does nothing but start and finish each job it is handed.

`python -m bench.service.worker QUEUE SLOTS`, until SIGTERM.
"""

import http.client
import json
import os
import sys
import threading
import traceback
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pika

from bench.service import ages

_FINISHED = json.dumps({"status": "completed"})
_mine = threading.local()


def main() -> None:
    queue, slots = sys.argv[1], int(sys.argv[2])
    connection = pika.BlockingConnection(pika.URLParameters(os.environ["BENCH_AMQP_URL"]))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=slots)
    with ThreadPoolExecutor(slots) as threads:

        def receive(_: Any, method: Any, __: Any, body: bytes) -> None:
            message = json.loads(body)
            ages.note("received", message["parameters"].get("sent", 0))
            threads.submit(do, message, method.delivery_tag)

        def do(message: dict[str, Any], tag: int) -> None:
            try:
                _work(message)
            except (OSError, http.client.HTTPException, RuntimeError):
                traceback.print_exc()
                os._exit(1)  # one failed job fails the scenario
            connection.add_callback_threadsafe(lambda: channel.basic_ack(tag))

        channel.basic_consume(queue, receive)
        channel.start_consuming()


def _work(message: dict[str, Any]) -> None:
    attempt = {"X-Attempt-Token": str(uuid.uuid4())}
    _call(message["job_id"], "start", "{}", attempt)
    ages.note("started", message["parameters"].get("sent", 0))
    _call(message["job_id"], "finish", _FINISHED, attempt)


def _call(job_id: str, what: str, body: str, attempt: dict[str, str]) -> None:
    if not hasattr(_mine, "connection"):
        _mine.connection = http.client.HTTPConnection(
            "127.0.0.1", int(os.environ["BENCH_API_PORT"]), timeout=30
        )
    credentials = {"X-Worker-API-Key": os.environ["BENCH_WORKER_KEY"], "Content-Type": "application/json"}
    _mine.connection.request("POST", f"/api/v1/worker/jobs/{job_id}/{what}", body, credentials | attempt)
    reply = _mine.connection.getresponse()
    text = reply.read()
    if reply.status != 200:
        raise RuntimeError(f"{what}: {reply.status} {text[:200]!r}")


if __name__ == "__main__":
    main()
