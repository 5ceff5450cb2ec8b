"""Jobs, as people see them."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from maestro.job.model import Job, Level, LogLine, Status
from maestro_api.dependencies import Caller, Idempotency, Jobs
from maestro_api.errors import documented
from maestro_api.gate import API
from maestro_api.openapi import example
from maestro_api.reply import Json, passed_through

router = APIRouter(prefix=f"{API}/jobs", tags=["jobs"])


# What `job_json` writes.
class JobOut(BaseModel):
    """One execution of an automation."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid") | example(
        {
            "id": "01a209be-81ee-706d-81fe-5fa0b1df12da",
            "automationId": 7,
            "userId": None,
            "status": "running",
            "parameters": {"month": "2026-11", "kinds": ["nfe"]},
            "result": None,
            "retryCount": 0,
            "startedAt": "2026-11-23T08:00:00.345678+00:00",
            "completedAt": None,
            "cancellationRequestedAt": None,
            "lastHeartbeatAt": "2026-11-23T08:00:30.456789+00:00",
            "createdAt": "2026-11-23T08:00:00.123456+00:00",
            "attempt": 1,
            "queue": "invoices",
            "scheduleId": 3,
            "scheduledFor": "2026-11-23T08:00:00+00:00",
            "errorClass": None,
            "startDeadline": None,
            "priority": 0,
            "progress": 0.25,
            "progressMessage": "page 1 of 4",
        }
    )

    id: UUID = Field(description="Of version 7: in the order of creation.")
    automation_id: int = Field(description="What is run.")
    user_id: str | None = Field(description="Who executed it; null for a schedule's.")
    status: Status
    parameters: dict[str, Any] = Field(description="What the worker gets: given ones over defaults.")
    result: Any = Field(description="What the worker reported at the end.")
    retry_count: int = Field(description="Attempts after the first that counted; those handed back do not.")
    started_at: datetime | None = Field(description="When the latest attempt began.")
    completed_at: datetime | None = Field(description="When it ended.")
    cancellation_requested_at: datetime | None = Field(description="When it was first asked to stop.")
    last_heartbeat_at: datetime | None = Field(
        description="The worker's last sign of life, to within some seconds."
    )
    created_at: datetime = Field(description="When it was accepted.")
    attempt: int = Field(description="0 before the first start.")
    queue: str = Field(description="Where workers get its message.")
    schedule_id: int | None = Field(description="The schedule that made it.")
    scheduled_for: datetime | None = Field(description="The schedule's nominal instant.")
    error_class: str | None = Field(description="Of a failed job; UNKNOWN when the worker named none.")
    start_deadline: datetime | None = Field(description="A job not started by then fails.")
    priority: int = Field(description="Higher first among jobs that wait for a concurrency slot.")
    progress: float | None = Field(description="0 to 1, as the worker last reported.")
    progress_message: str | None = Field(description="What the worker said with it.")


# What `line_json` writes.
class LogLineOut(BaseModel):
    """A log line."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid") | example(
        {
            "id": 4711,
            "jobId": "01a209be-81ee-706d-81fe-5fa0b1df12da",
            "timestamp": "2026-11-23T08:00:01.234567+00:00",
            "level": "INFO",
            "message": "fetching invoices of 2026-11",
            "actionable": False,
        }
    )

    id: int = Field(description="Grows within a job.")
    job_id: UUID = Field(description="Whose line it is.")
    timestamp: datetime = Field(description="When it was written.")
    level: Level
    message: str = Field(description="As it was sent: to be escaped where it is shown.")
    actionable: bool = Field(description="Somebody has to do something about it.")


def job_json(job: Job) -> dict[str, Any]:
    """A job in the contract's words, written by hand since lists and the hot calls are made of it."""
    return {
        "id": job.id,
        "automationId": job.automation_id,
        "userId": job.user_id,
        "status": job.status,
        "parameters": passed_through(job.parameters),
        "result": passed_through(job.result),
        "retryCount": job.retry_count,
        "startedAt": job.started_at,
        "completedAt": job.completed_at,
        "cancellationRequestedAt": job.cancellation_requested_at,
        "lastHeartbeatAt": job.last_heartbeat_at,
        "createdAt": job.created_at,
        "attempt": job.attempt,
        "queue": job.queue,
        "scheduleId": job.schedule_id,
        "scheduledFor": job.scheduled_for,
        "errorClass": job.error_class,
        "startDeadline": job.start_deadline,
        "priority": job.priority,
        "progress": job.progress,
        "progressMessage": job.progress_message,
    }


def line_json(line: LogLine) -> dict[str, Any]:
    """A log line in the contract's words."""
    return {
        "id": line.id,
        "jobId": line.job_id,
        "timestamp": line.logged_at,
        "level": line.level,
        "message": line.message,
        "actionable": line.actionable,
    }


@router.get("/{id}", response_model=JobOut, responses=documented(400, 404))
async def get_job(id: UUID, jobs: Jobs) -> Json:  # noqa: A002
    """One job."""
    return Json(job_json(await jobs.get(id)))


@router.get("/{id}/logs", response_model=list[LogLineOut], responses=documented(400, 404))
async def get_job_logs(
    id: UUID,  # noqa: A002
    jobs: Jobs,
    after: Annotated[int, Query(ge=0, le=2**63 - 1, description="Only lines with larger ids.")] = 0,
    limit: Annotated[int | None, Query(ge=1, description="Absent: all of them.")] = None,
) -> StreamingResponse:
    """The log lines, the oldest first."""
    portions = await jobs.lines(id, after=after, limit=limit)
    return StreamingResponse(_array(portions), media_type="application/json")


async def _array(portions: AsyncIterator[list[LogLine]]) -> AsyncIterator[bytes]:
    """Portions of lines as one JSON array."""
    opening = b"["
    async for portion in portions:
        # Each portion as an array of its own, less its brackets.
        yield opening + orjson.dumps([line_json(line) for line in portion])[1:-1]
        opening = b","
    yield b"[]" if opening == b"[" else b"]"


@router.post("/{id}/cancel", status_code=202, response_model=JobOut, responses=documented(400, 404, 409))
async def cancel_job(id: UUID, jobs: Jobs) -> Json:  # noqa: A002
    """A pending job is canceled at once, a running one asked to stop."""
    return Json(job_json(await jobs.cancel(id)), 202)


@router.post("/{id}/retry", status_code=202, response_model=JobOut, responses=documented(400, 404, 409, 422))
async def retry_job(id: UUID, jobs: Jobs, caller: Caller, key: Idempotency = None) -> Json:  # noqa: A002
    """A new job with the same parameters."""
    return Json(job_json(await jobs.retry(id, caller, key)), 202)
