"""Jobs for people: execute, look, cancel, retry."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from maestro import jsontext
from maestro.automation import store as automations
from maestro.automation.model import Automation
from maestro.automation.parameters import resolve
from maestro.broker.publisher import Publisher
from maestro.db import Pool
from maestro.errors import AutomationSuspended
from maestro.job import store
from maestro.job.message import message_of
from maestro.job.model import Filter, Job, LogLine, NewJob
from maestro_api.database import transaction

_LINES_AT_ONCE = 2_000


class Jobs:
    """Every accepted job is committed first and published right after; what can't go out now stays owed."""

    def __init__(self, pool: Pool, publisher: Publisher) -> None:
        self._pool = pool
        self._publisher = publisher

    async def execute(self, automation_id: int, given: dict[str, Any]) -> Job:
        """Accept a job. Raises NotFound, AutomationSuspended or ParametersRefused."""
        async with transaction(self._pool) as conn:
            automation = await automations.get(conn, automation_id)
            _refuse_suspended(automation)
            parameters = resolve(automation.parameter_schema, automation.default_params, given)
            [job] = await store.accept(conn, [NewJob(automation_id, parameters)])
        self._publisher.publish([message_of(job)])
        return job

    async def retry(self, job_id: UUID) -> Job:
        """Accept a new job with the parameters of an earlier one, whatever became of that."""
        async with transaction(self._pool) as conn:
            earlier = await store.get(conn, job_id)
            _refuse_suspended(await automations.get(conn, earlier.automation_id))
            parameters = jsontext.parse(earlier.parameters.encode())
            [job] = await store.accept(conn, [NewJob(earlier.automation_id, parameters)])
        self._publisher.publish([message_of(job)])
        return job

    async def cancel(self, job_id: UUID) -> Job:
        """Cancel a pending job, ask a running one to stop. Raises NotFound or JobEnded."""
        async with transaction(self._pool) as conn:
            return await store.cancel(conn, job_id)

    async def get(self, job_id: UUID) -> Job:
        """Raises NotFound."""
        async with transaction(self._pool) as conn:
            return await store.get(conn, job_id)

    async def page(self, wanted: Filter, *, limit: int, offset: int) -> tuple[list[Job], int]:
        """The newest jobs that match, and how many match in all."""
        async with transaction(self._pool) as conn:
            return await store.list_page(conn, wanted, limit=limit, offset=offset)

    async def lines(self, job_id: UUID, *, after: int, limit: int | None) -> AsyncIterator[list[LogLine]]:
        """A job's log lines in portions, so that a long history never fills the memory. Raises NotFound.

        The first portion is read before this returns: what fails then can still be answered properly.
        """
        async with transaction(self._pool) as conn:
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
            async with transaction(self._pool) as conn:
                portion = await store.lines(conn, job_id, after=portion[-1].id, limit=_portion(left))


def _portion(left: int | None) -> int:
    return _LINES_AT_ONCE if left is None else min(left, _LINES_AT_ONCE)


def _refuse_suspended(automation: Automation) -> None:
    if suspension := automation.suspension:
        raise AutomationSuspended(f"The automation takes no jobs now. {suspension.message}")
