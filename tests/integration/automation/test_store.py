"""Automations in a real PostgreSQL."""

from typing import Any

import psycopg
import pytest
from uuid_utils.compat import uuid7

from maestro.automation import store
from maestro.automation.model import RETRY_POLICY, RETRY_RULE, Automation
from maestro.db import Connection, open_pool
from maestro.errors import NameTaken, NotFound, SpecRefused
from maestro.imported import ANNOTATION

SHARED = ["automation_jobs"]


def resource(name: str, *, uid: str = "u1", generation: int = 1, **spec: Any) -> dict[str, Any]:
    metadata = {
        "namespace": spec.pop("namespace", "bots"),
        "name": name,
        "uid": uid,
        "generation": generation,
    }
    return {"metadata": metadata, "spec": spec}


@pytest.fixture
async def conn(database_uri: str) -> Any:
    async with open_pool(database_uri, size=2) as pool, pool.connection() as connection:
        yield connection


@pytest.fixture
async def autocommitting(database_uri: str) -> Any:
    async with open_pool(database_uri, size=1, autocommit=True) as pool, pool.connection() as connection:
        yield connection


async def register_new(conn: Connection, body: dict[str, Any]) -> Automation | None:
    return await store.register_new(conn, body, shared_queues=SHARED)


async def register(conn: Connection, body: dict[str, Any]) -> Automation:
    return await store.register(conn, body, shared_queues=SHARED)


async def test_registering_twice_is_one_row(conn: Connection) -> None:
    first = await register(conn, resource("a", description="reads"))
    again = await register(conn, resource("a", description="reads"))
    assert first == again
    assert (first.display_name, first.description, first.queue) == ("a", "reads", "automation_jobs")


async def test_the_life_of_its_jobs_is_kept_and_edited(conn: Connection) -> None:
    first = await register(conn, resource("a"))
    assert (first.priority, first.max_concurrency, first.heartbeat_timeout_seconds) == (0, None, 300)
    assert first.retry_policy == RETRY_POLICY
    rules = [{"errorClasses": ["CREDENTIAL_INVALID"], "action": "Suspend"}]
    edited = await register(
        conn,
        resource(
            "a",
            generation=2,
            priority=5,
            maxConcurrency=1,
            startDeadlineSeconds=60,
            timeoutSeconds=3600,
            heartbeatTimeoutSeconds=90,
            retryPolicy={"maxAttempts": 1, "backoffSeconds": 0, "backoffFactor": 1.5, "rules": rules},
        ),
    )
    assert (edited.priority, edited.max_concurrency, edited.start_deadline_seconds) == (5, 1, 60)
    assert (edited.timeout_seconds, edited.heartbeat_timeout_seconds) == (3600, 90)
    assert edited.retry_policy == {
        "maxAttempts": 1,
        "backoffSeconds": 0,
        "backoffFactor": 1.5,
        "rules": rules,
    }
    removed = await register(conn, resource("a", generation=3))
    assert (removed.max_concurrency, removed.timeout_seconds, removed.retry_policy) == (
        None,
        None,
        RETRY_POLICY,
    )


async def test_a_pause_outlives_edits_and_ends_with_its_object(conn: Connection) -> None:
    known = await register(conn, resource("a"))
    paused = await store.pause(conn, known.id, RETRY_RULE, "job 1 failed")
    assert (paused.suspended, paused.paused_reason) == (False, "RetryRule: job 1 failed")
    again = await store.pause(conn, known.id)
    assert (again.paused_at, again.paused_reason) == (paused.paused_at, "PausedByPerson")
    edited = await register(conn, resource("a", generation=2, description="new"))
    assert (edited.paused_at, edited.description) == (paused.paused_at, "new")
    assert (await register(conn, resource("a", uid="u2"))).suspension is None
    await store.pause(conn, known.id)
    assert (await store.resume(conn, known.id)).suspension is None
    assert (await store.resume(conn, known.id)).suspension is None
    await store.retire(conn, "bots", "a")
    for change in (store.pause, store.resume):
        with pytest.raises(NotFound):
            await change(conn, known.id)


async def test_a_new_one_is_taken_up_at_once(autocommitting: Connection) -> None:
    made = await register_new(autocommitting, resource("a", queueName="own", description="reads"))
    assert made is not None
    assert (made.queue, made.description, made.generation) == ("own", "reads", 1)
    assert await register_new(autocommitting, resource("a", queueName="own", description="reads")) == made
    assert await register(autocommitting, resource("a", queueName="own", description="reads")) == made
    with pytest.raises(SpecRefused, match="belongs to the namespace bots"):  # it has claimed its queue
        await register(autocommitting, resource("a", uid="u2", queueName="own", namespace="other"))


@pytest.mark.parametrize(
    "more_to_it",
    [
        resource("a", generation=2),
        resource("a", uid="u2"),
        resource("b", uid="u2", displayName="Fetch"),
        resource("b", uid="u2", queueName="own", namespace="other"),
        resource("b", uid="u2", queueName="maestro.dlq"),
        resource("b", uid="u2", queueName="automation_jobs", worker={"script": "x"}),
        resource("b", uid="u2", defaultParams={"x": "\u0000"}),
    ],
)
async def test_what_takes_more_than_that_changes_nothing(
    autocommitting: Connection, more_to_it: dict[str, Any]
) -> None:
    known = await register_new(autocommitting, resource("a", queueName="own", displayName="Fetch"))
    assert await register_new(autocommitting, more_to_it) is None
    assert await store.list_all(autocommitting) == [known]


