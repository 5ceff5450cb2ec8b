"""GET /metrics and its parts: figures for people. What Prometheus reads is another thing, at the root."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from maestro.job.model import Status
from maestro.job.statistics import RECENT, Range
from maestro_api.dependencies import Statistics
from maestro_api.errors import documented
from maestro_api.gate import API
from maestro_api.openapi import example
from maestro_api.reply import Json
from maestro_api.services.statistics import Record, Slot

router = APIRouter(prefix=f"{API}/metrics", tags=["statistics"])

_FRESH = (
    "Jobs count where they ended, and succeeded if completed or completed_no_invoices. Figures are exact and "
    "some 2 seconds old at most; jobs put into the past or taken out of it (imports) show within 10 minutes."
)
_RATE = "succeeded / (succeeded + failed), 0 to 1; null when there are none."

RangeQuery = Annotated[
    Range, Query(alias="range", description="How far to look back from now: 24 hours, 7 or 30 days.")
]


class _Out(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")


class OverviewOut(_Out):
    """What is going on. The names say 24h; with another `range` they are of that."""

    model_config = example(
        {
            "running": 2,
            "pending": 5,
            "completedToday": 31,
            "failedLast24h": 1,
            "canceledLast24h": 0,
            "totalLast24h": 40,
            "successRate24h": 0.97,
        }
    )

    running: int = Field(description="Now.")
    pending: int = Field(description="Now.")
    completed_today: int = Field(
        description="Succeeded since midnight in the server's default time zone, whatever the range."
    )
    failed: int = Field(alias="failedLast24h", description="Failed within the range.")
    canceled: int = Field(alias="canceledLast24h", description="Canceled within the range.")
    total: int = Field(alias="totalLast24h", description="Ended within the range.")
    success_rate: float | None = Field(
        alias="successRate24h", description=f"Of the range: {_RATE}", examples=[0.97]
    )


class SlotOut(_Out):
    """An hour, or a day where the range is of days."""

    model_config = example({"hour": "2026-11-23T08:00:00-03:00", "total": 12, "succeeded": 11, "failed": 1})

    hour: datetime = Field(description="Its first instant, in the server's default time zone.")
    total: int = Field(description="Ended in it.")
    succeeded: int = Field(description="Of the total, those completed, with invoices or without.")
    failed: int = Field(description="Of the total.")


class RecordOut(_Out):
    """An automation's jobs within the range."""

    model_config = example(
        {
            "automationId": 7,
            "name": "Invoices of the month",
            "total": 12,
            "succeeded": 10,
            "failed": 1,
            "canceled": 1,
            "successRate": 0.91,
            "manual": 2,
            "scheduled": 10,
            "durationP50S": 41.5,
            "durationP95S": 130.2,
            "lastStatus": "completed",
            "lastRunAt": "2026-11-23T08:00:00.345678+00:00",
            "recent": ["completed", "failed", "completed"],
        }
    )

    automation_id: int = Field(description="What was run.")
    name: str = Field(description="The automation's, as it is now or was last.")
    total: int = Field(description="Ended within the range.")
    succeeded: int = Field(description="Of the total, those completed, with invoices or without.")
    failed: int = Field(description="Of the total.")
    canceled: int = Field(description="Of the total.")
    success_rate: float | None = Field(description=_RATE, examples=[0.97])
    manual: int = Field(description="Of the total, those that no schedule made.")
    scheduled: int = Field(description="Of the total, those that a schedule made.")
    median: float | None = Field(
        alias="durationP50S",
        description="Seconds from the last start to the end that half of those that succeeded or failed took "
        "at most, to within 1 %.",
    )
    p95: float | None = Field(alias="durationP95S", description="The same of 95 % of them.")
    last_status: Status | None = Field(description="How the latest job ended, whatever the range.")
    last_run_at: datetime | None = Field(description="When that began; its end where it never did.")
    recent: list[Status] = Field(
        max_length=RECENT,
        description=f"How up to {RECENT} latest jobs ended, the last one first, whatever the range.",
    )


class ErrorClassOut(_Out):
    """An error class of failed jobs."""

    error_class: str = Field(
        description="As the results name it; UNKNOWN where they name none.", examples=["PORTAL_DOWN"]
    )
    count: int = Field(description="How many jobs failed with it.", examples=[3])


@router.get(
    "",
    response_model=OverviewOut,
    summary="What is going on",
    description=_FRESH,
    responses=documented(400),
)
async def overview(statistics: Statistics, range_: RangeQuery = Range.DAY) -> Json:
    found = await statistics.overview(range_)
    return Json(
        {
            "running": found.open.running,
            "pending": found.open.pending,
            "completedToday": found.today,
            "failedLast24h": found.ended.failed,
            "canceledLast24h": found.ended.canceled,
            "totalLast24h": found.ended.total,
            "successRate24h": found.ended.success_rate,
        }
    )


@router.get(
    "/jobs-per-hour",
    response_model=list[SlotOut],
    summary="By hour, or by day",
    description="The last 24 hours by hour, this one included; 7 or 30 days by day, today included. The "
    f"earliest comes first and none is left out. {_FRESH}",
    responses=documented(400),
)
async def jobs_per_hour(statistics: Statistics, range_: RangeQuery = Range.DAY) -> Json:
    return Json([_slot_json(slot) for slot in await statistics.series(range_)])


@router.get(
    "/automations",
    response_model=list[RecordOut],
    summary="By automation",
    description=f"Those in use, and deleted ones that had jobs in the range, by id. {_FRESH}",
    responses=documented(400),
)
async def by_automation(statistics: Statistics, range_: RangeQuery = Range.DAY) -> Json:
    return Json([_record_json(record) for record in await statistics.automations(range_)])


@router.get(
    "/error-classes",
    response_model=list[ErrorClassOut],
    summary="By error class",
    description=f"Of the jobs that failed within the range, the commonest first. {_FRESH}",
    responses=documented(400),
)
async def by_error_class(statistics: Statistics, range_: RangeQuery = Range.DAY) -> Json:
    found = await statistics.errors(range_)
    return Json([{"errorClass": error_class, "count": count} for error_class, count in found])


def _slot_json(slot: Slot) -> dict[str, Any]:
    counts = slot.counts
    return {"hour": slot.begin, "total": counts.total, "succeeded": counts.succeeded, "failed": counts.failed}


def _record_json(record: Record) -> dict[str, Any]:
    ended, latest = record.ended, record.automation
    median, p95 = record.percentiles
    return {
        "automationId": latest.automation_id,
        "name": latest.name,
        "total": ended.total,
        "succeeded": ended.succeeded,
        "failed": ended.failed,
        "canceled": ended.canceled,
        "successRate": ended.success_rate,
        "manual": ended.manual,
        "scheduled": ended.scheduled,
        "durationP50S": median,
        "durationP95S": p95,
        "lastStatus": latest.statuses[0] if latest.statuses else None,
        "lastRunAt": latest.ran_at,
        "recent": latest.statuses,
    }
