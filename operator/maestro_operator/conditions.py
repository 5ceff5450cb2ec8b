"""Conditions in the form of the Kubernetes API conventions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

READY = "Ready"
QUEUE_READY = "QueueReady"
WORKERS_AVAILABLE = "WorkersAvailable"
SUSPENDED = "Suspended"

# The schema's bound on a message; a broker's or a server's words may be longer.
_MESSAGE_LIMIT = 4096


@dataclass(frozen=True)
class Condition:
    """What we found of one aspect."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


def merged(
    old: Sequence[Mapping[str, Any]], new: Iterable[Condition], generation: int, now: datetime
) -> list[dict[str, Any]]:
    """The list to store: new conditions in place of old ones of their type, all others as they are.

    lastTransitionTime moves only when the status changes.
    """
    result = {each["type"]: dict(each) for each in old}
    for condition in new:
        before = result.get(condition.type, {})
        unchanged = before.get("status") == condition.status
        result[condition.type] = {
            "type": condition.type,
            "status": condition.status,
            "observedGeneration": generation,
            "lastTransitionTime": before["lastTransitionTime"] if unchanged else timestamp(now),
            "reason": condition.reason,
            "message": condition.message[:_MESSAGE_LIMIT],
        }
    return list(result.values())


def says(conditions: Iterable[Mapping[str, Any]], condition: Condition) -> bool:
    """Whether this is in the list already, word for word."""
    found = find(conditions, condition.type)
    told = condition.status, condition.reason, condition.message[:_MESSAGE_LIMIT]
    return (found.get("status"), found.get("reason"), found.get("message")) == told


def find(conditions: Iterable[Mapping[str, Any]], type_: str) -> Mapping[str, Any]:
    """The condition of that type, {} when there is none."""
    return next((each for each in conditions if each["type"] == type_), {})


def timestamp(instant: datetime) -> str:
    """As Kubernetes writes times: UTC, whole seconds."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
