"""The life of a job, statement by statement, against the real database: who may do what to which attempt."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from maestro.db import Connection, open_pool
from maestro.dispatcher import attempts, retention
from maestro.dispatcher.retention import Retention
from maestro.errors import AttemptSuperseded, ConcurrencyLimited, Conflict, IdempotencyKeyReused, JobEnded
from maestro.job import keyed, store
from maestro.job.model import (
    Beat,
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

INSERT = """INSERT INTO automations (namespace, name, uid, display_name, queue, script_path)
VALUES ('n', 'a', 'u', 'a', 'q', 's')"""


@pytest.fixture
async def conn(database_uri: str, database: psycopg.Connection) -> AsyncIterator[Connection]:
    database.execute(INSERT)
    async with open_pool(database_uri) as pool, pool.connection() as connection:
        await connection.set_autocommit(True)
        yield connection
        await connection.set_autocommit(False)


async def policy(conn: Connection, *rules: tuple[str, str], **fields: Any) -> None:
    said = {
        "maxAttempts": 3,
        "backoffSeconds": 10,
        "backoffFactor": 2,
        "rules": [{"errorClasses": [error_class], "action": action} for error_class, action in rules],
    }
    await conn.execute("UPDATE automations SET retry_policy = %s", [Jsonb(said | fields)])


async def limit(conn: Connection, jobs: int | None) -> None:
    await conn.execute("UPDATE automations SET max_concurrency = %s", [jobs])


async def one(conn: Connection) -> Job:
    [job] = await store.accept(conn, [NewJob(1, {})])
    return job


async def running(conn: Connection, token: str | None = None) -> Job:
    job = await one(conn)
    await start(conn, job, token)
    return job


async def start(conn: Connection, job: Job, token: str | None = None) -> Any:
    [answer] = await store.start(conn, [Start(job.id, token)])
    return answer


async def finish(
    conn: Connection,
    job: Job,
    status: Status = Status.COMPLETED,
    result: dict[str, Any] | None = None,
    token: str | None = None,
) -> Any:
    text = None if result is None else orjson.dumps(result).decode()
    [answer] = await store.finish(conn, [Finish(job.id, status, text, token)])
    return answer


async def failed(conn: Connection, job: Job, error_class: str, token: str | None = None) -> Any:
    return await finish(conn, job, Status.FAILED, {"error_class": error_class}, token)


async def release(conn: Connection, job: Job, token: str | None = None) -> Any:
    [answer] = await store.release(conn, [Release(job.id, token)])
    return answer


async def beat(conn: Connection, job: Job, token: str | None = None, **told: Any) -> Any:
    [answer] = await store.beat(conn, [Heartbeat(job.id, token, **told)])
    return answer


async def age(conn: Connection, **columns: timedelta) -> None:
    """Move times of all jobs into the past."""
    for column, by in columns.items():
        moved = sql.SQL("UPDATE jobs SET {0} = {0} - %s").format(sql.Identifier(column))
        await conn.execute(moved, [by])


async def check(conn: Connection, up_for: timedelta = timedelta(days=1)) -> attempts.Changes:
    """The dispatcher's look at attempts, while the service has been up that long."""
    await conn.execute("DELETE FROM service_clock")
    await conn.execute("INSERT INTO service_clock (up_since, last_beat) VALUES (now() - %s, now())", [up_for])
    return await attempts.check(conn)


# Attempts


async def test_the_same_token_is_the_same_attempt(conn: Connection) -> None:
    job = await one(conn)
    assert await start(conn, job, "t") == Started(1, job.created_at)
    assert await start(conn, job, "t") == Started(1)
    assert isinstance(await start(conn, job, "u"), Conflict)
    assert isinstance(await start(conn, job), Conflict)
    assert isinstance(await finish(conn, job, token=None), AttemptSuperseded)


async def test_a_bot_without_token_begins_anew_until_its_attempts_are_used_up(conn: Connection) -> None:
    job = await one(conn)
    assert [(await start(conn, job)).attempt for _ in range(3)] == [1, 2, 3]
    assert isinstance(await start(conn, job), JobEnded)
    ended = await store.get(conn, job.id)
    assert (ended.status, ended.error_class) == (Status.FAILED, "WORKER_LOST")


