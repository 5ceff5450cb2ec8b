"""What design.md says of a job's life, as plain Python: the model that the database is held against.

Every function does to the model what one statement does to the tables, at the same instant `now`, and returns
the answer that the store must give: a value, or the class of the refusal.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from maestro.errors import (
    AttemptSuperseded,
    ConcurrencyLimited,
    Conflict,
    IdempotencyKeyReused,
    JobEnded,
    MaestroError,
)
from maestro.job.model import ENDS, Status

Refusal = type[MaestroError]
Token = str | None
Result = dict[str, Any] | None

SENTENCE = "whatever Maestro says"
RELEASED = {"status": "released"}
HEARTBEAT = timedelta(seconds=300)
NEVER_POLLED = timedelta(hours=2)


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


@dataclass
class Automation:
    """What its resource says of its jobs' life, and whether it is held."""

    id: int
    queue: str
    limit: int | None = None
    timeout: int | None = None
    start_deadline: int | None = None
    max_attempts: int = 3
    rules: dict[str, str] = field(default_factory=dict)
    priority: int = 0
    suspended: bool = False
    paused: bool = False

    @property
    def held(self) -> bool:
        return self.suspended or self.paused

    def action(self, error_class: str, attempts: int) -> str:
        told = self.rules.get(error_class, "Retry" if error_class == "WORKER_LOST" else "Fail")
        return "Fail" if told == "Retry" and attempts >= self.max_attempts else told


@dataclass
class Job:
    """As its row should be. Times are PostgreSQL's own."""

    id: UUID
    automation: Automation
    created_at: datetime
    priority: int
    waits: bool
    due: datetime | None
    start_deadline: datetime | None
    status: Status = Status.PENDING
    result: Result = None
    attempt: int = 0
    released: int = 0
    token: Token = None
    open: bool = False
    end: dict[str, Any] | None = None
    started_at: datetime | None = None
    heartbeat_at: datetime | None = None
    polled: bool = False
    progress: float | None = None
    deadline: datetime | None = None
    timed_out_at: datetime | None = None
    cancel_at: datetime | None = None
    settled_at: datetime | None = None
    losses: int = 0
    lines: list[tuple[int, int | None, str]] = field(default_factory=list)
    """(attempt, seq, message) in the order in which they were kept."""

    @property
    def ended(self) -> bool:
        return self.status in ENDS

    @property
    def attempts(self) -> int:
        return self.attempt - self.released

    @property
    def has_slot(self) -> bool:
        return not self.ended and not self.waits

    def finish_with(self, status: Status, result: Result) -> None:
        self.status, self.result = status, result
        self.due, self.open = None, False

    def fail(self, error_class: str, reported: Result = None) -> None:
        """Ended by Maestro, which says why."""
        said = {"error_class": error_class, "error": SENTENCE}
        self.finish_with(Status.FAILED, (reported or {}) | said)


@dataclass
class Queue:
    """What the dispatcher last saw of it."""

    empty_since: datetime | None


@dataclass
class Sent:
    """A message that was handed to the broker, and the debt it pays."""

    job: Job
    due: datetime


_JOB_TIMES = (
    "created_at", "due", "start_deadline", "started_at", "heartbeat_at", "deadline", "timed_out_at",
    "cancel_at", "settled_at",
)  # fmt: skip


