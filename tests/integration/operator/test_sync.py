"""Automations and Schedules from resource to row, queue, worker and status; test_calendars has the rest."""

import base64
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pika
import psycopg
import pytest

from integration.operator.conftest import World, settings_for
from integration.operator.memory import MemoryKube
from integration.servers import Broker, Database
from maestro.broker.management import Management, reading
from maestro.db.migrate import migrate
from maestro.errors import BrokerAway, DatabaseAway
from maestro.kube import AUTOMATION, CONFIG_MAP, DEPLOYMENT, SECRET, SERVICE_ACCOUNT
from maestro.kube.client import Resource
from maestro_operator import automation, core
from maestro_operator.conditions import find
from maestro_operator.facts import Facts
from maestro_operator.keys import Key

SCRIPT = {"script": "def run(parameters, context): ..."}


@pytest.fixture
def management(broker: Broker) -> Management:
    return Management(broker.management_uri, broker.vhost)


def workers_users(management: Management) -> set[str]:
    return {each for each in management.permissions() if each.startswith("worker.")}


async def away(*_: object) -> None:
    raise BrokerAway


def unreachable(*_: object) -> None:
    raise BrokerAway


async def test_an_automation_gets_id_queue_and_status_in_one_write(
    world: World, management: Management
) -> None:
    key = world.automation("a", queueName="own")
    await world.settle()
    status = world.status(key)
    assert (status["id"], status["observedGeneration"], status["queue"]) == (1, 1, {"name": "own"})
    assert status["jobs"] == {"pending": 0, "running": 0}
    kinds = ("Ready", "QueueReady", "WorkersAvailable", "Suspended")
    assert [world.condition(key, each)[0] for each in kinds] == ["True", "True", "Unknown", "False"]
    assert "own" in management.queues()
    assert management.dead_letter_keys() == {"own"}
    assert world.kube.writes == [("status", "Automation", "a")]


async def test_a_second_look_writes_nothing(world: World) -> None:
    keys = [
        world.automation("a"),
        world.automation("b", worker=SCRIPT),
        world.schedule("s", automation="a", cron="@daily"),
    ]
    await world.settle()
    before = list(world.kube.writes)
    # As after a restart: nothing remembered, everything dirty.
    for key in keys:
        world.services.seen.drop(key)
    world.services.readers.clear()
    world.dirty += keys
    await world.settle()
    await world.sweep()
    await world.operator.facts.once()
    assert world.kube.writes == before


async def test_a_taken_display_name_is_told_and_recovers_by_itself(world: World) -> None:
    holder = world.automation("a", displayName="Fetch")
    loser = world.automation("b", displayName="Fetch")
    await world.settle()
    assert world.condition(loser) == ("False", "DisplayNameTaken")
    assert "the Automation a" in world.status(loser)["conditions"][0]["message"]
    await world.sweep()
    assert world.reasons() == [("Warning", "DisplayNameTaken")]
    world.delete(holder)
    await world.settle()
    assert world.condition(loser) == ("True", "Registered")
    assert ("Normal", "Registered") in world.reasons()


async def test_a_refused_queue_is_told_in_the_brokers_words(world: World) -> None:
    key = world.automation("a", queueName="q", queueArguments={"x-max-length": "many"})
    await world.settle()
    assert world.condition(key) == ("False", "QueueRefused")
    assert world.condition(key, "QueueReady") == ("False", "QueueRefused")
    assert "x-max-length" in world.kube.events[0]["message"]
    assert world.status(key)["id"] == 1


async def test_a_queue_nobody_can_have_is_never_published_to(
    world: World, management: Management, database: psycopg.Connection
) -> None:
    named = world.automation("a", queueName="maestro.dlq")
    aimed = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "other.a"}
    leaking = world.automation("b", queueName="q", queueArguments=aimed)
    await world.settle()
    for key in (named, leaking):
        assert world.condition(key) == ("False", "QueueRefused")
        assert world.condition(key, "QueueReady") == ("False", "QueueRefused")
    assert management.queues() == set()
    assert database.execute("SELECT * FROM automations").fetchall() == []


