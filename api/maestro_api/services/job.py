"""Jobs for people: execute, look, cancel, retry."""

from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from itertools import islice
from typing import Any, TypeAlias
from uuid import UUID

from maestro import jsontext
from maestro.automation.model import Automation, Suspension
from maestro.automation.parameters import resolve
from maestro.broker.publisher import Publisher
from maestro.db import Connection, Pool, autocommit
from maestro.errors import AutomationSuspended, FieldError, MaestroError, NotFound, ParametersRefused
from maestro.job import keyed, listing, store
from maestro.job import why as waiting
from maestro.job.message import message_of
from maestro.job.model import Filter, IdempotencyKey, Job, LogLine, NewJob, Status
from maestro.job.why import Why
from maestro_api.coalescer import ROW_BYTES, Coalescer, answered
from maestro_api.database import transaction
from maestro_api.known import Known

_LINES_AT_ONCE = 2_000

Parameters: TypeAlias = dict[str, Any]
Answers: TypeAlias = list[Job | MaestroError]


class Jobs:
    """Every accepted job is committed first and published right after; what can't go out now stays owed."""

    def __init__(self, pool: Pool, publisher: Publisher, coalescer: Coalescer, known: Known) -> None:
        self._pool = pool
        self._publisher = publisher
        self._known = known
        self._changed = coalescer.changed
        self._accepted = coalescer.lane(_accept, size=_size, committed=self._publish)

    async def execute(
        self, automation_id: int, given: Parameters, caller: str, name: str | None = None
    ) -> Job:
        """Accept a job; under an idempotency key, named so by the caller, once and then again the same.

        Raises NotFound, AutomationSuspended, ParametersRefused or IdempotencyKeyReused.
        """
        key = _key(caller, f"execute/{automation_id}", name, given)
        if key and (known := await self._find(key)):
            return known
        automation = await self._known.get(automation_id)
        _refuse_suspended(automation)
        parameters = resolve(automation.parameter_schema, automation.default_params, given)
        [job] = await self._accept([NewJob(automation_id, parameters, caller, key=key)])
        return job

    async def execute_batch(self, automation_id: int, given: Sequence[Parameters], caller: str) -> list[Job]:
        """Accept a job for each of these parameters in one commit, in their order, all or none.

        Raises NotFound, AutomationSuspended or ParametersRefused, whose fields begin with the place, counted
        from 0, of the parameters they are in.
        """
        automation = await self._known.get(automation_id)
        _refuse_suspended(automation)
        resolved = _resolve_each(automation, given)
        return await self._accept([NewJob(automation_id, parameters, caller) for parameters in resolved])

    async def retry(self, job_id: UUID, caller: str, name: str | None = None) -> Job:
        """Accept a new job with the parameters of an earlier one, whatever became of that.

        Raises NotFound, AutomationSuspended or IdempotencyKeyReused.
        """
        key = _key(caller, f"retry/{job_id}", name, None)
        if key and (known := await self._find(key)):
            return known
        earlier = await self.get(job_id)
        _refuse_suspended(await self._known.get(earlier.automation_id))
        parameters = jsontext.parse(earlier.parameters.encode())
        [job] = await self._accept([NewJob(earlier.automation_id, parameters, caller, key=key)])
        return job

    async def _find(self, key: IdempotencyKey) -> Job | None:
        """The job of a key used before: also when the automation takes no jobs any more."""
        async with transaction(self._pool) as conn:
            return await keyed.find(conn, key)

    async def _accept(self, new: Sequence[NewJob]) -> list[Job]:
        answers = await self._accepted.submit(new) if new else []
        return [answered(answer) for answer in answers]

    def _publish(self, done: Sequence[tuple[Sequence[NewJob], Answers]]) -> None:
        # By id: calls of the same key have the same job.
        jobs = {job.id: job for _, answers in done for job in answers if isinstance(job, Job)}
        self._publisher.publish([message_of(job) for job in jobs.values() if job.publish_due_at is not None])

    async def cancel(self, job_id: UUID) -> Job:
        """Cancel a pending job, ask a running one to stop. Raises NotFound or JobEnded."""
        async with transaction(self._pool) as conn:
            job = await store.cancel(conn, job_id)
        self._changed([job_id])
        return job

    async def last_parameters(self, automation_id: int, caller: str) -> str | None:
        """What the caller's latest job of the automation ran with, as JSON; None before the first one.

        Raises NotFound.
        """
        await self._known.get(automation_id)
        wanted = Filter(automation_id=automation_id, user_id=caller)
        async with autocommit(self._pool) as conn:
            jobs, _ = await listing.page(conn, wanted, limit=1)
        return jobs[0].parameters if jobs else None

    async def why(self, job_id: UUID) -> tuple[Status, Why]:
        """The job's state, and why it waits if it does. Raises NotFound."""
        async with autocommit(self._pool) as conn:
            facts = await waiting.facts(conn, job_id)
        suspension = await self._suspension(facts.automation_id)
        return facts.status, waiting.why(facts, suspension, broker_there=self._publisher.connected)

    async def _suspension(self, automation_id: int) -> Suspension | None:
        try:
            return (await self._known.get(automation_id)).suspension
        except NotFound:
            return None  # deleted: its pending jobs are canceled shortly

    async def get(self, job_id: UUID) -> Job:
        """Raises NotFound."""
        async with autocommit(self._pool) as conn:
            return await store.get(conn, job_id)

    async def lines(self, job_id: UUID, *, after: int, limit: int | None) -> AsyncIterator[list[LogLine]]:
        """A job's log lines in portions, so that a long history never fills the memory. Raises NotFound.

        The first portion is read before this returns: what fails then can still be answered properly.
        """
        async with autocommit(self._pool) as conn:
            await store.get(conn, job_id)
            first = await store.lines(conn, job_id, after=after, limit=_portion(limit))
        return self._portions(job_id, first, limit)

    async def _portions(
        self, job_id: UUID, first: list[LogLine], limit: int | None
    ) -> AsyncIterator[list[LogLine]]:
        portion, left = first, limit
        while portion:
            yield portion
            left = None if left is None else left - len(portion)
            if left == 0 or len(portion) < _LINES_AT_ONCE:
                return
            async with autocommit(self._pool) as conn:
                portion = await store.lines(conn, job_id, after=portion[-1].id, limit=_portion(left))


