"""Whatever reaches the dead-letter queue ends its job, or is kept."""

import datetime as dt
import json
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pika
import psycopg
import pytest

from integration.dispatcher.duties import Scene, dispatching, until
from integration.servers import Broker, Database
from maestro.db.migrate import migrate
from maestro.job import store
from maestro.job.model import Status

DEAD = "maestro.dlq"
LETTERS = "SELECT queue, reason, job_id::text, body, headers FROM dead_letters ORDER BY id"


def drained(scene: Scene) -> None:
    """Nothing is in the dead-letter queue, taken but not acknowledged neither."""

    def probe() -> bool:
        found = scene.broker.call("GET", f"/queues/{scene.broker.vhost}/{DEAD}").json()
        return bool(found.get("messages", 1) == 0)

    until(probe, "the dead letters are buried", 60)


def send(scene: Scene, body: bytes, headers: dict[str, Any] | None = None, queue: str = "bot") -> None:
    properties = pika.BasicProperties(delivery_mode=2, headers=headers)
    with scene.broker.connect() as connection:
        connection.channel().basic_publish("", queue, body, properties)


def told(job_id: object) -> bytes:
    return json.dumps(
        {"job_id": str(job_id), "automation_id": 1, "script_path": "", "parameters": {}}
    ).encode()


@pytest.mark.usefixtures("dispatcher_running")
def test_the_job_of_a_rejected_message_fails_with_the_reason(scene: Scene) -> None:
    scene.declare("bot")
    [job] = scene.published(scene.automation())
    scene.reject("bot")
    ended = until(lambda: scene.job(job) if scene.ended(Status.FAILED) else None, "the job has failed")
    assert ended.error_class == "UNKNOWN"
    assert "in the queue bot (rejected)" in json.loads(ended.result)["error"]
    assert scene.rows(LETTERS) == []


@pytest.mark.usefixtures("dispatcher_running")
def test_a_message_that_waits_for_too_long_in_a_queue_that_allows_no_more_is_a_dead_letter(
    scene: Scene,
) -> None:
    scene.ensure("bot", {"x-dead-letter-exchange": "maestro.dlx", "x-message-ttl": 1_000})
    [job] = scene.accept(scene.automation())
    ended = until(lambda: scene.job(job) if scene.ended(Status.FAILED) else None, "the job has failed")
    assert "in the queue bot (expired)" in json.loads(ended.result)["error"]


@pytest.mark.usefixtures("dispatcher_running")
def test_what_tells_of_no_job_is_kept_as_it_was(scene: Scene) -> None:
    scene.declare("bot")
    stranger = uuid4()
    bodies = [b"\xff\x00 no text", b"[1]", b'{"job_id": 7}', b'{"job_id": "7"}', b"", told(stranger)]
    headers = {
        "when": dt.datetime(2026, 11, 23, 8, tzinfo=dt.UTC),
        "price": Decimal("1.25"),
        "raw": b"\xff\x00",
        "text": "NUL \x00 and é",
        "many": [1, {"deep": [None, True, -(2**63)]}],
    }
    for body in bodies:
        send(scene, body, headers)
    scene.reject("bot", len(bodies))
    drained(scene)
    kept = scene.rows(LETTERS)
    assert [bytes(row[3]) for row in kept] == bodies
    assert {row[:2] for row in kept} == {("bot", "rejected")}
    assert [row[2] for row in kept] == [None] * 5 + [str(stranger)]
    for row in kept:
        assert row[4]["text"] == "NUL ␀ and é"
        assert row[4]["many"] == [1, {"deep": [None, True, -(2**63)]}]
        assert {"when", "price", "raw", "x-death"} <= set(row[4])


@pytest.mark.usefixtures("dispatcher_running")
def test_headers_that_no_json_can_tell_harm_no_letter_behind_them(scene: Scene) -> None:
    deep: Any = "bottom"
    for _ in range(400):
        deep = [deep]
    scene.declare("bot")
    [job] = scene.published(scene.automation())
    with scene.broker.connect() as connection:  # before the job's own letter
        properties = pika.BasicProperties(
            headers={"deep": deep, "x-death": "not a list", "x-first-death-queue": 7}
        )
        connection.channel().basic_publish("maestro.dlx", "bot", b"odd", properties)
    scene.reject("bot")
    until(lambda: scene.ended(Status.FAILED), "the job behind it has failed")
    assert [bytes(row[3]) for row in scene.rows(LETTERS)] == [b"odd"]
    assert scene.job(job).status is Status.FAILED