async def test_a_finish_told_again_is_taken_and_another_refused(conn: Connection) -> None:
    job = await running(conn, "t")
    for _ in range(2):
        assert await finish(conn, job, Status.COMPLETED, {"a": 1}, "t") == Status.COMPLETED
    assert isinstance(await finish(conn, job, Status.COMPLETED, {"a": 2}, "t"), JobEnded)
    assert isinstance(await finish(conn, job, Status.FAILED, {"a": 1}, "t"), JobEnded)


async def test_a_finish_before_any_start_is_refused(conn: Connection) -> None:
    assert type(await finish(conn, await one(conn))) is Conflict


async def test_an_attempt_that_is_over_is_not_begun_again_by_a_start_that_was_late(conn: Connection) -> None:
    await policy(conn, ("PORTAL_DOWN", "Retry"))
    handed_back, tried_again = await running(conn, "t"), await running(conn, "t")
    await release(conn, handed_back, "t")
    await failed(conn, tried_again, "PORTAL_DOWN", "t")
    for job in (handed_back, tried_again):
        assert isinstance(await start(conn, job, "t"), AttemptSuperseded)
        assert (await store.get(conn, job.id)).status is Status.PENDING
        assert await start(conn, job, "u") == Started(2)


async def test_a_start_told_again_is_a_sign_of_life(conn: Connection) -> None:
    job = await running(conn, "t")
    await age(conn, last_heartbeat_at=timedelta(hours=3))
    await start(conn, job, "t")
    assert (await check(conn)).ids == []


# Retries


async def test_without_rules_a_failure_is_final(conn: Connection) -> None:
    job = await running(conn)
    assert await failed(conn, job, "PORTAL_DOWN") == Status.FAILED
    assert (await store.get(conn, job.id)).status is Status.FAILED


async def test_a_rule_retries_with_growing_pauses_until_attempts_are_used_up(conn: Connection) -> None:
    await policy(conn, ("PORTAL_DOWN", "Retry"))
    job = await one(conn)
    pauses = []
    for number in range(3):
        await start(conn, job, f"t{number}")
        # Told twice: the second time the attempt has ended and the job may be pending again.
        for _ in range(2):
            assert await failed(conn, job, "PORTAL_DOWN", f"t{number}") == Status.FAILED
        now = await store.get(conn, job.id)
        if now.status is Status.PENDING:
            cursor = await conn.execute("SELECT publish_due_at - last_heartbeat_at AS pause FROM jobs")
            pauses.append((await cursor.fetchone() or {})["pause"].total_seconds())
    assert pauses == [10, 20]
    assert (now.status, now.retry_count, now.error_class) == (Status.FAILED, 2, "PORTAL_DOWN")
    assert isinstance(await finish(conn, job, token="t0"), AttemptSuperseded)


async def test_the_first_rule_that_names_the_class_decides(conn: Connection) -> None:
    await policy(conn, ("IP_BLOCKED", "Fail"), ("IP_BLOCKED", "Retry"), ("WORKER_LOST", "Fail"))
    job = await running(conn)
    await failed(conn, job, "IP_BLOCKED")
    assert (await store.get(conn, job.id)).status is Status.FAILED
    lost = await running(conn)
    await age(conn, last_heartbeat_at=timedelta(hours=3))
    await check(conn)
    assert (await store.get(conn, lost.id)).error_class == "WORKER_LOST"


async def test_a_failure_without_class_is_an_unknown_one(conn: Connection) -> None:
    await policy(conn, ("UNKNOWN", "Retry"))
    for result in (None, {"error": "x"}):
        job = await running(conn)
        await finish(conn, job, Status.FAILED, result)
        assert (await store.get(conn, job.id)).status is Status.PENDING


async def test_a_rule_suspends_the_automation(conn: Connection) -> None:
    await policy(conn, ("CREDENTIAL_INVALID", "Suspend"))
    job = await running(conn)
    await failed(conn, job, "CREDENTIAL_INVALID")
    assert (await store.get(conn, job.id)).status is Status.FAILED
    cursor = await conn.execute("SELECT paused_at, paused_reason FROM automations")
    row = await cursor.fetchone() or {}
    assert row["paused_at"] is not None
    assert row["paused_reason"] == "RetryRule: A job failed with CREDENTIAL_INVALID."