async def test_an_existing_queue_with_other_arguments_is_used(world: World, broker: Broker) -> None:
    with broker.connect() as connection:
        connection.channel().queue_declare("old", durable=True)
    key = world.automation("a", queueName="old")
    await world.settle()
    assert world.condition(key) == ("True", "Registered")
    [ready] = [each for each in world.status(key)["conditions"] if each["type"] == "QueueReady"]
    assert "other arguments" in ready["message"]


async def test_a_worker_gets_its_objects_and_a_user_of_its_own(world: World, broker: Broker) -> None:
    key = world.automation("a", worker=SCRIPT)
    await world.settle()
    assert {kind for kind, _, name in world.kube.objects if name == "a-worker"} == {
        DEPLOYMENT,
        SECRET,
        CONFIG_MAP,
        SERVICE_ACCOUNT,
    }
    secret = world.kube.objects[SECRET, "bots", "a-worker"]["data"]
    url = base64.b64decode(secret["amqp-url"]).decode()
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        connection.channel().basic_get("bots.a")
    assert urlsplit(url).port == broker.amqp_port
    assert world.condition(key, "WorkersAvailable") == ("False", "PodsStarting")


async def test_the_secret_keeps_its_password_and_a_lost_user_comes_back(
    world: World, management: Management
) -> None:
    key = world.automation("a", worker=SCRIPT)
    await world.settle()
    [user] = workers_users(management)
    before = world.kube.get(SECRET, "bots", "a-worker")
    management.drop_user(user)
    await world.sweep()
    assert user in management.permissions()
    assert world.kube.get(SECRET, "bots", "a-worker") == before
    assert world.condition(key) == ("True", "Registered")


async def test_a_worker_taken_out_of_the_spec_goes(world: World, management: Management) -> None:
    world.automation("a", worker=SCRIPT)
    await world.settle()
    await world.sweep()
    key = world.automation("a")
    await world.settle()
    assert [name for _, _, name in world.kube.objects] == ["a"]
    assert workers_users(management) == set()
    assert "worker" not in world.status(key)


async def test_somebody_elses_object_is_left_alone(world: World) -> None:
    foreign = {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "bots", "name": "a-worker"}}
    world.kube.store(foreign)
    key = world.automation("a", worker=SCRIPT)
    await world.settle()
    assert world.condition(key) == ("False", "ObjectExists")
    world.delete(key)
    await world.settle()
    assert world.kube.get(SECRET, "bots", "a-worker") is not None


async def test_no_worker_in_the_release_namespace(world: World) -> None:
    world.services.settings.release_namespace = "bots"
    key = world.automation("a", worker=SCRIPT)
    await world.settle()
    assert world.condition(key) == ("False", "WorkerNamespaceForbidden")
    assert [name for _, _, name in world.kube.objects] == ["a"]


@pytest.mark.parametrize(
    ("policy", "message", "reasons"),
    [
        ("Delete", None, []),
        ("Delete", b"x", [("Warning", "QueueNotEmpty")]),
        ("Retain", None, [("Warning", "QueueRetained")]),
    ],
)
async def test_the_queue_goes_only_by_policy_and_empty(
    world: World,
    broker: Broker,
    policy: str,
    message: bytes | None,
    reasons: list[tuple[str, str]],
) -> None:
    key = world.automation("a", queueName="own", deletionPolicy=policy)
    await world.settle()
    if message:
        with broker.connect() as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            channel.basic_publish("", "own", message)
    world.delete(key)
    await world.settle()
    management = Management(broker.management_uri, broker.vhost)
    assert ("own" in management.queues()) is bool(reasons)
    assert ("own" in management.dead_letter_keys()) is bool(reasons)
    assert world.reasons() == reasons


