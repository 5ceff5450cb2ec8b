"""What a job is: the words of the contract, a row of `jobs`, and what callers hand in."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


class Status(StrEnum):
    """pending → running → one of the four ends."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    COMPLETED_NO_INVOICES = "completed_no_invoices"
    FAILED = "failed"
    CANCELED = "canceled"


ENDS = frozenset(Status) - {Status.PENDING, Status.RUNNING}


class Level(StrEnum):
    """Of a log line, as the contract names them."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    WARN = "WARN"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A caller's name for one call: the same key with the same body is the same job, for 24 hours."""

    caller: str
    route: str
    """What was called and on what, such as `execute/7`."""
    key: str
    body_hash: bytes


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to accept. With `schedule_id`, `scheduled_for` is the nominal instant of the schedule's tick."""

    automation_id: int
    parameters: dict[str, Any]
    user_id: str | None = None
    schedule_id: int | None = None
    scheduled_for: datetime | None = None
    key: IdempotencyKey | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A row of `jobs` with its automation's queue and script path.

    `parameters` and `result` stay JSON text: they pass from the database to replies and messages unparsed, so
    exact and cheap.
    """

    id: UUID
    automation_id: int
    queue: str
    script_path: str
    status: Status
    parameters: str
    result: str | None
    user_id: str | None
    schedule_id: int | None
    scheduled_for: datetime | None
    attempt: int
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    cancellation_requested_at: datetime | None
    last_heartbeat_at: datetime | None
    publish_due_at: datetime | None
    start_deadline: datetime | None
    priority: int
    released: int
    error_class: str | None
    progress: float | None
    progress_message: str | None

    @property
    def ended(self) -> bool:
        return self.status in ENDS

    @property
    def retry_count(self) -> int:
        """Attempts after the first one that counted: those handed back do not."""
        return max(self.attempt - self.released - 1, 0)


@dataclass(frozen=True, slots=True)
class LogLine:
    """A row of `job_logs`."""

    id: int
    job_id: UUID
    logged_at: datetime
    level: Level
    message: str
    actionable: bool


@dataclass(frozen=True, slots=True)
class Start:
    """A worker begins a job. The token is of its own making; bots of the old kind have none."""

    job_id: UUID
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """The answer to a start: the attempt that runs now.

    `waited_since` is the job's creation when this call made its first attempt, None otherwise.
    """

    attempt: int
    waited_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """A worker hands a started job back: pending again, the attempt not counted."""

    job_id: UUID
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A sign of life of an attempt, with how far it has come (`progress` 0 to 1) when it tells so."""

    job_id: UUID
    token: str | None = None
    progress: float | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Beat:
    """The answer to a sign of life."""

    cancellation_requested: bool


@dataclass(frozen=True, slots=True)
class NewLine:
    """A log line as a worker sends it.

    `seq` is its number within the attempt and makes a resend harmless. `logged_at` is when it was written, by
    the worker's clock; absent means now.
    """

    job_id: UUID
    level: Level
    message: str
    actionable: bool = False
    seq: int | None = None
    token: str | None = None
    logged_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """How an attempt ended; `result` is JSON text."""

    job_id: UUID
    status: Status
    result: str | None = None
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs a list shows; None leaves the field open."""

    status: Status | None = None
    automation_id: int | None = None
    user_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