async def test_who_asked_to_cancel_gets_no_retry(conn: Connection) -> None:
    await policy(conn, ("PORTAL_DOWN", "Retry"))
    job = await running(conn)
    await store.cancel(conn, job.id)
    await failed(conn, job, "PORTAL_DOWN")
    assert (await store.get(conn, job.id)).status is Status.FAILED


# Releases


async def test_a_released_attempt_does_not_count(conn: Connection) -> None:
    job = await one(conn)
    for number in range(5):
        assert (await start(conn, job, f"t{number}")).attempt == number + 1
        for _ in range(2):
            assert await release(conn, job, f"t{number}") == Status.PENDING
    back = await store.get(conn, job.id)
    assert (back.status, back.retry_count, back.attempt) == (Status.PENDING, 0, 5)
    assert [message.job_id for message in await store.messages_of(conn, [job.id])] == [job.id]
    assert isinstance(await finish(conn, job, token="t4"), AttemptSuperseded)


async def test_a_release_of_a_job_to_be_canceled_ends_it(conn: Connection) -> None:
    job = await running(conn, "t")
    await store.cancel(conn, job.id)
    assert await release(conn, job, "t") == Status.CANCELED
    assert (await store.get(conn, job.id)).status is Status.CANCELED


async def test_only_who_runs_a_job_hands_it_back(conn: Connection) -> None:
    assert type(await release(conn, await one(conn))) is Conflict
    job = await running(conn, "t")
    assert isinstance(await release(conn, job, "u"), AttemptSuperseded)
    await finish(conn, job, token="t")
    assert isinstance(await release(conn, job, "t"), JobEnded)


async def test_lines_of_attempts_handed_back_and_made_anew_are_all_kept(conn: Connection) -> None:
    job = await one(conn)
    for number in range(2):
        await start(conn, job, f"t{number}")
        line = NewLine(job.id, Level.INFO, f"line of {number}", seq=1, token=f"t{number}")
        assert isinstance((await store.append_lines(conn, [line]))[0], int)
        await release(conn, job, f"t{number}")
    kept = await store.lines(conn, job.id, after=0, limit=10)
    assert [line.message for line in kept] == ["line of 0", "line of 1"]


async def test_a_job_handed_back_is_not_published_while_its_automation_is_suspended(conn: Connection) -> None:
    job = await running(conn, "t")
    await conn.execute("UPDATE automations SET paused_at = now()")
    assert await release(conn, job, "t") == Status.PENDING
    assert await store.messages_of(conn, [job.id]) == []
    await conn.execute("UPDATE automations SET paused_at = NULL")
    assert [message.job_id for message in await store.messages_of(conn, [job.id])] == [job.id]


# Signs of life


async def test_a_heartbeat_tells_of_progress(conn: Connection) -> None:
    job = await running(conn, "t")
    assert await beat(conn, job, "t", progress=0.25, message="page 1 of 4") == Beat(False)
    await beat(conn, job, "t")
    seen = await store.get(conn, job.id)
    assert (seen.progress, seen.progress_message) == (0.25, "page 1 of 4")
    assert isinstance(await beat(conn, job, "u"), AttemptSuperseded)
    await store.cancel(conn, job.id)
    assert await beat(conn, job, "t") == Beat(True)


async def test_an_attempt_that_is_over_is_told_to_stop(conn: Connection) -> None:
    await policy(conn, ("JOB_TIMEOUT", "Retry"))
    await conn.execute("UPDATE automations SET timeout_seconds = 60")
    handed_back, timed_out = await running(conn, "t"), await running(conn, "t")
    await release(conn, handed_back, "t")
    for _ in range(2):  # asked to stop, then ended
        await age(conn, attempt_deadline=timedelta(seconds=121), timed_out_at=timedelta(seconds=121))
        await check(conn)
    for job in (handed_back, timed_out):
        assert (await store.get(conn, job.id)).status is Status.PENDING
        assert await beat(conn, job, "t") == Beat(True)