async def test_a_queue_somebody_else_uses_stays_without_a_word(world: World, management: Management) -> None:
    first = world.automation("a", queueName="both", deletionPolicy="Delete")
    world.automation("b", queueName="both", deletionPolicy="Delete")
    await world.settle()
    world.delete(first)
    await world.settle()
    assert "both" in management.queues()
    assert world.reasons() == []


async def test_a_deletion_nobody_saw_is_found_by_two_sweeps(
    world: World, management: Management, database: psycopg.Connection
) -> None:
    key = world.automation("a", worker=SCRIPT, deletionPolicy="Delete")
    await world.settle()
    world.delete(key, seen=False)
    await world.sweep()
    assert database.execute("SELECT retired_at FROM automations").fetchone() == (None,)
    await world.sweep()
    assert database.execute("SELECT count(*) FROM automations WHERE cleared_at IS NOT NULL").fetchone() == (
        1,
    )
    assert management.queues() == {"maestro.dlq"}
    assert workers_users(management) == set()


async def test_a_namesake_after_a_deletion_nobody_saw_begins_anew(
    world: World, management: Management, database: psycopg.Connection
) -> None:
    key = world.automation("a", queueName="old", deletionPolicy="Delete", worker=SCRIPT)
    await world.settle()
    # Published and confirmed: nothing is owed, so nothing would ever bring it to the new queue.
    database.execute("INSERT INTO jobs (id, automation_id) VALUES (gen_random_uuid(), 1)")
    world.delete(key, seen=False)
    world.automation("a", queueName="new")
    await world.settle()
    assert (world.condition(key), world.status(key)["id"]) == (("True", "Registered"), 1)
    job = database.execute("SELECT status, result->>'reason' FROM jobs").fetchone()
    assert job == ("canceled", "AUTOMATION_DELETED")
    assert management.queues() == {"new", "maestro.dlq"}
    assert management.dead_letter_keys() == {"new"}
    assert workers_users(management) == set()


