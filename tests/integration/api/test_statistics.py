"""GET /metrics and its parts: the same figures as counted one by one."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest

from integration import servers
from integration.api.service import Service, eventually, insert_automation, serve
from maestro.db import open_pool
from maestro.job.statistics import Range
from maestro_api.services.statistics import AHEAD, Statistics
from maestro_api.statistics import ErrorClassOut, OverviewOut, RecordOut, SlotOut

ZONE = "America/Sao_Paulo"
SPANS = {"24h": timedelta(hours=24), "7d": timedelta(days=7), "30d": timedelta(days=30)}
SUCCEEDED = ("completed", "completed_no_invoices")
ENDS = [*SUCCEEDED, "completed", "failed", "failed", "canceled"]


@dataclass(frozen=True)
class Ended:
    """A row of jobs, as a statement as plain as can be tells it."""

    automation_id: int
    status: str
    error_class: str | None
    scheduled: bool
    started_at: datetime | None
    completed_at: datetime


@pytest.fixture
def own(
    database_server: servers.Database, migrated_template: str, api_broker: servers.Broker
) -> Iterator[tuple[Service, psycopg.Connection]]:
    """A service that begins with 3,000 jobs of 31 days, many of them where ranges and its own tally end."""
    with (
        servers.database_of(database_server, migrated_template) as uri,
        psycopg.connect(uri, autocommit=True) as database,
    ):
        for name in ("one", "two", "idle", "gone", "long gone"):
            insert_automation(database, name=name, display_name=name)
        fill(database)
        database.execute("UPDATE automations SET retired_at = now() WHERE name LIKE '%gone'")
        with serve(uri, api_broker.amqp_url, default_time_zone=ZONE) as service:
            yield service, database


def fill(database: psycopg.Connection) -> None:
    chance = random.Random(20261125)  # noqa: S311
    now = datetime.now(UTC)
    ages = [chance.uniform(0, 31 * 86_400) for _ in range(2_000)]
    ages += [chance.uniform(0, 86_400) for _ in range(500)]
    for span in SPANS.values():  # not where a second more or less matters
        ages += [
            span.total_seconds() + chance.uniform(60, 1_200) * chance.choice([1, -1]) for _ in range(150)
        ]
    ages += [chance.uniform(1, 120) for _ in range(50)]
    with database.cursor() as cursor:
        cursor.executemany(
            """INSERT INTO jobs
            (id, automation_id, status, result, schedule_id, created_at, started_at, completed_at)
            VALUES (gen_random_uuid(), %s, %s, %s, %s, %s, %s, %s)""",
            [row(chance, now - timedelta(seconds=age)) for age in ages],
        )


def row(chance: random.Random, ended: datetime) -> list[Any]:
    status = chance.choice(ENDS)
    error = chance.choice(['{"error_class": "PORTAL_DOWN"}', '{"error_class": "IP_BLOCKED"}', "{}"])
    started = ended - timedelta(seconds=chance.lognormvariate(3, 2))
    return [
        chance.choice([1, 1, 1, 2, 4]),
        status,
        error if status == "failed" else None,
        chance.choice([None, None, 7]),
        started,
        None if status == "canceled" and chance.random() < 0.5 else started,
        ended,
    ]


def ended_jobs(database: psycopg.Connection) -> list[Ended]:
    statement = """SELECT automation_id, status, error_class, schedule_id IS NOT NULL, started_at,
    completed_at FROM jobs WHERE completed_at IS NOT NULL ORDER BY completed_at DESC"""
    return [Ended(*values) for values in database.execute(statement)]


def within(jobs: list[Ended], now: datetime, span: timedelta) -> list[Ended]:
    return [job for job in jobs if job.completed_at >= now - span]


def count(jobs: list[Ended], *statuses: str) -> int:
    return sum(job.status in statuses for job in jobs)


def rate(jobs: list[Ended]) -> float | None:
    succeeded, failed = count(jobs, *SUCCEEDED), count(jobs, "failed")
    return succeeded / (succeeded + failed) if succeeded + failed else None


def percentile(jobs: list[Ended], share: float) -> Any:
    seconds = sorted(
        (job.completed_at - job.started_at).total_seconds()
        for job in jobs
        if job.started_at and job.status != "canceled"
    )
    return pytest.approx(seconds[ceil(share * len(seconds)) - 1], rel=0.011) if seconds else None


def test_figures_are_those_counted_one_by_one(own: tuple[Service, psycopg.Connection]) -> None:
    service, database = own
    jobs = ended_jobs(database)
    for range_, span in SPANS.items():
        found = service.get(f"/metrics?range={range_}").json()
        now = datetime.now(UTC)
        midnight = now.astimezone(ZoneInfo(ZONE)).replace(hour=0, minute=0, second=0, microsecond=0)
        wanted = within(jobs, now, span)
        OverviewOut.model_validate(found)
        assert found == {
            "running": 0,
            "pending": 0,
            "completedToday": count([job for job in jobs if job.completed_at >= midnight], *SUCCEEDED),
            "failedLast24h": count(wanted, "failed"),
            "canceledLast24h": count(wanted, "canceled"),
            "totalLast24h": len(wanted),
            "successRate24h": rate(wanted),
        }
        errors = service.get(f"/metrics/error-classes?range={range_}").json()
        classes = Counter(job.error_class for job in wanted if job.error_class)
        assert [ErrorClassOut.model_validate(each).count for each in errors] == sorted(
            classes.values(), reverse=True
        )
        assert {each["errorClass"]: each["count"] for each in errors} == classes
    assert service.get("/metrics").json() == service.get("/metrics?range=24h").json()


def test_automations_are_told_one_by_one(own: tuple[Service, psycopg.Connection]) -> None:
    service, database = own
    jobs = ended_jobs(database)
    for range_, span in SPANS.items():
        found = service.get(f"/metrics/automations?range={range_}").json()
        wanted = within(jobs, datetime.now(UTC), span)
        assert [(each["automationId"], each["name"]) for each in found] == [
            (1, "one"),
            (2, "two"),
            (3, "idle"),
            (4, "gone"),
        ]
        for each in found:
            RecordOut.model_validate(each)
            mine = [job for job in wanted if job.automation_id == each["automationId"]]
            ever = [job for job in jobs if job.automation_id == each["automationId"]]
            began = (ever[0].started_at or ever[0].completed_at) if ever else None
            assert each == {
                "automationId": each["automationId"],
                "name": each["name"],
                "total": len(mine),
                "succeeded": count(mine, *SUCCEEDED),
                "failed": count(mine, "failed"),
                "canceled": count(mine, "canceled"),
                "successRate": rate(mine),
                "manual": sum(not job.scheduled for job in mine),
                "scheduled": sum(job.scheduled for job in mine),
                "durationP50S": percentile(mine, 0.5),
                "durationP95S": percentile(mine, 0.95),
                "lastStatus": ever[0].status if ever else None,
                "lastRunAt": began.isoformat() if began else None,
                "recent": [job.status for job in ever[:12]],
            }
    database.execute(
        "DELETE FROM jobs WHERE automation_id = 4 AND completed_at > now() - interval '25 hours'"
    )


def test_hours_and_days_have_no_gaps(own: tuple[Service, psycopg.Connection]) -> None:
    service, database = own
    jobs, zone = ended_jobs(database), ZoneInfo(ZONE)
    for range_, slots, step in (("24h", 24, "hour"), ("7d", 7, "day"), ("30d", 30, "day")):
        found = [
            SlotOut.model_validate(each)
            for each in service.get(f"/metrics/jobs-per-hour?range={range_}").json()
        ]
        local = datetime.now(zone).replace(minute=0, second=0, microsecond=0)
        last = local if step == "hour" else local.replace(hour=0)
        width = timedelta(hours=1) if step == "hour" else timedelta(days=1)  # no clocks change there
        assert [each.hour for each in found] == [last - width * back for back in reversed(range(slots))]
        assert {each.hour.utcoffset() for each in found} == {timedelta(hours=-3)}
        for each in found:
            inside = [job for job in jobs if each.hour <= job.completed_at < each.hour + width]
            assert (each.total, each.succeeded, each.failed) == (
                len(inside),
                count(inside, *SUCCEEDED),
                count(inside, "failed"),
            ), each.hour


def test_what_ends_now_counts_within_seconds(service: Service) -> None:
    before = service.get("/metrics").json()
    done, failed = service.running(), service.running()
    service.running()
    service.job()
    result = {"error_class": "RATE_LIMITED"}
    service.worker("POST", f"/{done}/finish", {"status": "completed_no_invoices"})
    service.worker("POST", f"/{failed}/finish", {"status": "failed", "result": result})
    wanted = {
        "running": 1,
        "pending": 1,
        "completedToday": before["completedToday"] + 1,
        "failedLast24h": before["failedLast24h"] + 1,
        "totalLast24h": before["totalLast24h"] + 2,
    }
    eventually(lambda: wanted.items() <= service.get("/metrics").json().items())
    error = {"errorClass": "RATE_LIMITED", "count": 1}
    eventually(lambda: error in service.get("/metrics/error-classes").json())
    [mine] = eventually(lambda: (found := service.get("/metrics/automations").json())[0]["recent"] and found)
    assert sorted(mine["recent"]) == ["completed_no_invoices", "failed"]
    assert 0 < mine["durationP50S"] < 30


async def test_a_tally_that_no_longer_holds_is_made_anew(database_uri: str) -> None:
    with psycopg.connect(database_uri, autocommit=True) as database:
        insert_automation(database)
        insert = """INSERT INTO jobs (id, automation_id, status, completed_at)
        VALUES (gen_random_uuid(), 1, 'completed', now() - interval '2 hours')"""
        database.execute(insert)
        async with open_pool(database_uri) as pool:
            statistics = Statistics(pool, ZoneInfo(ZONE))
            assert (await statistics.overview(Range.DAY)).ended.succeeded == 1
            database.execute(insert)
            assert (await statistics.overview(Range.WEEK)).ended.succeeded == 1
            made = statistics._tallied
            assert made
            statistics._tallied = replace(made, at=made.at - AHEAD)
            assert (await statistics.overview(Range.MONTH)).ended.succeeded == 2


def test_figures_of_an_empty_service_are_zeros(service: Service) -> None:
    time.sleep(2.1)  # whatever another test had is no longer held
    service.automation("quiet")
    [mine] = eventually(lambda: service.get("/metrics/automations").json())
    assert (mine["total"], mine["successRate"], mine["lastStatus"], mine["recent"]) == (0, None, None, [])
    assert service.get("/metrics/error-classes").json() == []
    assert service.get("/metrics").json()["successRate24h"] is None


@pytest.mark.parametrize("path", ["", "/jobs-per-hour", "/automations", "/error-classes"])
def test_ranges_are_three(service: Service, path: str) -> None:
    for bad in ("1h", "24H", "", "31d"):
        reply = service.get(f"/metrics{path}?range={bad}")
        assert reply.status_code == 400
        assert "range" in reply.json()["error"]
    assert service.get(f"/metrics{path}?range=30d").status_code == 200
