"""What becomes of due schedules in a real database."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from integration.schedule.given import (
    DAY,
    HOUR,
    MINUTE,
    NOON,
    automation,
    instants,
    jobs,
    occurrences,
    outcomes,
    register,
    resource,
)
from maestro.db import Connection, open_pool
from maestro.schedule import store
from maestro.schedule.firing import fire_due

THREE_LATE = NOON + 3 * MINUTE + timedelta(seconds=90)
"""Each minute's instants from 12:01 to 12:04 are due, the latest for 30 s."""


async def fire(conn: Connection, now: datetime) -> int:
    return (await fire_due(conn, limit=100, now=now)).seen


async def test_a_due_schedule_fires_once_and_moves_on(conn: Connection, database: psycopg.Connection) -> None:
    bot = automation(database, default_params='{"a": 1, "b": 1}', script_path="bot.py")
    schedule = await register(conn, resource(parameters={"b": 2}))
    assert (await fire_due(conn, limit=10, now=NOON + 59 * MINUTE)).seen == 0
    [job] = (await fire_due(conn, limit=10, now=NOON + 60 * MINUTE)).jobs
    assert (job.automation_id, job.schedule_id, job.queue) == (bot, schedule.id, "jobs")
    assert jobs(database) == [(schedule.id, NOON + 60 * MINUTE, {"a": 1, "b": 2})]
    assert (await fire_due(conn, limit=10, now=NOON + 61 * MINUTE)).seen == 0
    moved = await store.get(conn, schedule.id)
    assert moved.next_run_at == moved.due_at == NOON + 120 * MINUTE
    assert (moved.last_run_at, moved.last_job_id, moved.last_job_status) == (
        NOON + 60 * MINUTE,
        job.id,
        "pending",
    )
    assert (moved.last_outcome, moved.last_occurrence_at) == ("fired", NOON + 60 * MINUTE)
    row = database.execute("SELECT outcome, job_id, effective_at = nominal_at FROM occurrences").fetchone()
    assert row == ("fired", job.id, True)


@pytest.mark.parametrize(
    ("policy", "expected", "fired"),
    [
        ("None", [("missed", "Outage", 3), ("fired", "", 1)], [4]),
        ("Last", [("missed", "Outage", 3), ("fired", "", 1)], [4]),
        (
            "All",
            [
                ("caught_up", "Outage", 1),
                ("caught_up", "Outage", 1),
                ("caught_up", "Outage", 1),
                ("fired", "", 1),
            ],
            [1, 2, 3, 4],
        ),
    ],
)
async def test_after_three_ticks_of_an_outage_the_one_on_time_fires_and_catch_up_says_the_rest(
    conn: Connection,
    database: psycopg.Connection,
    policy: str,
    expected: list[tuple[str, str, int]],
    fired: list[int],
) -> None:
    automation(database)
    await register(conn, resource(cron="* * * * *", catchUp={"policy": policy}))
    await fire(conn, THREE_LATE)
    assert instants(database) == [NOON + minute * MINUTE for minute in fired]
    assert [row[1:] for row in occurrences(database)] == expected
    await fire(conn, THREE_LATE)
    assert len(jobs(database)) == len(fired)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("None", [(NOON + HOUR, "missed", "Outage", 3)]),
        ("Last", [(NOON + HOUR, "missed", "Outage", 2), (NOON + 3 * HOUR, "late", "Outage", 1)]),
        (
            "All",
            [
                (NOON + HOUR, "caught_up", "Outage", 1),
                (NOON + 2 * HOUR, "caught_up", "Outage", 1),
                (NOON + 3 * HOUR, "late", "Outage", 1),
            ],
        ),
    ],
)
async def test_an_outage_that_nothing_is_on_time_after(
    conn: Connection, database: psycopg.Connection, policy: str, expected: list[Any]
) -> None:
    automation(database)
    schedule = await register(conn, resource(catchUp={"policy": policy, "windowSeconds": 86400}))
    await fire(conn, NOON + 3 * HOUR + 61 * timedelta(seconds=1))
    assert occurrences(database) == expected
    stored = await store.get(conn, schedule.id)
    assert stored.next_run_at == NOON + 4 * HOUR
    assert stored.last_occurrence_at == expected[-1][0]
    last = database.execute("SELECT last_nominal_at FROM occurrences WHERE count > 1").fetchone()
    assert last == {"None": (NOON + 3 * HOUR,), "Last": (NOON + 2 * HOUR,), "All": None}[policy]


