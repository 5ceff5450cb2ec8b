"""Jobs that nobody starts, attempts that take too long, workers that nobody hears of any more."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from integration.dispatcher.duties import Scene, until, working
from maestro.job import store
from maestro.job.model import Beat, Heartbeat, Status

pytestmark = pytest.mark.usefixtures("dispatcher_running")


@pytest.fixture(autouse=True)
def _ready(scene: Scene) -> None:
    scene.service_is_up()
    scene.declare("bot")


def beat(scene: Scene, job: UUID, token: str) -> Any:
    return scene.store.ask(store.beat, [Heartbeat(job, token)])[0]


def test_a_job_that_nobody_starts_in_time_fails_and_its_message_is_dropped(scene: Scene) -> None:
    automation = scene.automation(start_deadline_seconds=1)
    [late] = scene.accept(automation)
    until(lambda: scene.ended(Status.FAILED) == 1, "it has failed")
    assert scene.job(late).error_class == "JOB_TIMEOUT"
    scene.database.execute("UPDATE automations SET start_deadline_seconds = 600")
    [other] = scene.accept(automation)
    with working(scene.uri, scene.broker, "bot") as ran:
        until(lambda: scene.ended() == 1, "the other one has run")
        until(lambda: scene.depth("bot") == 0, "both messages are taken")
    assert ran == [str(other)]


def test_an_attempt_over_its_time_is_asked_to_stop_and_then_ended(scene: Scene) -> None:
    automation = scene.automation(timeout_seconds=1)
    stops, goes_on = scene.published(automation, 2)
    for job in (stops, goes_on):
        scene.start(job, "t")
        until(lambda job=job: beat(scene, job, "t") == Beat(True), "it is asked to stop")
    scene.finish(stops, Status.CANCELED, "t")
    scene.age(timedelta(seconds=121), "jobs", "attempt_deadline", "timed_out_at")
    until(lambda: scene.ended(Status.FAILED) == 2, "both have failed")
    assert {scene.job(job).error_class for job in (stops, goes_on)} == {"JOB_TIMEOUT"}


def test_a_silent_worker_s_job_is_run_by_another_one(scene: Scene) -> None:
    [job] = scene.published(scene.automation())
    scene.start(job, "t")
    assert beat(scene, job, "t") == Beat(False)
    with scene.broker.connect() as connection:  # its message was acknowledged
        connection.channel().queue_purge("bot")
    scene.age(timedelta(seconds=301), "jobs", "last_heartbeat_at")
    with working(scene.uri, scene.broker, "bot") as ran:
        until(lambda: scene.ended() == 1, "it has run")
    assert ran == [str(job)]
    assert scene.job(job).attempt == 2


def test_a_job_whose_every_worker_is_lost_fails_in_the_end(scene: Scene) -> None:
    [job] = scene.published(scene.automation())
    for attempt in range(1, 4):
        until(lambda: scene.depth("bot"), "it is published")
        with scene.broker.connect() as connection:
            connection.channel().queue_purge("bot")
        assert scene.start(job, f"t{attempt}").attempt == attempt
        scene.age(timedelta(hours=2, seconds=1), "jobs", "last_heartbeat_at")
    until(lambda: scene.ended(Status.FAILED) == 1, "it has failed")
    assert scene.job(job).error_class == "WORKER_LOST"


def test_while_no_api_is_up_nobody_is_lost(scene: Scene, database: psycopg.Connection) -> None:
    heard, silent = scene.published(scene.automation(), 2)
    for job in (heard, silent):
        scene.start(job, "t")
        beat(scene, job, "t")
    database.execute("UPDATE service_clock SET last_beat = now() - interval '6 minutes'")
    scene.age(timedelta(minutes=6), "jobs", "last_heartbeat_at")
    [canary] = scene.accept(scene.automation("canary", queue="bot", start_deadline_seconds=1))
    until(lambda: scene.job(canary).status is Status.FAILED, "the dispatcher has looked")
    scene.store.ask(store.note_up)  # the first api is back
    [canary] = scene.accept(scene.automation("second", queue="bot", start_deadline_seconds=1))
    until(lambda: scene.job(canary).status is Status.FAILED, "the dispatcher has looked again")
    assert {scene.job(job).status for job in (heard, silent)} == {Status.RUNNING}
    # From now on silence counts: five minutes later one of them has called.
    scene.age(timedelta(seconds=301), "jobs", "last_heartbeat_at")
    database.execute("UPDATE service_clock SET up_since = up_since - interval '301 s'")
    beat(scene, heard, "t")
    until(lambda: scene.job(silent).status is Status.PENDING, "the silent one is rescued")
    assert scene.job(heard).status is Status.RUNNING
