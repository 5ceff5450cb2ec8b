"""GET /jobs: filters, pages by offset and by key, totals."""

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import psycopg
import pytest
from psycopg import sql

from integration.api.service import Service, eventually, insert_automation
from maestro.job.model import Status
from maestro_api.listing import JobPageOut


def listed(service: Service, query: str) -> dict[str, Any]:
    reply = service.get(f"/jobs?{query}")
    assert reply.status_code == 200, reply.text
    JobPageOut.model_validate(reply.json())
    return dict(reply.json())


def walked(service: Service, query: str) -> list[str]:
    """The ids of a list, page by page by key."""
    page = listed(service, query)
    ids = [job["id"] for job in page["items"]]
    total = page["total"]
    while page["nextCursor"]:
        page = listed(service, f"{query}&after={page['nextCursor']}")
        assert page["items"]
        assert (page["total"], page["offset"]) == (total, 0)
        ids += [job["id"] for job in page["items"]]
    assert total == len(ids)
    return ids


SINCE, UNTIL = "2026-11-20T08:05:00Z", "2026-11-20T08:31:00Z"
STATES = ["pending", "running", "completed", "completed", "completed_no_invoices", "failed", "canceled"]
MANY = """
INSERT INTO jobs (id, automation_id, status, user_id, created_at)
SELECT (lpad(to_hex(1790000000000 + n %% 40), 12, '0') || '7000800000000000'
            || lpad(to_hex(n * 7919 %% 1009), 4, '0'))::uuid,
       (%(automations)s::integer[])[1 + n %% 2], (%(states)s::text[])[1 + n %% 7],
       CASE n %% 3 WHEN 0 THEN 'ana' WHEN 1 THEN 'bia' END,
       '2026-11-20T08:00Z'::timestamptz + n %% 40 * interval '1 minute'
FROM generate_series(1, 600) AS n"""


@pytest.fixture
def many(service: Service, database: psycopg.Connection) -> tuple[int, int]:
    """600 jobs of two automations, many of them made at the same instant."""
    one, two = (
        insert_automation(database, name="one"),
        insert_automation(database, name="two", display_name="two"),
    )
    database.execute(MANY, {"automations": [one, two], "states": STATES})
    return one, two


def expected(database: psycopg.Connection, conditions: dict[str, Any]) -> list[str]:
    """The ids in the order of lists, by a statement as plain as can be."""
    given = [sql.SQL(condition) + sql.Placeholder() for condition in conditions]  # type: ignore[arg-type]
    condition = sql.SQL(" AND ").join([sql.SQL("true"), *given])
    statement = sql.SQL("SELECT id FROM jobs WHERE {} ORDER BY created_at DESC, id DESC").format(condition)
    return [str(row[0]) for row in database.execute(statement, list(conditions.values()))]


def test_every_combination_of_filters_walks_by_key_through_all_its_jobs(
    service: Service, database: psycopg.Connection, many: tuple[int, int]
) -> None:
    whole = expected(database, {})
    assert walked(service, "limit=200") == whole
    assert walked(service, "limit=7") == whole
    parts: list[list[tuple[str, dict[str, Any]]]] = [
        [("", {}), *((f"status={status}", {"status = ": status.value}) for status in Status)],
        [("", {}), (f"automation_id={many[1]}", {"automation_id = ": many[1]})],
        [("", {}), *((f"user_id={who}", {"user_id = ": who}) for who in ("ana", "nobody"))],
        [("", {}), (f"since={SINCE}&until={UNTIL}", {"created_at >= ": SINCE, "created_at < ": UNTIL})],
    ]
    for combination in product(*parts):
        query = "&".join(part for part, _ in combination if part)
        conditions = {name: value for _, condition in combination for name, value in condition.items()}
        assert walked(service, f"{query}&limit=40") == expected(database, conditions), query


def test_pages_by_key_show_each_job_once_while_others_are_made(
    service: Service, database: psycopg.Connection, many: tuple[int, int]
) -> None:
    whole = expected(database, {})
    seen: list[str] = []
    after = ""
    for _ in range(12):
        page = listed(service, f"limit=50{after}")
        seen += [job["id"] for job in page["items"]]
        after = f"&after={page['nextCursor']}"
        service.job()
    assert seen == whole
    assert page["nextCursor"] is None


