"""A job's life against a model of it: hypothesis makes histories, the database and the model must agree.

Clients with tokens and without, dispatchers with messages old and new, outages, retries, releases, cancels,
keys, slots and suspensions follow one another in any order, each a transaction through the store's own
functions. After each step every row must be what the model (`life.py`) says and no ended job may have
changed; at the end an honest worker and a dispatcher must bring every job to its end. Time passes by moving
every instant in the tables into the past.

    MAESTRO_MODEL_EXAMPLES=5000 pytest tests/integration/job/test_model.py

looks longer, each time elsewhere, and makes a history that fails as short as it can.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, ClassVar, TypeAlias, TypeVar
from uuid import UUID, uuid4

import orjson
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from integration.job.life import SENTENCE, Automation, Job, Life, Result, Token, seconds
from maestro.broker.message import Message
from maestro.broker.topology import DeadLetter, QueueDepth
from maestro.db import Connection
from maestro.dispatcher import attempts, deadletters, lost, retention
from maestro.dispatcher.retention import Retention
from maestro.errors import MaestroError
from maestro.job import keyed, store
from maestro.job.model import (
    ENDS,
    Beat,
    Finish,
    Heartbeat,
    IdempotencyKey,
    Level,
    NewJob,
    NewLine,
    Release,
    Start,
    Started,
    Status,
)

T = TypeVar("T")

EXAMPLES = int(os.environ.get("MAESTRO_MODEL_EXAMPLES", "0"))
STEPS = 50

EMPTY = """DELETE FROM job_logs; DELETE FROM jobs; DELETE FROM automations; DELETE FROM idempotency_keys;
DELETE FROM queue_states; DELETE FROM dead_letters; DELETE FROM service_clock"""

INSERT = """INSERT INTO automations (id, namespace, name, uid, display_name, queue, max_concurrency,
                                     timeout_seconds, start_deadline_seconds, priority, retry_policy)
VALUES (%(id)s, 'n', %(queue)s, 'u', %(queue)s, %(queue)s, %(limit)s, %(timeout)s, %(start_deadline)s,
        %(priority)s, %(policy)s)
"""

SHIFT = (
    """UPDATE jobs SET created_at = created_at - %(by)s, publish_due_at = publish_due_at - %(by)s,
           start_deadline = start_deadline - %(by)s, started_at = started_at - %(by)s,
           last_heartbeat_at = last_heartbeat_at - %(by)s, attempt_deadline = attempt_deadline - %(by)s,
           timed_out_at = timed_out_at - %(by)s, settled_at = settled_at - %(by)s,
           cancellation_requested_at = cancellation_requested_at - %(by)s,
           completed_at = completed_at - %(by)s""",
    "UPDATE idempotency_keys SET expires_at = expires_at - %(by)s",
    "UPDATE queue_states SET seen_at = seen_at - %(by)s, empty_since = empty_since - %(by)s",
    "UPDATE service_clock SET up_since = up_since - %(by)s, last_beat = last_beat - %(by)s",
)

ROWS = """SELECT id, status, result, attempt, released, attempt_token, attempt_open, attempt_end,
       last_heartbeat_at, polled, progress, attempt_deadline, timed_out_at, cancellation_requested_at,
       publish_due_at, waits_for_slot, settled_at, losses, start_deadline, error_class
