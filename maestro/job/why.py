"""Why a pending job waits: one code and one sentence, from what is known of it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from maestro.automation.model import Suspension
from maestro.db import Connection, Statements
from maestro.errors import NotFound
from maestro.job.model import Status

_SQL = Statements(__package__, "why.sql")

MOST_AHEAD = 1_000
"""A line longer than this is not counted."""

OVERDUE = timedelta(seconds=10)
"""A debt is paid within a second of its time while broker and dispatcher are there."""

SEEN_LATELY = timedelta(seconds=60)
"""What was seen of a queue longer ago tells nothing of now."""


class Code(StrEnum):
    """Why a job waits, or that it does not. The first one that holds is told."""

    RUNNING = "RUNNING"
    ENDED = "ENDED"
    SUSPENDED = "SUSPENDED"
    BACKING_OFF = "BACKING_OFF"
    CONCURRENCY_LIMIT = "CONCURRENCY_LIMIT"
    BROKER_AWAY = "BROKER_AWAY"
    WORKER_UNSCHEDULABLE = "WORKER_UNSCHEDULABLE"
    WORKER_IMAGE_PULL_FAILED = "WORKER_IMAGE_PULL_FAILED"
    WORKER_CONTAINER_REFUSED = "WORKER_CONTAINER_REFUSED"
    WORKER_CRASH_LOOPING = "WORKER_CRASH_LOOPING"
    WORKER_PODS_REFUSED = "WORKER_PODS_REFUSED"
    WORKERS_SCALED_TO_ZERO = "WORKERS_SCALED_TO_ZERO"
    WORKERS_STARTING = "WORKERS_STARTING"
    WORKERS_NOT_READY = "WORKERS_NOT_READY"
    NO_WORKER = "NO_WORKER"
    IN_LINE = "IN_LINE"
    PUBLISHING = "PUBLISHING"


# By the reason of the Automation's condition WorkersAvailable.
_WORKER_CODES = {
    "WorkerUnschedulable": Code.WORKER_UNSCHEDULABLE,
    "ImagePullFailed": Code.WORKER_IMAGE_PULL_FAILED,
    "ContainerRefused": Code.WORKER_CONTAINER_REFUSED,
    "CrashLooping": Code.WORKER_CRASH_LOOPING,
    "PodsRefused": Code.WORKER_PODS_REFUSED,
    "ScaledToZero": Code.WORKERS_SCALED_TO_ZERO,
    "PodsStarting": Code.WORKERS_STARTING,
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What tells why a job waits, as of `now`."""

    status: Status
    attempt: int
    attempt_open: bool
    attempt_end: str | None
    attempt_error_class: str | None
    """As the last attempt itself reported it."""
    waits_for_slot: bool
    publish_due_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    cancellation_requested_at: datetime | None
    error_class: str | None
    automation_id: int
    queue: str
    managed: bool
    worker_state: dict[str, Any] | None
    max_concurrency: int | None
    consumers: int | None
    """Seen at `seen_at`; None where nobody has looked yet."""
    seen_at: datetime | None
    now: datetime
    slots_held: int | None
    ahead: int
    """Jobs before it in the line it stands in: for a slot, or in its queue."""


@dataclass(frozen=True, slots=True)
class Why:
    """The answer."""

    code: Code
    sentence: str


async def facts(conn: Connection, job_id: UUID) -> Facts:
    """Raises NotFound."""
    cursor = await conn.execute(_SQL["facts"], {"id": job_id, "most": MOST_AHEAD + 1})
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"There is no job {job_id}.")
    return Facts(**{**row, "status": Status(row["status"])})


