"""`maestro worker`: the process."""

from __future__ import annotations

import logging
import signal
import sys
from typing import Any

from pydantic import ValidationError

from maestro import metrics
from maestro.errors import BadInput
from maestro.worker.api import connect
from maestro.worker.consumer import Consumer
from maestro.worker.settings import WorkerSettings


def main() -> int:
    """Serve the queue until SIGTERM or Ctrl-C; the job in hand is finished first."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # the consumer says the same in one line
    try:
        settings = WorkerSettings.model_validate({})
    except ValidationError as error:
        for fault in error.errors():
            sys.stderr.write(f"maestro worker: {_sentence(fault)}\n")
        return 2
    try:
        _serve(settings)
    except BadInput as error:
        sys.stderr.write(f"maestro worker: {error}\n")
        return 2
    return 0


def _serve(settings: WorkerSettings) -> None:
    consumer = Consumer(settings, connect(settings.worker_key.get_secret_value()))
    with metrics.served(metrics.Registry(metrics.WORKER), settings.metrics_port):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: consumer.stop())
        consumer.serve()


def _sentence(fault: Any) -> str:
    name = "_".join(str(part) for part in fault["loc"]).upper()
    if not name:
        return str(fault["msg"]).removeprefix("Value error, ")
    return f"set MAESTRO_{name}" if fault["type"] == "missing" else f"MAESTRO_{name}: {fault['msg']}"


if __name__ == "__main__":
    sys.exit(main())