@pytest.mark.parametrize(
    ("late", "spec", "expected"),
    [
        (60, {"catchUp": {"policy": "None"}}, ("fired", "")),
        (60, {"catchUp": {"policy": "Last", "windowSeconds": 1}}, ("fired", "")),
        (61, {"catchUp": {"policy": "None"}}, ("missed", "Outage")),
        (600, {"catchUp": {"policy": "Last", "windowSeconds": 600}}, ("late", "Outage")),
        (601, {"catchUp": {"policy": "Last", "windowSeconds": 600}}, ("missed", "Outage")),
        (600, {"catchUp": {"policy": "All", "windowSeconds": 600}}, ("late", "Outage")),
        (601, {"catchUp": {"policy": "All", "windowSeconds": 600}}, ("missed", "Outage")),
        (300, {"startingDeadlineSeconds": 300}, ("late", "Outage")),
        (301, {"startingDeadlineSeconds": 300}, ("missed", "DeadlineExceeded")),
        (10, {"startingDeadlineSeconds": 10}, ("fired", "")),
        (11, {"startingDeadlineSeconds": 10}, ("missed", "DeadlineExceeded")),
        (601, {"startingDeadlineSeconds": 700, "catchUp": {"windowSeconds": 600}}, ("missed", "Outage")),
    ],
)
async def test_the_edges_of_grace_window_and_deadline(
    conn: Connection, database: psycopg.Connection, late: int, spec: dict[str, Any], expected: Any
) -> None:
    automation(database)
    await register(conn, resource(**spec))
    await fire(conn, NOON + HOUR + timedelta(seconds=late))
    assert outcomes(database) == [expected]
    assert len(jobs(database)) == (expected[0] != "missed")


async def test_a_hundred_are_caught_up_at_most(conn: Connection, database: psycopg.Connection) -> None:
    automation(database)
    await register(conn, resource(cron="* * * * *", catchUp={"policy": "All", "windowSeconds": 86400}))
    await fire(conn, NOON + 5 * HOUR)
    assert instants(database) == [NOON + minute * MINUTE for minute in range(201, 301)]
    assert occurrences(database)[0] == (NOON + MINUTE, "missed", "Outage", 200)


async def test_a_years_outage_of_a_minutely_schedule_is_one_row(
    conn: Connection, database: psycopg.Connection
) -> None:
    automation(database)
    await register(conn, resource(cron="* * * * *"))
    began = time.monotonic()
    await fire(conn, NOON + 365 * DAY)
    assert time.monotonic() - began < 1
    assert occurrences(database) == [
        (NOON + MINUTE, "missed", "Outage", 365 * 24 * 60 - 2),
        (NOON + 365 * DAY - MINUTE, "fired", "", 1),
        (NOON + 365 * DAY, "fired", "", 1),
    ]
    last = database.execute("SELECT last_nominal_at FROM occurrences WHERE count > 1").fetchone()
    assert last == (NOON + 365 * DAY - 2 * MINUTE,)


async def test_a_clock_that_goes_forwards_an_hour_and_back_fires_each_instant_once(
    conn: Connection, database: psycopg.Connection
) -> None:
    automation(database)
    await register(conn, resource(cron="*/10 * * * *", catchUp={"policy": "All"}))
    minutes = [*range(1, 30), *range(90, 95), *range(30, 150)]
    for minute in minutes:
        await fire(conn, NOON + minute * MINUTE)
    assert instants(database) == [NOON + minute * MINUTE for minute in range(10, 150, 10)]
    assert len(occurrences(database)) == 14
    assert (await store.list_all(conn))[0].next_run_at == NOON + 150 * MINUTE