async def test_who_never_polls_may_be_silent_for_two_hours(conn: Connection) -> None:
    silent, polling = await running(conn), await running(conn)
    await beat(conn, polling)
    await age(conn, last_heartbeat_at=timedelta(seconds=310))
    assert (await check(conn)).ids == [polling.id]
    await age(conn, last_heartbeat_at=timedelta(hours=2))
    assert (await check(conn)).ids == [silent.id]
    assert (await store.get(conn, silent.id)).status is Status.PENDING


async def test_silence_in_an_outage_of_ours_counts_for_nothing(conn: Connection) -> None:
    job = await running(conn, "t")
    await beat(conn, job, "t")
    await age(conn, last_heartbeat_at=timedelta(minutes=6))
    assert (await check(conn, up_for=timedelta(minutes=4))).ids == []
    await conn.execute("UPDATE service_clock SET up_since = now() - interval '1 day'")
    await conn.execute("UPDATE service_clock SET last_beat = now() - interval '31 s'")
    assert (await attempts.check(conn)).ids == []
    await store.note_up(conn)  # after the gap, the clock of silences starts anew
    assert (await attempts.check(conn)).ids == []
    assert (await check(conn, up_for=timedelta(minutes=6))).ids == [job.id]


async def test_six_minutes_without_postgresql_cost_no_running_job(conn: Connection) -> None:
    silent, heard = await running(conn, "t"), await running(conn, "t")
    for job in (silent, heard):
        await beat(conn, job, "t")
    moment = datetime.now(UTC)

    async def pass_seconds(seconds: int, *, up: bool) -> list[UUID]:
        """As an api and a dispatcher spend them, by their own clock: those whose attempts were ended."""
        nonlocal moment
        ended: list[UUID] = []
        for _ in range(0, seconds, 5):
            moment += timedelta(seconds=5)
            if up:
                ended += (
                    await attempts.check(conn, now=moment)
                ).ids  # before any api has said that it is back
                await store.note_up(conn, moment)
                ended += (await attempts.check(conn, now=moment)).ids
        return ended

    assert await pass_seconds(60, up=True) == []
    await pass_seconds(360, up=False)
    assert await pass_seconds(290, up=True) == []
    await conn.execute("UPDATE jobs SET last_heartbeat_at = %s WHERE id = %s", [moment, heard.id])
    assert await pass_seconds(60, up=True) == [silent.id]


async def test_beats_without_a_gap_keep_the_clock(conn: Connection) -> None:
    await store.note_up(conn)
    await conn.execute("UPDATE service_clock SET up_since = up_since - interval '1 h'")
    await conn.execute("UPDATE service_clock SET last_beat = last_beat - interval '25 s'")
    await store.note_up(conn)
    cursor = await conn.execute("SELECT now() - up_since AS up, now() - last_beat AS ago FROM service_clock")
    row = await cursor.fetchone() or {}
    assert row["up"] >= timedelta(hours=1)
    assert row["ago"] < timedelta(seconds=20)


async def test_a_rescued_attempt_may_go_on_until_another_starts(conn: Connection) -> None:
    one_, two, three = [await running(conn, "t") for _ in range(3)]
    await age(conn, last_heartbeat_at=timedelta(hours=3))
    assert len((await check(conn)).ids) == 3
    assert {message.job_id for message in await store.claim_owed(conn, 10)} == {one_.id, two.id, three.id}
    assert await finish(conn, one_, token="t") == Status.COMPLETED
    assert await start(conn, two, "t") == Started(1)  # the same attempt, which was only slow
    assert await start(conn, three, "u") == Started(2)
    assert isinstance(await finish(conn, three, token="t"), AttemptSuperseded)


async def test_a_rescued_attempt_that_goes_on_keeps_its_time_limit(conn: Connection) -> None:
    await conn.execute("UPDATE automations SET timeout_seconds = 7300")
    job = await running(conn, "t")
    await age(conn, last_heartbeat_at=timedelta(hours=2.01), started_at=timedelta(hours=2.01))
    await check(conn)
    assert await start(conn, job, "t") == Started(1)
    cursor = await conn.execute("SELECT attempt_deadline - started_at AS most FROM jobs")
    assert (await cursor.fetchone() or {})["most"] == timedelta(seconds=7300)


