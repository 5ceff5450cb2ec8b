"""Automations, schedules, calendars and jobs as tests arrange them, and what they look at."""

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from maestro.db import Connection
from maestro.schedule import store
from maestro.schedule.model import Schedule

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
"""A Monday."""

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def automation(database: psycopg.Connection, name: str = "bot", **columns: Any) -> int:
    values = {"namespace": "bots", "name": name, "uid": "a", "display_name": name, "queue": "jobs"} | columns
    names, marks = ", ".join(values), ", ".join(["%s"] * len(values))
    statement = f"INSERT INTO automations ({names}) VALUES ({marks}) RETURNING id"  # noqa: S608
    row = database.execute(statement.encode(), list(values.values())).fetchone()
    assert row
    return int(row[0])


def resource(name: str = "each-hour", uid: str = "1", generation: int = 1, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "bots", "name": name, "uid": uid, "generation": generation},
        "spec": {"automation": "bot", "cron": "0 * * * *"} | spec,
    }


async def register(conn: Connection, given: dict[str, Any], now: datetime = NOON) -> Schedule:
    return await store.register(conn, given, default_time_zone="UTC", now=now)


def jobs(database: psycopg.Connection) -> list[tuple[Any, ...]]:
    rows = "SELECT schedule_id, scheduled_for, parameters FROM jobs ORDER BY scheduled_for"
    return database.execute(rows).fetchall()


def instants(database: psycopg.Connection) -> list[datetime]:
    """The nominal instants of all jobs, in order."""
    return [row[1] for row in jobs(database)]


def occurrences(database: psycopg.Connection, schedule_id: int | None = None) -> list[tuple[Any, ...]]:
    """(nominal instant, outcome, reason, count) in order of the first; those without a reason have ''."""
    rows = """SELECT nominal_at, outcome, coalesce(reason, ''), count FROM occurrences
              WHERE schedule_id = coalesce(%s, schedule_id) ORDER BY nominal_at, schedule_id"""
    return database.execute(rows, [schedule_id]).fetchall()


def outcomes(database: psycopg.Connection) -> list[tuple[str, str]]:
    """The outcomes and reasons alone."""
    return [(outcome, reason) for _, outcome, reason, _ in occurrences(database)]


def end_jobs(database: psycopg.Connection) -> None:
    """All open jobs end well."""
    database.execute(
        """UPDATE jobs SET status = 'completed', completed_at = now(), publish_due_at = NULL
           WHERE status IN ('pending', 'running')"""
    )


def calendar(name: str = "brazil", uid: str = "c", generation: int = 1, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "bots", "name": name, "uid": uid, "generation": generation},
        "spec": spec,
    }