FROM jobs ORDER BY id"""

KEPT = {"id", "status", "result", "attempt", "released", "attempt_token", "attempt_open", "attempt_end",
        "publish_due_at", "error_class"}  # fmt: skip

ERROR_CLASSES = ("PORTAL_DOWN", "CREDENTIAL_INVALID", "UNKNOWN")
RULES = st.fixed_dictionaries(
    {},
    optional={
        "PORTAL_DOWN": st.just("Retry"),
        "CREDENTIAL_INVALID": st.just("Suspend"),
        "UNKNOWN": st.sampled_from(["Retry", "Fail"]),
        "WORKER_LOST": st.sampled_from(["Fail", "Suspend"]),
        "JOB_TIMEOUT": st.sampled_from(["Retry", "Suspend"]),
    },
)
AUTOMATIONS = st.integers(0, 1)
QUEUES = st.sampled_from(["q1", "q2"])
BODIES = st.sampled_from([b"x", b"y"])
TEXTS = st.sampled_from(["x", "y"])
SEQS = st.sampled_from([None, 1, 2])
KEYS = st.sampled_from([None, None, "k", "l"])
CROWD = 4
"""Open jobs at most before others are accepted: more would only stand beside each other."""
LIMITS = st.sampled_from([None, 1, 2])
WHICH = st.integers(0, 5)
CURRENT = "the current one"
STARTERS = st.sampled_from([None, "a", "b", "c", CURRENT])
TOKENS = st.sampled_from([CURRENT, CURRENT, CURRENT, None, "a", "b"])
Whose: TypeAlias = list[tuple[int, str | None]]


def of_each(tokens: st.SearchStrategy[str | None]) -> st.SearchStrategy[Whose]:
    """Calls that share a transaction, one of a job."""
    return st.lists(st.tuples(WHICH, tokens), min_size=1, max_size=3, unique_by=lambda call: call[0])


ENDINGS = st.sampled_from(
    [
        (Status.COMPLETED, None),
        (Status.COMPLETED, {"n": 1}),
        (Status.COMPLETED_NO_INVOICES, None),
        (Status.CANCELED, None),
        (Status.CANCELED, {"n": 1}),
        (Status.FAILED, None),
        *((Status.FAILED, {"error_class": name}) for name in ERROR_CLASSES),
    ]
)
PAUSES = st.sampled_from([1, 6, 20, 31, 61, 130, 301, 650, 7_201, 86_401])


def may(weight: int, name: str, **arguments: st.SearchStrategy[Any]) -> list[st.SearchStrategy[Any]]:
    return [st.tuples(st.just(name), st.fixed_dictionaries(arguments)) for _ in range(weight)]


# In one rule, with weights: left to choose among rules, hypothesis leaves most of them out of most histories.
STEP = st.one_of(
    may(4, "execute", asked=st.lists(st.tuples(AUTOMATIONS, KEYS, BODIES), min_size=1, max_size=2))
    + may(1, "cancel", which=WHICH)
    + may(1, "change_limit", which=AUTOMATIONS, limit=LIMITS)
    + may(1, "edit", which=AUTOMATIONS, suspended=st.booleans(), priority=st.integers(0, 1))
    + may(1, "resume")
    + may(6, "start", whose=of_each(STARTERS))
    + may(
        2, "log", sent=st.lists(st.tuples(WHICH, TOKENS, SEQS, st.sampled_from("xy")), min_size=1, max_size=4)
    )
    + may(4, "finish", whose=of_each(TOKENS), endings=st.tuples(ENDINGS, ENDINGS, ENDINGS))
    + may(3, "release", whose=of_each(TOKENS))
    + may(2, "beat", which=WHICH, token=TOKENS, progress=st.sampled_from([None, 0.5, 1]))
    + may(1, "claim", limit=st.sampled_from([1, 100]))
    + may(1, "grant", limit=st.sampled_from([1, 100]))
    + may(4, "publish")
    + may(2, "settle", which=st.lists(WHICH, min_size=1, max_size=4))
    + may(1, "check")
    + may(2, "lose_workers")
    + may(1, "lose_messages", queue=QUEUES)
    + may(1, "look", queue=QUEUES, depth=st.sampled_from([None, QueueDepth(0, 1), QueueDepth(1, 0)]))
    + may(1, "bury", which=st.lists(WHICH, min_size=1, max_size=2), stranger=st.booleans())
    + may(1, "beat_service")
    + may(2, "wait_in_service", pause=PAUSES)
    + may(1, "pass_time", pause=PAUSES)
    + may(2, "come_back", pause=PAUSES)
)


class World:
    """The database and the one event loop in which all is asked of it."""

    def __init__(self, runner: asyncio.Runner, conn: Connection) -> None:
        self._runner, self._conn = runner, conn

    def run(self, ask: Callable[[Connection], Awaitable[T]]) -> tuple[T, datetime]:
        """The answer to one transaction, and the instant at which it happened."""

        async def transaction() -> tuple[T, datetime]:
            async with self._conn.transaction():
                cursor = await self._conn.execute("SELECT now()")
                row = await cursor.fetchone()
                assert row
                return await ask(self._conn), row["now"]

        return self._runner.run(transaction())

    def sql(self, statement: str, values: Any = None) -> list[dict[str, Any]]:
        async def ask() -> list[dict[str, Any]]:
            cursor = await self._conn.execute(statement.encode(), values)
            return await cursor.fetchall() if cursor.description else []

        return self._runner.run(ask())


class JobLife(RuleBasedStateMachine):
    """Each rule asks the store and the model the same, and holds the answers against each other."""

    world: ClassVar[World]

    @initialize(
        limits=st.tuples(LIMITS, LIMITS),
        timeout=st.sampled_from([None, 60]),
        start_deadline=st.sampled_from([None, 600]),
        most=st.tuples(st.integers(1, 3), st.integers(2, 3)),
        rules=st.tuples(RULES, RULES),
    )
    def begin(
        self,
        limits: tuple[Any, Any],
        timeout: int | None,
        start_deadline: int | None,
        most: tuple[int, int],
        rules: tuple[Any, Any],
    ) -> None:
        self.life = Life(
            [
                Automation(1, "q1", limits[0], timeout, start_deadline, most[0], rules[0]),
                Automation(2, "q2", limits[1], None, None, most[1], rules[1]),
            ]
        )
        self.ends: dict[UUID, tuple[Any, ...]] = {}
        self.strangers = 0
        self.world.sql(EMPTY)
        for automation in self.life.automations:
            self.world.sql(INSERT, vars(automation) | {"policy": Jsonb(_policy(automation))})
        self.beat_service()
        self.execute([(0, None, b"x"), (0, None, b"x"), (1, None, b"x")])

    @rule(step=STEP)
    def then(self, step: tuple[str, dict[str, Any]]) -> None:
        name, arguments = step
        getattr(self, name)(**arguments)

    # People

    def execute(self, asked: list[tuple[int, str | None, bytes]]) -> None:
        if len(self.open) >= CROWD:
            return
        new = [
            NewJob(which + 1, {}, key=name and IdempotencyKey("caller", "execute", name, body))  # type: ignore[arg-type]
            for which, name, body in asked
        ]
        answers, now = self.world.run(lambda conn: keyed.accept(conn, new))
        for (which, name, body), answer in zip(asked, answers, strict=True):
            given = answer if isinstance(answer, MaestroError) else answer.id
            automation = self.life.automations[which]
            agree(given, self.life.accept(automation, name, body, given, now))

    def cancel(self, which: int) -> None:
        job = self.job(which)

        async def ask(conn: Connection) -> Any:
            try:
                await store.cancel(conn, job.id)
            except MaestroError as error:
                return error

        answer, now = self.world.run(ask)
        agree(answer, self.life.cancel(job, now))

    def change_limit(self, which: int, limit: int | None) -> None:
        automation = self.life.automations[which]
        automation.limit = limit
        self.world.sql("UPDATE automations SET max_concurrency = %s WHERE id = %s", [limit, automation.id])

    def edit(self, which: int, suspended: bool, priority: int) -> None:
        automation = self.life.automations[which]
        automation.suspended, automation.priority = suspended, priority
        self.world.sql(
            "UPDATE automations SET suspended = %s, priority = %s WHERE id = %s",
            [suspended, priority, automation.id],
        )

    def resume(self) -> None:
        for automation in self.life.automations:
            automation.paused = False
        self.world.sql("UPDATE automations SET paused_at = NULL")

    # Workers

    def start(self, whose: Whose) -> None:
        calls = self.calls(whose)
        starts = [Start(job.id, token) for job, token in calls]
        answers, now = self.world.run(lambda conn: store.start(conn, starts))
        for answer, expected in zip(answers, self.life.start(calls, now), strict=True):
            agree(answer.attempt if isinstance(answer, Started) else answer, expected)

    def log(self, sent: list[tuple[int, str | None, int | None, str]]) -> None:
        lines = [
            (job, token, seq, text)
            for which, whose, seq, text in sent
            for job, token in self.calls([(which, whose)])
        ]
        new = [NewLine(job.id, Level.INFO, text, seq=seq, token=token) for job, token, seq, text in lines]
        before = max((row["id"] for row in self.lines), default=0)
        answers, now = self.world.run(lambda conn: store.append_lines(conn, new))
        for answer, expected in zip(answers, self.life.append(lines, now), strict=True):
            agree(answer > before if isinstance(answer, int) else answer, expected)
            before = max(before, answer) if isinstance(answer, int) else before

    def finish(self, whose: Whose, endings: tuple[tuple[Status, Result], ...]) -> None:
        calls = [(*call, *ending) for call, ending in zip(self.calls(whose), endings, strict=False)]
        finishes = [
            Finish(job.id, status, result and orjson.dumps(result).decode(), token)  # type: ignore[arg-type]
            for job, token, status, result in calls
        ]
        answers, now = self.world.run(lambda conn: store.finish(conn, finishes))
        for answer, expected in zip(answers, self.life.finish(calls, now), strict=True):
            agree(answer, expected)

    def release(self, whose: Whose) -> None:
        calls = self.calls(whose)
        handed = [Release(job.id, token) for job, token in calls]
        sent_before = len(self.life.sent)

        async def ask(conn: Connection) -> tuple[Any, list[Message]]:
            answers = await store.release(conn, handed)
            back = [call.job_id for call, answer in zip(handed, answers, strict=True) if answer == "pending"]
            return answers, await store.messages_of(conn, back)

        (answers, messages), now = self.world.run(ask)
        for answer, expected in zip(answers, self.life.release(calls, now), strict=True):
            agree(answer, expected)
        fresh = {message.job.id for message in self.life.sent[sent_before:]}
        again = {message.job_id for message in messages} - fresh
        assert fresh <= {message.job_id for message in messages}
        assert all(self.life.jobs[job_id].due for job_id in again)

    def beat(self, which: int, token: str | None, progress: float | None) -> None:
        [(job, token)] = self.calls([(which, token)])
        beats = [Heartbeat(job.id, token, progress)]
        [answer], now = self.world.run(lambda conn: store.beat(conn, beats))
        told = answer.cancellation_requested if isinstance(answer, Beat) else answer
        agree(told, self.life.beat(job, token, progress, now))

    # The dispatcher

    def claim(self, limit: int) -> None:
        messages, now = self.world.run(lambda conn: store.claim_owed(conn, limit))
        due = self.life.due(now)
        claimed = [self.life.jobs[message.job_id] for message in messages]
        assert len(claimed) == min(len(due), limit)
        # Those of one transaction are owed since the same instant.
        assert sorted(job.due for job in claimed if job.due) == [job.due for job in due][:limit]
        self.life.claimed(claimed, now)
        assert {message.due_at for message in messages} <= {now + seconds(30)}

    def grant(self, limit: int) -> None:
        messages, now = self.world.run(lambda conn: store.grant_slots(conn, limit))
        agree({message.job_id for message in messages}, self.life.grant(limit, now))

    def publish(self) -> None:
        """All that may go out goes out and is confirmed."""
        self.grant(100)
        self.claim(100)
        self.settle([0, 1, 2, 3, 4, 5])

    def settle(self, which: list[int]) -> None:
        if not self.life.sent:
            return
        chosen = [self.life.sent[-1 - each % len(self.life.sent)] for each in which]
        messages = [Message(sent.job.id, "q", b"", sent.due) for sent in chosen]
        answer, now = self.world.run(lambda conn: store.settle(conn, messages))
        agree(answer, self.life.settle(chosen, now))

    def check(self) -> None:
        _, now = self.world.run(attempts.check)
        self.life.check(now)

    def lose_workers(self) -> None:
        """Nobody hears of anybody any more, for longer than anybody may be silent."""
        self.wait_in_service(7201)
        self.check()

    def lose_messages(self, queue: str) -> None:
        self.look(queue, None)
        self.wait_in_service(61)
        self.look(queue, None)

    def look(self, queue: str, depth: QueueDepth | None) -> None:
        owed, now = self.world.run(lambda conn: lost.note(conn, {queue: depth}))
        agree(owed, self.life.look(queue, depth.ready if depth else 0, now))

    def bury(self, which: list[int], stranger: bool) -> None:
        jobs = [self.job(each) for each in which]
        bodies = [orjson.dumps({"job_id": str(job.id)}) for job in jobs] + [b"?"] * stranger
        letters = [DeadLetter(body, {}, "q", "rejected") for body in bodies]
        failed, _ = self.world.run(lambda conn: deadletters.bury(conn, letters))
        agree(set(failed), self.life.bury(jobs))
        self.strangers += stranger
        [kept] = self.world.sql("SELECT count(*) AS letters FROM dead_letters")
        assert kept["letters"] == self.strangers

    # Time and outages

    def beat_service(self) -> None:
        self.world.run(lambda conn: retention.apply(conn, Retention(jobs_days=90, logs_days=30)))
        _, now = self.world.run(store.note_up)
        self.life.note_up(now)

    def wait_in_service(self, pause: int) -> None:
        """The apis beat all the while."""
        self.beat_service()
        self.pass_time(pause)
        self.world.sql("UPDATE service_clock SET last_beat = now()")
        [row] = self.world.sql("SELECT last_beat FROM service_clock")
        self.life.last_beat = row["last_beat"]

    def pass_time(self, pause: int) -> None:
        """In an outage: no api beats, and nobody can call."""
        by = timedelta(seconds=pause)
        for statement in SHIFT:
            self.world.sql(statement, {"by": by})
        self.life.move(by)

    def come_back(self, pause: int) -> None:
        """After an outage the first api is back, and the dispatcher looks who is left."""
        self.pass_time(pause)
        self.beat_service()
        self.check()

    # What must hold after every step

    @invariant()
    def rows_are_as_the_model_says_and_ends_never_change(self) -> None:
        rows = self.world.sql(ROWS)
        self.note_ends(rows)
        assert {row["id"] for row in rows} == set(self.life.jobs)
        for row in rows:
            expected = _expected(self.life.jobs[row["id"]])
            assert {key: value for key, value in _seen(row).items() if value != expected[key]} == {}, expected

    def note_ends(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            if row["status"] in ENDS:
                end = (row["status"], row["result"])
                assert self.ends.setdefault(row["id"], end) == end

    @invariant()
    def lines_are_kept_once_and_in_order(self) -> None:
        kept: dict[UUID, list[Any]] = {}
        for row in self.lines:
            kept.setdefault(row["job_id"], []).append((row["attempt"], row["seq"], row["message"]))
        assert kept == {job.id: job.lines for job in self.life.jobs.values() if job.lines}

    @property
    def lines(self) -> list[dict[str, Any]]:
        return self.world.sql("SELECT id, job_id, attempt, seq, message FROM job_logs ORDER BY id")

    @property
    def open(self) -> list[Job]:
        return [job for job in self.life.jobs.values() if not job.ended]

    def job(self, which: int) -> Job:
        """An open one, or the latest of those that have ended."""
        jobs = self.open + [job for job in self.life.jobs.values() if job.ended][-1:]
        return jobs[which % len(jobs)]

    def calls(self, whose: Whose) -> list[tuple[Job, Token]]:
        """Each job once, and the token of who calls."""
        found = {self.job(which).id: (self.job(which), token) for which, token in whose}
        return [(job, job.token if token == CURRENT else token) for job, token in found.values()]

    # How every history goes on: nothing disturbs any more

    def teardown(self) -> None:
        if sys.exc_info()[0] is not None:  # this history has failed already
            return
        for _ in range(200):
            # A lost attempt may suspend its automation once more: somebody resumes it.
            self.world.sql("UPDATE automations SET paused_at = NULL, suspended = false")
            self.world.run(store.note_up)
            self.world.run(attempts.check)
            self.world.run(lambda conn: lost.note(conn, {"q1": None, "q2": None}))
            granted, _ = self.world.run(lambda conn: store.grant_slots(conn, 100))
            claimed, _ = self.world.run(lambda conn: store.claim_owed(conn, 100))
            for message in (*granted, *claimed):
                self.work(message)
            self.note_ends(self.world.sql(ROWS))
            if set(self.ends) == set(self.life.jobs):
                return
            self.pass_in_service()
        assert set(self.ends) == set(self.life.jobs), self.world.sql(ROWS)

    def work(self, message: Message) -> None:
        """What an honest worker does with its message."""
        token = uuid4().hex
        [answer], _ = self.world.run(lambda conn: store.start(conn, [Start(message.job_id, token)]))
        if isinstance(answer, Started):
            end = Finish(message.job_id, Status.COMPLETED, '{"by": "an honest worker"}', token)
            [told], _ = self.world.run(lambda conn: store.finish(conn, [end]))
            assert told == Status.COMPLETED

    def pass_in_service(self) -> None:
        for statement in SHIFT:
            self.world.sql(statement, {"by": timedelta(seconds=601)})
        self.world.sql("UPDATE service_clock SET last_beat = now()")


def agree(told: Any, expected: Any) -> None:
    """What the store told is what the model expects; of refusals, the class."""
    if isinstance(expected, type):
        assert type(told) is expected, f"the store says {told!r}, the model {expected.__name__}"
    else:
        assert told == expected


def _policy(automation: Automation) -> dict[str, Any]:
    rules = [{"errorClasses": [name], "action": action} for name, action in automation.rules.items()]
    return {"maxAttempts": automation.max_attempts, "backoffSeconds": 10, "backoffFactor": 2, "rules": rules}


def _seen(row: dict[str, Any]) -> dict[str, Any]:
    """A row as the model knows it: the sentences of Maestro's own results are not in it."""
    result = row["result"]
    if result and "error" in result:
        result = result | {"error": SENTENCE}
    return _of_interest(row | {"result": result})