async def test_a_namesake_waits_until_the_old_one_is_cleared(
    world: World, management: Management, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = world.automation("a", queueName="old", deletionPolicy="Delete")
    await world.settle()
    world.delete(key)
    with monkeypatch.context() as broken:
        broken.setattr(world.services.topology, "delete", away)
        with pytest.raises(BrokerAway):
            await world.settle()
        world.automation("a", queueName="new")
        with pytest.raises(BrokerAway):
            await world.settle()
    world.dirty.append(key)
    await world.settle()
    assert world.condition(key) == ("True", "Registered")
    assert management.queues() == {"new", "maestro.dlq"}


async def test_an_edit_during_our_own_write_is_not_lost(world: World) -> None:
    write = world.kube.patch_status

    def edited_first(*arguments: Any, **keywords: Any) -> Resource:
        world.kube.patch_status = write  # type: ignore[method-assign]
        live = world.kube.objects[AUTOMATION, "bots", "a"]
        live["metadata"]["generation"] += 1
        live["spec"] = {"displayName": "Edited"}
        return write(*arguments, **keywords)

    world.kube.patch_status = edited_first  # type: ignore[method-assign]
    key = world.automation("a")
    await world.settle()
    assert world.status(key)["observedGeneration"] == 2


async def test_clearing_is_taken_up_again(world: World, database: psycopg.Connection) -> None:
    key = world.automation("a", queueName="own", deletionPolicy="Delete")
    await world.settle()
    world.delete(key)
    await world.settle()
    database.execute("UPDATE automations SET cleared_at = NULL")
    await world.sweep()
    assert database.execute("SELECT count(*) FROM automations WHERE cleared_at IS NOT NULL").fetchone() == (
        1,
    )


async def test_a_row_of_a_namespace_watched_no_more_is_left_alone(
    world: World, database: psycopg.Connection
) -> None:
    world.delete(world.automation("a"), seen=False)
    world.automation("a")
    await world.settle()
    world.services.settings.watch_namespaces = ["other"]
    await world.sweep()
    await world.sweep()
    assert database.execute("SELECT retired_at FROM automations").fetchone() == (None,)


async def test_a_namespace_that_cannot_be_listed_holds_up_no_other(
    world: World, management: Management, database: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    world.services.settings.watch_namespaces = ["closed", "bots"]
    world.kube.closed = {"closed"}
    database.execute(
        "INSERT INTO automations (namespace, name, uid, display_name, queue)"
        " VALUES ('closed', 'b', 'u', 'b', 'b')"
    )
    key = world.automation("a", queueName="own", worker=SCRIPT)
    await world.settle()
    del world.kube.objects[DEPLOYMENT, "bots", "a-worker"]
    for _ in range(3):
        await world.sweep()
    assert world.kube.get(DEPLOYMENT, "bots", "a-worker") is not None
    world.delete(key, seen=False)
    await world.sweep()
    await world.sweep()
    rows = database.execute("SELECT name FROM automations WHERE retired_at IS NULL").fetchall()
    assert rows == [("b",)]
    assert [record.message for record in caplog.records if "left alone" in record.message] == [
        "closed is left alone for now: automations is forbidden in closed"
    ]


async def test_drift_at_the_broker_is_repaired_by_one_sweep(
    world: World, management: Management, broker: Broker
) -> None:
    world.automation("a", queueName="own")
    await world.settle()
    with broker.connect() as connection:
        connection.channel().queue_delete("own")
    await world.sweep()
    assert "own" in management.queues()
    assert management.dead_letter_keys() == {"own"}
    with broker.connect() as connection:
        connection.channel().queue_unbind("maestro.dlq", "maestro.dlx", "own")
    await world.sweep()
    assert management.dead_letter_keys() == {"own"}


async def test_a_changed_permission_is_put_right(
    world: World, management: Management, broker: Broker
) -> None:
    world.automation("a", worker=SCRIPT)
    await world.settle()
    [user] = workers_users(management)
    broker.call("PUT", f"/permissions/{broker.vhost}/{user}", reading("bots.b") | {"write": ".*"})
    await world.sweep()
    assert management.permissions()[user] == reading("bots.a")


async def test_a_worker_on_another_queue_may_read_that_one(
    world: World, management: Management, database: psycopg.Connection
) -> None:
    key = world.automation("a", worker=SCRIPT)
    await world.settle()
    database.execute("UPDATE automations SET queue = 'other'")
    world.dirty.append(key)
    await world.settle()
    [user] = workers_users(management)
    assert management.permissions()[user] == reading("other")


async def test_a_user_that_could_not_be_dropped_is_dropped_later(
    world: World, management: Management, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.automation("a", worker=SCRIPT)
    await world.settle()
    await world.sweep()
    key = world.automation("a")
    with monkeypatch.context() as broken:
        broken.setattr(world.services.management, "drop_user", unreachable)
        with pytest.raises(BrokerAway):
            await world.settle()
    world.services.deployments.clear()  # as after a restart: the sweep finds who has a Deployment
    await world.sweep()
    assert workers_users(management) == set()
    assert [name for _, _, name in world.kube.objects] == ["a"]
    assert world.condition(key, "WorkersAvailable") == ("Unknown", "NotManaged")


async def test_users_without_a_worker_are_dropped_and_no_others(
    world: World, management: Management, broker: Broker
) -> None:
    world.automation("a", worker=SCRIPT)
    await world.settle()
    used = workers_users(management)
    management.allow_reader(f"worker.{broker.vhost}.bots.gone", "secret", "bots.gone")
    management.allow_reader(f"people.{broker.vhost}", "secret", "bots.a")
    await world.sweep()
    assert set(management.permissions()) == used | {broker.user, f"people.{broker.vhost}"}
    management.drop_user(f"people.{broker.vhost}")


@pytest.mark.parametrize("kind", [DEPLOYMENT, SECRET, CONFIG_MAP, SERVICE_ACCOUNT])
async def test_a_lost_object_of_a_worker_comes_back(world: World, kind: core.Kind) -> None:
    world.automation("a", worker=SCRIPT)
    await world.settle()
    del world.kube.objects[kind, "bots", "a-worker"]
    await world.sweep()
    assert world.kube.get(kind, "bots", "a-worker") is not None


async def test_an_edited_deployment_is_put_right(world: World) -> None:
    key = world.automation("a", worker=SCRIPT)
    await world.settle()
    world.kube.objects[DEPLOYMENT, "bots", "a-worker"]["spec"]["replicas"] = 5
    world.dirty.append(key)
    await world.settle()
    assert world.kube.objects[DEPLOYMENT, "bots", "a-worker"]["spec"]["replicas"] == 1


async def test_a_schedule_before_its_automation(world: World) -> None:
    key = world.schedule("s", automation="a", cron="0 6 * * *", timeZone="America/Sao_Paulo")
    await world.settle()
    assert world.condition(key) == ("False", "AutomationNotFound")
    automation_key = world.automation("a")
    await world.settle()
    assert world.condition(key) == ("True", "Registered")
    status = world.status(key)
    assert (status["timeZone"], "nextRunTime" in status) == ("America/Sao_Paulo", True)
    world.delete(automation_key)
    await world.settle()
    assert world.condition(key) == ("False", "AutomationNotFound")


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"cron": "61 * * * *"}, "InvalidCron"),
        ({"cron": "@daily", "timeZone": "Mars/Olympus"}, "InvalidTimeZone"),
    ],
)
async def test_a_bad_schedule_is_told(world: World, spec: dict[str, str], reason: str) -> None:
    world.automation("a")
    key = world.schedule("s", automation="a", **spec)
    await world.settle()
    assert world.condition(key) == ("False", reason)
    assert world.reasons() == [("Warning", reason)]