def _portion(left: int | None) -> int:
    return _LINES_AT_ONCE if left is None else min(left, _LINES_AT_ONCE)


def _key(caller: str, route: str, name: str | None, body: Parameters | None) -> IdempotencyKey | None:
    if name is None:
        return None
    body_hash = sha256(jsontext.canonical(body)).digest()
    return IdempotencyKey(caller, route, jsontext.storable(name), body_hash)


def _refuse_suspended(automation: Automation) -> None:
    if suspension := automation.suspension:
        raise AutomationSuspended(f"The automation takes no jobs now. {suspension.message}")


def _resolve_each(automation: Automation, given: Sequence[Parameters]) -> list[Parameters]:
    resolved: list[Parameters] = []
    refused: list[FieldError] = []
    for place, parameters in enumerate(given):
        try:
            resolved.append(resolve(automation.parameter_schema, automation.default_params, parameters))
        except ParametersRefused as error:
            refused += [FieldError(f"{place}.{field.name}", field.message) for field in error.fields]
    if refused:
        raise ParametersRefused(refused)
    return resolved


async def _accept(conn: Connection, calls: Sequence[Sequence[NewJob]]) -> list[Answers]:
    """The jobs of all calls in one statement."""
    answers = iter(await keyed.accept(conn, [new for call in calls for new in call]))
    return [list(islice(answers, len(call))) for call in calls]


def _size(new: Sequence[NewJob]) -> int:
    return sum(ROW_BYTES + len(jsontext.dump(job.parameters)) for job in new)
