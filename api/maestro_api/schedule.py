"""Schedules: definitions as custom resources, what became of their instants, and what is to come."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool
from pydantic.alias_generators import to_camel
from starlette.convertors import StringConvertor, register_url_convertor

from maestro.job.model import Status
from maestro.schedule.model import Schedule
from maestro.schedule.occurrences import Occurrence
from maestro.schedule.timing import Fate
from maestro.schedule.upcoming import Upcoming
from maestro_api import body
from maestro_api.dependencies import Force, Id, Schedules
from maestro_api.errors import documented
from maestro_api.gate import API
from maestro_api.openapi import example
from maestro_api.reply import Json, whole

router = APIRouter(prefix=f"{API}/schedules", tags=["schedules"])


class _NoCall(StringConvertor):
    """Any id, if a wrong one, but not the name of a call beside it, which has methods of its own."""

    regex = "(?!preview$)[^/]+"


register_url_convertor("schedule", _NoCall())
ONE = "/{id:schedule}"

Object = dict[str, Any]

MOST_OCCURRENCES = 200
MOST_UPCOMING = 100

Policy = Literal["Allow", "Forbid", "Replace", "Queue"]
OnHoliday = Literal["Skip", "Previous", "Next", "Run"]
Outcome = Literal["waiting", "fired", "shifted", "late", "caught_up", "skipped", "merged", "missed"]
Name = Annotated[str, Field(min_length=1, max_length=253)]

_CRON = "Five fields, or @hourly, @daily, @weekly, @monthly, @yearly; L is the last day of the month."
_ON_HOLIDAY = "What becomes of a run on a day that the calendar closes; absent: Skip."


class CatchUp(body.Input):
    """What becomes of runs that were due while Maestro was away; what is left out has its default."""

    policy: Literal["None", "Last", "All"] = Field(
        "Last", description="None runs nothing late, Last the latest run, All every one, 100 at most."
    )
    window_seconds: Annotated[int, Field(ge=1, le=2_592_000), body.WHOLE] = Field(
        3600, description="Runs that are later than this are missed."
    )


class _ScheduleFields(body.Input):
    concurrency_policy: Policy | None = Field(
        None, description="When a job of it is open yet: make another, skip, replace it, or wait for it."
    )
    starting_deadline_seconds: Annotated[int, Field(ge=1, le=31_536_000), body.WHOLE] | None = Field(
        None, description="A run that is later than this is missed."
    )
    catch_up: CatchUp | None = Field(None, description="Replaces the one there is.")
    jitter_seconds: Annotated[int, Field(ge=0, le=86_400), body.WHOLE] | None = Field(
        None, description="Each run starts up to so much later, always as much for one schedule."
    )
    calendar: Name | None = Field(None, description="A BusinessCalendar's metadata.name.")
    on_holiday: OnHoliday | None = Field(None, description=_ON_HOLIDAY)
    start_time: body.Moment | None = Field(None, description="No run's nominal time is before it.")
    end_time: body.Moment | None = Field(None, description="No run's nominal time is after it.")

    def spec(self) -> Object:
        """The fields that were given, by their names in the custom resource. Null means not given."""
        given = self.model_dump(by_alias=True, exclude_none=True, exclude={"automation_id"})
        if "cronExpression" in given:
            given["cron"] = given.pop("cronExpression")
        if "isEnabled" in given:
            given["suspend"] = not given.pop("isEnabled")
        return given


class NewSchedule(_ScheduleFields):
    """A schedule to create."""

    model_config = example(
        {
            "automationId": 7,
            "cronExpression": "30 7 * * 1-5",
            "timeZone": "America/Sao_Paulo",
            "parameters": {"from": "{{first_of_last_month}}", "to": "{{last_of_last_month}}"},
            "concurrencyPolicy": "Forbid",
        }
    )

    automation_id: body.Whole = Field(description="What to run.")
    cron_expression: str = Field(description=_CRON)
    parameters: Object | None = Field(
        None, description="They go over the automation's defaults, date placeholders filled in for each run."
    )
    is_enabled: StrictBool | None = Field(None, description="Absent: true.")
    time_zone: str | None = Field(None, description="IANA name; absent: the server's default.")


class ScheduleChange(_ScheduleFields):
    """The fields to change; absent and null ones stay as they are."""

    model_config = example({"cronExpression": "0 8 * * 1-5", "isEnabled": True})

    automation_id: body.Whole | None = Field(None, description="What to run.")
    cron_expression: str | None = Field(None, description=_CRON)
    parameters: Object | None = Field(None, description="Replaces the parameters there are.")
    is_enabled: StrictBool | None = Field(None, description="Nothing runs while it is not.")
    time_zone: str | None = Field(None, description="IANA name.")


class Timing(body.Input):
    """When something would run."""

    model_config = example(
        {"cronExpression": "0 18 L * *", "timeZone": "America/Sao_Paulo", "startTime": "2026-12-01T00:00:00Z"}
    )

    cron_expression: str = Field(description=_CRON)
    time_zone: str | None = Field(None, description="IANA name; absent: the server's default.")
    calendar: Name | None = Field(None, description="A BusinessCalendar's metadata.name.")
    on_holiday: OnHoliday | None = Field(None, description=_ON_HOLIDAY)
    start_time: body.Moment | None = Field(None, description="No run's nominal time is before it.")
    end_time: body.Moment | None = Field(None, description="No run's nominal time is after it.")
    namespace: Name | None = Field(
        None, description="The calendar's; absent: that of the definitions made over REST."
    )

    def spec(self) -> Object:
        """The fields that were given, by their names in a Schedule. Null means not given."""
        given = self.model_dump(by_alias=True, exclude_none=True, exclude={"namespace"})
        return {"cron": given.pop("cronExpression"), **given}


class LastJobOut(BaseModel):
    """The job of a schedule's last run."""

    id: UUID = Field(description="The job's.")
    status: Status


