"""Schedules: definitions as custom resources."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool
from pydantic.alias_generators import to_camel

from maestro.schedule.model import Schedule
from maestro_api import body
from maestro_api.dependencies import Force, Id, Schedules
from maestro_api.errors import documented
from maestro_api.gate import API
from maestro_api.openapi import example
from maestro_api.reply import Json, whole

router = APIRouter(prefix=f"{API}/schedules", tags=["schedules"])

Object = dict[str, Any]

# The custom resource's words for the contract's.
_SPEC_NAMES = {"cron_expression": "cron", "time_zone": "timeZone", "parameters": "parameters"}


class _ScheduleFields(body.Input):
    def spec(self) -> Object:
        """The fields that were given, by their names in the custom resource. Null means not given."""
        given = self.model_dump(exclude_none=True, exclude={"automation_id"})
        spec = {_SPEC_NAMES[field]: value for field, value in given.items() if field in _SPEC_NAMES}
        return spec | ({"suspend": not given["is_enabled"]} if "is_enabled" in given else {})


class NewSchedule(_ScheduleFields):
    """A schedule to create."""

    model_config = example(
        {
            "automationId": 7,
            "cronExpression": "30 7 * * 1-5",
            "timeZone": "America/Sao_Paulo",
            "parameters": {"month": "2026-11"},
        }
    )

    automation_id: body.Whole = Field(description="What to run.")
    cron_expression: str = Field(description="Five fields, or @hourly, @daily, @weekly, @monthly, @yearly.")
    parameters: Object | None = Field(None, description="They go over the automation's defaults.")
    is_enabled: StrictBool | None = Field(None, description="Absent: true.")
    time_zone: str | None = Field(None, description="IANA name; absent: the server's default.")


class ScheduleChange(_ScheduleFields):
    """The fields to change; absent and null ones stay as they are."""

    model_config = example({"cronExpression": "0 8 * * 1-5", "isEnabled": True})

    automation_id: body.Whole | None = Field(None, description="What to run.")
    cron_expression: str | None = Field(
        None, description="Five fields, or @hourly, @daily, @weekly, @monthly, @yearly."
    )
    parameters: Object | None = Field(None, description="Replaces the parameters there are.")
    is_enabled: StrictBool | None = Field(None, description="Nothing runs while it is not.")
    time_zone: str | None = Field(None, description="IANA name.")


# What `schedule_json` writes.
class ScheduleOut(BaseModel):
    """A schedule and the custom resource it is."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid") | example(
        {
            "id": 3,
            "automationId": 7,
            "cronExpression": "30 7 * * 1-5",
            "timeZone": "America/Sao_Paulo",
            "parameters": {"month": "2026-11"},
            "nextRunAt": "2026-11-24T10:30:00+00:00",
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
    parameters: Object = Field(description="They go over the automation's defaults.")
    next_run_at: datetime | None = Field(description="Null while it is disabled.")
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
        "nextRunAt": schedule.next_run_at,
        "isEnabled": not schedule.suspended,
        "createdAt": schedule.created_at,
        "updatedAt": schedule.updated_at,
        "namespace": schedule.namespace,
        "resourceName": schedule.name,
    }


NewScheduleBody = Annotated[NewSchedule, Depends(body.read_as(NewSchedule))]
ScheduleChangeBody = Annotated[ScheduleChange, Depends(body.read_as(ScheduleChange))]


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


@router.get("/{id}", response_model=ScheduleOut, responses=documented(400, 404))
async def get_schedule(id: Id, schedules: Schedules) -> Json:  # noqa: A002
    """One schedule."""
    return Json(schedule_json(await schedules.get(id)))


@router.put(
    "/{id}",
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
    "/{id}",
    status_code=204,
    response_description="It is gone.",
    responses=documented(400, 403, 404, 409),
)
async def delete_schedule(id: Id, schedules: Schedules, force: Force = False) -> Response:  # noqa: A002
    """Deletes the custom resource; its jobs stay."""
    await schedules.delete(id, force=force)
    return Response(status_code=204)
