"""The contract's objects, field by field: exact names, exact types."""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard
from uuid import UUID

Check = Callable[[object], bool]
"""Whether a value is as the contract has it."""

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")

STATUSES = ("pending", "running", "completed", "completed_no_invoices", "failed", "canceled")


def integer(value: object) -> bool:
    return type(value) is int


def number(value: object) -> bool:
    return type(value) in (int, float)


def text(value: object) -> bool:
    return isinstance(value, str)


def boolean(value: object) -> bool:
    return isinstance(value, bool)


def mapping(value: object) -> bool:
    return isinstance(value, dict)


def sequence(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def anything(_value: object) -> bool:
    return True


def uuid(value: object) -> bool:
    return isinstance(value, str) and str(UUID(value)) == value


def instant(value: object) -> bool:
    """RFC 3339 with a zone."""
    return isinstance(value, str) and _RFC_3339.fullmatch(value) is not None


def status(value: object) -> bool:
    return value in STATUSES


def maybe(check: Check) -> Check:
    return lambda value: value is None or check(value)


def exactly(shape: Mapping[str, Check]) -> Check:
    """An object that fits this shape."""

    def check(value: Any) -> bool:
        fits(value, shape)
        return True

    return check


def fits(value: Any, shape: Mapping[str, Check]) -> None:
    """Asserts that an object has these fields and no others, each of its type."""
    assert set(value) == set(shape)
    has(value, shape)


def has(value: Any, shape: Mapping[str, Check]) -> None:
    """Asserts that an object has these fields, each of its type, whatever else it has."""
    assert set(value) >= set(shape)
    wrong = {field: value[field] for field, check in shape.items() if not check(value[field])}
    assert not wrong


AUTOMATION: Mapping[str, Check] = {
    "id": integer,
    "name": text,
    "description": text,
    "scriptPath": text,
    "queueName": text,
    "defaultParams": maybe(mapping),
    "parameterSchema": maybe(sequence),
    "createdAt": instant,
    "updatedAt": instant,
}
JOB: Mapping[str, Check] = {
    "id": uuid,
    "automationId": integer,
    "userId": maybe(text),
    "status": status,
    "parameters": mapping,
    "result": anything,
    "retryCount": integer,
    "startedAt": maybe(instant),
    "completedAt": maybe(instant),
    "cancellationRequestedAt": maybe(instant),
    "lastHeartbeatAt": maybe(instant),
    "createdAt": instant,
}
JOB_AS_MAESTRO_SHOWS_IT: Mapping[str, Check] = {
    **JOB,
    "attempt": integer,
    "progress": maybe(number),
    "progressMessage": maybe(text),
    "queue": text,
    "scheduleId": maybe(integer),
    "scheduledFor": maybe(instant),
    "errorClass": maybe(text),
    "startDeadline": maybe(instant),
    "priority": integer,
}
LOG_LINE: Mapping[str, Check] = {
    "id": integer,
    "jobId": uuid,
    "timestamp": instant,
    "level": text,
    "message": text,
    "actionable": boolean,
}
SCHEDULE: Mapping[str, Check] = {
    "id": integer,
    "automationId": integer,
    "cronExpression": text,
    "parameters": mapping,
    "nextRunAt": maybe(instant),
    "isEnabled": boolean,
    "createdAt": instant,
    "updatedAt": instant,
}
CATCH_UP: Mapping[str, Check] = {"policy": text, "windowSeconds": integer}
LAST_JOB: Mapping[str, Check] = {"id": uuid, "status": status}
LAST_OCCURRENCE: Mapping[str, Check] = {
    "nominalAt": instant,
    "outcome": text,
    "reason": maybe(text),
    "message": maybe(text),
}
SCHEDULE_AS_MAESTRO_SHOWS_IT: Mapping[str, Check] = {
    **SCHEDULE,
    "timeZone": text,
    "concurrencyPolicy": text,
    "startingDeadlineSeconds": maybe(integer),
    "catchUp": exactly(CATCH_UP),
    "jitterSeconds": integer,
    "calendar": maybe(text),
    "onHoliday": text,
    "startTime": maybe(instant),
    "endTime": maybe(instant),
    "lastRunAt": maybe(instant),
    "lastJob": maybe(exactly(LAST_JOB)),
    "lastOccurrence": maybe(exactly(LAST_OCCURRENCE)),
    "namespace": text,
    "resourceName": text,
}
OCCURRENCE: Mapping[str, Check] = {
    "id": integer,
    "nominalAt": instant,
    "effectiveAt": instant,
    "outcome": text,
    "reason": maybe(text),
    "message": maybe(text),
    "count": integer,
    "lastNominalAt": maybe(instant),
    "jobId": maybe(uuid),
    "decidedAt": instant,
}
UPCOMING: Mapping[str, Check] = {
    "nominalAt": instant,
    "effectiveAt": instant,
    "runsAt": maybe(instant),
    "outcome": lambda outcome: outcome in ("run", "skipped", "merged"),
    "reason": maybe(text),
    "message": maybe(text),
}
OVERVIEW: Mapping[str, Check] = {
    "running": integer,
    "pending": integer,
    "completedToday": integer,
    "failedLast24h": integer,
    "canceledLast24h": integer,
    "totalLast24h": integer,
    "successRate24h": maybe(number),
}
SLOT: Mapping[str, Check] = {"hour": instant, "total": integer, "succeeded": integer, "failed": integer}
RECORD: Mapping[str, Check] = {
    "automationId": integer,
    "name": text,
    "total": integer,
    "succeeded": integer,
    "failed": integer,
    "canceled": integer,
    "successRate": maybe(number),
    "manual": integer,
    "scheduled": integer,
    "durationP50S": maybe(number),
    "durationP95S": maybe(number),
    "lastStatus": maybe(status),
    "lastRunAt": maybe(instant),
    "recent": lambda recent: sequence(recent) and all(map(status, recent)) and len(recent) <= 12,
}
ERROR_CLASS: Mapping[str, Check] = {"errorClass": text, "count": integer}
