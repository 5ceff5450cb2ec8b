"""A Schedule: its row and its status. The dispatcher fires it."""

from typing import Any

from maestro.automation import store as automations
from maestro.automation.model import Automation
from maestro.automation.parameters import resolve
from maestro.db import Connection
from maestro.errors import ParametersRefused, SpecRefused, Unavailable
from maestro.schedule import store
from maestro.schedule.model import Schedule
from maestro_operator import status
from maestro_operator.conditions import READY, timestamp
from maestro_operator.keys import Key
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
            automation = await _automation_of(connection, row)
        findings.fields |= {"id": row.id, **run_fields(row)}
        _judge(services, key, row, automation, findings)
    except SpecRefused as refusal:
        findings.note(READY, "False", refusal.reason, refusal.message)
        services.waits_for(key, None)
    except Unavailable as away:
        await status.write_waiting(services, key, resource, away)
        raise
    await status.write(services, key, resource, findings)


def run_fields(row: Schedule) -> dict[str, Any]:
    """What the status tells of its runs; None takes a field away."""
    return {
        "timeZone": row.time_zone,
        "nextRunTime": timestamp(row.next_run_at) if row.next_run_at else None,
        "lastRunTime": timestamp(row.last_run_at) if row.last_run_at else None,
    }


async def _automation_of(connection: Connection, row: Schedule) -> Automation | None:
    return None if row.automation_id is None else await automations.get(connection, row.automation_id)


def _judge(
    services: Services, key: Key, row: Schedule, automation: Automation | None, findings: Findings
) -> None:
    refusal = _refusal(row, automation)
    if refusal:
        services.waits_for(key, ("automation", key.namespace, row.automation_name))
        findings.note(READY, "False", refusal.reason, refusal.message)
        return
    services.settled(key)
    message = "It is suspended." if row.suspended else f"It runs next at status.nextRunTime, {row.time_zone}."
    findings.note(READY, "True", "Registered", message)


def _refusal(row: Schedule, automation: Automation | None) -> SpecRefused | None:
    """Why its runs would make no job; None when they would."""
    name = row.automation_name
    if automation is None:
        message = f"There is no Automation {name} in {row.namespace} yet; apply it, or mend spec.automation."
        return SpecRefused("AutomationNotFound", message)
    try:
        resolve(automation.parameter_schema, automation.default_params, row.parameters)
    except ParametersRefused as refused:
        message = (
            f"The parameter schema of the Automation {name} refuses spec.parameters ({refused}); mend them."
        )
        return SpecRefused("ParametersRefused", message + " Until then it runs nothing.")
    return None
