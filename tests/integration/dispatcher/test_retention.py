"""What has grown old goes, and nothing else: jobs, log lines with their partitions, keys, dead letters."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from integration.dispatcher.duties import Scene, dispatching, until
from maestro.job import store
from maestro.job.model import Level, NewLine, Status

DAYS = 10
"""What the dispatcher here keeps jobs and log lines for."""


OLD = """
INSERT INTO jobs (id, automation_id, status, attempt, attempt_open, created_at, completed_at,
                  last_heartbeat_at)
SELECT overlay(uuid7_floor(moment)::text PLACING substr(gen_random_uuid()::text, 20) FROM 20)::uuid, %s,
       status, 1, status = 'running', moment, CASE WHEN status <> 'running' THEN moment END, now()
FROM (SELECT %s AS status, now() - make_interval(days => %s) AS moment) AS made
RETURNING id
"""
BLOCKED = """SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'"""


def old(scene: Scene, automation: int, days: int, status: Status = Status.COMPLETED) -> UUID:
    """A job made that many days ago, and ended then if it has."""
    [(job,)] = scene.rows(OLD, automation, status, days)
    return UUID(str(job))


def line(scene: Scene, job: UUID) -> None:
    [kept] = scene.store.ask(store.append_lines, [NewLine(job, Level.INFO, "kept")])
    assert isinstance(kept, int)


def partition(scene: Scene, days: int) -> str:
    """The week of that many days ago, as it was once made ahead."""
    day = datetime.now(UTC).date() - timedelta(days=days)
    monday = day - timedelta(days=day.weekday())
    name = f"job_logs_{monday:%Y%m%d}"
    scene.database.execute(
        sql.SQL(
            "CREATE TABLE {} PARTITION OF job_logs FOR VALUES FROM (uuid7_floor({})) TO (uuid7_floor({}))"
        ).format(
            sql.Identifier(name),
            sql.Literal(datetime(monday.year, monday.month, monday.day, tzinfo=UTC)),
            sql.Literal(datetime(monday.year, monday.month, monday.day, tzinfo=UTC) + timedelta(days=7)),
        )
    )
    return name


def there(scene: Scene, table: str) -> bool:
    return scene.rows("SELECT to_regclass(%s) IS NOT NULL", table) == [(True,)]


def jobs(scene: Scene) -> set[UUID]:
    return {row[0] for row in scene.rows("SELECT id FROM jobs")}


def lines_of(scene: Scene) -> set[UUID]:
    return {row[0] for row in scene.rows("SELECT job_id FROM job_logs")}


@pytest.mark.usefixtures("impatient")
def test_old_jobs_go_with_their_lines_and_open_ones_stay(scene: Scene) -> None:
    automation = scene.automation()
    gone, young = [old(scene, automation, 30) for _ in range(3)], old(scene, automation, 9)
    slow, late = old(scene, automation, 40, Status.RUNNING), old(scene, automation, 41)
    scene.database.execute("UPDATE jobs SET completed_at = now() WHERE id = %s", [late])
    for job in (*gone, young, slow, late):
        line(scene, job)
    with dispatching(scene.uri, scene.broker.amqp_url, jobs_retention_days=DAYS, logs_retention_days=DAYS):
        until(lambda: jobs(scene) == {young, slow, late}, "the old ones are gone")
        # Lines by the job's age: those of one that took so long and has ended go with the first ones.
        until(lambda: lines_of(scene) == {young, slow}, "their lines are gone")
        assert scene.finish(slow, Status.COMPLETED) is Status.COMPLETED
        until(lambda: lines_of(scene) == {young}, "the lines of the slow one have followed")
    assert jobs(scene) == {young, slow, late}