class Life:
    """Automations, jobs, keys, and what the dispatcher knows."""

    def __init__(self, automations: Sequence[Automation]) -> None:
        self.automations = automations
        self.jobs: dict[UUID, Job] = {}
        self.keys: dict[str, tuple[bytes, UUID, datetime]] = {}
        self.sent: list[Sent] = []
        self.queues: dict[str, Queue] = {}
        self.up_since: datetime | None = None
        self.last_beat: datetime | None = None

    # Time

    def move(self, by: timedelta) -> None:
        """Let so much time pass: every instant lies that much further in the past."""
        for job in self.jobs.values():
            for name in _JOB_TIMES:
                if (moment := getattr(job, name)) is not None:
                    setattr(job, name, moment - by)
        for message in self.sent:
            message.due -= by
        for queue in self.queues.values():
            queue.empty_since = queue.empty_since and queue.empty_since - by
        self.keys = {key: (body, job, expiry - by) for key, (body, job, expiry) in self.keys.items()}
        self.up_since = self.up_since and self.up_since - by
        self.last_beat = self.last_beat and self.last_beat - by

    def note_up(self, now: datetime) -> None:
        if self.last_beat is None or now > self.last_beat + seconds(30):
            self.up_since = now
        self.last_beat = now

    # People

    def accept(
        self, automation: Automation, key: str | None, body: bytes, given: UUID, now: datetime
    ) -> UUID | Refusal:
        """The id that this execute must have got; `given` when it makes a job."""
        held = self.keys.get(key) if key else None
        if held and held[2] > now:
            return held[1] if held[0] == body else IdempotencyKeyReused
        self._make(given, automation, now)
        if key:
            self.keys[key] = (body, given, now + timedelta(hours=24))
        return given

    def _make(self, job_id: UUID, automation: Automation, now: datetime) -> None:
        assert job_id not in self.jobs, "an id was given twice"
        due = now + seconds(5) if automation.limit is None else None
        start_deadline = _after(now, automation.start_deadline)
        job = Job(job_id, automation, now, automation.priority, due is None, due, start_deadline)
        self.jobs[job_id] = job
        if due:
            self.sent.append(Sent(job, due))

    def cancel(self, job: Job, now: datetime) -> Refusal | None:
        if job.ended:
            return JobEnded
        if job.status is Status.PENDING:
            job.finish_with(Status.CANCELED, None)
        job.due, job.waits = None, False
        job.cancel_at = job.cancel_at or now
        return None

    # Workers

    def start(self, calls: Sequence[tuple[Job, Token]], now: datetime) -> list[int | Refusal]:
        running = {a.id: self._count(a, lambda job: job.status is Status.RUNNING) for a in self.automations}
        return [self._start(job, token, running[job.automation.id], now) for job, token in calls]

    def _start(self, job: Job, token: Token, running: int, now: datetime) -> int | Refusal:
        limit = job.automation.limit
        if job.ended:
            return JobEnded
        if token is not None and job.token == token:
            return self._start_again(job, now)
        if job.status is Status.RUNNING and (refusal := self._refuse_second(job, token)):
            return refusal
        if job.status is Status.PENDING and limit is not None and (job.waits or running >= limit):
            job.due = job.due if job.waits else None
            job.waits = True
            return ConcurrencyLimited
        self._begin(job, token, now)
        return job.attempt

    def _start_again(self, job: Job, now: datetime) -> int | Refusal:
        """The same token: the same attempt, unless that is over."""
        if not job.open:
            return AttemptSuperseded
        if job.status is Status.PENDING:
            assert job.started_at
            job.status, job.due, job.waits = Status.RUNNING, None, False
            job.deadline = _after(job.started_at, job.automation.timeout)
        job.heartbeat_at = now
        return job.attempt

    def _refuse_second(self, job: Job, token: Token) -> Refusal | None:
        """Only where nobody has tokens may a running job begin anew, until its attempts are used up."""
        if token is not None or job.token is not None:
            return Conflict
        if job.attempts < job.automation.max_attempts:
            return None
        job.fail("WORKER_LOST")
        job.automation.paused |= job.automation.rules.get("WORKER_LOST") == "Suspend"
        return JobEnded

    def _begin(self, job: Job, token: Token, now: datetime) -> None:
        job.status, job.attempt, job.token, job.open = Status.RUNNING, job.attempt + 1, token, True
        job.end, job.polled, job.progress, job.due, job.waits = None, False, None, None, False
        job.started_at = job.heartbeat_at = now
        job.deadline = _after(now, job.automation.timeout)
        if job.timed_out_at:
            job.timed_out_at = job.cancel_at = None

    def append(
        self, lines: Sequence[tuple[Job, Token, int | None, str]], now: datetime
    ) -> list[bool | Refusal]:
        """True for a line that is kept, False for one that was kept before."""
        answers: list[bool | Refusal] = []
        late = {job.id: bool(job.heartbeat_at and job.heartbeat_at < now - seconds(5)) for job, *_ in lines}
        for job, token, seq, message in lines:
            if token != job.token:
                answers.append(AttemptSuperseded)
                continue
            known = seq is not None and any(line[:2] == (job.attempt, seq) for line in job.lines)
            if not known:
                job.lines.append((job.attempt, seq, message))
            answers.append(not known)
            if job.status is Status.RUNNING and late[job.id]:
                job.heartbeat_at = now
        return answers

    def finish(
        self, calls: Sequence[tuple[Job, Token, Status, Result]], now: datetime
    ) -> list[Status | Refusal]:
        return [self._finish(*call, now) for call in calls]

    def _finish(
        self, job: Job, token: Token, status: Status, result: Result, now: datetime
    ) -> Status | Refusal:
        told = {"status": status, "result": result}
        if token != job.token:
            return AttemptSuperseded
        if job.ended or not job.open:
            before = job.end or {"status": job.status, "result": job.result}
            if not job.open and before == told:
                return status
            if job.ended:
                return JobEnded
            return AttemptSuperseded if job.attempt else Conflict
        job.heartbeat_at = now
        timed_out = status is Status.CANCELED and job.timed_out_at is not None
        error_class = None
        if timed_out:
            error_class = "JOB_TIMEOUT"
        elif status is Status.FAILED:
            error_class = (result or {}).get("error_class", "UNKNOWN")
        action = self._after(job, error_class)
        if action == "Retry":
            self._retry(job, now)
            job.end = told
            return status
        job.end = told if timed_out else None
        if timed_out:
            job.fail("JOB_TIMEOUT", result)
        else:
            job.finish_with(status, result)
        if action == "Suspend":
            job.automation.paused = True
        return status

    def _after(self, job: Job, error_class: str | None) -> str:
        if error_class is None:
            return "End"
        if job.cancel_at and not job.timed_out_at:
            return "Fail"
        return job.automation.action(error_class, job.attempts)

    def _retry(self, job: Job, now: datetime) -> None:
        job.status, job.open, job.deadline = Status.PENDING, False, None
        job.due = now + seconds(10 * 2 ** (job.attempts - 1))
        job.waits = job.automation.limit is not None
        job.timed_out_at = job.cancel_at = None

    def release(self, calls: Sequence[tuple[Job, Token]], now: datetime) -> list[Status | Refusal]:
        return [self._release(job, token, now) for job, token in calls]

    def _release(self, job: Job, token: Token, now: datetime) -> Status | Refusal:
        if token != job.token:
            return AttemptSuperseded
        if job.ended or not job.open:
            if not job.open and job.end == RELEASED:
                return job.status
            return JobEnded if job.ended else Conflict
        job.released += 1
        job.open, job.deadline, job.end = False, None, RELEASED
        if job.cancel_at and not job.timed_out_at:
            job.status, job.due = Status.CANCELED, None
        else:
            job.status, job.cancel_at = Status.PENDING, None
            job.due = None if job.waits else now + seconds(5)
        job.timed_out_at = None
        if job.due and not job.automation.held:
            self.sent.append(Sent(job, job.due))
        return job.status

    def beat(self, job: Job, token: Token, progress: float | None, now: datetime) -> bool | Refusal:
        """Whether to stop."""
        if token != job.token:
            return AttemptSuperseded
        # Without tokens, nobody can tell a bot that has not started yet from one whose attempt is over.
        stop = bool(job.cancel_at) or job.ended or (job.token is not None and not job.open)
        if job.status is Status.RUNNING and job.heartbeat_at:
            news = not job.polled or (progress is not None and progress != job.progress)
            if news or job.heartbeat_at < now - seconds(5):
                job.heartbeat_at, job.polled = now, True
                job.progress = job.progress if progress is None else progress
        return stop

    # The dispatcher

    def due(self, now: datetime) -> list[Job]:
        """Whose debts are due, the oldest first."""
        found = [
            job
            for job in self.jobs.values()
            if job.status is Status.PENDING and job.due and job.due <= now and not job.waits
            and not job.automation.held
        ]  # fmt: skip
        return sorted(found, key=lambda job: job.due or now)

    def claimed(self, jobs: Iterable[Job], now: datetime) -> None:
        for job in jobs:
            job.due = now + seconds(30)
            self.sent.append(Sent(job, job.due))

    def settle(self, messages: Sequence[Sent], now: datetime) -> int:
        paid = {
            message.job.id
            for message in messages
            if message.job.status is Status.PENDING and message.job.due == message.due
        }
        for job_id in paid:
            self.jobs[job_id].due, self.jobs[job_id].settled_at = None, now
        return len(paid)

    def grant(self, limit: int, now: datetime) -> set[UUID]:
        chosen: list[Job] = []
        for automation in self.automations:
            if automation.held:
                continue
            room = limit
            if automation.limit is not None:
                room = min(limit, automation.limit - self._count(automation, lambda job: job.has_slot))
            waiting = [
                job
                for job in self._of(automation)
                if job.status is Status.PENDING and job.waits and (job.due is None or job.due <= now)
            ]
            chosen += sorted(waiting, key=lambda job: (-job.priority, job.id))[: max(room, 0)]
        for job in chosen:
            job.waits = False
        self.claimed(chosen, now)
        return {job.id for job in chosen}

    def check(self, now: datetime) -> None:
        for job in self.jobs.values():
            asked = job.timed_out_at or job.cancel_at
            if job.status is Status.RUNNING and job.deadline and job.deadline <= now and not asked:
                job.timed_out_at = job.cancel_at = now
        paused = [job.automation for job in self.jobs.values() if self._ends(job, now)]
        for automation in paused:
            automation.paused = True
        for job in self.jobs.values():
            late = job.start_deadline and job.start_deadline <= now
            if job.status is Status.PENDING and not job.attempt and late:
                job.fail("JOB_TIMEOUT")
                job.waits = False

    def _ends(self, job: Job, now: datetime) -> bool:
        """End or rescue the attempt when it is over; whether that suspends the automation."""
        up_since = self._up_since(now)
        if job.status is not Status.RUNNING or up_since is None:
            return False
        assert job.heartbeat_at
        patience = HEARTBEAT if job.polled else NEVER_POLLED
        silent = max(job.heartbeat_at, up_since) < now - patience
        grace = now - seconds(120)
        asked = job.timed_out_at or job.cancel_at
        over = bool(job.deadline and job.deadline < grace and asked and max(asked, up_since) < grace)
        if not silent and not over:
            return False
        timed_out = job.timed_out_at is not None
        if job.cancel_at and not timed_out:
            job.finish_with(Status.CANCELED, job.result)
            return False
        error_class = "JOB_TIMEOUT" if timed_out else "WORKER_LOST"
        action = job.automation.action(error_class, job.attempts)
        if action != "Retry":
            job.fail(error_class)
            return action == "Suspend"
        if timed_out:
            self._retry(job, now)
        else:
            job.status, job.due, job.deadline = Status.PENDING, now, None
        return False

    def _up_since(self, now: datetime) -> datetime | None:
        """Since when silences count; None while no api has said lately that it is up."""
        return self.up_since if self.last_beat and self.last_beat >= now - seconds(30) else None

    def look(self, queue: str, ready: int, now: datetime) -> int:
        """A look at a queue; how many jobs are owed anew because their messages were lost."""
        known = self.queues.setdefault(queue, Queue(None))
        known.empty_since = None if ready else known.empty_since or now
        if known.empty_since is None or known.empty_since > now - seconds(60):
            return 0
        lost = [job for job in self.jobs.values() if job.automation.queue == queue and _is_lost(job, now)]
        for job in lost:
            job.due, job.losses = now, job.losses + 1
        return len(lost)

    def bury(self, jobs: Iterable[Job]) -> set[UUID]:
        """Dead letters of these jobs; whom they made fail."""
        failed = {
            job.id: job
            for job in jobs
            if job.status is Status.PENDING and job.due is None and not job.waits
        }  # fmt: skip
        for job in failed.values():
            job.fail("UNKNOWN")
        return set(failed)

    def _of(self, automation: Automation) -> Iterator[Job]:
        return (job for job in self.jobs.values() if job.automation is automation)

    def _count(self, automation: Automation, wanted: Callable[[Job], bool]) -> int:
        return sum(map(wanted, self._of(automation)))


def _after(moment: datetime, count: int | None) -> datetime | None:
    return None if count is None else moment + seconds(count)


def _is_lost(job: Job, now: datetime) -> bool:
    patience = seconds(60 * 2 ** min(job.losses, 6))
    published = job.settled_at or job.created_at
    waits_for_its_message = job.status is Status.PENDING and job.due is None and not job.waits
    return waits_for_its_message and published <= now - patience