async def test_a_predecessors_row_is_taken_up_at_once_only_when_it_is_dealt_with(
    autocommitting: Connection, database: psycopg.Connection
) -> None:
    first = await register_new(autocommitting, resource("a", queueName="own"))
    assert first is not None
    await store.retire(autocommitting, "bots", "a")
    assert await register_new(autocommitting, resource("a", uid="u2")) is None
    assert await register_new(autocommitting, resource("a", queueName="own")) is None
    await store.cleared(autocommitting, first.id)
    database.execute("INSERT INTO jobs (id, automation_id) VALUES (%s, %s)", (uuid7(), first.id))
    assert await register_new(autocommitting, resource("a", uid="u2")) is None
    await store.cancel_orphans(autocommitting)
    again = await register_new(autocommitting, resource("a", uid="u2"))
    assert again is not None
    assert (again.id, again.queue, again.retired_at) == (first.id, "automation_jobs", None)


async def test_a_reserved_row_is_taken_up_at_once(autocommitting: Connection) -> None:
    reserved = await store.reserve(autocommitting, "bots", "a-x1", "Fetch")
    made = await register_new(autocommitting, resource("a-x1", displayName="Fetch"))
    assert made is not None
    assert made.id == reserved


async def test_an_older_generation_changes_nothing(conn: Connection) -> None:
    await register(conn, resource("a", generation=3, description="new"))
    assert (await register(conn, resource("a", generation=2, description="old"))).description == "new"


async def test_a_namesake_keeps_the_id_and_chooses_its_queue_anew(conn: Connection) -> None:
    first = await register(conn, resource("a"))
    await store.retire(conn, "bots", "a")
    again = await register(conn, resource("a", uid="u2", queueName="own"))
    assert (again.id, again.queue, again.retired_at) == (first.id, "own", None)


async def test_an_edit_never_moves_the_queue(conn: Connection) -> None:
    await register(conn, resource("a"))
    assert (await register(conn, resource("a", generation=2, queueName="late"))).queue == "automation_jobs"


async def test_a_taken_display_name_names_its_holder(conn: Connection) -> None:
    await register(conn, resource("a", displayName="Fetch"))
    with pytest.raises(NameTaken, match="the Automation a in bots"):
        await register(conn, resource("b", uid="u2", displayName="Fetch"))
    await register(conn, resource("b", uid="u2", displayName="Fetch", namespace="other"))
    await store.retire(conn, "bots", "a")
    await register(conn, resource("b", uid="u2", displayName="Fetch"))


async def test_a_queue_belongs_to_its_first_namespace(conn: Connection) -> None:
    await register(conn, resource("a", queueName="invoices"))
    await register(conn, resource("b", uid="u2", queueName="invoices"))
    with pytest.raises(SpecRefused, match="belongs to the namespace bots") as refused:
        await register(conn, resource("a", uid="u3", queueName="invoices", namespace="other"))
    assert (refused.value.reason, refused.value.condition) == ("QueueNameTaken", "QueueReady")
    await register(conn, resource("a", uid="u3", queueName="automation_jobs", namespace="other"))


async def test_a_worker_on_a_shared_queue_is_refused(conn: Connection) -> None:
    await register(conn, resource("a"))
    with pytest.raises(SpecRefused, match="other automations' jobs"):
        await register(conn, resource("a", generation=2, worker={"script": "x"}))
    assert (await register(conn, resource("b", uid="u2", worker={"script": "x"}))).queue == "bots.b"


async def test_what_postgresql_cannot_store_is_refused(conn: Connection) -> None:
    with pytest.raises(SpecRefused, match="can't store"):
        await register(conn, resource("a", defaultParams={"x": "\u0000"}))
    await register(conn, resource("a"))


async def test_retiring_cancels_what_is_pending_only(conn: Connection, database: psycopg.Connection) -> None:
    known = await register(conn, resource("a"))
    await conn.commit()
    for status in ("pending", "running"):
        database.execute(
            "INSERT INTO jobs (id, automation_id, status) VALUES (%s, %s, %s)", (uuid7(), known.id, status)
        )
    retired = await store.retire(conn, "bots", "a")
    await conn.commit()
    assert retired is not None
    assert retired.retired_at is not None
    found = database.execute("SELECT status, result->>'reason' FROM jobs ORDER BY id").fetchall()
    assert found == [("canceled", "AUTOMATION_DELETED"), ("running", None)]
    with pytest.raises(NotFound):
        await store.get(conn, known.id)
    assert [row.id for row in await store.uncleared(conn)] == [known.id]
    await store.cleared(conn, known.id)
    assert await store.uncleared(conn) == []
    assert await store.retire(conn, "bots", "never") is None