async def test_an_edit_while_the_clock_is_back_fires_nothing_twice(
    conn: Connection, database: psycopg.Connection
) -> None:
    automation(database)
    await register(conn, resource(cron="*/10 * * * *"))
    await fire(conn, NOON + 20 * MINUTE)
    await register(conn, resource(cron="*/5 * * * *", generation=2), NOON)
    for minute in range(1, 25):
        await fire(conn, NOON + minute * MINUTE)
    assert instants(database) == [NOON + minute * MINUTE for minute in (5, 15, 20)]
    # 12:10 was missed before: that is what stays written
    assert occurrences(database)[1] == (NOON + 10 * MINUTE, "missed", "Outage", 1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"cron": "30 * * * *"}, "Edited"), ({"suspend": True}, "Suspended"), ({"parameters": {"x": 1}}, None)],
)
async def test_what_is_due_when_its_timing_is_edited_is_told_to_be_missed(
    conn: Connection, database: psycopg.Connection, change: dict[str, Any], reason: str | None
) -> None:
    """At the very second of a run, with two of an outage before it."""
    automation(database)
    await register(conn, resource())
    edited_at = NOON + 3 * HOUR + timedelta(seconds=1)
    await register(conn, resource(generation=2, **change), edited_at)
    last = (NOON + 3 * HOUR, "missed", reason, 1) if reason else (NOON + 3 * HOUR, "fired", "", 1)
    await fire(conn, edited_at)
    assert occurrences(database) == [(NOON + HOUR, "missed", "Outage", 2), last]
    await register(conn, resource(generation=2, **change), edited_at + MINUTE)
    assert len(occurrences(database)) == 2


async def test_what_jitter_holds_back_when_its_timing_is_edited_is_told_to_be_missed(
    conn: Connection, database: psycopg.Connection
) -> None:
    automation(database)
    delay = (await register(conn, resource("spread", jitterSeconds=3000))).jitter
    edited = resource("spread", jitterSeconds=3000, generation=2, cron="30 8 * * *")
    row = await register(conn, edited, NOON + HOUR)
    assert (row.last_occurrence_at, row.last_reason) == (NOON + HOUR, "Edited")
    await fire(conn, NOON + HOUR + delay)
    assert occurrences(database) == [(NOON + HOUR, "missed", "Edited", 1)]


async def test_without_its_automation_nothing_fires_and_time_goes_on(
    conn: Connection, database: psycopg.Connection
) -> None:
    schedule = await register(conn, resource())
    fired = await fire_due(conn, limit=10, now=NOON + 60 * MINUTE)
    assert (fired.seen, fired.jobs) == (1, [])
    stored = await store.get(conn, schedule.id)
    assert stored.next_run_at == NOON + 120 * MINUTE
    assert (stored.last_outcome, stored.last_reason) == ("skipped", "AutomationNotFound")
    assert "no Automation bot" in (stored.last_message or "")
    bot = automation(database)
    assert (await store.get(conn, schedule.id)).automation_id == bot
    assert len((await fire_due(conn, limit=10, now=NOON + 120 * MINUTE)).jobs) == 1


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"suspended": True}, "AutomationSuspended"),
        ({"paused_at": NOON, "paused_reason": "PausedByPerson"}, "AutomationSuspended"),
        ({"retired_at": NOON}, "AutomationNotFound"),
        ({"uid": None}, "AutomationNotFound"),  # reserved by REST, not created yet
        (
            {"parameter_schema": '[{"name": "cnpj", "label": "CNPJ", "type": "text", "required": true}]'},
            "ParametersRefused",
        ),
    ],
)
async def test_no_job_of_an_automation_that_would_refuse_it(
    conn: Connection, database: psycopg.Connection, columns: dict[str, Any], reason: str
) -> None:
    automation(database, **columns)
    schedule = await register(conn, resource())
    fired = await fire_due(conn, limit=10, now=NOON + 60 * MINUTE)
    assert (fired.seen, fired.jobs) == (1, [])
    stored = await store.get(conn, schedule.id)
    assert (stored.next_run_at, stored.last_run_at) == (NOON + 120 * MINUTE, None)
    assert occurrences(database) == [(NOON + 60 * MINUTE, "skipped", reason, 1)]


