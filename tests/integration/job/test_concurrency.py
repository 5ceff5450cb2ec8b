"""Many clients at once on the same few jobs: two apis, two dispatchers, workers with tokens and bots without.

No order of theirs may change an end, hold more slots than there are, keep a line twice or lose one, take two
results, or end in an error that nobody foresaw. A deadlock would be one: all who lock several rows take them
in the same order, jobs before automations, and whoever grants slots waits for no job.
"""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import psycopg
import pytest
from psycopg import sql

from maestro.broker.message import Message
from maestro.broker.topology import DeadLetter, QueueDepth
from maestro.db import Connection, Pool, open_pool
from maestro.dispatcher import attempts, deadletters, lost, retention
from maestro.dispatcher.retention import Retention
from maestro.errors import ConcurrencyLimited, JobEnded, MaestroError
from maestro.job import keyed, store
from maestro.job.model import (
    ENDS,
    Finish,
    Heartbeat,
    IdempotencyKey,
    Job,
    Level,
    NewJob,
    NewLine,
    Release,
    Start,
    Started,
    Status,
)
from maestro_api.coalescer import Coalescer, Lane

SECONDS, STARTS = 4.0, 200
"""The crowd stays for both, on a busy machine for ten times as long at most."""
LIMIT = 3

# With a limit and failures that suspend, with retries, for bots without tokens, with a limit and retries.
INSERT = """
INSERT INTO automations (id, namespace, name, uid, display_name, queue, max_concurrency, retry_policy)
VALUES (1, 'n', 'a', 'u', 'a', 'q', %(limit)s, %(suspends)s), (2, 'n', 'b', 'u', 'b', 'r', NULL, %(retries)s),
       (3, 'n', 'c', 'u', 'c', 'r', NULL, %(suspends)s), (4, 'n', 'd', 'u', 'd', 'q', %(limit)s, %(retries)s)
"""
SUSPENDS = """{"maxAttempts": 2, "backoffSeconds": 0, "rules": [
    {"errorClasses": ["CREDENTIAL_INVALID", "WORKER_LOST"], "action": "Suspend"}]}"""
RETRIES = """{"maxAttempts": 4, "backoffSeconds": 0, "rules": [
    {"errorClasses": ["PORTAL_DOWN"], "action": "Retry"}]}"""
WITHOUT_TOKENS = 3
COMPLETIONS = (Status.COMPLETED, Status.COMPLETED_NO_INVOICES)


class Api:
    """The lanes of one api."""

    def __init__(self, coalescer: Coalescer, pool: Pool) -> None:
        job_of: Callable[[Any], UUID] = lambda call: call.job_id  # noqa: E731
        self.pool = pool
        self.accepts: Lane[NewJob, Job] = coalescer.lane(keyed.accept)
        self.starts = coalescer.of_jobs(store.start, job_of)
        self.lines = coalescer.of_jobs(store.append_lines, job_of, many_per_job=True)
        self.finishes = coalescer.of_jobs(store.finish, job_of)
        self.releases = coalescer.of_jobs(store.release, job_of)
        self.beats = coalescer.of_jobs(store.beat, job_of)