def _expected(job: Job) -> dict[str, Any]:
    return _of_interest(
        {
            "id": job.id,
            "status": job.status,
            "result": job.result,
            "attempt": job.attempt,
            "released": job.released,
            "attempt_token": job.token,
            "attempt_open": job.open,
            "attempt_end": job.end,
            "last_heartbeat_at": job.heartbeat_at,
            "polled": job.polled,
            "progress": job.progress,
            "attempt_deadline": job.deadline,
            "timed_out_at": job.timed_out_at,
            "cancellation_requested_at": job.cancel_at,
            "publish_due_at": job.due,
            "waits_for_slot": job.waits,
            "settled_at": job.settled_at,
            "losses": job.losses,
            "start_deadline": job.start_deadline,
            "error_class": (job.result or {}).get("error_class", "UNKNOWN")
            if job.status == "failed"
            else None,
        }
    )


def _error_class(job: Job) -> str | None:
    return (job.result or {}).get("error_class", "UNKNOWN") if job.status is Status.FAILED else None


def _of_interest(row: dict[str, Any]) -> dict[str, Any]:
    """Of an ended job only what still has a meaning."""
    return {key: value for key, value in row.items() if row["status"] not in ENDS or key in KEPT}


@pytest.fixture
def world(database_uri: str) -> Iterator[World]:
    with asyncio.Runner() as runner:
        opened = runner.run(
            psycopg.AsyncConnection.connect(database_uri, autocommit=True, row_factory=dict_row)
        )
        runner.run(opened.execute("SET synchronous_commit = off"))
        yield World(runner, opened)
        runner.run(opened.close())


@pytest.mark.timeout(300 + 10 * EXAMPLES)
def test_the_database_lives_as_the_model_says(world: World) -> None:
    class Machine(JobLife):
        pass

    Machine.world = world
    # Shortening takes minutes: by default a history is shown as it was found.
    phases = list(Phase) if EXAMPLES else [Phase.generate]
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES or 100,
            stateful_step_count=STEPS,
            derandomize=not EXAMPLES,
            phases=phases,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
