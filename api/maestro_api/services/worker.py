"""What workers call: start, log, finish, status and signs of life of one job."""

from collections.abc import Sequence
from typing import TypeVar
from uuid import UUID

from maestro import metrics
from maestro.broker.publisher import Publisher
from maestro.db import Pool
from maestro.errors import MaestroError
from maestro.job import store
from maestro.job.model import Finish, Heartbeat, Job, NewLine, Release, Start, Status
from maestro_api.database import transaction

T = TypeVar("T")


class Workers:
    """Each call is one statement on one job's row."""

    def __init__(self, pool: Pool, publisher: Publisher) -> None:
        self._pool = pool
        self._publisher = publisher

    async def start(self, call: Start) -> int:
        """Make or repeat the attempt and return its number. Raises NotFound, JobEnded or Conflict."""
        async with transaction(self._pool) as conn:
            started = _only(await store.start(conn, [call]))
        metrics.note_start(started.waited_since)
        return started.attempt

    async def append(self, lines: Sequence[NewLine]) -> list[int]:
        """Keep the lines, all or none, and return their ids. Raises NotFound or AttemptSuperseded."""
        async with transaction(self._pool) as conn:
            return [_answer(outcome) for outcome in await store.append_lines(conn, lines)]

    async def finish(self, call: Finish) -> Status:
        """End the attempt. Raises NotFound, AttemptSuperseded, JobEnded or Conflict."""
        async with transaction(self._pool) as conn:
            return _only(await store.finish(conn, [call]))

    async def release(self, call: Release) -> Status:
        """Take the job back. Raises NotFound, AttemptSuperseded, JobEnded or Conflict."""
        async with transaction(self._pool) as conn:
            status = _only(await store.release(conn, [call]))
            owed = await store.messages_of(conn, [call.job_id]) if status is Status.PENDING else []
        self._publisher.publish(owed)
        return status

    async def beat(self, call: Heartbeat) -> bool:
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