class LastOccurrenceOut(BaseModel):
    """What became of a schedule's latest instant."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")

    nominal_at: datetime = Field(description="The instant, by cron.")
    outcome: Outcome = Field(description="What became of it.")
    reason: str | None = Field(description="Why it did not run, or not at its time, in a word.")
    message: str | None = Field(description="The same, a sentence.")


# What `schedule_json` writes.
class ScheduleOut(BaseModel):
    """A schedule and the custom resource it is."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid") | example(
        {
            "id": 3,
            "automationId": 7,
            "cronExpression": "30 7 * * 1-5",
            "timeZone": "America/Sao_Paulo",
            "parameters": {"from": "{{first_of_last_month}}", "to": "{{last_of_last_month}}"},
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": None,
            "catchUp": {"policy": "Last", "windowSeconds": 3600},
            "jitterSeconds": 0,
            "calendar": "sao-paulo",
            "onHoliday": "Next",
            "startTime": None,
            "endTime": None,
            "nextRunAt": "2026-11-24T10:30:00+00:00",
            "lastRunAt": "2026-11-20T10:30:00+00:00",
            "lastJob": {"id": "01a209be-81ee-706d-81fe-5fa0b1df12da", "status": "completed"},
            "lastOccurrence": {
                "nominalAt": "2026-11-20T10:30:00+00:00",
                "outcome": "shifted",
                "reason": "Holiday",
                "message": "2026-11-20 is no business day: Dia Nacional de Zumbi e da Consciência Negra.",
            },
            "isEnabled": True,
            "createdAt": "2026-11-23T08:00:00.123456+00:00",
            "updatedAt": "2026-11-23T08:00:00.123456+00:00",
            "namespace": "maestro-bots",
            "resourceName": "invoices-of-the-month-x7k2q-9h4tw",
        }
    )

    id: int = Field(description="Its number, the same whatever becomes of it.")
    automation_id: int | None = Field(description="What it runs; null while there is no such Automation.")
    cron_expression: str = Field(description="When it runs, on the clocks of its time zone.")
    time_zone: str = Field(description="IANA name.")
    parameters: Object = Field(
        description="They go over the automation's defaults, date placeholders filled in for each run."
    )
    concurrency_policy: Policy = Field(description="What happens when a job of it is open yet.")
    starting_deadline_seconds: int | None = Field(
        description="A run that is later than this is missed; null: catchUp alone says."
    )
    catch_up: CatchUp = Field(description="What becomes of runs that were due while Maestro was away.")
    jitter_seconds: int = Field(description="The most that its runs start after their time.")
    calendar: str | None = Field(
        description="The BusinessCalendar's metadata.name; null: all days are alike."
    )
    on_holiday: OnHoliday = Field(description="What becomes of a run on a day that the calendar closes.")
    start_time: datetime | None = Field(description="No run's nominal time is before it.")
    end_time: datetime | None = Field(description="No run's nominal time is after it.")
    next_run_at: datetime | None = Field(description="Null while it is disabled, and when it is over.")
    last_run_at: datetime | None = Field(description="The nominal instant of its last run.")
    last_job: LastJobOut | None = Field(description="Null before its first run.")
    last_occurrence: LastOccurrenceOut | None = Field(
        description="Null before its first instant, and once it has been taken away with age."
    )
    is_enabled: bool = Field(description="Nothing runs while it is not.")
    created_at: datetime = Field(description="When it was made.")
    updated_at: datetime = Field(description="When its definition last changed.")
    namespace: str = Field(description="metadata.namespace of the custom resource.")
    resource_name: str = Field(description="metadata.name of the custom resource.")


