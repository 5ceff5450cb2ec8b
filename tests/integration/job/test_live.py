"""What a job's log has new: bounded portions, and many jobs in one statement."""

from collections.abc import AsyncIterator
from uuid import UUID

import psycopg
import pytest

from maestro.db import Connection, Pool, open_pool
from maestro.errors import NotFound
from maestro.job import live
from maestro.job.model import Status

LAST = 2**63 - 1
FIRST, SECOND, EMPTY, GONE = (UUID(int=number) for number in range(1, 5))


@pytest.fixture
async def pool(database_uri: str, database: psycopg.Connection) -> AsyncIterator[Pool]:
    database.execute(
        "INSERT INTO automations (namespace, name, display_name, queue) VALUES ('n', 'a', 'a', 'q')"
    )
    for job in (FIRST, SECOND, EMPTY):
        database.execute("INSERT INTO jobs (id, automation_id, status) VALUES (%s, 1, 'running')", (job,))
    async with open_pool(database_uri, size=1) as opened:
        yield opened


@pytest.fixture
async def conn(pool: Pool) -> AsyncIterator[Connection]:
    async with pool.connection() as connection:
        yield connection


def insert(database: psycopg.Connection, job: UUID, count: int, octets: int = 10) -> list[int]:
    rows = database.execute(
        "INSERT INTO job_logs (job_id, attempt, level, message)"
        " SELECT %s, 1, 'INFO', repeat('é', %s / 2) FROM generate_series(1, %s) RETURNING id",
        (job, octets, count),
    )
    return [row[0] for row in rows.fetchall()]


async def test_the_head_of_a_log(conn: Connection, database: psycopg.Connection) -> None:
    ids = insert(database, FIRST, 3)
    assert await live.log_head(conn, FIRST) == (Status.RUNNING, ids[-1])
    assert await live.log_head(conn, EMPTY) == (Status.RUNNING, 0)
    with pytest.raises(NotFound, match=str(GONE)):
        await live.log_head(conn, GONE)


@pytest.mark.parametrize(
    ("count", "octets", "first_portion"),
    [(3, 10, 3), (500, 10, 500), (501, 10, 500), (10, 100_000, 3), (3, 1_000_000, 1)],
)
async def test_portions_are_bounded_in_number_and_size(
    conn: Connection, database: psycopg.Connection, count: int, octets: int, first_portion: int
) -> None:
    ids = insert(database, FIRST, count, octets)
    insert(database, SECOND, 5)
    for found in (
        await live.portion(conn, FIRST, after=0, upto=LAST),
        (await live.news(conn, {FIRST: 0}))[FIRST].portion,
    ):
        assert [line.id for line in found.lines] == ids[:first_portion]
        assert found.more == (first_portion < count)


async def test_a_portion_lies_between_two_lines(conn: Connection, database: psycopg.Connection) -> None:
    ids = insert(database, FIRST, 10)
    found = await live.portion(conn, FIRST, after=ids[2], upto=ids[7])
    assert [line.id for line in found.lines] == ids[3:8]
    assert not found.more
    assert await live.portion(conn, FIRST, after=ids[7], upto=ids[7]) == live.Portion([], False)


async def test_news_of_many_jobs_each_after_its_own_line(
    conn: Connection, database: psycopg.Connection
) -> None:
    first, second = insert(database, FIRST, 600), insert(database, SECOND, 4)
    database.execute("UPDATE jobs SET status = 'completed' WHERE id = %s", (SECOND,))
    news = await live.news(conn, {FIRST: first[0], SECOND: second[1], EMPTY: 0, GONE: 0})
    assert set(news) == {FIRST, SECOND, EMPTY}
    assert [line.id for line in news[FIRST].portion.lines] == first[1:501]
    assert (news[FIRST].status, news[FIRST].portion.more) == (Status.RUNNING, True)
    assert [line.id for line in news[SECOND].portion.lines] == second[2:]
    assert {line.job_id for line in news[SECOND].portion.lines} == {SECOND}
    assert (news[SECOND].status, news[SECOND].portion.more) == (Status.COMPLETED, False)
    assert news[EMPTY] == live.News(Status.RUNNING, live.Portion())
