"""maxConcurrency: never more jobs handed out and running than it says."""

import threading

import psycopg
import pytest

from integration.dispatcher.duties import Scene, dispatching, until, working
from maestro.job.model import Status

pytestmark = pytest.mark.usefixtures("dispatcher_running")

HELD = """SELECT count(*) FROM jobs
WHERE status = 'running' OR status = 'pending' AND NOT waits_for_slot"""


def most_held(scene: Scene, done: threading.Event, seen: list[int]) -> None:
    """The most jobs that were granted or running, and the most that a worker could see."""
    with psycopg.connect(scene.uri, autocommit=True) as database:
        while not done.is_set():
            seen.append((database.execute(HELD).fetchone() or (0,))[0])


def test_of_ten_jobs_never_more_than_two_are_handed_out_or_running(scene: Scene) -> None:
    scene.declare("bot")
    done, seen = threading.Event(), list[int]()
    watch = threading.Thread(target=most_held, args=(scene, done, seen))
    watch.start()
    # Four workers who would take four, and a second dispatcher who grants as well.
    with (
        dispatching(scene.uri, scene.broker.amqp_url),
        working(scene.uri, scene.broker, *["bot"] * 4, hold=0.1) as ran,
    ):
        ids = scene.accept(scene.automation(max_concurrency=2), 10)
        until(lambda: scene.ended() == 10, "all have run", 60)
    done.set()
    watch.join()
    assert sorted(ran) == sorted(map(str, ids))
    assert max(seen) == 2
    assert {scene.job(job).attempt for job in ids} == {1}


def test_what_is_handed_out_fits_the_limit_without_any_worker(scene: Scene) -> None:
    scene.declare("bot")
    automation = scene.automation(max_concurrency=2)
    waiting = scene.accept(automation, 10)
    until(lambda: scene.depth("bot") == 2, "two are published")
    until(lambda: scene.owed() == 0, "their debts are settled")
    scene.start(waiting[0], "t")
    scene.finish(waiting[0], Status.COMPLETED, "t")
    until(lambda: scene.depth("bot") == 3, "another one is published, beside the two messages")
    assert scene.rows(HELD) == [(2,)]
    scene.database.execute("UPDATE automations SET max_concurrency = 5")
    until(lambda: scene.depth("bot") == 6, "three more are published")
    assert scene.rows(HELD) == [(5,)]


def test_other_automations_of_the_same_queue_do_not_wait(scene: Scene) -> None:
    scene.declare("bot")
    limited, free = scene.automation(max_concurrency=1), scene.automation("free", queue="bot")
    scene.accept(limited, 5)
    scene.accept(free, 5)
    until(lambda: scene.depth("bot") == 6, "one of the limited ones, all of the others")