async def test_placeholders_are_those_of_the_nominal_day_in_the_schedules_zone(
    conn: Connection, database: psycopg.Connection
) -> None:
    schema = '[{"name": "from", "label": "From", "type": "date", "required": true}]'
    automation(database, parameter_schema=schema, default_params='{"to": "{{today}}"}')
    parameters = {"from": "{{prev_run}}", "deep": [{"{{today}}": "{{ today }} and {{tomorrow}}, {{other}}"}]}
    spec = {"cron": "30 22 * * 1-5", "timeZone": "America/Sao_Paulo", "parameters": parameters}
    await register(conn, resource(**spec, catchUp={"policy": "Last", "windowSeconds": 86400}))
    # Friday 22:30 in São Paulo is Saturday 01:30 in UTC; it comes to fire on Saturday morning.
    await fire(conn, datetime(2026, 11, 28, 11, tzinfo=UTC))
    assert jobs(database)[-1][1:] == (
        datetime(2026, 11, 28, 1, 30, tzinfo=UTC),
        {
            "to": "{{today}}",  # a default is the automation's, not the schedule's
            "from": "26/11/2026",
            "deep": [{"{{today}}": "27/11/2026 and 28/11/2026, {{other}}"}],
        },
    )


async def test_jitter_delays_all_and_changes_no_instant(
    conn: Connection, database: psycopg.Connection
) -> None:
    automation(database)
    schedule = await register(conn, resource("spread", jitterSeconds=3000))
    delay = schedule.jitter
    assert timedelta(0) < delay <= timedelta(seconds=3000)
    # That of 12:00, though its delay is not over, is of before the schedule.
    assert schedule.next_run_at == schedule.due_at == NOON + HOUR + delay
    assert await fire(conn, NOON + HOUR + delay - timedelta(seconds=1)) == 0
    assert await fire(conn, NOON + HOUR + delay) == 1
    assert occurrences(database) == [(NOON + HOUR, "fired", "", 1)]
    assert instants(database) == [NOON + HOUR]
    assert (await store.get(conn, schedule.id)).next_run_at == NOON + 2 * HOUR + delay


async def test_start_and_end_bound_the_nominal_instant(
    conn: Connection, database: psycopg.Connection
) -> None:
    automation(database)
    bounds = {"startTime": "2026-11-23T14:00:00Z", "endTime": "2026-11-23T15:00:00Z"}
    schedule = await register(conn, resource(**bounds))
    assert schedule.next_run_at == NOON + 2 * HOUR
    for hour in range(8):
        await fire(conn, NOON + hour * HOUR)
    assert instants(database) == [NOON + 2 * HOUR, NOON + 3 * HOUR]
    over = await store.get(conn, schedule.id)
    assert (over.due_at, over.next_run_at, over.suspended) == (None, None, False)
    assert await register(conn, resource(**bounds), NOON + 9 * HOUR) == over


async def test_one_that_cannot_be_read_harms_no_other_and_comes_back_when_mended(
    conn: Connection, database: psycopg.Connection
) -> None:
    automation(database)
    broken = await register(conn, resource("broken"))
    await register(conn, resource("whole"))
    database.execute("UPDATE schedules SET cron = 'LW' WHERE id = %s", [broken.id])
    assert len((await fire_due(conn, limit=10, now=NOON + 60 * MINUTE)).jobs) == 1
    assert (await store.get(conn, broken.id)).due_at == NOON + 61 * MINUTE
    assert await fire(conn, NOON + 60 * MINUTE) == 0
    database.execute("UPDATE schedules SET cron = '0 * * * *' WHERE id = %s", [broken.id])
    assert await fire(conn, NOON + 61 * MINUTE) == 1
    assert occurrences(database, broken.id) == [(NOON + 60 * MINUTE, "fired", "", 1)]


async def test_what_the_database_refuses_of_one_leaves_the_others_of_its_batch_whole(
    conn: Connection, database: psycopg.Connection
) -> None:
    automation(database)
    for number in range(9):
        await register(conn, resource(f"s-{number}", parameters={"n": number}))
    database.execute("ALTER TABLE jobs ADD CHECK ((parameters ->> 'n')::integer <> 4)")
    fired = await fire_due(conn, limit=10, now=NOON + HOUR)
    assert (fired.seen, len(fired.jobs), len(fired.told)) == (9, 8, 8)
    assert len(occurrences(database)) == 8
    left = await store.by_name(conn, "bots", "s-4")
    assert left
    assert (left.due_at, left.decided_until) == (NOON + HOUR + MINUTE, NOON)
    database.execute("ALTER TABLE jobs DROP CONSTRAINT jobs_parameters_check")
    assert len((await fire_due(conn, limit=10, now=NOON + HOUR + MINUTE)).jobs) == 1


