"""A schedule, as its custom resource says it and as PostgreSQL holds it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True)
class Schedule:
    """One row of `schedules`, with what it refers to."""

    id: int
    namespace: str
    name: str
    uid: str | None
    generation: int
    automation_name: str
    automation_id: int | None
    """Null while there is no such Automation; a schedule may come first."""
    cron: str
    time_zone: str
    parameters: dict[str, Any]
    suspended: bool
    next_run_at: datetime | None
    """The next nominal instant; null while suspended, and once retired."""
    last_run_at: datetime | None
    """The nominal instant of the last run."""
    last_job_id: UUID | None
    last_job_status: str | None
    created_at: datetime
    updated_at: datetime
    retired_at: datetime | None


@dataclass(frozen=True)
class Definition:
    """What a Schedule's custom resource says, with every absent value filled in."""

    namespace: str
    name: str
    uid: str
    generation: int
    automation_name: str
    cron: str
    time_zone: str
    parameters: dict[str, Any]
    suspended: bool


def definition_of(resource: Mapping[str, Any], *, default_time_zone: str) -> Definition:
    """Read a custom resource that passed its schema."""
    metadata, spec = resource["metadata"], resource["spec"]
    return Definition(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 1),
        automation_name=spec["automation"],
        cron=spec["cron"],
        time_zone=spec.get("timeZone") or default_time_zone,
        parameters=spec.get("parameters") or {},
        suspended=bool(spec.get("suspend")),
    )
