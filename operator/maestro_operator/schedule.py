"""A Schedule: its row and its status. The dispatcher fires it."""

from datetime import datetime
from typing import Any

from maestro.automation import store as automations
from maestro.automation.model import Automation
from maestro.automation.parameters import resolve
from maestro.db import Connection
from maestro.errors import BadInput, ParametersRefused, SpecRefused, Unavailable
from maestro.schedule import store
from maestro.schedule.model import Schedule
from maestro.schedule.parameters import parameters_at
from maestro.schedule.timing import Timing, runs_after
from maestro_operator import calendar, status
from maestro_operator.conditions import READY, timestamp
from maestro_operator.keys import Key
from maestro_operator.seen import Resource
from maestro_operator.services import Services
from maestro_operator.status import Findings


async def sync(services: Services, key: Key) -> None:
    """Bring the row to what the resource says, or retire it when the resource is gone. Idempotent."""
    resource = await services.current(key)
    if resource is None:
        services.settled(key)
        async with services.database() as connection:
            await store.retire(connection, key.namespace, key.name)
        return
    findings = Findings()
    zone = services.settings.default_time_zone
    try:
        async with services.database() as connection:
            row = await store.register(connection, resource, default_time_zone=zone)
            findings.fields |= {"id": row.id, **run_fields(row)}
            await _refuse_idle(connection, row)
        findings.note(READY, "True", "Registered", _outlook(row))
        services.settled(key)
    except SpecRefused as refusal:
        findings.note(READY, "False", refusal.reason, refusal.message)
        services.waits_for(key, _remedy(key, resource, refusal))
    except Unavailable as away:
        await status.write_waiting(services, key, resource, away)
        raise
    await status.write(services, key, resource, findings)


def run_fields(row: Schedule) -> dict[str, Any]:
    """What the status tells of its runs; None takes a field away."""
    return {
        "timeZone": row.time_zone,
        "nextRunTime": _time(row.next_run_at),
        "lastRunTime": _time(row.last_run_at),
        "lastJob": _last_job(row),
        "lastOccurrence": _last_occurrence(row),
    }


def _last_job(row: Schedule) -> dict[str, Any] | None:
    if row.last_job_id is None or row.last_job_status is None:
        return None  # also once it has been taken away with age
    return {"id": str(row.last_job_id), "status": row.last_job_status}


def _last_occurrence(row: Schedule) -> dict[str, Any] | None:
    """A merge patch merges objects, so a field that may go is named."""
    if row.last_occurrence_at is None:
        return None
    return {
        "nominalTime": _time(row.last_occurrence_at),
        "outcome": row.last_outcome,
        "reason": row.last_reason,
        "message": row.last_message,
    }


def _time(instant: datetime | None) -> str | None:
    return timestamp(instant) if instant else None


def _outlook(row: Schedule) -> str:
    if row.suspended:
        return "It is suspended."
    if row.next_run_at is None:
        return "Nothing is left to run: spec.endTime has passed, or spec.calendar leaves no business day."
    return f"It runs next at status.nextRunTime, {row.time_zone}."


def _remedy(key: Key, resource: Resource, refusal: SpecRefused) -> tuple[str, ...] | None:
    """What may end the refusal beside an edit of the Schedule itself."""
    if refusal.reason in calendar.OF_OTHERS:
        return calendar.arrivals(key.namespace)
    # Also ParametersRefused: by another parameter schema.
    return ("automation", key.namespace, resource["spec"]["automation"])


async def _refuse_idle(connection: Connection, row: Schedule) -> None:
    """Raises SpecRefused when its runs would make no job, or its calendar is none to rely on."""
    name = row.automation_name
    if row.automation_id is None:
        message = f"There is no Automation {name} in {row.namespace} yet; apply it, or mend spec.automation."
        raise SpecRefused("AutomationNotFound", message)
    if row.calendar_name is not None:
        await _refuse_lost_calendar(connection, row, row.calendar_name)
    automation = await automations.get(connection, row.automation_id)
    timing, now = await store.timing(connection, row), await store.current_time(connection)
    _refuse_parameters(row, automation, _parameters_of_next_run(row, timing, now))


async def _refuse_lost_calendar(connection: Connection, row: Schedule, name: str) -> None:
    try:
        await store.calendar(connection, row.namespace, name)
    except SpecRefused as refusal:
        message = f"{refusal.message} Until then it runs by what {name} said last."
        raise SpecRefused(refusal.reason, message) from refusal


def _refuse_parameters(row: Schedule, automation: Automation, parameters: dict[str, Any]) -> None:
    try:
        resolve(automation.parameter_schema, automation.default_params, parameters)
    except ParametersRefused as refused:
        message = (
            f"The parameter schema of the Automation {row.automation_name} refuses spec.parameters "
            f"({refused}); mend them. Until then it runs nothing."
        )
        raise SpecRefused("ParametersRefused", message) from refused


def _parameters_of_next_run(row: Schedule, timing: Timing, now: datetime) -> dict[str, Any]:
    """With their date placeholders filled in; those of now where no run is left."""
    run = next(runs_after(timing, now), None)
    try:
        return parameters_at(timing, run.nominal if run else now, row.parameters)
    except BadInput as error:
        message = f"spec.parameters: {error} Until then it runs nothing."
        raise SpecRefused("ParametersRefused", message) from error
