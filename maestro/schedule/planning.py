"""The plan of one schedule: its verdicts, held against its automation and its open jobs. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from maestro import jsontext
from maestro.automation.parameters import resolve as resolve_parameters
from maestro.calendar.model import resolve as resolve_calendar
from maestro.calendar.store import Definitions
from maestro.errors import BadInput, ParametersRefused
from maestro.job.model import NewJob
from maestro.schedule.decision import GRACE, Verdict, decide, spoken, without_settled
from maestro.schedule.model import Concurrency, Jittered, Times, times_after, timing_of
from maestro.schedule.occurrences import RAN, Outcome, Reason
from maestro.schedule.parameters import parameters_at
from maestro.schedule.timing import Timing


@dataclass(frozen=True)
class Due(Jittered):
    """A schedule of which something is to be decided, with what that needs."""

    id: int
    namespace: str
    name: str
    cron: str
    time_zone: str
    parameters: dict[str, Any]
    concurrency_policy: str
    starting_deadline_seconds: int | None
    catch_up_policy: str
    catch_up_window_seconds: int
    jitter_seconds: int
    calendar_name: str | None
    on_holiday: str
    start_time: datetime | None
    end_time: datetime | None
    decided_until: datetime
    due_at: datetime | None
    automation_name: str
    automation_id: int | None
    automation_suspended: bool | None
    parameter_schema: list[dict[str, Any]] | None
    default_params: dict[str, Any] | None

    def __str__(self) -> str:
        return f"schedule {self.namespace}/{self.name}"


@dataclass(frozen=True)
class Waiting:
    """An occurrence whose job starts when others have ended."""

    id: int
    nominal_at: datetime
    effective_at: datetime
    due_at: datetime
    decided_at: datetime


@dataclass(frozen=True)
class Surroundings:
    """What the decisions of a batch depend on beside the schedules themselves."""

    calendars: Mapping[str, Definitions]
    open_jobs: Mapping[int, list[UUID]]
    waiting: Mapping[int, list[Waiting]]
    settled: Mapping[int, set[datetime]] = field(default_factory=dict)
    """Nominal instants that have their occurrence and that a calendar's edit brought up again."""
    known_ahead: Mapping[int, set[datetime]] = field(default_factory=dict)
    """Nominal instants yet to come that have their occurrence."""


@dataclass(frozen=True)
class NewOccurrence:
    """An occurrence to write down, with its job where it has one."""

    verdict: Verdict
    due_at: datetime
    job_id: UUID | None = None


@dataclass(frozen=True)
class EndedWait:
    """What becomes of an occurrence that waited."""

    waiting: Waiting
    outcome: Outcome
    reason: str | None
    message: str | None
    job_id: UUID | None = None


@dataclass
class Plan:
    """What is to be written for one schedule."""

    due: Due
    decided_until: datetime
    times: Times
    new: list[NewOccurrence] = field(default_factory=list)
    ended: list[EndedWait] = field(default_factory=list)
    jobs: list[tuple[UUID, NewJob]] = field(default_factory=list)
    cancel: list[UUID] = field(default_factory=list)


def plan_of(due: Due, surroundings: Surroundings, now: datetime) -> Plan:
    """What is to be written for a due schedule. Raises MaestroError for one that can't be read."""
    return _Planning(due, surroundings, now).plan()