async def test_a_job_canceled_while_its_rescued_attempt_goes_on_is_over_for_it(conn: Connection) -> None:
    job = await running(conn, "t")
    await age(conn, last_heartbeat_at=timedelta(hours=3))
    await check(conn)
    await store.cancel(conn, job.id)
    assert await beat(conn, job, "t") == Beat(True)
    assert await finish(conn, job, Status.CANCELED, token="t") == Status.CANCELED
    assert isinstance(await finish(conn, job, Status.COMPLETED, token="t"), JobEnded)


async def test_a_lost_worker_s_job_ends_when_its_attempts_are_used_up(conn: Connection) -> None:
    job = await one(conn)
    for number in range(3):
        await start(conn, job, f"t{number}")
        await age(conn, last_heartbeat_at=timedelta(hours=3))
        await check(conn)
    ended = await store.get(conn, job.id)
    assert (ended.status, ended.error_class) == (Status.FAILED, "WORKER_LOST")


async def test_a_lost_worker_s_canceled_job_is_canceled(conn: Connection) -> None:
    job = await running(conn, "t")
    await store.cancel(conn, job.id)
    await age(conn, last_heartbeat_at=timedelta(hours=3))
    await check(conn)
    assert (await store.get(conn, job.id)).status is Status.CANCELED


# Time limits


async def test_a_job_that_nobody_starts_in_time_fails(conn: Connection) -> None:
    await conn.execute("UPDATE automations SET start_deadline_seconds = 60")
    job, begun = await one(conn), await running(conn)
    assert job.start_deadline == job.created_at + timedelta(seconds=60)
    assert (await check(conn)).ids == []
    await age(conn, start_deadline=timedelta(seconds=60))
    assert (await check(conn)).ids == [job.id]
    ended = await store.get(conn, job.id)
    assert (ended.status, ended.error_class) == (Status.FAILED, "JOB_TIMEOUT")
    assert (await store.get(conn, begun.id)).status is Status.RUNNING


async def test_an_attempt_over_its_time_is_asked_to_stop_and_its_canceled_counts_as_timeout(
    conn: Connection,
) -> None:
    await conn.execute("UPDATE automations SET timeout_seconds = 60")
    job = await running(conn, "t")
    await age(conn, attempt_deadline=timedelta(seconds=61))
    await check(conn)
    assert await beat(conn, job, "t") == Beat(True)
    for _ in range(2):
        assert await finish(conn, job, Status.CANCELED, {"done": 3}, "t") == Status.CANCELED
    ended = await store.get(conn, job.id)
    assert (ended.status, ended.error_class) == (Status.FAILED, "JOB_TIMEOUT")
    assert orjson.loads(ended.result or "")["done"] == 3


async def test_an_attempt_that_does_not_stop_is_ended_two_minutes_later(conn: Connection) -> None:
    await conn.execute("UPDATE automations SET timeout_seconds = 60")
    job = await running(conn, "t")
    await age(conn, attempt_deadline=timedelta(seconds=200))
    await check(conn)
    assert (await store.get(conn, job.id)).status is Status.RUNNING  # asked only now, whenever it was due
    await age(conn, timed_out_at=timedelta(seconds=121))
    await check(conn)
    ended = await store.get(conn, job.id)
    assert (ended.status, ended.error_class) == (Status.FAILED, "JOB_TIMEOUT")
    assert isinstance(await finish(conn, job, token="t"), JobEnded)


async def test_two_minutes_to_stop_are_two_minutes_of_service(conn: Connection) -> None:
    await conn.execute("UPDATE automations SET timeout_seconds = 60")
    job = await running(conn, "t")
    await age(conn, attempt_deadline=timedelta(seconds=61))
    await check(conn)
    await age(conn, attempt_deadline=timedelta(seconds=300), timed_out_at=timedelta(seconds=300))
    assert (await check(conn, up_for=timedelta(seconds=60))).ids == []
    assert (await check(conn)).ids == [job.id]


async def test_a_timeout_may_be_tried_again(conn: Connection) -> None:
    await policy(conn, ("JOB_TIMEOUT", "Retry"))
    await conn.execute("UPDATE automations SET timeout_seconds = 60")
    job = await running(conn, "t")
    await age(conn, attempt_deadline=timedelta(seconds=61))
    await check(conn)
    await age(conn, timed_out_at=timedelta(seconds=121), attempt_deadline=timedelta(seconds=121))
    await check(conn)
    assert (await store.get(conn, job.id)).status is Status.PENDING
    assert isinstance(await finish(conn, job, token="t"), AttemptSuperseded)
    assert await start(conn, job, "u") == Started(2)
    assert await beat(conn, job, "u") == Beat(False)


