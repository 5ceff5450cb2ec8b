"""What a dispatcher does, each duty one small step of a loop."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from maestro.broker.message import Message
from maestro.broker.publisher import Publisher
from maestro.db import Connection, Pool, Statements, translate_errors
from maestro.dispatcher.figures import Figures
from maestro.dispatcher.loops import Loop, Outage
from maestro.job.message import message_of
from maestro.job.store import claim_owed, settle
from maestro.schedule.firing import fire_due
from maestro.schedule.store import seconds_to_next

_sql = Statements(__package__)

FIRE_BATCH = 200
PAY_BATCH = 500

_SHORTEST_REST = 0.02  # another dispatcher may hold what is due
_LONGEST_REST = 1.0  # a schedule may be edited meanwhile
_PAY_SECONDS = 0.5
_PARTITION_SECONDS = 3600.0


class Dispatcher:
    """The duties, on one pool and one publisher."""

    def __init__(self, pool: Pool, uri: str) -> None:
        self._pool = pool
        self._database = Outage("PostgreSQL")
        self._figures = Figures(self._transaction)
        self.publisher = Publisher(uri, self.settle)

    def loops(self) -> list[Loop]:
        steps = (self.fire, self.pay, self.keep_partitions, self._figures.measure)
        return [Loop(step.__name__, step, self._database) for step in steps]

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Connection]:
        with translate_errors():
            async with self._pool.connection() as conn:
                yield conn
        self._database.back()

    async def fire(self) -> float:
        """Fire due schedules and publish their jobs; rest until the next one is due."""
        async with self._transaction() as conn:
            fired = await fire_due(conn, limit=FIRE_BATCH)
        self.publisher.publish([message_of(job) for job in fired.jobs])
        if fired.seen == FIRE_BATCH:
            return 0
        async with self._transaction() as conn:
            seconds = await seconds_to_next(conn)
        return _LONGEST_REST if seconds is None else min(max(seconds, _SHORTEST_REST), _LONGEST_REST)

    async def pay(self) -> float:
        """Publish jobs whose publication is owed. While the broker is away, nothing is claimed."""
        room = min(self.publisher.room, PAY_BATCH)
        if not room:
            return _PAY_SECONDS
        async with self._transaction() as conn:
            owed = await claim_owed(conn, room)
        self.publisher.publish(owed)
        return 0 if len(owed) == room else _PAY_SECONDS

    async def settle(self, published: Sequence[Message]) -> None:
        """The broker has these: nothing is owed for them any more."""
        async with self._transaction() as conn:
            await settle(conn, published)

    async def keep_partitions(self) -> float:
        """Have the log partitions of the coming weeks."""
        async with self._transaction() as conn:
            await conn.execute(_sql["partitions"])
        return _PARTITION_SECONDS
