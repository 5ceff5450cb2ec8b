"""A running dispatcher and schedules: what is fired, waits, makes way and grows old."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from integration.dispatcher.duties import Scene, dispatching, until
from maestro import metrics
from maestro.job.feed import ids_in
from maestro.job.model import Started, Status


def due(scene: Scene, name: str = "tick", **columns: Any) -> int:
    """A schedule whose run of this minute is due, and whose next one is tomorrow."""
    now = datetime.now(UTC)
    row = {
        "namespace": "bots",
        "name": name,
        "uid": "s",
        "automation_name": "bot",
        "cron": f"{now.minute} {now.hour} * * *",
        "time_zone": "UTC",
        "decided_until": now.replace(second=0, microsecond=0) - timedelta(seconds=1),
        "due_at": now,
    } | columns
    insert = psycopg.sql.SQL("INSERT INTO schedules ({}) VALUES ({}) RETURNING id").format(
        psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, row)),
        psycopg.sql.SQL(", ").join(map(psycopg.sql.Placeholder, row)),
    )
    found = scene.database.execute(insert, row).fetchone()
    assert found
    return int(found[0])


def open_job(scene: Scene, automation: int, schedule: int) -> UUID:
    """A running job of an earlier run of the schedule."""
    [job] = scene.accept(automation)
    assert isinstance(scene.start(job, "t"), Started)
    scene.database.execute(
        "UPDATE jobs SET schedule_id = %s, scheduled_for = now() - interval '1 day' WHERE id = %s",
        [schedule, job],
    )
    return job


def outcome(scene: Scene) -> str | None:
    found = scene.rows("SELECT outcome FROM occurrences")
    return str(found[0][0]) if found else None


@pytest.mark.parametrize("policy", ["Queue", "Replace"])
@pytest.mark.usefixtures("impatient")
def test_what_waits_is_published_when_the_job_before_has_ended(scene: Scene, policy: str) -> None:
    bot = scene.automation()
    scene.declare("bot")
    schedule = due(scene, concurrency_policy=policy, due_at=datetime.now(UTC) + timedelta(hours=1))
    running = open_job(scene, bot, schedule)
    with (
        psycopg.connect(scene.uri, autocommit=True) as listener,
        dispatching(scene.uri, scene.broker.amqp_url),
    ):
        listener.execute("LISTEN job_changes")
        scene.database.execute("UPDATE schedules SET due_at = now()")
        until(lambda: outcome(scene) == "waiting", "it waits")
        assert scene.depth("bot") == 0
        if policy == "Replace":
            told = next(listener.notifies(timeout=10), None)
            assert told, "those who look at the job are told"
            assert ids_in(told.payload) == [running]
            assert scene.job(running).cancellation_requested_at
        else:
            assert scene.job(running).cancellation_requested_at is None
        assert scene.finish(running, Status.CANCELED, "t") is Status.CANCELED
        until(lambda: scene.depth("bot") == 1, "the message of its job is in the queue")
    assert outcome(scene) in ("fired", "late")
    assert scene.rows("SELECT o.job_id = s.last_job_id FROM occurrences o, schedules s") == [(True,)]


@pytest.mark.usefixtures("dispatcher_running")
def test_a_run_of_a_limited_automation_waits_for_its_slot_and_harms_no_other(scene: Scene) -> None:
    limited = scene.automation("bot", max_concurrency=1)
    scene.automation("free")
    scene.declare("bot", "free")
    [busy] = scene.accept(limited)
    until(lambda: scene.depth("bot") == 1, "it has its slot")
    assert isinstance(scene.start(busy, "t"), Started)
    due(scene)
    due(scene, "other", automation_name="free")
    until(lambda: scene.depth("free") == 1, "the other is published")
    assert scene.depth("bot") == 1
    scene.finish(busy, Status.COMPLETED, "t")
    until(lambda: scene.depth("bot") == 2, "it got the slot")


def test_decisions_are_counted(scene: Scene, impatient: None) -> None:
    def told(outcome: str) -> float:
        return metrics.OCCURRENCES.labels(outcome)._value.get()

    before = {outcome: told(outcome) for outcome in ("skipped", "missed", "late", "fired")}
    lags = metrics.SCHEDULE_LAG._sum.get()
    scene.automation()
    due(scene, "unknown", automation_name="nobody")
    long_ago = datetime.now(UTC) - timedelta(days=3)
    due(scene, "long-ago", decided_until=long_ago, catch_up_policy="None", cron="0 0 * * *")
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    due(scene, "late", decided_until=hour_ago, cron=f"{hour_ago.minute} * * * *")
    with dispatching(scene.uri, scene.broker.amqp_url):
        until(lambda: scene.rows("SELECT count(*) FROM schedules WHERE due_at <= now()") == [(0,)], "all")
        until(lambda: sum(told(each) - before[each] for each in before) >= 5, "they are counted")
    assert told("skipped") - before["skipped"] == 1
    assert told("missed") - before["missed"] in (2, 3)
    made = (told("late") - before["late"]) + (told("fired") - before["fired"])
    assert made >= 1
    assert metrics.SCHEDULE_LAG._sum.get() >= lags


@pytest.mark.usefixtures("dispatcher_running")
def test_old_occurrences_go_and_those_stay_that_wait_or_whose_own_time_comes_yet(scene: Scene) -> None:
    """The dispatcher here keeps jobs, and so occurrences, for ten days."""
    scene.database.execute(
        """INSERT INTO occurrences (schedule_id, nominal_at, effective_at, due_at, outcome, decided_at)
           SELECT 2, now() + interval '1 day', day, day, 'merged', day
           FROM (SELECT now() - interval '20 days' AS day) AS days"""
    )
    scene.database.execute(
        """INSERT INTO occurrences (schedule_id, nominal_at, effective_at, due_at, outcome, decided_at)
           SELECT 1, day, day, day, CASE n WHEN 30 THEN 'waiting' WHEN 29 THEN 'missed' ELSE 'fired' END, day
           FROM (SELECT n, now() - n * interval '1 day' AS day FROM generate_series(1, 1530) AS n) AS days"""
    )
    left = "SELECT outcome, count(*) FROM occurrences GROUP BY outcome ORDER BY outcome"
    kept = [("fired", 9), ("merged", 1), ("waiting", 1)]
    until(lambda: scene.rows(left) == kept, "the old ones are gone")
