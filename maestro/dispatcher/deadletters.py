"""What reaches the dead-letter queue: the end of its job, or a row of `dead_letters`."""

import reprlib
from collections.abc import Sequence
from uuid import UUID

import orjson

from maestro import jsontext
from maestro.broker.topology import DeadLetter
from maestro.db import Connection, Statements
from maestro.errors import BadInput

_sql = Statements(__package__)


async def bury(conn: Connection, letters: Sequence[DeadLetter]) -> list[UUID]:
    """Fail the pending jobs of these letters, keep the letters that tell of none; which jobs failed."""
    ids = [job_id_of(letter.body) for letter in letters]
    told = [(job_id, letter) for job_id, letter in zip(ids, letters, strict=True) if job_id]
    cursor = await conn.execute(
        _sql["bury"],
        {
            "ids": [job_id for job_id, _ in told],
            "queues": [jsontext.storable(letter.queue) for _, letter in told],
            "reasons": [jsontext.storable(letter.reason) for _, letter in told],
        },
    )
    failed = {row["id"]: row["failed"] for row in await cursor.fetchall()}
    await _keep(conn, [pair for pair in zip(ids, letters, strict=True) if pair[0] not in failed])
    return [job_id for job_id, did in failed.items() if did]


async def _keep(conn: Connection, unknown: Sequence[tuple[UUID | None, DeadLetter]]) -> None:
    if not unknown:
        return
    await conn.execute(
        _sql["keep_letters"],
        {
            "queues": [jsontext.storable(letter.queue) for _, letter in unknown],
            "reasons": [jsontext.storable(letter.reason) for _, letter in unknown],
            "job_ids": [job_id for job_id, _ in unknown],
            "headers": [_headers(letter) for _, letter in unknown],
            "bodies": [letter.body for _, letter in unknown],
        },
    )


def job_id_of(body: bytes) -> UUID | None:
    """The job that a message is about; None when it can't be read."""
    try:
        message = jsontext.parse(body)
        return UUID(message["job_id"])
    except (BadInput, KeyError, TypeError, ValueError, AttributeError):
        return None


def _headers(letter: DeadLetter) -> str:
    """AMQP's values as JSON; what JSON has no word for is told as text."""
    try:
        text = orjson.dumps(letter.headers, default=str, option=orjson.OPT_NON_STR_KEYS)
        return jsontext.dump(jsontext.parse(text))
    except (BadInput, TypeError, ValueError):  # nested too deeply, for one: the letter is kept all the same
        return jsontext.dump({"unreadable": jsontext.storable(reprlib.repr(letter.headers))})
