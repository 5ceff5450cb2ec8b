"""Messages that are in no queue any more: their jobs are owed a publication again."""

from collections.abc import Mapping
from datetime import datetime

from maestro.broker.topology import QueueDepth
from maestro.db import Connection, Statements

_sql = Statements(__package__)

BATCH = 1_000

Seen = Mapping[str, QueueDepth | None]
"""What was seen of each queue; None where there is none."""


async def queues_to_look_at(conn: Connection, limit: int) -> list[str]:
    """The queues in which messages of pending jobs should be, the least lately seen first."""
    cursor = await conn.execute(_sql["queues_to_look_at"], {"limit": limit})
    return [row["queue"] for row in await cursor.fetchall()]


async def note(conn: Connection, seen: Seen, *, now: datetime | None = None) -> int:
    """Keep what was seen just now, and owe anew what it shows to be lost; how many jobs that were.

    A queue that does not exist holds nothing.
    """
    depths = {queue: depth or QueueDepth(0, 0) for queue, depth in seen.items()}
    values = {
        "queues": list(depths),
        "ready": [depth.ready for depth in depths.values()],
        "consumers": [depth.consumers for depth in depths.values()],
        "now": now,
    }
    await conn.execute(_sql["note_queues"], values)
    empty = [queue for queue, depth in depths.items() if not depth.ready]
    cursor = await conn.execute(_sql["owe_lost"], {"queues": empty, "now": now, "limit": BATCH})
    return cursor.rowcount
