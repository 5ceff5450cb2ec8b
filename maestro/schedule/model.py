"""A schedule, as its custom resource says it and as PostgreSQL holds it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from maestro.calendar.model import Calendar
from maestro.errors import BadInput, SpecRefused
from maestro.schedule import cron
from maestro.schedule.timing import (
    Fate,
    Instant,
    OnHoliday,
    Timing,
    between,
    jitter_of,
    runs_after,
    wakes_after,
)


class Concurrency(StrEnum):
    """What a run does while a job of the run before is pending or running."""

    ALLOW = "Allow"
    FORBID = "Forbid"
    """It is skipped."""
    REPLACE = "Replace"
    """It cancels that job and starts when it has ended."""
    QUEUE = "Queue"
    """It waits for its end; one waits, further ones are skipped."""


class CatchUp(StrEnum):
    """Which of the runs that an outage held up are made up for."""

    NONE = "None"
    LAST = "Last"
    ALL = "All"


class Timed(Protocol):
    """Whatever says when something runs."""

    @property
    def cron(self) -> str: ...
    @property
    def time_zone(self) -> str: ...
    @property
    def on_holiday(self) -> str: ...
    @property
    def start_time(self) -> datetime | None: ...
    @property
    def end_time(self) -> datetime | None: ...


class Jittered:
    """Whatever knows its schedule's jitter."""

    namespace: str
    name: str
    jitter_seconds: int

    @property
    def jitter(self) -> timedelta:
        """What is added to each effective instant."""
        return jitter_of(self.namespace, self.name, self.jitter_seconds)


@dataclass(frozen=True)
class Schedule(Jittered):
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
    """As written, placeholders and all."""
    suspended: bool
    concurrency_policy: str
    starting_deadline_seconds: int | None
    catch_up_policy: str
    catch_up_window_seconds: int
    jitter_seconds: int
    calendar_name: str | None
    on_holiday: str
    start_time: datetime | None
    end_time: datetime | None
    decided_until: datetime | None
    """Every effective instant up to it has its occurrence."""
    due_at: datetime | None
    """When the next instant is decided, of whatever fate, jitter included; null while suspended, and once
    retired or over."""
    next_run_at: datetime | None
    """When the next job is made, jitter included; null when none will be."""
    last_run_at: datetime | None
    """The nominal instant of the last run."""
    last_job_id: UUID | None
    last_job_status: str | None
    last_occurrence_id: int | None
    """The latest occurrence; null before the first."""
    last_occurrence_at: datetime | None
    """Its nominal instant; null, as all that follows, also once it has been taken away with age."""
    last_outcome: str | None
    last_reason: str | None
    last_message: str | None
    created_at: datetime
    updated_at: datetime
    retired_at: datetime | None


@dataclass(frozen=True)
class Definition(Jittered):
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
    concurrency_policy: str
    starting_deadline_seconds: int | None
    catch_up_policy: str
    catch_up_window_seconds: int
    jitter_seconds: int
    calendar_name: str | None
    on_holiday: str
    start_time: datetime | None
    end_time: datetime | None


def definition_of(resource: Mapping[str, Any], *, default_time_zone: str) -> Definition:
    """Read a custom resource that passed its schema. Raises SpecRefused: InvalidTime."""
    metadata, spec = resource["metadata"], resource["spec"]
    catch_up = spec.get("catchUp") or {}
    start, end = _time(spec, "startTime"), _time(spec, "endTime")
    if start and end and end < start:
        raise SpecRefused("InvalidTime", "spec.endTime lies before spec.startTime; mend one of them.")
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
        concurrency_policy=spec.get("concurrencyPolicy") or Concurrency.ALLOW,
        starting_deadline_seconds=spec.get("startingDeadlineSeconds"),
        catch_up_policy=catch_up.get("policy") or CatchUp.LAST,
        catch_up_window_seconds=catch_up.get("windowSeconds", 3600),
        jitter_seconds=spec.get("jitterSeconds") or 0,
        calendar_name=spec.get("calendar"),
        on_holiday=spec.get("onHoliday") or OnHoliday.SKIP,
        start_time=start,
        end_time=end,
    )


def _time(spec: Mapping[str, Any], field: str) -> datetime | None:
    text = spec.get(field)
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise SpecRefused(
            "InvalidTime", f"spec.{field}: {text!r} is no time; write one as in 2027-01-31T08:00:00Z."
        ) from None


def timing_of(said: Timed, calendar: Calendar | None = None) -> Timing:
    """When it runs, by the calendar it names. Raises SpecRefused: InvalidCron, InvalidTimeZone."""
    try:
        expression = cron.parse(said.cron)
    except BadInput as error:
        raise SpecRefused("InvalidCron", f"spec.cron: {error}") from error
    try:
        zone = cron.zone_of(said.time_zone)
    except BadInput as error:
        raise SpecRefused("InvalidTimeZone", f"spec.timeZone: {error}") from error
    on_holiday = OnHoliday(said.on_holiday)
    return Timing(expression, zone, calendar, on_holiday, said.start_time, said.end_time)


@dataclass(frozen=True)
class Times:
    """When a schedule is looked at next, and when it next runs. Jitter is included."""

    due_at: datetime | None
    next_run_at: datetime | None


def times_after(
    timing: Timing, after: datetime, jitter: timedelta, known: Collection[datetime] = ()
) -> Times:
    """Those after the instant that all is decided up to; `known` nominal instants have run, or will not."""
    first = next((run for run in runs_after(timing, after) if _is_open(timing, run, known)), None)
    runs = first.effective + jitter if first else None
    if timing.calendar is None:
        return Times(runs, runs)  # every instant runs
    wakes = wakes_after(timing, after)
    return Times(wakes + jitter if wakes else None, runs)


def _is_open(timing: Timing, run: Instant, known: Collection[datetime]) -> bool:
    """Whether something runs at that time: it, or in its place one that would be merged into it."""
    if run.nominal not in known:
        return True
    together = between(timing, run.effective - timedelta.resolution, run.effective)
    return any(each.fate is Fate.MERGED and each.nominal not in known for each in together)
