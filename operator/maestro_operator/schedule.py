"""A Schedule: its row and its status. The dispatcher fires it."""

from typing import Any

from maestro.errors import SpecRefused, Unavailable
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
        findings.fields |= {"id": row.id, **run_fields(row)}
        _judge(services, key, row, findings)
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


def _judge(services: Services, key: Key, row: Schedule, findings: Findings) -> None:
    if row.automation_id is None:
        services.waits_for(key, ("automation", key.namespace, row.automation_name))
        message = f"There is no Automation {row.automation_name} in {key.namespace} yet; apply it, or mend "
        findings.note(READY, "False", "AutomationNotFound", message + "spec.automation.")
        return
    services.settled(key)
    message = "It is suspended." if row.suspended else f"It runs next at status.nextRunTime, {row.time_zone}."
    findings.note(READY, "True", "Registered", message)
