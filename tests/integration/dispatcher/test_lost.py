"""Messages that are gone: their jobs run all the same."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from integration.dispatcher.duties import Scene, until, working
from maestro.job import store
from maestro.job.model import NewJob, Status

pytestmark = pytest.mark.usefixtures("dispatcher_running")

MINUTE = timedelta(seconds=61)


def minute(scene: Scene) -> None:
    """A minute passes, in which the dispatcher looked at the queue as before."""
    scene.age(MINUTE, "jobs", "created_at", "settled_at")
    scene.age(MINUTE, "queue_states", "empty_since")


def seen_empty(scene: Scene) -> bool:
    return scene.rows("SELECT empty_since IS NOT NULL FROM queue_states") == [(True,)]


def purge(scene: Scene) -> None:
    with scene.broker.connect() as connection:
        connection.channel().queue_purge("bot")


def delete_and_make_anew(scene: Scene) -> None:
    with scene.broker.connect() as connection:
        connection.channel().queue_delete("bot")
    scene.declare("bot")


@pytest.mark.parametrize("lose", [purge, delete_and_make_anew])
def test_jobs_whose_hundred_messages_are_gone_all_run(scene: Scene, lose: Callable[[Scene], None]) -> None:
    scene.declare("bot")
    ids = scene.published(scene.automation(), 100)
    assert scene.depth("bot") == 100
    lose(scene)
    until(lambda: seen_empty(scene), "the queue is seen to be empty")
    assert scene.owed() == 0, "it was too soon to tell"
    minute(scene)
    with working(scene.uri, scene.broker, "bot", "bot") as ran:
        until(lambda: scene.ended() == 100, "all jobs have run", 60)
    assert sorted(ran) == sorted(map(str, ids))


def test_the_jobs_of_a_queue_that_is_gone_wait_until_it_is_there_again(scene: Scene) -> None:
    scene.declare("bot")
    scene.published(scene.automation(), 100)
    with scene.broker.connect() as connection:
        connection.channel().queue_delete("bot")
    until(lambda: seen_empty(scene), "the queue is seen to be gone")
    minute(scene)
    until(lambda: scene.owed() == 100, "the messages are owed again")
    scene.declare("bot")
    scene.age(MINUTE, "jobs", "publish_due_at")  # the claims of 30 s have run out
    with working(scene.uri, scene.broker, "bot", "bot"):
        until(lambda: scene.ended() == 100, "all jobs have run", 60)


def test_a_message_lost_between_two_looks_at_an_idle_queue_is_missed(scene: Scene) -> None:
    scene.declare("bot")
    automation = scene.automation()
    scene.accept(automation)
    until(lambda: seen_empty(scene) or scene.depth("bot"), "a look at the queue")
    purge(scene)
    until(lambda: seen_empty(scene), "it is empty, and is from now on whenever somebody looks")
    [lost] = scene.store.ask(store.accept, [NewJob(automation, {})])
    scene.database.execute(
        "UPDATE jobs SET publish_due_at = NULL, settled_at = now() WHERE id = %s", [lost.id]
    )
    minute(scene)
    with working(scene.uri, scene.broker, "bot"):
        until(lambda: scene.ended() == 2, "both have run")


def test_a_worker_that_holds_messages_is_sent_others_ever_more_rarely(scene: Scene) -> None:
    scene.declare("bot")
    [job] = scene.published(scene.automation())
    with scene.broker.connect() as connection:
        held, *_ = connection.channel().basic_get("bot")
        assert held
        until(lambda: seen_empty(scene), "the queue is seen to be empty")
        minute(scene)
        until(lambda: scene.depth("bot") == 1, "the message is there again")
        until(lambda: not scene.owed(), "the debt is settled")
        connection.channel().queue_purge("bot")
        until(lambda: seen_empty(scene), "the queue is seen to be empty")
        minute(scene)
        assert scene.rows("SELECT losses, publish_due_at FROM jobs") == [(1, None)]
        scene.age(MINUTE, "jobs", "settled_at")
        until(lambda: scene.depth("bot") == 1, "two minutes later, it is there again")
    with working(scene.uri, scene.broker, "bot"):
        until(lambda: scene.ended() == 1, "the job has run, once, of three messages")
        until(lambda: scene.depth("bot") == 0, "the others are dropped")
    assert scene.job(job).attempt == 1


def test_a_suspended_automation_has_its_lost_messages_later(scene: Scene) -> None:
    scene.declare("bot")
    automation = scene.automation()
    scene.published(automation)
    scene.database.execute("UPDATE automations SET suspended = true")
    purge(scene)
    until(lambda: seen_empty(scene), "the queue is seen to be empty")
    minute(scene)
    until(lambda: scene.owed() == 1, "the message is owed again")
    scene.database.execute("UPDATE automations SET suspended = false")
    with working(scene.uri, scene.broker, "bot"):
        until(lambda: scene.ended() == 1, "the job has run")


def test_a_canceled_job_needs_no_message(scene: Scene) -> None:
    scene.declare("bot")
    [job, other] = scene.published(scene.automation(), 2)
    purge(scene)
    scene.store.ask(store.cancel, job)
    until(lambda: seen_empty(scene), "the queue is seen to be empty")
    minute(scene)
    with working(scene.uri, scene.broker, "bot") as ran:
        until(lambda: scene.ended() == 1, "the other job has run")
    assert ran == [str(other)]
    assert scene.job(job).status is Status.CANCELED