async def test_a_person_s_cancellation_stays_one_though_time_runs_out(conn: Connection) -> None:
    await conn.execute("UPDATE automations SET timeout_seconds = 60")
    job = await running(conn, "t")
    await store.cancel(conn, job.id)
    await age(conn, attempt_deadline=timedelta(seconds=200), cancellation_requested_at=timedelta(seconds=200))
    await check(conn)
    assert (await store.get(conn, job.id)).status is Status.CANCELED


# Slots


async def test_jobs_wait_for_slots_by_priority_then_age(conn: Connection) -> None:
    await limit(conn, 2)
    low = [await one(conn) for _ in range(3)]
    await conn.execute("UPDATE automations SET priority = 5")
    high = await one(conn)
    assert [job.publish_due_at for job in (*low, high)] == [None] * 4
    assert await store.claim_owed(conn, 10) == []
    granted = {message.job_id for message in await store.grant_slots(conn, 10)}
    assert granted == {high.id, low[0].id}
    assert await store.grant_slots(conn, 10) == []
    await start(conn, high)
    await finish(conn, high)
    assert [message.job_id for message in await store.grant_slots(conn, 10)] == [low[1].id]


async def test_a_start_without_a_slot_is_put_back_in_line(conn: Connection) -> None:
    await limit(conn, 1)
    first, second = await one(conn), await one(conn)
    await store.grant_slots(conn, 10)
    assert isinstance(await start(conn, second, "t"), ConcurrencyLimited)
    assert await start(conn, first, "t") == Started(1, first.created_at)


async def test_a_lowered_limit_holds_for_those_that_were_granted(conn: Connection) -> None:
    await limit(conn, 2)
    first, second = await one(conn), await one(conn)
    await store.grant_slots(conn, 10)
    await start(conn, first, "t")
    await limit(conn, 1)
    assert isinstance(await start(conn, second, "t"), ConcurrencyLimited)
    assert await store.grant_slots(conn, 10) == []
    await finish(conn, first, token="t")
    assert [message.job_id for message in await store.grant_slots(conn, 10)] == [second.id]


async def test_every_running_job_holds_a_slot_however_it_came_to_run(conn: Connection) -> None:
    await limit(conn, 1)
    rescued, waiting = await one(conn), await one(conn)
    await store.grant_slots(conn, 10)
    await start(conn, rescued, "t")
    await age(conn, last_heartbeat_at=timedelta(hours=3))
    await check(conn)
    await limit(conn, None)
    await start(conn, waiting, "w")
    await limit(conn, 1)
    # In line again, while its attempt is still open.
    assert isinstance(await start(conn, rescued, "u"), ConcurrencyLimited)
    assert await start(conn, rescued, "t") == Started(1)
    await one(conn)
    for job, token in ((waiting, "w"), (rescued, "t")):
        assert await store.grant_slots(conn, 10) == []
        await finish(conn, job, token=token)
    assert len(await store.grant_slots(conn, 10)) == 1


async def test_a_job_handed_back_while_it_waits_for_a_slot_waits_on(conn: Connection) -> None:
    await limit(conn, 1)
    rescued, other = await one(conn), await one(conn)
    await store.grant_slots(conn, 10)
    await start(conn, rescued, "t")
    await age(conn, last_heartbeat_at=timedelta(hours=3))
    await check(conn)
    await limit(conn, 2)
    await store.grant_slots(conn, 10)
    await start(conn, other, "o")
    await limit(conn, 1)
    assert isinstance(await start(conn, rescued, "u"), ConcurrencyLimited)
    assert await release(conn, rescued, "t") == Status.PENDING
    assert await store.messages_of(conn, [rescued.id]) == []
    assert await store.grant_slots(conn, 10) == []