async def test_each_bad_edit_is_told_once(world: World) -> None:
    world.automation("a")
    for cron in ("61 * * * *", "62 * * * *"):
        world.schedule("s", automation="a", cron=cron)
        await world.settle()
        await world.sweep()
    assert world.reasons() == [("Warning", "InvalidCron")] * 2
    assert ["62 in the minute field" in event["message"] for event in world.kube.events] == [False, True]


async def test_parameters_that_its_automation_refuses_are_told(world: World) -> None:
    def schema(kind: str) -> list[dict[str, object]]:
        return [{"name": "month", "label": "Month", "type": kind, "required": True}]

    world.automation("a", parameterSchema=schema("text"))
    spec = {"automation": "a", "cron": "@daily"}
    key = world.schedule("s", **spec, parameters={"months": "typo"})
    await world.settle()
    assert world.condition(key) == ("False", "ParametersRefused")
    [told] = world.kube.events
    assert (told["type"], told["reason"]) == ("Warning", "ParametersRefused")
    assert "month: is required" in told["message"]
    world.schedule("s", **spec, parameters={"month": "2026-11"})
    await world.settle()
    assert world.condition(key) == ("True", "Registered")
    assert world.reasons()[-1] == ("Normal", "Registered")
    world.schedule("s", **spec, parameters={"month": 11})
    await world.settle()
    assert world.condition(key) == ("False", "ParametersRefused")
    world.automation("a", parameterSchema=schema("number"))
    await world.settle()
    assert world.condition(key) == ("True", "Registered")
    world.automation("a", parameterSchema=schema("text"))
    await world.settle()
    assert world.condition(key) == ("False", "ParametersRefused")


async def test_run_facts_reach_the_status(world: World, database: psycopg.Connection) -> None:
    key = world.automation("a")
    await world.settle()
    database.execute("INSERT INTO jobs (id, automation_id) VALUES (gen_random_uuid(), 1)")
    await world.operator.facts.once()
    assert world.status(key)["jobs"] == {"pending": 1, "running": 0}
    database.execute("UPDATE jobs SET status = 'completed', completed_at = '2026-01-01T00:00Z'")
    await world.operator.facts.once()  # its minute is not over
    assert world.status(key)["jobs"] == {"pending": 1, "running": 0}


