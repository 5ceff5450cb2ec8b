"""Dispatchers killed in the middle of their batches, and what the others make of it (I4)."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import psycopg
import pytest

from integration.schedule.given import MINUTE, NOON, automation, register, resource
from maestro.db import Connection
from maestro.schedule.firing import fire_due

ROUNDS = 200
SCHEDULES = 10

EACH = """
SELECT tick.nominal_at, s.id,
       (SELECT count(*) FROM occurrences o WHERE o.schedule_id = s.id AND o.nominal_at = tick.nominal_at),
       (SELECT count(*) FROM jobs j JOIN occurrences o ON o.job_id = j.id
        WHERE j.schedule_id = s.id AND j.scheduled_for = tick.nominal_at AND o.nominal_at = tick.nominal_at)
FROM schedules s, generate_series(%s::timestamptz, %s::timestamptz, interval '1 minute') AS tick (nominal_at)
"""
IN_A_BATCH = """SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"""


class Victims:
    """Dispatchers that live in processes of their own, and not for long."""

    def __init__(self, uri: str) -> None:
        command = [sys.executable, str(Path(__file__).with_name("victim.py")), uri]
        self._maker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def begin(self, now: str) -> int:
        """The id of a process that begins to fire."""
        assert self._maker.stdin
        assert self._maker.stdout
        self._maker.stdin.write(f"{now}\n")
        self._maker.stdin.flush()
        return int(self._maker.stdout.readline())

    def end(self) -> None:
        self._maker.kill()
        self._maker.wait()


@pytest.fixture
def victims(database_uri: str) -> Iterator[Victims]:
    victims = Victims(database_uri)
    yield victims
    victims.end()


async def test_two_dispatchers_one_killed_in_its_batch_each_instant_once(
    conn: Connection, database: psycopg.Connection, victims: Victims
) -> None:
    automation(database)
    for number in range(SCHEDULES):
        await register(conn, resource(f"s-{number}", cron="* * * * *"))
    chance = random.Random(5)  # noqa: S311
    struck = 0
    for tick in range(1, ROUNDS + 1):
        now = NOON + tick * MINUTE
        victim = victims.begin(now.isoformat())
        await asyncio.sleep(chance.uniform(0, 0.02))
        await fire_due(conn, limit=5, now=now)
        struck += database.execute(IN_A_BATCH).fetchone() != (0,)
        with suppress(ProcessLookupError):  # it was through already
            os.kill(victim, signal.SIGKILL)
        await fire_the_rest(conn, database, now)
    amiss = [row for row in database.execute(EACH, [NOON + MINUTE, now]).fetchall() if row[2:] != (1, 1)]
    assert amiss == []
    assert database.execute("SELECT count(*) FROM jobs").fetchone() == (ROUNDS * SCHEDULES,)
    # What was committed and not published is owed, so that another dispatcher publishes it.
    assert database.execute("SELECT count(*) FROM jobs WHERE publish_due_at IS NULL").fetchone() == (0,)
    assert struck > ROUNDS / 4, "kills come too late to tell anything"


async def fire_the_rest(conn: Connection, database: psycopg.Connection, now: datetime) -> None:
    """What the killed one held is free once its backend has noticed."""
    left = "SELECT count(*) FROM schedules WHERE due_at <= %s"
    deadline = time.monotonic() + 20
    while database.execute(left, [now]).fetchone() != (0,):
        await fire_due(conn, limit=100, now=now)
        assert time.monotonic() < deadline, "the locks of a killed dispatcher stay"
