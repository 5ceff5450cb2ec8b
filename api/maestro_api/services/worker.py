"""What workers call: start, log, finish, status and signs of life of one job."""

from collections.abc import Sequence
from typing import TypeVar
from uuid import UUID

from maestro.db import Pool
from maestro.errors import MaestroError
from maestro.job import store
from maestro.job.feed import Feed
from maestro.job.model import Finish, Job, NewLine, Start, Status
from maestro_api.database import transaction

T = TypeVar("T")


class Workers:
    """Each call is one statement on one job's row."""

    def __init__(self, pool: Pool, feed: Feed) -> None:
        self._pool = pool
        self._feed = feed

    async def start(self, call: Start) -> int:
        """Make or repeat the attempt and return its number. Raises NotFound, JobEnded or Conflict."""
        async with transaction(self._pool) as conn:
            attempt = _only(await store.start(conn, [call]))
        self._feed.changed([call.job_id])
        return attempt

    async def append(self, lines: Sequence[NewLine]) -> list[int]:
        """Keep the lines, all or none, and return their ids. Raises NotFound or AttemptSuperseded."""
        async with transaction(self._pool) as conn:
            ids = [_answer(outcome) for outcome in await store.append_lines(conn, lines)]
        self._feed.changed(line.job_id for line in lines)
        return ids

    async def finish(self, call: Finish) -> Status:
        """End the attempt. Raises NotFound, AttemptSuperseded, JobEnded or Conflict."""
        async with transaction(self._pool) as conn:
            status = _only(await store.finish(conn, [call]))
        self._feed.changed([call.job_id])
        return status

    async def cancellation_requested(self, call: Start) -> bool:
        """Note the sign of life and tell whether to stop. Raises NotFound or AttemptSuperseded."""
        async with transaction(self._pool) as conn:
            return _only(await store.beat(conn, [call])).cancellation_requested

    async def status(self, job_id: UUID) -> Job:
        """Changes nothing. Raises NotFound."""
        async with transaction(self._pool) as conn:
            return await store.get(conn, job_id)


def _only(outcomes: Sequence[T | MaestroError]) -> T:
    [outcome] = outcomes
    return _answer(outcome)


def _answer(outcome: T | MaestroError) -> T:
    if isinstance(outcome, MaestroError):
        raise outcome
    return outcome