async def test_what_became_of_a_run_reaches_the_status(world: World, database: psycopg.Connection) -> None:
    world.automation("a")
    key = world.schedule("s", automation="a", cron="0 6 * * *")
    await world.settle()
    before = dict(world.status(key))
    at = "2026-11-23T06:00:00Z"
    database.execute(
        "INSERT INTO jobs (id, automation_id) VALUES ('01a209be-81ee-706d-81fe-5fa0b1df12da', 1)"
    )
    occurrence = database.execute(
        "INSERT INTO occurrences (schedule_id, nominal_at, effective_at, due_at, outcome, reason, message) "
        "VALUES (1, %s, %s, %s, 'shifted', 'Holiday', 'm') RETURNING id",
        (at, at, at),
    ).fetchone()
    job = "last_run_at = %s, last_job_id = (SELECT id FROM jobs), last_occurrence_id = %s"
    database.execute(f"UPDATE schedules SET {job}".encode(), (at, *(occurrence or ())))  # noqa: S608
    await world.operator.facts.once()
    told = {
        "lastRunTime": at,
        "lastJob": {"id": "01a209be-81ee-706d-81fe-5fa0b1df12da", "status": "pending"},
        "lastOccurrence": {"nominalTime": at, "outcome": "shifted", "reason": "Holiday", "message": "m"},
    }
    assert world.status(key) == before | told
    database.execute("UPDATE jobs SET status = 'running', attempt = 1, started_at = now()")
    await world.operator.facts.once()  # its minute is not over
    assert world.status(key) == before | told
    database.execute("UPDATE occurrences SET outcome = 'fired', reason = NULL, message = NULL")
    world.operator.facts = Facts(world.services)  # another minute
    await world.operator.facts.once()
    assert world.status(key)["lastJob"]["status"] == "running"
    assert world.status(key)["lastOccurrence"] == {"nominalTime": at, "outcome": "fired"}
    writes = list(world.kube.writes)
    world.operator.facts = Facts(world.services)
    await world.operator.facts.once()
    world.dirty.append(key)
    await world.settle()
    assert world.kube.writes == writes


async def test_a_schedule_that_is_over_says_so(world: World) -> None:
    world.automation("a")
    key = world.schedule("s", automation="a", cron="0 6 * * *", endTime="2026-01-01T00:00:00Z")
    await world.settle()
    assert world.condition(key) == ("True", "Registered")
    assert "Nothing is left to run" in find(world.status(key)["conditions"], "Ready")["message"]
    assert "nextRunTime" not in world.status(key)


async def test_an_edit_to_an_unknown_automation_leaves_the_one_there_was(
    world: World, database: psycopg.Connection
) -> None:
    world.automation("a")
    key = world.schedule("s", automation="a", cron="0 6 * * *")
    await world.settle()
    world.schedule("s", automation="b", cron="0 7 * * *")
    await world.settle()
    assert world.condition(key) == ("False", "AutomationNotFound")
    assert database.execute("SELECT automation_name FROM schedules").fetchone() == ("a",)
    world.automation("b")
    await world.settle()
    assert world.condition(key) == ("True", "Registered")
    assert database.execute("SELECT automation_name FROM schedules").fetchone() == ("b",)


async def test_parameters_are_judged_with_their_dates_filled_in(world: World) -> None:
    schema = [
        {"name": "day", "label": "Day", "type": "date", "required": True},
        {"name": "days", "label": "Days", "type": "list", "itemType": "text"},
    ]
    world.automation("a", parameterSchema=schema)
    spec = {"automation": "a", "cron": "0 6 L * *"}
    given = {"day": "{{prev_run+1}}", "days": ["{{today}}", "{{last_of_last_month}}"]}
    key = world.schedule("s", **spec, parameters=given)
    await world.settle()
    assert world.condition(key) == ("True", "Registered")
    for bad in ("{{someday}}", "{{today+9999999}}"):
        world.schedule("s", **spec, parameters={"day": bad})
        await world.settle()
        assert world.condition(key) == ("False", "ParametersRefused")
    world.automation("a")
    await world.settle()
    assert world.condition(key) == ("False", "ParametersRefused")
    world.schedule("s", **spec, parameters={"day": "{{someday}}"})
    await world.settle()
    assert world.condition(key) == ("True", "Registered")