def why(facts: Facts, suspension: Suspension | None, *, broker_there: bool) -> Why:
    """The first reason that holds. `broker_there`: whether this process is connected to it."""
    if facts.status is Status.RUNNING:
        return Why(Code.RUNNING, _running(facts))
    if facts.status is not Status.PENDING:
        return Why(Code.ENDED, _ended(facts))
    if suspension:
        return Why(Code.SUSPENDED, f"Its automation publishes no jobs now. {suspension.message}")
    if found := _backing_off(facts) or _limited(facts) or _overdue(facts):
        return found
    if not broker_there:
        return Why(Code.BROKER_AWAY, "RabbitMQ is away; the job goes on once it is back.")
    return _worker(facts) or _no_worker(facts) or _in_line(facts) or _publishing(facts)


def _running(facts: Facts) -> str:
    sentence = f"It is running since {_instant(facts.started_at)}, in attempt {facts.attempt}"
    if facts.cancellation_requested_at:
        sentence += f", and was asked to stop at {_instant(facts.cancellation_requested_at)}"
    return f"{sentence}."


def _ended(facts: Facts) -> str:
    because = f" with {facts.error_class}" if facts.error_class else ""
    return f"It ended at {_instant(facts.completed_at)}: {facts.status}{because}."


def _backing_off(facts: Facts) -> Why | None:
    due = facts.publish_due_at
    if due is None or due <= facts.now or not facts.attempt:
        return None
    # A rescued attempt is still open, and a job handed back is published again at once.
    if facts.attempt_open or facts.attempt_end == "released":
        return None
    cause = f" with {facts.attempt_error_class}" if facts.attempt_error_class else ""
    sentence = f"Attempt {facts.attempt} failed{cause}; the next one is published at {_instant(due)}."
    return Why(Code.BACKING_OFF, sentence)


def _limited(facts: Facts) -> Why | None:
    if not facts.waits_for_slot:
        return None
    limit = facts.max_concurrency
    if limit is None:
        return Why(
            Code.CONCURRENCY_LIMIT, "Its automation's maxConcurrency is gone; it is published shortly."
        )
    sentence = (
        f"{facts.slots_held} of the {limit} jobs that its automation's maxConcurrency allows are handed out "
        f"or running; {_jobs(facts.ahead)} {_wait(facts.ahead)} before it."
    )
    return Why(Code.CONCURRENCY_LIMIT, sentence)


def _overdue(facts: Facts) -> Why | None:
    due = facts.publish_due_at
    if due is None or due > facts.now - OVERDUE:
        return None
    sentence = f"It should have been published at {_instant(due)}; RabbitMQ or the dispatcher is away."
    return Why(Code.BROKER_AWAY, sentence)


def _worker(facts: Facts) -> Why | None:
    state = facts.worker_state
    if not facts.managed or state is None or state["readyReplicas"]:
        return None
    code = _WORKER_CODES.get(state["reason"], Code.WORKERS_NOT_READY)
    return Why(code, f"No worker of its automation is ready. {state['message']}")


def _no_worker(facts: Facts) -> Why | None:
    if facts.consumers != 0 or facts.seen_at is None or facts.seen_at < facts.now - SEEN_LATELY:
        return None
    what_to_do = (
        "see the condition WorkersAvailable of its Automation" if facts.managed else "start one to run it"
    )
    return Why(Code.NO_WORKER, f"No worker consumes its queue {facts.queue}; {what_to_do}.")


def _in_line(facts: Facts) -> Why | None:
    if facts.publish_due_at is not None:
        return None
    if not facts.ahead:
        sentence = f"It is the oldest job in its queue {facts.queue}; the next worker that is free takes it."
    else:
        sentence = f"{_jobs(facts.ahead)} made before it {_wait(facts.ahead)} in its queue {facts.queue}."
    return Why(Code.IN_LINE, sentence)


def _publishing(facts: Facts) -> Why:
    return Why(Code.PUBLISHING, f"Its message is on the way to its queue {facts.queue}.")


def _jobs(count: int) -> str:
    if count > MOST_AHEAD:
        return f"More than {MOST_AHEAD} jobs"
    return "1 job" if count == 1 else f"{count} jobs"


def _wait(count: int) -> str:
    return "waits" if count == 1 else "wait"


def _instant(moment: datetime | None) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else "an unknown time"