@pytest.mark.usefixtures("dispatcher_running")
def test_a_running_job_is_left_to_its_worker_and_to_rescue(scene: Scene) -> None:
    scene.declare("bot")
    [job] = scene.published(scene.automation())
    scene.start(job, "t")
    scene.reject("bot")
    drained(scene)
    assert scene.job(job).status is Status.RUNNING
    assert scene.finish(job, Status.COMPLETED, "t") is Status.COMPLETED
    assert scene.rows(LETTERS) == []


@pytest.mark.usefixtures("dispatcher_running")
def test_the_letter_of_a_job_that_has_ended_or_is_to_be_published_anyhow_is_dropped(scene: Scene) -> None:
    scene.declare("bot")
    automation = scene.automation()
    [over, owed] = scene.published(automation, 2)
    scene.store.ask(store.cancel, over)
    scene.database.execute("UPDATE automations SET suspended = true")
    scene.database.execute("UPDATE jobs SET publish_due_at = now() WHERE id = %s", [owed])
    scene.reject("bot", 2)
    drained(scene)
    assert [scene.job(job).status for job in (over, owed)] == [Status.CANCELED, Status.PENDING]
    assert scene.rows(LETTERS) == []
    scene.database.execute("UPDATE automations SET suspended = false")
    until(lambda: scene.depth("bot") == 1, "the other one is published")


@pytest.mark.usefixtures("dispatcher_running")
def test_every_queue_s_letters_arrive_by_its_own_name(scene: Scene) -> None:
    """The old server bound the dead-letter queue for the empty key alone, and lost them all."""
    queues = [f"bot-{number}" for number in range(30)]
    scene.declare(*queues)
    with scene.broker.connect() as connection:
        connection.channel().queue_bind(DEAD, "maestro.dlx", "")
    for queue in queues:
        scene.accept(scene.automation(queue))
    until(lambda: not scene.owed(), "all are published")
    for queue in queues:
        scene.reject(queue)
    until(lambda: scene.ended(Status.FAILED) == len(queues), "all have failed", 60)
    told = scene.rows("SELECT result ->> 'error' FROM jobs ORDER BY id")
    assert all(f"queue {queue} " in error for queue, (error,) in zip(queues, told, strict=True))


@pytest.mark.usefixtures("impatient")
def test_nothing_is_lost_while_postgresql_is_away(
    own_database: Database, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    migrate(own_database.uri())
    with psycopg.connect(own_database.uri(), autocommit=True) as database:
        scene = Scene(own_database.uri(), broker, database)
        scene.declare("bot")
        ids = scene.accept(scene.automation(), 120)
        database.execute("UPDATE jobs SET publish_due_at = NULL, settled_at = now()")
        scene.store.close()
    for body in (*map(told, ids), *[b"?"] * 30):
        send(scene, body)
    own_database.container.kill()
    scene.reject("bot", 150)
    with dispatching(own_database.uri(), broker.amqp_url):
        until(lambda: scene.depth(DEAD) == 50, "it tries to bury a hundred")
        until(lambda: scene.depth(DEAD) == 150, "it finds nowhere to put them, and gives them back")
        until(lambda: scene.depth(DEAD) == 50, "it tries once more")
    until(lambda: scene.depth(DEAD) == 150, "told to stop, it gives them back")
    assert "Traceback" not in caplog.text
    own_database.container.start()
    own_database.wait()
    with dispatching(own_database.uri(), broker.amqp_url):
        drained(scene)
    with psycopg.connect(own_database.uri(), autocommit=True) as database:
        found = database.execute("SELECT status, count(*) FROM jobs GROUP BY status").fetchall()
        assert found == [("failed", 120)]
        assert database.execute("SELECT count(*) FROM dead_letters").fetchone() == (30,)
