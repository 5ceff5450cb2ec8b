"""What an automation is: its custom resource read into a `Definition`, and its row."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from maestro.broker.queues import DEAD_LETTER_EXCHANGE
from maestro.settings import SHARED_DEFAULT_QUEUE

# What existing bots declare; a queue with other arguments would refuse them.
CONTRACT_ARGUMENTS: dict[str, Any] = {"x-dead-letter-exchange": DEAD_LETTER_EXCHANGE}


@dataclass(frozen=True)
class Automation:
    """A row of `automations`: what the last accepted resource of this name said."""

    id: int
    namespace: str
    name: str
    uid: str | None
    generation: int
    display_name: str
    description: str
    script_path: str
    queue: str
    queue_arguments: dict[str, Any] | None
    deletion_policy: str
    parameter_schema: list[dict[str, Any]] | None
    default_params: dict[str, Any] | None
    suspended: bool
    managed: bool
    created_at: datetime
    updated_at: datetime
    retired_at: datetime | None
    cleared_at: datetime | None

    @property
    def arguments(self) -> dict[str, Any]:
        """What its queue is declared with."""
        return arguments_in_force(self.queue_arguments)


@dataclass(frozen=True)
class Definition:
    """An Automation's custom resource with every default filled in."""

    namespace: str
    name: str
    uid: str
    generation: int
    display_name: str
    description: str
    script_path: str
    queue_name: str | None
    queue_arguments: dict[str, Any] | None
    deletion_policy: str
    parameter_schema: list[dict[str, Any]] | None
    default_params: dict[str, Any] | None
    suspended: bool
    worker: dict[str, Any] | None


def arguments_in_force(given: dict[str, Any] | None) -> dict[str, Any]:
    """The arguments of a queue whose resource gives these."""
    return CONTRACT_ARGUMENTS if given is None else given


def definition_of(resource: Mapping[str, Any]) -> Definition:
    """Read a custom resource; the schema has checked its types."""
    metadata, spec = resource["metadata"], resource.get("spec", {})
    return Definition(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata["generation"],
        display_name=spec.get("displayName") or metadata["name"],
        description=spec.get("description", ""),
        script_path=spec.get("scriptPath", ""),
        queue_name=spec.get("queueName"),
        queue_arguments=spec.get("queueArguments"),
        deletion_policy=spec.get("deletionPolicy", "Retain"),
        parameter_schema=spec.get("parameterSchema"),
        default_params=spec.get("defaultParams"),
        suspended=spec.get("suspend", False),
        worker=spec.get("worker"),
    )


def effective_queue(definition: Definition) -> str:
    """The queue its jobs are published to, as it would be if it were registered now."""
    if definition.queue_name:
        return definition.queue_name
    if definition.worker is not None:
        return f"{definition.namespace}.{definition.name}"
    return SHARED_DEFAULT_QUEUE
