"""Metrics that only the database knows, read every 15 s however often somebody scrapes.

While PostgreSQL is away they are unknown (NaN), rather than as they last were.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from math import nan
from typing import Any, TypeAlias

from maestro import metrics
from maestro.db import Connection, Statements

_sql = Statements(__package__)

MOST_NAMES = 500
"""Automations told by name; those met later are told together as `other`. A name costs up to six series."""

_LOOK_SECONDS = 15.0
_OPEN = ("pending", "running")

Row: TypeAlias = Mapping[str, Any]


class Figures:
    """What a dispatcher shows of jobs; another shows the same, but began to count ends at another time."""

    def __init__(self, transaction: Callable[[], AbstractAsyncContextManager[Connection]]) -> None:
        self._transaction = transaction
        self._names: set[str] = set()
        self._shown = {(metrics.OTHER, status) for status in _OPEN}
        self._counted_until: datetime | None = None
        self._forget()

    async def measure(self) -> float:
        """Read all of it."""
        try:
            async with self._transaction() as conn:
                [lateness] = await _rows(conn, "lateness")
                open_jobs = await _rows(conn, "open_jobs")
                until = lateness["countable_until"]
                ended = await _rows(conn, "ended_jobs", since=self._counted_until or until, until=until)
        except Exception:
            self._forget()
            raise
        self._counted_until = until
        self._show(lateness, open_jobs)
        for row in ended:
            metrics.JOBS_ENDED.labels(self._name(row["automation"]), row["status"]).inc(row["jobs"])
        return _LOOK_SECONDS

    def _show(self, lateness: Row, open_jobs: Sequence[Row]) -> None:
        metrics.DEBTS_OVERDUE.set(lateness["overdue"])
        metrics.DISPATCHER_LAG.labels("fire").set(lateness["fire_seconds"])
        metrics.DISPATCHER_LAG.labels("pay").set(lateness["pay_seconds"])
        # An automation without open jobs any more goes on as 0: a series that ends looks like an outage.
        jobs = Counter(dict.fromkeys(self._shown, 0))
        for row in open_jobs:
            jobs[self._name(row["automation"]), row["status"]] += row["jobs"]
        for labels, count in jobs.items():
            metrics.JOBS.labels(*labels).set(count)
        self._shown = set(jobs)

    def _forget(self) -> None:
        metrics.DEBTS_OVERDUE.set(nan)
        for duty in ("fire", "pay"):
            metrics.DISPATCHER_LAG.labels(duty).set(nan)
        for labels in self._shown:
            metrics.JOBS.labels(*labels).set(nan)

    def _name(self, automation: str) -> str:
        if len(self._names) < MOST_NAMES:
            self._names.add(automation)
        return automation if automation in self._names else metrics.OTHER


async def _rows(conn: Connection, name: str, **values: object) -> Sequence[Row]:
    return await (await conn.execute(_sql[name], values)).fetchall()