def test_offset_and_key_show_the_same_pages(service: Service, many: tuple[int, int]) -> None:
    head = listed(service, "limit=1&offset=432")
    behind = listed(service, f"limit=30&after={head['nextCursor']}")
    by_offset = listed(service, "limit=30&offset=433")
    assert behind["items"] == by_offset["items"]
    assert behind["nextCursor"] == by_offset["nextCursor"]
    assert (by_offset["total"], by_offset["offset"], by_offset["limit"]) == (600, 433, 30)


def test_a_cursor_goes_with_other_filters_too(service: Service, many: tuple[int, int]) -> None:
    head = listed(service, "limit=100")
    failed = listed(service, f"status=failed&after={head['nextCursor']}&limit=200")
    assert failed["total"] == 86
    assert {job["status"] for job in failed["items"]} == {"failed"}
    newest = {job["id"] for job in head["items"] if job["status"] == "failed"}
    assert len(failed["items"]) + len(newest) == 86


def test_totals_are_exact_within_a_second(service: Service, many: tuple[int, int]) -> None:
    assert listed(service, "limit=5")["total"] == 600
    service.job()
    eventually(lambda: listed(service, "limit=5")["total"] == 601, 3)
    assert listed(service, "offset=1000")["total"] == 601
    # Where a page shows the end of its list, it is counted by it.
    for made in range(601, 605):
        assert listed(service, f"limit=200&offset={made - 10}")["total"] == made
        service.job()


def test_what_has_been_committed_is_listed(service: Service) -> None:
    for _ in range(30):
        made = service.job()
        assert listed(service, "limit=1")["items"][0]["id"] == made


@pytest.mark.parametrize("cursor", ["", "x", "null", "A" * 48 + "A", "%C3%A9" * 48, "_" * 48, "=" * 48])
def test_a_bad_cursor_is_refused_with_what_to_do(service: Service, cursor: str) -> None:
    reply = service.get(f"/jobs?after={cursor}")
    assert reply.status_code == 400
    assert reply.json()["error"].startswith("after: this is no cursor; send the nextCursor of a page")


def test_a_cursor_and_an_offset_are_refused_together(service: Service, many: tuple[int, int]) -> None:
    cursor = listed(service, "limit=5")["nextCursor"]
    reply = service.get(f"/jobs?after={cursor}&offset=5")
    assert (reply.status_code, "send one of them" in reply.json()["error"]) == (400, True)


def test_list_filters_and_pages(service: Service, database: psycopg.Connection) -> None:
    one, two = service.automation("one"), service.automation("two")
    first = [service.post(f"/automations/{one['id']}/execute", {"n": n}).json()["id"] for n in range(5)]
    other = service.post(f"/automations/{two['id']}/execute").json()["id"]
    service.post(f"/jobs/{first[0]}/cancel")
    database.execute(
        "UPDATE jobs SET user_id = 'ana', created_at = now() - interval '1 day' WHERE id = %s", [first[1]]
    )

    def ids(query: str) -> list[str]:
        return [job["id"] for job in listed(service, query)["items"]]

    whole = [other, *reversed(first[2:]), first[0], first[1]]
    assert ids("") == whole
    assert ids("limit=2&offset=1") == whole[1:3]
    assert ids("status=canceled") == [first[0]]
    assert ids(f"automation_id={two['id']}") == [other]
    assert ids("user_id=ana") == [first[1]]
    assert ids("user_id=a%00b") == []
    yesterday = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    assert ids(f"until={yesterday}") == [first[1]]  # its + unescaped, as clients send it
    assert ids(f"since={yesterday.replace('+00:00', 'Z')}") == whole[:-1]
    page = service.get("/jobs?limit=1000&status=pending").json()
    assert (page["limit"], page["offset"], page["total"]) == (200, 0, 5)


@pytest.mark.parametrize(
    "query",
    [
        "status=lost",
        "limit=0",
        "limit=x",
        "offset=-1",
        "since=tomorrow",
        "automation_id=x",
        f"automation_id={2**31}",
    ],
)
def test_list_refuses_what_it_cannot_read(service: Service, query: str) -> None:
    reply = service.get(f"/jobs?{query}")
    assert reply.status_code == 400
    assert query.partition("=")[0] in reply.json()["error"]
