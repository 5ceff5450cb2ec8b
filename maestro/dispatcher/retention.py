"""What has grown old goes, some at a time: jobs, occurrences, log lines, idempotency keys, dead letters."""

import logging
from dataclasses import dataclass

from psycopg import sql
from psycopg.errors import LockNotAvailable

from maestro.db import Connection, Statements

log = logging.getLogger(__name__)

_sql = Statements(__package__)

BATCH = 1_000


@dataclass(frozen=True)
class Retention:
    """Days that ended jobs and occurrences, and log lines, are kept; 0 keeps them for good."""

    jobs_days: int
    logs_days: int


async def apply(conn: Connection, retention: Retention) -> bool:
    """Take away one batch of each kind; whether there may be more. In one transaction, short and small."""
    counts = [await _delete(conn, "delete_expired_keys")]
    if retention.jobs_days:
        counts.append(await _delete(conn, "delete_old_jobs", retention.jobs_days))
        counts.append(await _delete(conn, "delete_old_occurrences", retention.jobs_days))
        await conn.execute(_sql["delete_old_letters"], {"days": retention.jobs_days})
    if retention.logs_days:
        counts.append(await _delete(conn, "delete_other_lines", retention.logs_days))
    return BATCH in counts


async def _delete(conn: Connection, statement: str, days: int = 0) -> int:
    return (await conn.execute(_sql[statement], {"days": days, "limit": BATCH})).rowcount


async def drop_old_partition(conn: Connection, logs_days: int) -> bool:
    """Drop the oldest partition of log lines that is old enough, in one transaction; whether one was.

    It gives up, for the next time, when a long transaction holds the table.
    """
    cursor = await conn.execute(_sql["old_partitions"], {"days": logs_days})
    names = [row["name"] for row in await cursor.fetchall()]
    if not logs_days or not names:
        return False
    await conn.execute(_sql["lock_patience"])
    try:
        async with conn.transaction():
            await conn.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(names[0])))
    except LockNotAvailable:
        log.info("the old log lines in %s are dropped later: the table is in use", names[0])
        return False
    log.info("the old log lines in %s are dropped", names[0])
    return True