@dataclass
class Told:
    """What clients were told, against which the tables are held at the end."""

    jobs: dict[UUID, int] = field(default_factory=dict)
    keys: dict[str, UUID] = field(default_factory=dict)
    attempts: dict[UUID, dict[int, str | None]] = field(default_factory=lambda: defaultdict(dict))
    results: dict[UUID, list[tuple[Status, Any]]] = field(default_factory=lambda: defaultdict(list))
    lines: dict[tuple[UUID, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    ends: dict[UUID, tuple[str, Any]] = field(default_factory=dict)


@pytest.fixture
async def pool(database_uri: str, database: psycopg.Connection) -> AsyncIterator[Pool]:
    database.execute(INSERT, {"limit": LIMIT, "suspends": SUSPENDS, "retries": RETRIES})
    # The apis have been up for long, and will be: a check in the future finds every attempt silent.
    database.execute(
        "INSERT INTO service_clock VALUES (true, now() - interval '1 d', now() + interval '1 d')"
    )
    # What matters here is who waits for whom, and not the disk.
    database.execute(
        sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(sql.Identifier(database.info.dbname))
    )
    async with open_pool(database_uri, size=24, wait=60) as opened:
        yield opened


class Clients:
    """Everybody, all with the same seed for what they choose; what happens is up to the server."""

    def __init__(self, pool: Pool, apis: Sequence[Api]) -> None:
        self.pool, self.apis = pool, apis
        self.told = Told()
        self.began = time.monotonic()
        self.random = random.Random(7)  # noqa: S311
        self.published: list[Message] = []

    @property
    def api(self) -> Api:
        return self.random.choice(self.apis)

    @property
    def over(self) -> bool:
        passed = time.monotonic() - self.began
        return passed > SECONDS and (
            sum(map(len, self.told.attempts.values())) > STARTS or passed > 10 * SECONDS
        )

    def some_job(self) -> UUID:
        """The latest are the likeliest: there is a crowd around each."""
        known = list(self.told.jobs)
        return self.random.choice(known[-12:])

    async def during(self, step: Callable[[], Awaitable[None]], pause: float = 0.0) -> None:
        while not self.over:
            await step()
            await asyncio.sleep(pause)

    # People

    async def execute(self) -> None:
        automation = self.random.randint(1, 4)
        name = f"k{self.random.randint(1, 400)}"
        key = IdempotencyKey("caller", f"execute/{automation}", name, str(automation).encode())
        answers = await asyncio.gather(
            *(api.accepts.submit(NewJob(automation, {}, key=key)) for api in self.apis)
        )
        assert len({job.id for job in answers}) == 1, "the same key, two jobs"
        job_id = answers[0].id
        assert self.told.keys.setdefault(f"{automation}/{name}", job_id) == job_id
        self.told.jobs.setdefault(job_id, automation)

    async def cancel(self) -> None:
        job_id = self.some_job()
        try:
            async with self.pool.connection() as conn:
                await store.cancel(conn, job_id)
        except MaestroError:
            pass  # it has ended

    async def resume(self) -> None:
        async with self.pool.connection() as conn:
            await conn.execute("UPDATE automations SET paused_at = NULL WHERE id = 1")
            await conn.execute("UPDATE automations SET paused_at = NULL WHERE id = 3")

    # Workers

    async def work(self) -> None:
        """Start a job and do some of what workers do with one, mostly in order."""
        job_id = self.some_job()
        token = None if self.told.jobs[job_id] == WITHOUT_TOKENS else uuid4().hex
        started = await _answer(self.api.starts.submit(Start(job_id, token)))
        if not isinstance(started, Started):
            return
        held = self.told.attempts[job_id].setdefault(started.attempt, token)
        assert held == token, "one attempt, two tokens"
        for _ in range(self.random.randint(0, 3)):
            await self.random.choice((self.log, self.beat, self.start_again))(job_id, token)
        match self.random.randint(0, 5):
            case 0:
                pass  # lost
            case 1:
                await _answer(self.api.releases.submit(Release(job_id, token)))
            case _:
                await self.finish(job_id, token)

    async def log(self, job_id: UUID, token: str | None) -> None:
        """A line, and at once the same through the other api, as a worker that had no answer would."""
        sent = self.told.lines[job_id, token or ""]
        line = NewLine(job_id, Level.INFO, "m", seq=len(sent) + 1 if token else None, token=token)
        apis = self.apis if token else [self.api]
        answers = [
            answer
            for answer in await asyncio.gather(*(_answer(api.lines.submit(line)) for api in apis))
            if isinstance(answer, int)
        ]
        assert len(set(answers)) <= 1, "one line, two ids"
        sent += answers[:1]

    async def beat(self, job_id: UUID, token: str | None) -> None:
        await _answer(self.api.beats.submit(Heartbeat(job_id, token, self.random.random())))

    async def start_again(self, job_id: UUID, token: str | None) -> None:
        if token:
            await _answer(self.api.starts.submit(Start(job_id, token)))

    async def finish(self, job_id: UUID, token: str | None) -> None:
        """Through both apis at once, and again: one report, however often it is told."""
        status, error_class = self.random.choice(
            [
                (Status.COMPLETED, None),
                (Status.COMPLETED_NO_INVOICES, None),
                (Status.CANCELED, None),
                (Status.FAILED, "PORTAL_DOWN"),
                (Status.FAILED, "CREDENTIAL_INVALID"),
            ]
        )
        result = {"by": uuid4().hex, "error_class": error_class}
        call = Finish(job_id, status, orjson.dumps(result).decode(), token)
        answers = await asyncio.gather(
            *(_answer(api.finishes.submit(call)) for api in (*self.apis, self.api))
        )
        if any(isinstance(answer, Status) for answer in answers):
            self.told.results[job_id].append((status, result))

    async def meddle(self) -> None:
        """Calls of nobody's attempt: none may change anything."""
        job_id, token = self.some_job(), uuid4().hex
        end = Finish(job_id, Status.COMPLETED, '"a stranger"', token)
        line = NewLine(job_id, Level.INFO, "a stranger's", token=token)
        for lane, call in (
            (self.api.finishes, end),
            (self.api.lines, line),
            (self.api.releases, Release(job_id, token)),
        ):
            assert isinstance(await _answer(lane.submit(call)), MaestroError)

    # Dispatchers

    async def publish(self) -> None:
        async with self.pool.connection() as conn:
            owed = await store.claim_owed(conn, 20)
        async with self.pool.connection() as conn:
            owed += await store.grant_slots(conn, 20)
        self.published = (self.published + owed)[-50:]
        stale = self.random.sample(self.published, len(self.published) // 2)
        async with self.pool.connection() as conn:
            await store.settle(conn, owed + stale)

    async def check(self) -> None:
        """Every attempt under way is lost, for all that this dispatcher hears."""
        async with self.pool.connection() as conn:
            await attempts.check(conn, now=datetime.now(UTC) + timedelta(hours=3))

    async def look(self) -> None:
        """Every message seems lost that was published more than a few minutes, or hours, before."""
        soon = datetime.now(UTC) + timedelta(minutes=self.random.choice([0, 1, 5, 120]))
        async with self.pool.connection() as conn:
            await lost.note(conn, {"q": None, "r": QueueDepth(0, 1)}, now=soon)

    async def look_for_two_hours(self) -> None:
        """As if from now on; the looks before went to and fro in time, and the first may have been ahead."""
        now = datetime.now(UTC)
        async with self.pool.connection() as conn:
            await conn.execute("DELETE FROM queue_states")
            for moment in (now, now + timedelta(hours=2)):
                await lost.note(conn, {"q": None, "r": QueueDepth(0, 1)}, now=moment)

    async def bury(self) -> None:
        bodies = [orjson.dumps({"job_id": str(self.some_job())}) for _ in range(3)]
        letters = [DeadLetter(body, {}, "q", "rejected") for body in bodies]
        async with self.pool.connection() as conn:
            await deadletters.bury(conn, letters)
            await retention.apply(conn, Retention(jobs_days=90, logs_days=30))

    # What holds all the while

    async def watch(self) -> None:
        async with self.pool.connection() as conn:
            rows = await _rows(conn)
        self.note_ends(rows)
        for automation in (1, 4):
            held = [row for row in rows if row["automation_id"] == automation and row["holds_slot"]]
            assert len(held) <= LIMIT, held

    def note_ends(self, rows: Sequence[dict[str, Any]]) -> None:
        for row in rows:
            if row["status"] in ENDS:
                end = (row["status"], row["result"])
                assert self.told.ends.setdefault(row["id"], end) == end, "an end has changed"

    async def crowd(self) -> None:
        for _ in range(8):
            await self.execute()
        async with asyncio.TaskGroup() as group:
            for step, count, pause in (
                (self.execute, 1, 0.05),
                (self.work, 16, 0.0),
                (self.meddle, 1, 0.01),
                (self.cancel, 1, 0.1),
                (self.resume, 1, 0.02),
                (self.publish, 2, 0.01),
                (self.check, 2, 0.05),
                (self.look, 1, 0.05),
                (self.bury, 1, 0.1),
                (self.watch, 1, 0.02),
            ):
                for _ in range(count):
                    group.create_task(self.during(step, pause))

    # How it ends

    async def settle_down(self) -> None:
        """Only an honest worker and a dispatcher are left."""
        for _ in range(2_000):
            await self.resume()
            await self.check()
            async with self.pool.connection() as conn:
                await conn.execute("UPDATE jobs SET publish_due_at = now() WHERE publish_due_at IS NOT NULL")
                owed = await store.claim_owed(conn, 500) + await store.grant_slots(conn, 500)
            await asyncio.gather(*(self.run(message.job_id) for message in owed))
            await self.look_for_two_hours()
            async with self.pool.connection() as conn:
                rows = await _rows(conn)
            self.note_ends(rows)
            if len(self.told.ends) == len(self.told.jobs):
                return
        pytest.fail(f"open: {[row for row in rows if row['status'] not in ENDS]}")

    async def run(self, job_id: UUID) -> None:
        token = uuid4().hex
        if isinstance(await _answer(self.api.starts.submit(Start(job_id, token))), Started):
            end = Finish(job_id, Status.COMPLETED, '"an honest worker"', token)
            assert await _answer(self.api.finishes.submit(end)) == Status.COMPLETED
            self.told.results[job_id].append((Status.COMPLETED, "an honest worker"))


async def _answer(answer: Awaitable[Any]) -> Any:
    """An answer or a refusal; whatever else comes is a fault."""
    try:
        return await answer
    except MaestroError as error:
        return error


async def _lines(conn: Connection) -> dict[UUID, set[int]]:
    kept: dict[UUID, set[int]] = defaultdict(set)
    for row in await (await conn.execute("SELECT id, job_id FROM job_logs")).fetchall():
        kept[row["job_id"]].add(row["id"])
    return kept


async def _rows(conn: Connection) -> list[dict[str, Any]]:
    cursor = await conn.execute(
        """SELECT id, automation_id, status, result, attempt,
                  status IN ('pending', 'running') AND NOT waits_for_slot AS holds_slot FROM jobs"""
    )
    return await cursor.fetchall()


async def test_a_crowd_around_the_same_jobs_breaks_nothing(pool: Pool, database: psycopg.Connection) -> None:
    async with Coalescer(pool) as one, Coalescer(pool) as other:
        clients = Clients(pool, [Api(one, pool), Api(other, pool)])
        await clients.crowd()
        await clients.settle_down()
    told = clients.told
    assert sum(map(len, told.attempts.values())) > STARTS / 4, "hardly anything happened"
    async with pool.connection() as conn:
        rows = await _rows(conn)
        kept = await _lines(conn)
    assert {row["id"] for row in rows} == set(told.jobs)
    for row in rows:
        reports = told.results[row["id"]]
        completions = [status for status, _ in reports if status in COMPLETIONS]
        assert len(completions) == (row["status"] in COMPLETIONS), "a result was taken and is gone"
        if row["status"] in COMPLETIONS:
            assert (row["status"], row["result"]) in reports
    for (job_id, token), sent in told.lines.items():
        # Without tokens several bots write at once, and hear of it in any order.
        assert not token or sent == sorted(set(sent)), "lines of one attempt have changed places"
        assert set(sent) <= kept[job_id], "a line that was taken is gone"
    assert sum(map(len, kept.values())) == sum(map(len, told.lines.values())), "a line is kept twice"
    found = database.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert found.fetchone() == (0,)


async def test_who_grants_slots_waits_for_no_job(pool: Pool) -> None:
    """A flush of starts holds a job that waits for a slot and is about to suspend its automation."""
    async with pool.connection() as conn:
        waiting, lost_job = await store.accept(conn, [NewJob(1, {}), NewJob(1, {})])
        await conn.execute("UPDATE jobs SET waits_for_slot = id <> %s", [lost_job.id])
        for _ in range(2):
            assert isinstance((await store.start(conn, [Start(lost_job.id)]))[0], Started)

    async def grant() -> list[Message]:
        async with pool.connection() as conn:
            return await store.grant_slots(conn, 10)

    async def start() -> list[Started | MaestroError]:
        async with pool.connection() as conn:
            return await store.start(conn, [Start(waiting.id, "t"), Start(lost_job.id)])

    async with pool.connection() as conn:
        await conn.execute("SELECT FROM automations WHERE id = 1 FOR NO KEY UPDATE")
        grants = asyncio.create_task(grant())
        await _waits(pool, 1)
        starts = asyncio.create_task(start())
        await _waits(pool, 2)
    assert await grants == []
    assert [type(answer) for answer in await starts] == [ConcurrencyLimited, JobEnded]


async def _waits(pool: Pool, count: int) -> None:
    """Until so many wait for a lock."""
    waiting = """SELECT count(*) AS waiting FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event_type = 'Lock'"""
    for _ in range(1_000):
        async with pool.connection() as conn:
            row = await (await conn.execute(waiting)).fetchone()
        if row and row["waiting"] >= count:
            return
        await asyncio.sleep(0.03)
    pytest.fail(f"nobody waits: {row}")