async def test_a_message_too_many_does_not_end_a_pause_between_attempts(conn: Connection) -> None:
    await policy(conn, ("PORTAL_DOWN", "Retry"))
    await limit(conn, 1)
    job = await one(conn)
    await store.grant_slots(conn, 10)
    await start(conn, job, "t")
    await failed(conn, job, "PORTAL_DOWN", "t")
    assert isinstance(await start(conn, job, "u"), ConcurrencyLimited)
    assert await store.grant_slots(conn, 10) == []
    await age(conn, publish_due_at=timedelta(seconds=11))
    assert [message.job_id for message in await store.grant_slots(conn, 10)] == [job.id]


async def test_a_limit_that_goes_lets_all_go(conn: Connection) -> None:
    await limit(conn, 1)
    jobs = [await one(conn) for _ in range(3)]
    await limit(conn, None)
    assert len(await store.grant_slots(conn, 10)) == len(jobs)


async def test_a_suspended_automation_grants_nothing(conn: Connection) -> None:
    await limit(conn, 1)
    await one(conn)
    await conn.execute("UPDATE automations SET paused_at = now()")
    assert await store.grant_slots(conn, 10) == []


async def test_canceling_a_waiting_job_leaves_the_line(conn: Connection) -> None:
    await limit(conn, 1)
    first, second = await one(conn), await one(conn)
    await store.cancel(conn, first.id)
    assert [message.job_id for message in await store.grant_slots(conn, 10)] == [second.id]


# Idempotency keys


def key(name: str, body: bytes = b"b") -> IdempotencyKey:
    return IdempotencyKey("caller", "execute/1", name, body)


async def test_the_same_key_is_the_same_job(conn: Connection) -> None:
    [first] = await keyed.accept(conn, [NewJob(1, {"n": 1}, key=key("k"))])
    again = await keyed.accept(
        conn,
        [
            NewJob(1, {"n": 1}, key=key("k")),
            NewJob(1, {"n": 2}, key=key("new")),
            NewJob(1, {"n": 2}, key=key("new")),
            NewJob(1, {}),
            NewJob(1, {}, key=key("k", b"other")),
            NewJob(1, {}, key=key("new", b"other")),
        ],
    )
    assert again[0] == first
    assert again[1] == again[2]
    assert isinstance(again[4], IdempotencyKeyReused)
    assert isinstance(again[5], IdempotencyKeyReused)
    assert isinstance(first, Job)
    assert await keyed.find(conn, key("k")) == first
    assert await keyed.find(conn, key("free")) is None
    with pytest.raises(IdempotencyKeyReused):
        await keyed.find(conn, key("k", b"other"))
    cursor = await conn.execute("SELECT count(*) AS jobs FROM jobs")
    assert (await cursor.fetchone() or {})["jobs"] == 3


async def test_an_expired_key_is_free(conn: Connection) -> None:
    [first] = await keyed.accept(conn, [NewJob(1, {}, key=key("k"))])
    await conn.execute("UPDATE idempotency_keys SET expires_at = now() - interval '1 s'")
    assert await keyed.find(conn, key("k")) is None
    [second] = await keyed.accept(conn, [NewJob(1, {}, key=key("k", b"other"))])
    assert isinstance(second, Job)
    assert second != first


async def test_a_key_whose_day_ends_while_it_is_asked_for_still_stands_for_its_job(
    conn: Connection, database_uri: str, database: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One transaction has one time, and holds the key that it could not take."""
    [first] = await keyed.accept(conn, [NewJob(1, {}, key=key("k"))])
    known = keyed._known

    async def a_moment_later(*arguments: Any) -> Any:
        await asyncio.sleep(0.6)
        assert database.execute(
            "SELECT count(*) FROM idempotency_keys WHERE expires_at <= now()"
        ).fetchone() == (1,)
        async with open_pool(database_uri) as pool, pool.connection() as other:
            await retention.apply(other, Retention(jobs_days=0, logs_days=0))
        return await known(*arguments)

    monkeypatch.setattr(keyed, "_known", a_moment_later)
    database.execute("UPDATE idempotency_keys SET expires_at = now() + interval '0.5 s'")
    assert await keyed.accept(conn, [NewJob(1, {}, key=key("k"))]) == [first]
    monkeypatch.undo()
    [second] = await keyed.accept(conn, [NewJob(1, {}, key=key("k"))])
    assert second != first
