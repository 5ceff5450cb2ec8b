"""Migrations against a real database: twice, at once, killed halfway, and with the server away."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from integration.servers import Database
from maestro.db.migrate import _LOCK, migrate

TABLES = (
    "SELECT count(*) FROM information_schema.tables WHERE table_name IN ('automations', 'jobs', 'schedules')"
)


def test_a_second_run_has_nothing_to_do(empty_database_uri: str) -> None:
    assert migrate(empty_database_uri) > 0
    assert migrate(empty_database_uri) == 0
    with psycopg.connect(empty_database_uri) as connection:
        assert connection.execute(TABLES).fetchone() == (3,)


def test_four_at_once_apply_each_migration_once(empty_database_uri: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        applied = sorted(threads.map(migrate, [empty_database_uri] * 4))
    assert applied[:3] == [0, 0, 0]
    assert applied[3] > 0


def test_a_killed_migration_blocks_nobody(empty_database_uri: str) -> None:
    """SIGKILL while the lock is held and a migration's transaction is open."""
    holder = f"""
import psycopg, time
guard = psycopg.connect({empty_database_uri!r}, autocommit=True)
guard.execute("SELECT pg_advisory_lock({_LOCK})")
work = psycopg.connect({empty_database_uri!r})
work.execute("CREATE TABLE automations (half integer)")
print("held", flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdout
        assert victim.stdout.readline() == "held\n"
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(migrate, empty_database_uri)
            time.sleep(1)
            assert not waiting.done()
            victim.kill()
            assert waiting.result(timeout=30) > 0


def test_the_process_waits_for_postgresql_and_says_so(own_database: Database) -> None:
    own_database.container.stop()
    environment = {
        "MAESTRO_DATABASE_URI": own_database.uri(),
        "MAESTRO_BROKER_URI": "amqp://x:y@127.0.0.1/",
        "PATH": "/usr/bin:/bin",
    }
    command = [sys.executable, "-c", "from maestro.db.migrate import main; main()"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            first = process.stderr.readline()
            assert "PostgreSQL is away" in first
            assert "tests-only" not in first
            own_database.container.start()
            rest = _read(process, seconds=60)
        finally:
            process.kill()
    assert "the schema is at head" in rest


def _read(process: "subprocess.Popen[str]", seconds: float) -> str:
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        return process.stderr.read() if process.stderr else ""
    finally:
        timer.cancel()


@pytest.mark.parametrize("weeks", [0, 8, 20])
def test_log_partitions_are_made_once(database: psycopg.Connection, weeks: int) -> None:
    count = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'job_logs'::regclass"
    database.execute("SELECT ensure_job_log_partitions(%s)", [weeks])
    database.execute("SELECT ensure_job_log_partitions(%s)", [weeks])
    # this week and those ahead (eight from the migration at least), and the default
    assert database.execute(count).fetchone() == (max(weeks, 8) + 2,)