def schedule_json(schedule: Schedule) -> dict[str, Any]:
    """A schedule in the contract's words."""
    return {
        "id": schedule.id,
        "automationId": schedule.automation_id,
        "cronExpression": schedule.cron,
        "timeZone": schedule.time_zone,
        "parameters": whole(schedule.parameters),
        "concurrencyPolicy": schedule.concurrency_policy,
        "startingDeadlineSeconds": schedule.starting_deadline_seconds,
        "catchUp": {
            "policy": schedule.catch_up_policy,
            "windowSeconds": schedule.catch_up_window_seconds,
        },
        "jitterSeconds": schedule.jitter_seconds,
        "calendar": schedule.calendar_name,
        "onHoliday": schedule.on_holiday,
        "startTime": schedule.start_time,
        "endTime": schedule.end_time,
        "nextRunAt": schedule.next_run_at,
        "lastRunAt": schedule.last_run_at,
        "lastJob": _last_job_json(schedule),
        "lastOccurrence": _last_occurrence_json(schedule),
        "isEnabled": not schedule.suspended,
        "createdAt": schedule.created_at,
        "updatedAt": schedule.updated_at,
        "namespace": schedule.namespace,
        "resourceName": schedule.name,
    }


def _last_job_json(schedule: Schedule) -> Object | None:
    if schedule.last_job_id is None or schedule.last_job_status is None:
        return None  # also once it has been taken away with age
    return {"id": schedule.last_job_id, "status": schedule.last_job_status}


def _last_occurrence_json(schedule: Schedule) -> Object | None:
    if schedule.last_occurrence_at is None:
        return None  # also once it has been taken away with age
    return {
        "nominalAt": schedule.last_occurrence_at,
        "outcome": schedule.last_outcome,
        "reason": schedule.last_reason,
        "message": schedule.last_message,
    }


# What `occurrence_json` writes.
class OccurrenceOut(BaseModel):
    """What became of an instant of a schedule."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid") | example(
        {
            "id": 4711,
            "nominalAt": "2026-12-25T10:30:00+00:00",
            "effectiveAt": "2026-12-25T10:30:00+00:00",
            "outcome": "skipped",
            "reason": "Holiday",
            "message": "2026-12-25 is no business day: Natal.",
            "count": 1,
            "lastNominalAt": None,
            "jobId": None,
            "decidedAt": "2026-12-25T10:30:00.123456+00:00",
        }
    )

    id: int = Field(description="Its number.")
    nominal_at: datetime = Field(description="The instant, by cron.")
    effective_at: datetime = Field(description="Where the calendar moved it; the same without a move.")
    outcome: Outcome = Field(
        description="waiting for an earlier job; fired, shifted by the calendar, late or caught_up after an "
        "outage: these have a job of their own; skipped, merged into another, or missed."
    )
    reason: str | None = Field(description="Why it did not run, or not at its time, in a word.")
    message: str | None = Field(description="The same, a sentence.")
    count: int = Field(description="How many instants it stands for: those of one outage are one occurrence.")
    last_nominal_at: datetime | None = Field(description="The last of those, where they are several.")
    job_id: UUID | None = Field(
        description="The job; of a merged one, that of the instant it is merged into."
    )
    decided_at: datetime = Field(description="When this was decided.")


# What `list_occurrences` replies.
class OccurrencePageOut(BaseModel):
    """A page of occurrences, the latest instant first."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")

    items: list[OccurrenceOut] = Field(description="The latest instant first.")
    next_cursor: str | None = Field(
        description="Send it as `after` for the next page; null on the last one.",
        examples=["1798194600000000"],
    )