class _Planning:
    """Makes the plan of one schedule."""

    def __init__(self, due: Due, surroundings: Surroundings, now: datetime) -> None:
        self._due = due
        self._now = now
        self._jitter = due.jitter
        self._timing = _timing(due, surroundings.calendars)
        self._open = surroundings.open_jobs.get(due.id, [])
        self._waiting = surroundings.waiting.get(due.id, [])
        self._settled = surroundings.settled.get(due.id, set())
        until = max(due.decided_until, now - self._jitter)
        known = surroundings.known_ahead.get(due.id, set())
        self._plan = Plan(due, until, times_after(self._timing, until, self._jitter, known))

    def plan(self) -> Plan:
        verdicts = decide(self._timing, self._due, self._due.decided_until, self._plan.decided_until)
        verdicts = without_settled(verdicts, self._settled)
        prepared = [self._prepare(verdict) for verdict in verdicts]
        runs = [(verdict, parameters) for verdict, parameters in prepared if parameters is not None]
        replaced = bool(runs) and self._due.concurrency_policy == Concurrency.REPLACE
        self._end_waiting(replaced=replaced)
        for verdict, parameters in prepared:
            if parameters is None and verdict.outcome is not Outcome.MERGED:
                self._note(verdict)
        self._admit(runs)
        for verdict, _ in prepared:
            if verdict.outcome is Outcome.MERGED:
                self._note(verdict, self._job_of(verdict.merged_into))
        return self._plan

    def _prepare(self, verdict: Verdict) -> tuple[Verdict, dict[str, Any] | None]:
        """The verdict, with the parameters of its job; without any where there is none to be."""
        if verdict.outcome not in RAN:
            return verdict, None
        obstacle, parameters = self._job_for(verdict.nominal)
        if obstacle:
            return _skipped(verdict, *obstacle), None
        return verdict, parameters

    def _job_for(self, nominal: datetime) -> tuple[tuple[Reason, str] | None, dict[str, Any] | None]:
        """What keeps that instant from having a job, with a sentence; else the job's parameters."""
        due = self._due
        if due.automation_id is None:
            said = f"There is no Automation {due.automation_name} in {due.namespace}; apply it."
            return (Reason.AUTOMATION_NOT_FOUND, said), None
        if due.automation_suspended:
            said = f"The Automation {due.automation_name} was suspended or paused."
            return (Reason.AUTOMATION_SUSPENDED, said), None
        try:
            given = parameters_at(self._timing, nominal, due.parameters)
            parameters = resolve_parameters(due.parameter_schema, due.default_params, given)
            jsontext.dump(parameters)  # what can't be written shall spoil no other's batch
        except (ParametersRefused, BadInput) as error:
            return (Reason.PARAMETERS_REFUSED, f"Its parameters are refused: {error}"), None
        return None, parameters

    def _end_waiting(self, *, replaced: bool) -> None:
        """What becomes of the occurrences that waited, the oldest first."""
        still = []
        for waiting in self._waiting:
            if replaced:
                message = "A later run took its place before it could start."
                self._end(waiting, Outcome.SKIPPED, Reason.REPLACED, message)
            elif self._too_late(waiting):
                message = (
                    f"It waited {spoken(self._now - waiting.due_at)} for earlier jobs to end; "
                    f"startingDeadlineSeconds is {self._due.starting_deadline_seconds}."
                )
                self._end(waiting, Outcome.MISSED, Reason.DEADLINE_EXCEEDED, message)
            elif self._open:
                still.append(waiting)
            else:
                self._start(waiting)
        self._waiting = still

    def _too_late(self, waiting: Waiting) -> bool:
        deadline = self._due.starting_deadline_seconds
        return deadline is not None and self._now - waiting.due_at > timedelta(seconds=deadline)

    def _start(self, waiting: Waiting) -> None:
        obstacle, parameters = self._job_for(waiting.nominal_at)
        if obstacle or parameters is None:
            reason, message = obstacle or (None, None)
            self._end(waiting, Outcome.SKIPPED, reason, message)
            return
        if waiting.decided_at - waiting.due_at > GRACE:
            outcome = Outcome.LATE
        else:
            moved = waiting.effective_at != waiting.nominal_at
            outcome = Outcome.SHIFTED if moved else Outcome.FIRED
        message = f"It waited {spoken(self._now - waiting.due_at)} for earlier jobs to end."
        job_id = self._make_job(waiting.nominal_at, parameters)
        self._end(waiting, outcome, Reason.CONCURRENCY, message, job_id)

    def _end(
        self,
        waiting: Waiting,
        outcome: Outcome,
        reason: Reason | None,
        message: str | None,
        job_id: UUID | None = None,
    ) -> None:
        self._plan.ended.append(EndedWait(waiting, outcome, reason, message, job_id))

    def _admit(self, runs: Sequence[tuple[Verdict, dict[str, Any]]]) -> None:
        """Let the latest of the runs start or wait, as many as concurrencyPolicy has room for."""
        room = self._room(len(runs))
        for verdict, _ in runs[: len(runs) - room]:
            self._note(_skipped(verdict, *self._no_room()))
        for verdict, parameters in runs[len(runs) - room :]:
            if self._due.concurrency_policy == Concurrency.ALLOW or not self._open:
                self._note(verdict, self._make_job(verdict.nominal, parameters))
                continue
            if self._due.concurrency_policy == Concurrency.REPLACE:
                self._plan.cancel += self._open
            waits = f"It waits for job {self._open[0]} to end."
            self._note(replace(verdict, outcome=Outcome.WAITING, reason=Reason.CONCURRENCY, message=waits))

    def _room(self, runs: int) -> int:
        match Concurrency(self._due.concurrency_policy):
            case Concurrency.ALLOW:
                return runs
            case Concurrency.FORBID:
                room = 0 if self._open else 1
            case Concurrency.REPLACE:
                room = 1
            case Concurrency.QUEUE:
                room = (0 if self._open else 1) + (0 if self._waiting else 1)
        return min(room, runs)

    def _no_room(self) -> tuple[Reason, str]:
        match Concurrency(self._due.concurrency_policy):
            case Concurrency.REPLACE:
                return Reason.REPLACED, "A later run took its place before it could start."
            case Concurrency.QUEUE if self._waiting:
                nominal = self._waiting[0].nominal_at.astimezone(self._timing.zone)
                return Reason.CONCURRENCY, (
                    f"The run of {nominal.isoformat(timespec='minutes')} waited already; one waits at most."
                )
            case _ if self._open:
                return Reason.CONCURRENCY, f"Job {self._open[0]} of an earlier run had not ended."
            case _:
                return Reason.CONCURRENCY, "A later run was due at once; only one may run."

    def _make_job(self, nominal: datetime, parameters: dict[str, Any]) -> UUID:
        """A job to insert; it is open from now on."""
        assert self._due.automation_id is not None  # else there was an obstacle  # noqa: S101
        job_id: UUID = uuid7()
        new = NewJob(self._due.automation_id, parameters, schedule_id=self._due.id, scheduled_for=nominal)
        self._plan.jobs.append((job_id, new))
        self._open = [*self._open, job_id]
        return job_id

    def _job_of(self, nominal: datetime | None) -> UUID | None:
        return next((new.job_id for new in self._plan.new if new.verdict.nominal == nominal), None)

    def _note(self, verdict: Verdict, job_id: UUID | None = None) -> None:
        self._plan.new.append(NewOccurrence(verdict, verdict.effective + self._jitter, job_id))


def _timing(due: Due, calendars: Mapping[str, Definitions]) -> Timing:
    if due.calendar_name is None:
        return timing_of(due)
    return timing_of(due, resolve_calendar(due.calendar_name, calendars[due.namespace]))


def _skipped(verdict: Verdict, reason: Reason, message: str) -> Verdict:
    return replace(verdict, outcome=Outcome.SKIPPED, reason=reason, message=message)