async def test_messages_in_the_queue_are_told_while_they_are_known(
    world: World, database: psycopg.Connection
) -> None:
    key = world.automation("a", queueName="own")
    await world.settle()
    seen = "INSERT INTO queue_states (queue, ready, consumers, seen_at) VALUES ('own', 3, 0, now())"
    database.execute(seen)
    await world.operator.facts.once()
    assert world.status(key)["queue"] == {"name": "own", "messages": 3}
    before = list(world.kube.writes)
    world.dirty.append(key)
    await world.settle()
    assert world.kube.writes == before
    database.execute("UPDATE queue_states SET seen_at = now() - interval '3 minutes'")
    world.operator.facts = Facts(world.services)  # another minute
    await world.operator.facts.once()
    assert world.status(key)["queue"] == {"name": "own"}
    before = list(world.kube.writes)
    world.operator.facts = Facts(world.services)
    await world.operator.facts.once()
    assert world.kube.writes == before


async def test_what_its_spec_suspends_is_told(world: World) -> None:
    key = world.automation("a", suspend=True)
    await world.settle()
    assert world.condition(key, "Suspended") == ("True", "SpecSuspended")
    assert world.condition(key) == ("True", "Registered")
    world.automation("a")
    await world.settle()
    assert world.condition(key, "Suspended") == ("False", "NotSuspended")
    assert world.reasons() == []


async def test_a_pause_at_run_time_reaches_the_condition_and_is_written_once(
    world: World, database: psycopg.Connection
) -> None:
    keys = [world.automation("a"), world.automation("b")]
    await world.settle()
    pause = "UPDATE automations SET paused_at = now(), paused_reason = %s WHERE name = %s"
    database.execute(pause, ("PausedByPerson: until Monday", "a"))
    database.execute(pause, ("RetryRule: A job failed with CREDENTIAL_INVALID.", "b"))
    before = list(world.kube.writes)
    for _ in range(2):
        await world.operator.facts.once()
        await world.settle()
    assert [world.condition(key, "Suspended") for key in keys] == [
        ("True", "PausedByPerson"),
        ("True", "RetryRule"),
    ]
    assert world.kube.writes[len(before) :] == [("status", "Automation", name) for name in "ab"]
    [told] = world.kube.events
    assert (told["type"], told["reason"], told["involvedObject"]["name"]) == ("Warning", "RetryRule", "b")
    assert "CREDENTIAL_INVALID. Resume it with POST /api/v1/automations/2/resume" in told["message"]
    database.execute("UPDATE automations SET paused_at = NULL, paused_reason = NULL")
    await world.operator.facts.once()
    await world.settle()
    assert [world.condition(key, "Suspended")[0] for key in keys] == ["False", "False"]


async def test_a_pause_is_told_beside_a_refused_edit(world: World, database: psycopg.Connection) -> None:
    world.automation("holder", displayName="Fetch")
    key = world.automation("a")
    await world.settle()
    world.automation("a", displayName="Fetch")
    await world.settle()
    database.execute("UPDATE automations SET paused_at = now() WHERE name = 'a'")
    await world.operator.facts.once()
    await world.settle()
    assert world.condition(key) == ("False", "DisplayNameTaken")
    assert world.condition(key, "Suspended") == ("True", "PausedByPerson")
    await world.operator.facts.once()
    assert world.dirty == []


def start_pod(world: World, status: Resource) -> None:
    """The Deployment controller has made the worker's one pod, and that is how it fares."""
    deployment = world.kube.objects[DEPLOYMENT, "bots", "a-worker"]
    deployment["status"] = {"replicas": 1, "unavailableReplicas": 1}
    metadata = {"namespace": "bots", "name": "a-worker-x", "labels": deployment["metadata"]["labels"]}
    world.kube.store({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status})