async def test_an_instant_that_has_its_job_already_gets_it(
    conn: Connection, database: psycopg.Connection
) -> None:
    """As one that an earlier version fired, which wrote no occurrences."""
    bot = automation(database)
    schedule = await register(conn, resource())
    database.execute(
        """INSERT INTO jobs (id, automation_id, schedule_id, scheduled_for, status, completed_at)
           VALUES (gen_random_uuid(), %s, %s, %s, 'completed', now())""",
        [bot, schedule.id, NOON + HOUR],
    )
    assert (await fire_due(conn, limit=10, now=NOON + HOUR)).jobs == []
    row = database.execute(
        "SELECT o.outcome, j.status FROM occurrences o JOIN jobs j ON j.id = o.job_id"
    ).fetchone()
    assert row == ("fired", "completed")


async def test_batches_go_through_all_of_them(conn: Connection, database: psycopg.Connection) -> None:
    automation(database)
    for number in range(25):
        await register(conn, resource(f"s-{number}"))
    seen = [(await fire_due(conn, limit=10, now=NOON + 60 * MINUTE)).seen for _ in range(4)]
    assert (seen, len(jobs(database))) == ([10, 10, 5, 0], 25)


async def test_many_dispatchers_fire_each_instant_once(
    database_uri: str, conn: Connection, database: psycopg.Connection
) -> None:
    automation(database)
    for number in range(30):
        await register(conn, resource(f"s-{number}", cron="* * * * *"))
    rounds = 20
    async with open_pool(database_uri, size=6) as pool:

        async def dispatcher(own: int) -> None:
            for tick in range(1, rounds + 1):
                async with pool.connection() as connection:
                    # each a little apart, as clocks and loads are
                    await fire_due(connection, limit=7 + own, now=NOON + tick * MINUTE)

        await asyncio.gather(*(dispatcher(own) for own in range(6)))
    # What all of them passed over in the last round, because another one held it just then.
    while (await fire_due(conn, limit=50, now=NOON + rounds * MINUTE)).seen:
        pass
    doubled = "SELECT schedule_id, scheduled_for FROM jobs GROUP BY 1, 2 HAVING count(*) > 1"
    assert database.execute(doubled).fetchall() == []
    behind = "SELECT count(*) FROM schedules WHERE due_at <= %s"
    assert database.execute(behind, [NOON + rounds * MINUTE]).fetchone() == (0,)
    # Whoever was ahead of the others took some of them for missed; none is left out or counted twice.
    assert database.execute("SELECT sum(count) FROM occurrences").fetchone() == (30 * rounds,)


async def test_the_database_takes_one_occurrence_of_a_nominal_and_one_run_of_an_effective_instant(
    conn: Connection, database: psycopg.Connection
) -> None:
    schedule = await register(conn, resource())

    def occur(nominal: datetime, effective: datetime, outcome: str) -> None:
        database.execute(
            """INSERT INTO occurrences (schedule_id, nominal_at, effective_at, due_at, outcome)
               VALUES (%s, %s, %s, %s, %s)""",
            [schedule.id, nominal, effective, effective, outcome],
        )

    occur(NOON, NOON, "fired")
    occur(NOON + DAY, NOON, "merged")
    with pytest.raises(psycopg.errors.UniqueViolation, match="occurrences_nominal_key"):
        occur(NOON, NOON + HOUR, "skipped")
    for outcome in ("waiting", "fired", "shifted", "late", "caught_up"):
        with pytest.raises(psycopg.errors.UniqueViolation, match="occurrences_effective_key"):
            occur(NOON + 2 * DAY, NOON, outcome)


async def test_a_dispatcher_killed_in_its_batch_leaves_it_to_the_others(
    database_uri: str, conn: Connection, database: psycopg.Connection
) -> None:
    automation(database)
    await register(conn, resource())
    now = NOON + 60 * MINUTE
    victim = await psycopg.AsyncConnection.connect(database_uri)
    await victim.execute("SELECT 1 FROM schedules FOR NO KEY UPDATE")
    assert (await fire_due(conn, limit=10, now=now)).seen == 0  # held, and not waited for
    database.execute("SELECT pg_terminate_backend(%s)", [victim.info.backend_pid])
    await victim.close()
    deadline = time.monotonic() + 20
    while not (fired := await fire_due(conn, limit=10, now=now)).seen:  # the backend takes a moment to die
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert len(fired.jobs) == 1
