"""Hands a job's log lines to the API from a thread of its own, in batches, in order, each once."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from itertools import count
from typing import Any

from maestro import metrics
from maestro.worker.api import ApiAwayError, ApiRefusedError, JobApi
from maestro.worker.lines import Line

logger = logging.getLogger(__name__)

GATHERED_SECONDS = 0.05
BATCH_LINES = 200
BATCH_CHARACTERS = 131_072
ROOM_LINES = 20_000
ROOM_CHARACTERS = 16 * 1_048_576


class LogDelivery:
    """A bounded line-up of lines and the thread that empties it. Use as a context manager."""

    def __init__(self, api: JobApi, retry_seconds: float) -> None:
        self._api, self._retry_seconds = api, retry_seconds
        self._waiting: deque[dict[str, Any]] = deque()
        self._characters = 0
        self._numbers = count(1)
        self._changed = threading.Condition()
        self._closed = self._refused = False
        self._dropped = 0
        self._thread = threading.Thread(target=self._deliver, name="log-delivery", daemon=True)

    def __enter__(self) -> LogDelivery:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def put(self, line: Line) -> None:
        """Take one line. Never blocks: whoever writes much asks `has_room` first."""
        with self._changed:
            self._waiting.append(self._numbered(line))
            metrics.WORKER_BACKLOG.inc()
            self._characters += len(line.message)
            self._changed.notify()

    def has_room(self) -> bool:
        """Whether the API keeps up; while it does not, the bot waits rather than a line being lost."""
        return len(self._waiting) < ROOM_LINES and self._characters < ROOM_CHARACTERS

    def close(self) -> None:
        """Return when every line has been delivered (or was refused for good)."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        metrics.WORKER_LINES_LOST.inc(self._dropped)
        if self._dropped:
            logger.error("%d log lines of the job were not taken by the API and are lost.", self._dropped)

    def _numbered(self, line: Line) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "level": line.level,
            "message": line.message,
            "timestamp": line.timestamp.isoformat(),
            "seq": next(self._numbers),
        }
        return fields | {"actionable": True} if line.actionable else fields

    def _deliver(self) -> None:
        while batch := self._next_batch():
            self._send(batch)
            metrics.WORKER_BACKLOG.dec(len(batch))

    def _next_batch(self) -> list[dict[str, Any]]:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            full_at = time.monotonic() + GATHERED_SECONDS
            while not self._closed and len(self._waiting) < BATCH_LINES:
                left = full_at - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            return self._take()

    def _take(self) -> list[dict[str, Any]]:
        batch: list[dict[str, Any]] = []
        characters = 0
        while self._waiting and len(batch) < BATCH_LINES:
            characters += len(self._waiting[0]["message"])
            if batch and characters > BATCH_CHARACTERS:
                break
            batch.append(self._waiting.popleft())
        self._characters -= sum(len(line["message"]) for line in batch)
        return batch

    def _send(self, batch: list[dict[str, Any]]) -> None:
        if self._refused:
            self._dropped += len(batch)
            return
        try:
            self._api.logs(batch, self._retry_seconds)
            metrics.WORKER_LINES.inc(len(batch))
        except ApiRefusedError as error:
            self._after_refusal(batch, error)
        except ApiAwayError as error:
            logger.error("%s", error)
            self._dropped += len(batch)

    def _after_refusal(self, batch: list[dict[str, Any]], error: ApiRefusedError) -> None:
        if error.status in (400, 413, 422) and len(batch) > 1:
            # One line spoils the others: find it by halves.
            middle = len(batch) // 2
            self._send(batch[:middle])
            self._send(batch[middle:])
            return
        logger.error("The API refused %d log lines: %s", len(batch), error)
        self._dropped += len(batch)
        # Not ours any more, or the key is no longer taken: the next batch would fare no better.
        self._refused = error.status not in (400, 413, 422)
