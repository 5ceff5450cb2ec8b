"""What workers call: start, log, finish, status and signs of life of one job."""

from collections.abc import Sequence
from itertools import islice
from operator import attrgetter
from typing import TypeAlias
from uuid import UUID

from maestro import metrics
from maestro.broker.message import Message
from maestro.broker.publisher import Publisher
from maestro.db import Connection, Pool
from maestro.errors import MaestroError
from maestro.job import store
from maestro.job.model import Finish, Heartbeat, Job, NewLine, Release, Start, Status
from maestro_api.coalescer import ROW_BYTES, Coalescer
from maestro_api.database import transaction

Released: TypeAlias = tuple[Status, list[Message]]
"""What a job is after its release, and the message it is owed, if any."""


class Workers:
    """Each call is one row in a statement that it shares with the calls of other jobs."""

    def __init__(self, pool: Pool, publisher: Publisher, coalescer: Coalescer) -> None:
        self._pool = pool
        self._publisher = publisher
        job_of = attrgetter("job_id")
        self._starts = coalescer.of_jobs(store.start, job_of)
        self._lines = coalescer.of_jobs(_append, _job_of_lines, many_per_job=True, size=_size_of_lines)
        self._finishes = coalescer.of_jobs(store.finish, job_of, size=_size_of_finish)
        self._releases = coalescer.of_jobs(_release, job_of, committed=self._publish)
        self._beats = coalescer.of_jobs(store.beat, job_of)

    async def start(self, call: Start) -> int:
        """Make or repeat the attempt and return its number.

        Raises NotFound, JobEnded, ConcurrencyLimited or Conflict.
        """
        started = await self._starts.submit(call)
        metrics.note_start(started.waited_since)
        return started.attempt

    async def append(self, lines: Sequence[NewLine]) -> list[int]:
        """Keep the lines of one attempt, all or none, and return their ids.

        Raises NotFound or AttemptSuperseded.
        """
        return await self._lines.submit(lines)

    async def finish(self, call: Finish) -> Status:
        """End the attempt. Raises NotFound, AttemptSuperseded, JobEnded or Conflict."""
        return await self._finishes.submit(call)

    async def release(self, call: Release) -> Status:
        """Take the job back. Raises NotFound, AttemptSuperseded, JobEnded or Conflict."""
        return (await self._releases.submit(call))[0]

    def _publish(self, done: Sequence[tuple[Release, Released]]) -> None:
        self._publisher.publish([message for _, (_, owed) in done for message in owed])

    async def beat(self, call: Heartbeat) -> bool:
        """Note the sign of life and tell whether to stop. Raises NotFound or AttemptSuperseded."""
        return (await self._beats.submit(call)).cancellation_requested

    async def status(self, job_id: UUID) -> Job:
        """Changes nothing. Raises NotFound."""
        async with transaction(self._pool) as conn:
            return await store.get(conn, job_id)


async def _append(conn: Connection, calls: Sequence[Sequence[NewLine]]) -> list[list[int] | MaestroError]:
    """The lines of all calls in one statement."""
    answers = iter(await store.append_lines(conn, [line for call in calls for line in call]))
    return [_all_kept(list(islice(answers, len(call)))) for call in calls]


def _all_kept(answers: Sequence[int | MaestroError]) -> list[int] | MaestroError:
    """The lines of a call are of one attempt: kept all or none."""
    ids: list[int] = []
    for answer in answers:
        if isinstance(answer, MaestroError):
            return answer
        ids.append(answer)
    return ids


async def _release(conn: Connection, calls: Sequence[Release]) -> list[Released | MaestroError]:
    answers = await store.release(conn, calls)
    pending = [call.job_id for call, answer in zip(calls, answers, strict=True) if answer is Status.PENDING]
    owed = await store.messages_of(conn, pending) if pending else []
    return [
        answer if isinstance(answer, MaestroError) else (answer, [m for m in owed if m.job_id == call.job_id])
        for call, answer in zip(calls, answers, strict=True)
    ]


def _job_of_lines(lines: Sequence[NewLine]) -> UUID:
    return lines[0].job_id


def _size_of_lines(lines: Sequence[NewLine]) -> int:
    return sum(ROW_BYTES + len(line.message) for line in lines)


def _size_of_finish(call: Finish) -> int:
    return ROW_BYTES + len(call.result or "")
