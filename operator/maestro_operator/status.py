"""Writing status: one merge patch when something differs, and an event when a refusal begins or ends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from maestro.automation.model import RETRY_RULE
from maestro.errors import NotFound, Unavailable
from maestro_operator import events
from maestro_operator.conditions import READY, SUSPENDED, Condition, find, merged
from maestro_operator.keys import Key
from maestro_operator.seen import Resource
from maestro_operator.services import Services
from maestro_operator.worker import MANAGER


@dataclass
class Findings:
    """What one visit of a resource found out."""

    conditions: dict[str, Condition] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    """Status fields besides conditions; None takes a field away."""

    def note(
        self, type_: str, status: Literal["True", "False", "Unknown"], reason: str, message: str
    ) -> None:
        self.add(Condition(type_, status, reason, message))

    def add(self, condition: Condition) -> None:
        self.conditions[condition.type] = condition

    def default(self, old: Sequence[Mapping[str, Any]], condition: Condition) -> None:
        """A condition for the first visit; what an earlier visit found stays."""
        if condition.type not in self.conditions and not find(old, condition.type):
            self.conditions[condition.type] = condition


def conditions_of(resource: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Its conditions as last written."""
    found: Sequence[Mapping[str, Any]] = resource.get("status", {}).get("conditions", [])
    return found


async def write(services: Services, key: Key, resource: Resource, findings: Findings) -> None:
    """Bring the status to the findings, in one request or none, and say what people should know."""
    generation = resource["metadata"]["generation"]
    old = conditions_of(resource)
    conditions = merged(old, findings.conditions.values(), generation, datetime.now(UTC))
    wanted = findings.fields | {"observedGeneration": generation, "conditions": conditions}
    if await patch(services, key, resource, wanted):
        await _tell(services, resource, find(old, READY), find(conditions, READY))
        await _tell_pause(services, resource, find(old, SUSPENDED), find(conditions, SUSPENDED))


async def write_waiting(services: Services, key: Key, resource: Resource, away: Unavailable) -> None:
    """A first visit that ended at a dependency that is away says so, once.

    Later visits write nothing: an outage shall not become a storm of patches.
    """
    if find(conditions_of(resource), READY):
        return
    reason = type(away).__name__
    waiting = Condition(READY, "Unknown", reason, f"{away.message} Maestro goes on by itself.")
    generation = resource["metadata"]["generation"]
    await patch(services, key, resource, {"conditions": merged([], [waiting], generation, datetime.now(UTC))})


async def patch(services: Services, key: Key, resource: Resource, wanted: Mapping[str, Any]) -> bool:
    """Write the fields that differ; False when none does or the resource is gone."""
    status = resource.get("status", {})
    changed = {name: value for name, value in wanted.items() if status.get(name) != _stored(value)}
    if not changed:
        return False
    try:
        written = await services.call(
            services.kube.patch_status, key.kind, key.namespace, key.name, changed, manager=MANAGER
        )
    except NotFound:  # deleted meanwhile: its event brings us back
        return False
    services.seen.put(key, written)
    if _object_and_spec(written) != _object_and_spec(resource):
        # An edit landed meanwhile. The watch will bring nothing newer than what is known by now.
        services.mark(key)
    return True


def _stored(value: Any) -> Any:
    """A field as it is once patched: what is None in it is gone."""
    if not isinstance(value, Mapping):
        return value
    return {name: each for name, each in value.items() if each is not None}


def _object_and_spec(resource: Mapping[str, Any]) -> tuple[str, int]:
    return resource["metadata"]["uid"], resource["metadata"]["generation"]


async def _tell(
    services: Services, resource: Resource, before: Mapping[str, Any], now: Mapping[str, Any]
) -> None:
    """A Warning when a refusal begins, changes its reason or meets an edit, a Normal event when it ends."""
    refused_before = before.get("status") == "False"
    told = refused_before and all(before.get(what) == now[what] for what in ("reason", "observedGeneration"))
    if now["status"] == "False" and not told:
        await events.post(services, resource, "Warning", now["reason"], now["message"])
    elif now["status"] == "True" and refused_before:
        await events.post(services, resource, "Normal", now["reason"], now["message"])


async def _tell_pause(
    services: Services, resource: Resource, before: Mapping[str, Any], now: Mapping[str, Any]
) -> None:
    """A Warning when a retry rule paused it: a person has to act, and none asked for it."""
    if now.get("reason") == RETRY_RULE and before.get("reason") != RETRY_RULE:
        await events.post(services, resource, "Warning", RETRY_RULE, now["message"])