@pytest.mark.usefixtures("impatient")
def test_a_week_of_lines_is_dropped_when_all_its_jobs_have_ended(scene: Scene) -> None:
    automation = scene.automation()
    open_week, ended_week, young_week = (partition(scene, days) for days in (60, 40, 12))
    slow, quick = old(scene, automation, 60, Status.RUNNING), old(scene, automation, 40)
    for job in (slow, quick):
        line(scene, job)
    held = scene.rows("SELECT tableoid::regclass::text FROM job_logs ORDER BY 1")
    assert held == sorted([(open_week,), (ended_week,)])
    with dispatching(scene.uri, scene.broker.amqp_url, jobs_retention_days=0, logs_retention_days=DAYS):
        until(lambda: not there(scene, ended_week), "the week whose jobs have ended is dropped")
        until(lambda: lines_of(scene) == {slow}, "its lines are gone")
        assert there(scene, open_week)
        assert there(scene, young_week), "its days are not all old enough"
        scene.finish(slow, Status.COMPLETED)
        until(lambda: not there(scene, open_week), "the other week has followed")
    assert jobs(scene) == {slow, quick}, "jobs are kept for good"


@pytest.mark.usefixtures("impatient")
def test_a_week_of_lines_that_is_in_use_is_dropped_later_and_holds_up_no_line(scene: Scene) -> None:
    week = partition(scene, 40)
    [job] = scene.accept(scene.automation())
    with psycopg.connect(scene.uri) as report:
        report.execute("SELECT count(*) FROM job_logs")
        with dispatching(scene.uri, scene.broker.amqp_url, logs_retention_days=DAYS):
            until(lambda: scene.rows(BLOCKED) == [(1,)], "the dispatcher waits for the report")
            line(scene, job)
            until(lambda: scene.rows(BLOCKED) == [(0,)], "it has given up")
            line(scene, job)
    assert there(scene, week)
    with dispatching(scene.uri, scene.broker.amqp_url, logs_retention_days=DAYS):
        until(lambda: not there(scene, week), "the week is dropped")


@pytest.mark.usefixtures("dispatcher_running")
def test_keys_whose_day_is_over_go_and_old_letters_too(scene: Scene) -> None:
    scene.database.execute(
        """INSERT INTO idempotency_keys (caller, route, key, body_hash, job_id, expires_at)
           SELECT 'c', 'r', n::text, '', gen_random_uuid(), now() + (n - 1500) * interval '1 minute'
           FROM generate_series(1, 1510) AS n"""
    )
    scene.database.execute(
        """INSERT INTO dead_letters (received_at, body)
           SELECT now() - n * interval '1 day', '' FROM generate_series(1, 20) AS n"""
    )
    until(lambda: scene.rows("SELECT count(*) FROM idempotency_keys") == [(10,)], "the expired ones are gone")
    until(lambda: scene.rows("SELECT count(*) FROM dead_letters") == [(DAYS - 1,)], "the old ones are gone")


@pytest.mark.usefixtures("impatient")
def test_what_is_to_be_kept_for_good_is(scene: Scene) -> None:
    automation = scene.automation()
    ancient, week = old(scene, automation, 4_000), partition(scene, 40)
    line(scene, ancient)
    scene.database.execute(
        "INSERT INTO dead_letters (received_at, body) VALUES (now() - interval '10 y', '')"
    )
    scene.database.execute(
        """INSERT INTO idempotency_keys (caller, route, key, body_hash, job_id, expires_at)
           VALUES ('c', 'r', 'k', '', gen_random_uuid(), now())"""
    )
    with dispatching(scene.uri, scene.broker.amqp_url, jobs_retention_days=0, logs_retention_days=0):
        until(lambda: scene.rows("SELECT count(*) FROM idempotency_keys") == [(0,)], "it has tidied")
        scene.database.execute(
            """INSERT INTO idempotency_keys (caller, route, key, body_hash, job_id, expires_at)
               VALUES ('c', 'r', 'k', '', gen_random_uuid(), now())"""
        )
        until(lambda: scene.rows("SELECT count(*) FROM idempotency_keys") == [(0,)], "it has tidied again")
    assert (jobs(scene), lines_of(scene), there(scene, week)) == ({ancient}, {ancient}, True)
    assert scene.rows("SELECT count(*) FROM dead_letters") == [(1,)]