# What `upcoming_json` writes.
class UpcomingOut(BaseModel):
    """An instant of a schedule that is to come."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid") | example(
        {
            "nominalAt": "2027-01-31T21:00:00+00:00",
            "effectiveAt": "2027-01-29T21:00:00+00:00",
            "runsAt": "2027-01-29T21:00:00+00:00",
            "outcome": "run",
            "reason": "Holiday",
            "message": "2027-01-31 is no business day: Sunday.",
        }
    )

    nominal_at: datetime = Field(description="The instant, by cron.")
    effective_at: datetime = Field(description="Where the calendar moves it; the same without a move.")
    runs_at: datetime | None = Field(description="When its job will be made, jitter included; null: none is.")
    outcome: Literal["run", "skipped", "merged"] = Field(description="What will become of it.")
    reason: str | None = Field(description="Why it will not run, or not at its time, in a word.")
    message: str | None = Field(description="The same, a sentence.")


def occurrence_json(occurrence: Occurrence) -> Object:
    """An occurrence, as people see it."""
    return {
        "id": occurrence.id,
        "nominalAt": occurrence.nominal_at,
        "effectiveAt": occurrence.effective_at,
        "outcome": occurrence.outcome,
        "reason": occurrence.reason,
        "message": occurrence.message,
        "count": occurrence.count,
        "lastNominalAt": occurrence.last_nominal_at,
        "jobId": occurrence.job_id,
        "decidedAt": occurrence.decided_at,
    }


def upcoming_json(upcoming: Upcoming) -> Object:
    """An instant that is to come, as people see it."""
    instant = upcoming.instant
    return {
        "nominalAt": instant.nominal,
        "effectiveAt": instant.effective,
        "runsAt": upcoming.runs_at,
        "outcome": "run" if instant.fate is Fate.RUNS else instant.fate,
        "reason": instant.reason or None,
        "message": instant.message or None,
    }


_PREVIEW = ["2026-11-30T21:00:00+00:00", "2026-12-31T21:00:00+00:00", "2027-01-31T21:00:00+00:00"]

NewScheduleBody = Annotated[NewSchedule, Depends(body.read_as(NewSchedule))]
ScheduleChangeBody = Annotated[ScheduleChange, Depends(body.read_as(ScheduleChange))]
TimingBody = Annotated[Timing, Depends(body.read_as(Timing))]


@router.post(
    "",
    status_code=201,
    response_model=ScheduleOut,
    responses=documented(400, 403, 409, 413),
    openapi_extra=body.described_by(NewSchedule),
)
async def create_schedule(new: NewScheduleBody, schedules: Schedules) -> Json:
    """Creates the custom resource beside its automation's."""
    return Json(schedule_json(await schedules.create(new.automation_id, new.spec())), 201)


@router.get("", response_model=list[ScheduleOut], responses=documented(400))
async def list_schedules(
    schedules: Schedules,
    include_disabled: Annotated[bool, Query(description="Those that are not enabled as well.")] = False,
) -> Json:
    """The enabled ones, or all."""
    listed = await schedules.list(include_disabled=include_disabled)
    return Json([schedule_json(schedule) for schedule in listed])


@router.post(
    "/preview",
    response_model=list[datetime],
    response_description="The next ten instants at which it would run, jitter aside.",
    responses={
        200: {"content": {"application/json": {"example": _PREVIEW}}},
        **documented(400, 413),
    },
    openapi_extra=body.described_by(Timing),
)
async def preview_schedule(timing: TimingBody, schedules: Schedules) -> Json:
    """When a schedule like that would run, from now on; nothing is made."""
    return Json(await schedules.preview(timing.spec(), timing.namespace))


@router.get(ONE, response_model=ScheduleOut, responses=documented(400, 404))
async def get_schedule(id: Id, schedules: Schedules) -> Json:  # noqa: A002
    """One schedule."""
    return Json(schedule_json(await schedules.get(id)))


@router.put(
    ONE,
    response_model=ScheduleOut,
    responses=documented(400, 403, 404, 409, 413),
    openapi_extra=body.described_by(ScheduleChange),
)
async def change_schedule(
    id: Id,  # noqa: A002
    change: ScheduleChangeBody,
    schedules: Schedules,
    force: Force = False,
) -> Json:
    """Writes only the fields whose values change. One that another manager owns gives 409."""
    return Json(schedule_json(await schedules.change(id, change.automation_id, change.spec(), force=force)))


@router.delete(
    ONE,
    status_code=204,
    response_description="It is gone.",
    responses=documented(400, 403, 404, 409),
)
async def delete_schedule(id: Id, schedules: Schedules, force: Force = False) -> Response:  # noqa: A002
    """Deletes the custom resource; its jobs stay."""
    await schedules.delete(id, force=force)
    return Response(status_code=204)


@router.get("/{id}/occurrences", response_model=OccurrencePageOut, responses=documented(400, 404))
async def list_occurrences(
    id: Id,  # noqa: A002
    schedules: Schedules,
    limit: Annotated[
        int, Query(ge=1, description=f"At most {MOST_OCCURRENCES}; more is taken as that.")
    ] = 50,
    after: Annotated[
        str | None, Query(description="The nextCursor of a page, for what is behind it.")
    ] = None,
) -> Json:
    """What became of its instants, the latest first: which ran, with their jobs, and why others did not."""
    page = await schedules.occurrences(id, limit=min(limit, MOST_OCCURRENCES), after=after)
    return Json({"items": [occurrence_json(each) for each in page.items], "nextCursor": page.next})


@router.get("/{id}/upcoming", response_model=list[UpcomingOut], responses=documented(400, 404))
async def list_upcoming(
    id: Id,  # noqa: A002
    schedules: Schedules,
    count: Annotated[int, Query(ge=1, description=f"At most {MOST_UPCOMING}; more is taken as that.")] = 10,
) -> Json:
    """Its next instants and what will become of them, as things stand; none while it is disabled."""
    found = await schedules.upcoming(id, min(count, MOST_UPCOMING))
    return Json([upcoming_json(each) for each in found])
