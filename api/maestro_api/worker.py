"""What workers call, in the contract's snake_case."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, BeforeValidator, Field, StrictBool, TypeAdapter, ValidationError

from maestro import jsontext
from maestro.errors import BadInput
from maestro.job.model import Finish, Heartbeat, Level, NewLine, Release, Start, Status
from maestro_api import body
from maestro_api.dependencies import AttemptToken, Workers
from maestro_api.errors import documented, sentence
from maestro_api.gate import API
from maestro_api.openapi import example
from maestro_api.reply import Json

router = APIRouter(prefix=f"{API}/worker/jobs", tags=["workers"])

MOST_LINES = 1_000


def _moment(sent: object) -> datetime:
    """Strict, since pydantic would take numbers and dates for times as well."""
    try:
        moment = datetime.fromisoformat(sent.upper()) if isinstance(sent, str) and ":" in sent else None
    except ValueError:
        moment = None
    if moment is None:
        raise ValueError("write a time such as 2026-11-23T08:00:00Z")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


Moment = Annotated[datetime, BeforeValidator(_moment)]


class LineIn(body.Input):
    """A log line."""

    model_config = example({"level": "INFO", "message": "fetching invoices of 2026-11", "seq": 12})

    level: Level
    message: str = Field(description="Any text; what can't be stored of it is made visible.")
    actionable: StrictBool | None = Field(None, description="Somebody has to do something about it.")
    seq: Annotated[int, Field(ge=0, le=2**63 - 1), body.WHOLE] | None = Field(
        None,
        description="The line's number within the attempt; makes sending it again harmless.",
    )
    timestamp: Moment | None = Field(
        None,
        description="When it was written, UTC unless it says otherwise; absent, and when it lies ahead: now.",
    )


class FinishIn(body.Input):
    """How the job ended."""

    model_config = example(
        {
            "status": "failed",
            "result": {
                "error": "The portal answered 503.",
                "error_type": "PortalError",
                "error_class": "PORTAL_DOWN",
            },
        }
    )

    status: Literal["completed", "completed_no_invoices", "failed", "canceled"] = Field(
        description="A failed job is tried again where its automation's retry policy says so."
    )
    result: Any = Field(
        None,
        description="Any JSON. By convention an object with error, error_type and error_class, "
        "partial_success, summary {ok, failed, no_data, skipped}.",
    )


class HeartbeatIn(body.Input):
    """How far the job has come; both may be left out."""

    model_config = example({"progress": 0.25, "message": "page 1 of 4"})

    progress: float | None = Field(None, ge=0, le=1, strict=True, description="From 0 to 1.")
    message: str | None = Field(None, max_length=1024, description="What the bot is doing.")


_MESSAGE = "For people."
_JOB = "The job called about."
_STATUS = "The job's state now."


class StartOut(BaseModel):
    """The attempt that runs now."""

    model_config = example(
        {
            "message": "job started",
            "job_id": "01a209be-81ee-706d-81fe-5fa0b1df12da",
            "status": "running",
            "attempt": 1,
        }
    )

    message: str = Field(description=_MESSAGE)
    job_id: UUID = Field(description=_JOB)
    status: Literal["running"] = Field(description=_STATUS)
    attempt: int = Field(description="How often the job has been started, this time included.")


class LogOut(BaseModel):
    """The line is kept."""

    model_config = example({"message": "log line kept", "log_id": 4711})

    message: str = Field(description=_MESSAGE)
    log_id: int = Field(description="The line's id; of one sent before, its first.")


class LogsOut(BaseModel):
    """The lines are kept; their ids are in the order they were sent in."""

    model_config = example({"message": "log lines kept", "log_ids": [4711, 4712]})

    message: str = Field(description=_MESSAGE)
    log_ids: list[int] = Field(description="The lines' ids; of those sent before, their first.")


class FinishOut(BaseModel):
    """The job has ended."""

    model_config = example(
        {
            "message": "job finished",
            "job_id": "01a209be-81ee-706d-81fe-5fa0b1df12da",
            "status": "failed",
        }
    )

    message: str = Field(description=_MESSAGE)
    job_id: UUID = Field(description=_JOB)
    status: Status = Field(description="As it was reported.")


class ReleaseOut(BaseModel):
    """The job is handed back: pending, or canceled where that was asked for."""

    model_config = example(
        {
            "message": "job released",
            "job_id": "01a209be-81ee-706d-81fe-5fa0b1df12da",
            "status": "pending",
        }
    )

    message: str = Field(description=_MESSAGE)
    job_id: UUID = Field(description=_JOB)
    status: Status = Field(description=_STATUS)


class StatusOut(BaseModel):
    """Where the job stands."""

    model_config = example(
        {
            "status": "running",
            "terminal": False,
            "started_at": "2026-11-23T08:00:00.345678+00:00",
            "completed_at": None,
            "last_heartbeat_at": "2026-11-23T08:00:30.456789+00:00",
            "cancellation_requested_at": None,
            "retry_count": 0,
        }
    )

    status: Status = Field(description=_STATUS)
    terminal: bool = Field(description="Whether it has ended: then drop its message.")
    started_at: datetime | None = Field(description="When the latest attempt began.")
    completed_at: datetime | None = Field(description="When it ended.")
    last_heartbeat_at: datetime | None = Field(description="The last sign of life, to within some seconds.")
    cancellation_requested_at: datetime | None = Field(description="When it was first asked to stop.")
    retry_count: int = Field(description="Attempts after the first that counted; those handed back do not.")


class CancellationOut(BaseModel):
    """Whether to stop."""

    model_config = example({"cancellation_requested": False})

    cancellation_requested: bool = Field(
        description="Somebody asked for it, or the job has ended without this attempt: stop."
    )


Line = Annotated[LineIn, Depends(body.read_as(LineIn))]
Pulse = Annotated[HeartbeatIn, Depends(body.read_as(HeartbeatIn, required=False))]
End = Annotated[FinishIn, Depends(body.read_as(FinishIn))]

_LINES = TypeAdapter(list[LineIn])


@router.post("/{id}/start", response_model=StartOut, responses=documented(400, 404, 409))
async def start(id: UUID, workers: Workers, token: AttemptToken = None) -> Json:  # noqa: A002
    """Begins an attempt. The same token again is the same attempt; while another runs, a token gives 409."""
    attempt = await workers.start(Start(id, token))
    return Json({"message": "job started", "job_id": id, "status": Status.RUNNING, "attempt": attempt})


@router.post(
    "/{id}/log",
    status_code=201,
    response_model=LogOut,
    responses=documented(400, 404, 409, 413),
    openapi_extra=body.described_by(LineIn),
)
async def log(id: UUID, line: Line, workers: Workers, token: AttemptToken = None) -> Json:  # noqa: A002
    """Keeps a log line."""
    [log_id] = await workers.append([_new_line(id, line, token)])
    return Json({"message": "log line kept", "log_id": log_id}, 201)


@router.post(
    "/{id}/logs",
    status_code=201,
    response_model=LogsOut,
    responses=documented(400, 404, 409, 413),
    openapi_extra={
        "requestBody": {
            "required": False,
            "description": "An array, or one object a line; nothing at all is no lines.",
            "content": {
                "application/json": {
                    "schema": {
                        "type": "array",
                        "maxItems": MOST_LINES,
                        "items": {"$ref": "#/components/schemas/LineIn"},
                    }
                },
                "application/x-ndjson": {"schema": {"$ref": "#/components/schemas/LineIn"}},
            },
        }
    },
)
async def logs(id: UUID, request: Request, workers: Workers, token: AttemptToken = None) -> Json:  # noqa: A002
    """Keeps up to 1,000 log lines, all or none: a JSON array, or one object per line."""
    lines = _lines(await body.raw(request))
    log_ids = await workers.append([_new_line(id, line, token) for line in lines]) if lines else []
    return Json({"message": "log lines kept", "log_ids": log_ids}, 201)


@router.post(
    "/{id}/finish",
    response_model=FinishOut,
    responses=documented(400, 404, 409, 413),
    openapi_extra=body.described_by(FinishIn),
)
async def finish(id: UUID, end: End, workers: Workers, token: AttemptToken = None) -> Json:  # noqa: A002
    """Ends the job. The same content again changes nothing; other content gives 409."""
    result = None if end.result is None else jsontext.dump(end.result)
    status = await workers.finish(Finish(id, Status(end.status), result, token))
    return Json({"message": "job finished", "job_id": id, "status": status})


@router.get("/{id}/status", response_model=StatusOut, responses=documented(400, 404))
async def status(id: UUID, workers: Workers) -> Json:  # noqa: A002
    """Where the job stands; asking changes nothing."""
    job = await workers.status(id)
    return Json(
        {
            "status": job.status,
            "terminal": job.ended,
            "started_at": job.started_at,
            "completed_at": job.completed_at,
            "last_heartbeat_at": job.last_heartbeat_at,
            "cancellation_requested_at": job.cancellation_requested_at,
            "retry_count": job.retry_count,
        }
    )


@router.get("/{id}/cancellation", response_model=CancellationOut, responses=documented(400, 404, 409))
async def cancellation(id: UUID, workers: Workers, token: AttemptToken = None) -> Json:  # noqa: A002
    """Whether somebody asked to cancel; asking counts as a heartbeat."""
    return Json({"cancellation_requested": await workers.beat(Heartbeat(id, token))})


@router.post(
    "/{id}/heartbeat",
    response_model=CancellationOut,
    responses=documented(400, 404, 409, 413),
    openapi_extra=body.described_by(HeartbeatIn, required=False),
)
async def heartbeat(id: UUID, pulse: Pulse, workers: Workers, token: AttemptToken = None) -> Json:  # noqa: A002
    """A sign of life, with how far the job has come; answers whether somebody asked to cancel."""
    message = None if pulse.message is None else jsontext.storable(pulse.message)
    beat = Heartbeat(id, token, pulse.progress, message)
    return Json({"cancellation_requested": await workers.beat(beat)})


@router.post("/{id}/release", response_model=ReleaseOut, responses=documented(400, 404, 409))
async def release(id: UUID, workers: Workers, token: AttemptToken = None) -> Json:  # noqa: A002
    """Hands a started job back: pending again and published anew, the attempt not counted."""
    status = await workers.release(Release(id, token))
    return Json({"message": "job released", "job_id": id, "status": status})


def _new_line(job_id: UUID, line: LineIn, token: str | None) -> NewLine:
    return NewLine(
        job_id, line.level, line.message, line.actionable or False, line.seq, token, line.timestamp
    )


def _lines(sent: bytes) -> list[LineIn]:
    text = sent.strip()
    parsed = jsontext.parse(text) if text.startswith(b"[") else _parsed_each(text)
    if len(parsed) > MOST_LINES:
        raise BadInput(f"{len(parsed)} lines are too many for one call; send at most {MOST_LINES}.")
    try:
        return _LINES.validate_python(parsed)
    except ValidationError as error:
        raise BadInput(sentence(error)) from None


def _parsed_each(text: bytes) -> list[Any]:
    return [jsontext.parse(line) for line in text.splitlines() if line.strip()]