async def test_a_namesake_ends_its_unseen_predecessors_jobs(
    conn: Connection, database: psycopg.Connection
) -> None:
    known = await register(conn, resource("a"))
    await conn.commit()
    database.execute("INSERT INTO jobs (id, automation_id) VALUES (%s, %s)", (uuid7(), known.id))
    assert await store.predecessor(conn, resource("a", generation=2)) is None
    assert await store.predecessor(conn, resource("a", uid="u2")) == known
    await register(conn, resource("a", uid="u2"))
    await conn.commit()
    assert database.execute("SELECT status FROM jobs").fetchall() == [("canceled",)]
    assert (await store.get(conn, known.id)).uid == "u2"


async def test_the_end_of_an_old_object_leaves_its_namesake_in_service(conn: Connection) -> None:
    await register(conn, resource("a", uid="u2"))
    assert await store.retire(conn, "bots", "a", uid="u1") is None
    assert len(await store.list_all(conn)) == 1
    retired = await store.retire(conn, "bots", "a", uid="u2")
    assert retired is not None
    assert await store.list_all(conn) == []


async def test_a_queue_nobody_can_have_is_refused_with_an_edit_too(conn: Connection) -> None:
    await register(conn, resource("a"))
    aimed = resource("a", generation=2, queueArguments={"x-dead-letter-exchange": ""})
    with pytest.raises(SpecRefused, match=r"maestro\.dlx"):
        await register(conn, aimed)
    assert (await store.list_all(conn))[0].generation == 1


async def test_a_reservation_becomes_the_resource(conn: Connection) -> None:
    reserved = await store.reserve(conn, "bots", "a-x1", "Fetch")
    with pytest.raises(NameTaken):
        await store.reserve(conn, "bots", "b-x2", "Fetch")
    with pytest.raises(NotFound):
        await store.get(conn, reserved)
    assert (await register(conn, resource("a-x1", displayName="Fetch"))).id == reserved
    await store.unreserve(conn, reserved)
    assert (await store.get(conn, reserved)).display_name == "Fetch"


async def test_an_unreserved_name_is_free_again(conn: Connection) -> None:
    await store.unreserve(conn, await store.reserve(conn, "bots", "a-x1", "Fetch"))
    await store.reserve(conn, "bots", "b-x2", "Fetch")


async def test_run_facts_count_jobs(conn: Connection, database: psycopg.Connection) -> None:
    known = await register(conn, resource("a"))
    await conn.commit()
    for status, ended in (("pending", None), ("completed", "2026-01-01"), ("failed", "2026-01-02")):
        database.execute(
            "INSERT INTO jobs (id, automation_id, status, completed_at) VALUES (%s, %s, %s, %s)",
            (uuid7(), known.id, status, ended),
        )
    [facts] = await store.run_facts(conn)
    assert (facts.name, facts.pending, facts.running, facts.last_status) == ("a", 1, 0, "failed")


def imported(name: str, number: object, **given: Any) -> dict[str, Any]:
    body = resource(name, **given)
    body["metadata"]["annotations"] = {ANNOTATION: str(number)}
    return body


async def test_an_old_servers_id_is_imported_and_counted_on_from(conn: Connection) -> None:
    first = await register(conn, resource("a"))
    moved = await register(conn, imported("b", 40))
    assert (first.id, moved.id) == (1, 40)
    assert (await register(conn, imported("b", 40, generation=2, description="edited"))).id == 40
    # A lower one that is free is imported as well, and nobody is given it a second time.
    assert (await register(conn, imported("c", 7))).id == 7
    others = [(await register(conn, resource(f"new-{number}", uid=f"n{number}"))).id for number in range(3)]
    assert len({1, 40, 7, *others}) == 6
    assert min(others) > 40


async def test_an_imported_id_outlives_its_object(conn: Connection) -> None:
    await register(conn, imported("a", 9))
    await store.retire(conn, "bots", "a", uid="u1")
    assert (await register(conn, imported("a", 9, uid="u2"))).id == 9


@pytest.mark.parametrize("number", ["0", "-1", "1.0", "a", "", "1000001", "99999999999999999999"])
async def test_what_is_no_id_is_refused(conn: Connection, number: str) -> None:
    with pytest.raises(SpecRefused, match="from 1 to 1,000,000") as refused:
        await register(conn, imported("a", number))
    assert refused.value.reason == "InvalidId"


async def test_another_ones_id_is_refused_and_so_is_a_second_one(conn: Connection) -> None:
    await register(conn, resource("a"))
    with pytest.raises(SpecRefused, match="the Automation a in bots") as refused:
        await register(conn, imported("b", 1, uid="u2"))
    assert refused.value.reason == "IdTaken"
    assert await store.by_name(conn, "bots", "b") is None
    with pytest.raises(SpecRefused, match="has the id 1 for good") as refused:
        await register(conn, imported("a", 5, generation=2))
    assert refused.value.reason == "IdMismatch"


async def test_an_import_takes_no_short_way(autocommitting: Connection) -> None:
    assert await register_new(autocommitting, imported("a", 12)) is None
    assert (await register(autocommitting, imported("a", 12))).id == 12