UNSCHEDULABLE = {
    "conditions": [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 Insufficient memory.",
        }
    ]
}


async def test_what_its_pods_lack_is_told_and_kept(world: World, database: psycopg.Connection) -> None:
    def kept() -> Any:
        return database.execute("SELECT worker_state FROM automations").fetchall()

    key = world.automation("a", worker=SCRIPT)
    await world.settle()
    starting = {"reason": "PodsStarting", "message": "0 of 1 pods are ready."}
    assert kept() == [(starting | {"replicas": 0, "readyReplicas": 0},)]
    start_pod(world, UNSCHEDULABLE)
    await world.sweep()
    assert world.condition(key, "WorkersAvailable") == ("False", "WorkerUnschedulable")
    [(state,)] = kept()
    assert (state["reason"], state["replicas"], state["readyReplicas"]) == ("WorkerUnschedulable", 1, 0)
    assert "Insufficient memory" in state["message"]
    before = list(world.kube.writes)
    await world.sweep()
    assert world.kube.writes == before
    waiting = {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}
    start_pod(world, {"containerStatuses": [{"image": "a:1", "state": {"waiting": waiting}}]})
    await world.sweep()
    assert world.condition(key, "WorkersAvailable") == ("False", "ImagePullFailed")
    world.kube.objects[DEPLOYMENT, "bots", "a-worker"]["status"] = {"replicas": 1, "readyReplicas": 1}
    world.dirty.append(key)
    await world.settle()
    assert world.condition(key, "WorkersAvailable") == ("True", "WorkersReady")
    ready = {"reason": "WorkersReady", "message": "1 of 1 pods are ready."}
    assert kept() == [(ready | {"replicas": 1, "readyReplicas": 1},)]
    world.automation("a")
    await world.settle()
    assert kept() == [(None,)]


async def test_pods_of_another_worker_are_no_matter(world: World) -> None:
    key = world.automation("a", worker=SCRIPT)
    world.automation("b", worker=SCRIPT)
    await world.settle()
    start_pod(world, UNSCHEDULABLE)
    world.kube.objects[DEPLOYMENT, "bots", "b-worker"]["status"] = {"replicas": 1}
    await world.sweep()
    assert world.condition(key, "WorkersAvailable") == ("False", "WorkerUnschedulable")
    assert world.condition(Key(AUTOMATION, "bots", "b"), "WorkersAvailable") == ("False", "PodsStarting")


async def test_a_broker_that_is_away_is_waited_for(database_uri: str, own_broker: Broker) -> None:
    kube = MemoryKube()
    async with core.opened(settings_for(database_uri, own_broker), kube) as operator:  # type: ignore[arg-type]
        world = World(operator, kube)
        own_broker.container.stop()
        key = world.automation("a")
        for _ in range(2):
            with pytest.raises(BrokerAway):
                await automation.sync(world.services, key)
        assert world.condition(key) == ("Unknown", "BrokerAway")
        assert kube.writes == [("status", "Automation", "a")]
        assert await operator.broker_state() != "ok"
        own_broker.container.start()
        own_broker.wait()
        await world.settle()
        assert world.condition(key) == ("True", "Registered")
        assert await operator.broker_state() == "ok"


async def test_a_database_that_is_away_is_waited_for(own_database: Database, broker: Broker) -> None:
    own_database.container.stop()
    kube = MemoryKube()
    async with core.opened(settings_for(own_database.uri(), broker), kube) as operator:  # type: ignore[arg-type]
        world = World(operator, kube)
        key = world.automation("a")
        with pytest.raises(DatabaseAway):
            await automation.sync(world.services, key)
        assert world.condition(key) == ("Unknown", "DatabaseAway")
        own_database.container.start()
        replace(own_database).wait()
        migrate(own_database.uri())
        await world.settle()
        assert world.condition(key) == ("True", "Registered")
