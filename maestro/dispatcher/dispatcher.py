"""What a dispatcher does, each duty one small step of a loop."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from maestro import metrics
from maestro.broker.message import Message
from maestro.broker.publisher import Publisher
from maestro.broker.topology import DeadLetter, Topology
from maestro.db import Connection, Pool, Statements, translate_errors
from maestro.dispatcher import attempts, deadletters, lost, retention
from maestro.dispatcher.figures import Figures
from maestro.dispatcher.loops import Loop, Outage
from maestro.dispatcher.retention import Retention
from maestro.errors import BrokerAway
from maestro.job.feed import Feed
from maestro.job.message import message_of
from maestro.job.store import claim_owed, grant_slots, settle
from maestro.schedule.firing import Fired, fire_due, start_waiting
from maestro.schedule.occurrences import Outcome
from maestro.schedule.store import seconds_to_next
from maestro.schedule.versions import take_up, versions_here

log = logging.getLogger(__name__)

_sql = Statements(__package__)

FIRE_BATCH = 200
PAY_BATCH = 500

_SHORTEST_REST = 0.02  # another dispatcher may hold what is due
_LONGEST_REST = 1.0  # a schedule may be edited meanwhile
_WAITING_SECONDS = 0.5
_PAY_SECONDS = 0.5
_GRANT_SECONDS = 0.25
_CHECK_SECONDS = 5.0
_LOOK_SECONDS = 10.0
_LOOK_BATCH = 500
_DRAIN_SECONDS = 2.0
_DRAIN_BATCH = 100
_RETENTION_SECONDS = 600.0
_RETENTION_PAUSE = 0.2  # between two batches
_PARTITION_SECONDS = 3600.0
_VERSIONS_SECONDS = 3600.0  # what this process goes by stays; another one may have gone by others meanwhile


class Dispatcher:
    """The duties, on one pool, one publisher and one connection that looks at queues. A context manager."""

    def __init__(self, pool: Pool, uri: str, kept: Retention) -> None:
        self._pool = pool
        self._kept = kept
        self._database = Outage("PostgreSQL")
        self._topology = Topology(uri, threads=1)
        self._figures = Figures(self._transaction)
        self._feed = Feed(pool)
        self.publisher = Publisher(uri, self.settle)

    async def __aenter__(self) -> Self:
        self._topology.__enter__()
        await self._feed.__aenter__()
        await self.publisher.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.publisher.__aexit__(kind, error, trace)
        await self._feed.__aexit__()
        self._topology.__exit__()

    def loops(self) -> list[Loop]:
        steps = (
            self.fire,
            self.start_waiting,
            self.pay,
            self.grant,
            self.check_attempts,
            self.look_at_queues,
            self.drain_dead_letters,
            self.apply_retention,
            self.keep_partitions,
            self.take_up_versions,
            self._figures.measure,
        )
        return [Loop(step.__name__, step, self._database) for step in steps]

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Connection]:
        with translate_errors():
            async with self._pool.connection() as conn:
                yield conn
        self._database.back()

    async def fire(self) -> float:
        """Decide due schedules and publish their jobs; rest until the next one is due."""
        async with self._transaction() as conn:
            fired = await fire_due(conn, limit=FIRE_BATCH)
        self._tell(fired)
        if fired.seen == FIRE_BATCH:
            return 0
        async with self._transaction() as conn:
            seconds = await seconds_to_next(conn)
        return _LONGEST_REST if seconds is None else min(max(seconds, _SHORTEST_REST), _LONGEST_REST)

    async def start_waiting(self) -> float:
        """Start occurrences that waited for earlier jobs of their schedule, and publish their jobs."""
        async with self._transaction() as conn:
            fired = await start_waiting(conn, limit=FIRE_BATCH)
        self._tell(fired)
        return 0 if fired.seen == FIRE_BATCH else _WAITING_SECONDS

    def _tell(self, fired: Fired) -> None:
        """Publish, announce and count what was committed. Jobs that wait for a slot are owed nothing yet."""
        self.publisher.publish([message_of(job) for job in fired.jobs if job.publish_due_at])
        self._feed.changed(fired.canceled)
        for told in fired.told:
            metrics.OCCURRENCES.labels(told.outcome).inc(told.count)
            if told.lag is not None:
                metrics.SCHEDULE_LAG.observe(max(told.lag.total_seconds(), 0))
        missed = sum(told.count for told in fired.told if told.outcome is Outcome.MISSED)
        if missed:
            log.warning("%d runs of schedules were missed; their occurrences and events say why", missed)

    async def pay(self) -> float:
        """Publish jobs whose publication is owed. While the broker is away, nothing is claimed."""
        room = min(self.publisher.room, PAY_BATCH)
        if not room:
            return _PAY_SECONDS
        async with self._transaction() as conn:
            owed = await claim_owed(conn, room)
        self.publisher.publish(owed)
        return 0 if len(owed) == room else _PAY_SECONDS

    async def grant(self) -> float:
        """Give free slots of limited automations to waiting jobs, and publish those."""
        room = min(self.publisher.room, PAY_BATCH)
        if not room:
            return _PAY_SECONDS
        async with self._transaction() as conn:
            granted = await grant_slots(conn, room)
        self.publisher.publish(granted)
        return _GRANT_SECONDS

    async def check_attempts(self) -> float:
        """Rescue jobs of lost workers, keep deadlines and time limits."""
        async with self._transaction() as conn:
            changes = await attempts.check(conn)
        self._feed.changed(changes.ids)
        for status, count in changes.ended.items():
            log.warning("%d jobs whose worker was lost or out of time are %s now", count, status)
            metrics.RESCUES.labels(status.value).inc(count)
        return 0 if changes.full else _CHECK_SECONDS

    async def look_at_queues(self) -> float:
        """See what is in the queues of pending jobs, and owe anew what is lost."""
        async with self._transaction() as conn:
            queues = await lost.queues_to_look_at(conn, _LOOK_BATCH)
        try:
            seen = {queue: await self._topology.look(queue) for queue in queues}
        except BrokerAway:
            return _LOOK_SECONDS  # the publisher says so
        if seen:
            async with self._transaction() as conn:
                owed = await lost.note(conn, seen)
            if owed:
                log.warning("the messages of %d jobs are in no queue any more: published again", owed)
        return _LOOK_SECONDS

    async def drain_dead_letters(self) -> float:
        """Bury what has reached the dead-letter queue: committed first, acknowledged then."""
        loop = asyncio.get_running_loop()
        burials: list[Future[None]] = []

        def bury(letters: Sequence[DeadLetter]) -> None:
            burials.append(asyncio.run_coroutine_threadsafe(self._bury(letters), loop))
            burials[-1].result()

        try:
            drained = await self._topology.drain_dead_letters(bury, _DRAIN_BATCH)
        except BrokerAway:
            return _DRAIN_SECONDS
        finally:
            for burial in burials:  # told to stop: what is not buried goes back
                burial.cancel()
        return 0 if drained == _DRAIN_BATCH else _DRAIN_SECONDS

    async def _bury(self, letters: Sequence[DeadLetter]) -> None:
        async with self._transaction() as conn:
            failed = await deadletters.bury(conn, letters)
        self._feed.changed(failed)
        log.warning("%d dead letters, %d jobs failed by them", len(letters), len(failed))

    async def apply_retention(self) -> float:
        """Take away what is older than it is to be kept."""
        async with self._transaction() as conn:
            more = await retention.apply(conn, self._kept)
        async with self._transaction() as conn:
            more |= await retention.drop_old_partition(conn, self._kept.logs_days)
        return _RETENTION_PAUSE if more else _RETENTION_SECONDS

    async def settle(self, published: Sequence[Message]) -> None:
        """The broker has these: nothing is owed for them any more."""
        async with self._transaction() as conn:
            await settle(conn, published)

    async def keep_partitions(self) -> float:
        """Have the log partitions of the coming weeks."""
        async with self._transaction() as conn:
            await conn.execute(_sql["partitions"])
        return _PARTITION_SECONDS

    async def take_up_versions(self) -> float:
        """Let the times of schedules be written anew that were computed with other holidays or time zones."""
        versions = await asyncio.to_thread(versions_here)
        async with self._transaction() as conn:
            count = await take_up(conn, versions)
        if count:
            log.info("the times of %d schedules are computed anew, with %s", count, versions)
        return _VERSIONS_SECONDS
