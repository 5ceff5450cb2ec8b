"""Events of occurrences that did not fire."""

from typing import Any

import psycopg
import pytest

from integration.operator.conftest import World
from maestro.errors import Forbidden, KubernetesAway
from maestro_operator.keys import Key

pytestmark = pytest.mark.usefixtures("schedule")

NOMINAL = "2026-12-25T15:00:00Z"


@pytest.fixture
async def schedule(world: World) -> Key:
    world.automation("a")
    key = world.schedule("s", automation="a", cron="0 12 * * *", timeZone="America/Sao_Paulo")
    await world.settle()
    return key


def occurred(database: psycopg.Connection, outcome: str, **columns: Any) -> None:
    """An occurrence as the dispatcher writes it down."""
    row = {"nominal_at": NOMINAL, "effective_at": NOMINAL, "due_at": NOMINAL, "outcome": outcome, **columns}
    names, marks = ", ".join(row), ", ".join(["%s"] * len(row))
    statement = f"INSERT INTO occurrences (schedule_id, {names}) VALUES (1, {marks})"  # noqa: S608
    database.execute(statement.encode(), list(row.values()))


def owed(database: psycopg.Connection) -> int:
    """How many that did not fire have no event yet."""
    rows = (
        "SELECT id FROM occurrences WHERE reported_at IS NULL AND outcome IN ('skipped', 'merged', 'missed')"
    )
    return len(database.execute(rows).fetchall())


async def test_each_that_did_not_fire_is_told_once(world: World, database: psycopg.Connection) -> None:
    occurred(database, "skipped", reason="Holiday", message="2026-12-25 is no business day: Natal.")
    assert await world.operator.reports.once() == 1
    [told] = world.kube.events
    assert (told["type"], told["reason"]) == ("Normal", "Holiday")
    assert told["message"] == (
        "The run of 2026-12-25 12:00 -03: skipped. 2026-12-25 is no business day: Natal."
    )
    assert (told["involvedObject"]["kind"], told["involvedObject"]["name"]) == ("Schedule", "s")
    assert await world.operator.reports.once() == 0
    database.execute("UPDATE occurrences SET reported_at = NULL")  # killed before it was noted
    assert await world.operator.reports.once() == 1
    assert len(world.kube.events) == 1
    assert owed(database) == 0


async def test_those_that_fired_or_wait_are_not_told(world: World, database: psycopg.Connection) -> None:
    for minute, outcome in enumerate(("waiting", "fired", "shifted", "late", "caught_up")):
        at = f"2026-12-25T15:0{minute}:00Z"
        occurred(database, outcome, nominal_at=at, effective_at=at)
    assert await world.operator.reports.once() == 0
    assert world.kube.events == []


@pytest.mark.parametrize(
    ("outcome", "reason", "type_"),
    [
        ("missed", "Outage", "Warning"),
        ("missed", "DeadlineExceeded", "Warning"),
        ("missed", "HolidayKnownTooLate", "Warning"),
        ("skipped", "NoBusinessDay", "Warning"),
        ("skipped", "ParametersRefused", "Warning"),
        ("skipped", "AutomationNotFound", "Warning"),
        ("skipped", "AutomationSuspended", "Normal"),
        ("skipped", "Concurrency", "Normal"),
        ("merged", "Merged", "Normal"),
    ],
)
async def test_what_somebody_has_to_act_on_is_a_warning(
    world: World, database: psycopg.Connection, outcome: str, reason: str, type_: str
) -> None:
    occurred(database, outcome, reason=reason, message="m")
    await world.operator.reports.once()
    assert world.reasons() == [(type_, reason)]


async def test_an_outage_is_one_event_in_its_own_words(world: World, database: psycopg.Connection) -> None:
    last = "2026-12-28T15:00:00Z"
    occurred(database, "missed", reason="Outage", message="4 runs", count=4, last_nominal_at=last)
    await world.operator.reports.once()
    [told] = world.kube.events
    assert told["message"] == "4 runs"


async def test_what_can_not_be_posted_now_is_posted_later(world: World, database: psycopg.Connection) -> None:
    occurred(database, "missed", reason="Outage", message="m")
    world.kube.refusal = KubernetesAway()
    with pytest.raises(KubernetesAway):
        await world.operator.reports.once()
    assert owed(database) == 1
    world.kube.refusal = None
    await world.operator.reports.once()
    assert (world.reasons(), owed(database)) == ([("Warning", "Outage")], 0)


async def test_what_may_not_be_posted_holds_up_nothing(world: World, database: psycopg.Connection) -> None:
    occurred(database, "missed", reason="Outage", message="m")
    world.kube.refusal = Forbidden("events are forbidden")
    assert await world.operator.reports.once() == 1
    assert owed(database) == 0


async def test_nobody_is_told_of_a_schedule_that_is_gone(
    world: World, schedule: Key, database: psycopg.Connection
) -> None:
    occurred(database, "skipped", reason="Deleted", message="m")
    world.delete(schedule)
    await world.settle()
    assert await world.operator.reports.once() == 1
    assert (world.reasons(), owed(database)) == ([], 0)


async def test_a_storm_is_told_in_portions(world: World, database: psycopg.Connection) -> None:
    for minute in range(25):
        at = f"2026-12-25T15:{minute:02}:00Z"
        occurred(database, "skipped", reason="Concurrency", nominal_at=at, effective_at=at)
    assert [await world.operator.reports.once() for _ in range(3)] == [20, 5, 0]
    assert len(world.kube.events) == 25
