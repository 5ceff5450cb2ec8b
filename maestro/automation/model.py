"""What an automation is: its custom resource read into a `Definition`, and its row."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from maestro.broker.queues import DEAD_LETTER_EXCHANGE
from maestro.settings import SHARED_DEFAULT_QUEUE

# What existing bots declare; a queue with other arguments would refuse them.
CONTRACT_ARGUMENTS: dict[str, Any] = {"x-dead-letter-exchange": DEAD_LETTER_EXCHANGE}

# As the schema fills them in; a resource stored before the schema had them is read the same.
HEARTBEAT_TIMEOUT_SECONDS = 300
RETRY_POLICY: dict[str, Any] = {"maxAttempts": 3, "backoffSeconds": 10, "backoffFactor": 2, "rules": []}

SPEC_SUSPENDED = "SpecSuspended"
PAUSED_BY_PERSON = "PausedByPerson"
RETRY_RULE = "RetryRule"

# A stored pause: its reason in a word, then whatever else there is to say.
_PAUSE = re.compile(r"([A-Z][A-Za-z]*)(?:: (.+))?", re.DOTALL)


@dataclass(frozen=True)
class Suspension:
    """Why an automation's jobs are not published: a CamelCase reason, and a message with how to resume it."""

    reason: str
    message: str


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
    priority: int
    max_concurrency: int | None
    start_deadline_seconds: int | None
    timeout_seconds: int | None
    heartbeat_timeout_seconds: int
    retry_policy: dict[str, Any]
    paused_at: datetime | None
    paused_reason: str | None
    """`PausedByPerson` or `RetryRule`, then perhaps `: ` and more words."""
    worker_state: dict[str, Any] | None
    created_at: datetime
    updated_at: datetime
    retired_at: datetime | None
    cleared_at: datetime | None

    @property
    def suspension(self) -> Suspension | None:
        """By its spec or by a pause at run time; None while its jobs are published."""
        if self.paused_at is not None:
            return _pause(self)
        if self.suspended:
            return Suspension(SPEC_SUSPENDED, "Its spec suspends it; resume it with spec.suspend: false.")
        return None

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
    priority: int
    max_concurrency: int | None
    start_deadline_seconds: int | None
    timeout_seconds: int | None
    heartbeat_timeout_seconds: int
    retry_policy: dict[str, Any]
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
        priority=spec.get("priority", 0),
        max_concurrency=spec.get("maxConcurrency"),
        start_deadline_seconds=spec.get("startDeadlineSeconds"),
        timeout_seconds=spec.get("timeoutSeconds"),
        heartbeat_timeout_seconds=spec.get("heartbeatTimeoutSeconds", HEARTBEAT_TIMEOUT_SECONDS),
        retry_policy=RETRY_POLICY | spec.get("retryPolicy", {}),
        worker=spec.get("worker"),
    )


def effective_queue(definition: Definition) -> str:
    """The queue its jobs are published to, as it would be if it were registered now."""
    if definition.queue_name:
        return definition.queue_name
    if definition.worker is not None:
        return f"{definition.namespace}.{definition.name}"
    return SHARED_DEFAULT_QUEUE


def _pause(automation: Automation) -> Suspension:
    told = _PAUSE.fullmatch(automation.paused_reason or "")
    reason, words = told.groups() if told else (PAUSED_BY_PERSON, automation.paused_reason)
    who = "A retry rule paused it" if reason == RETRY_RULE else "It is paused"
    how = f"resume it with POST /api/v1/automations/{automation.id}/resume"
    if automation.suspended:
        how += " and spec.suspend: false"
    return Suspension(reason, f"{who}{f' ({words})' if words else ''}; {how}.")
