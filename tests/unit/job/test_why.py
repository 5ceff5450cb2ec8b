from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from maestro.automation.model import Suspension
from maestro.job.model import Status
from maestro.job.why import Code, Facts, Why, why

NOW = datetime(2026, 11, 25, 8, 0, 0, 5, tzinfo=UTC)
SOON, JUST_NOW, LONG_AGO = NOW + timedelta(seconds=9), NOW - timedelta(seconds=1), NOW - timedelta(minutes=5)
IN_QUEUE = Facts(
    status=Status.PENDING,
    attempt=0,
    attempt_open=False,
    attempt_end=None,
    attempt_error_class=None,
    waits_for_slot=False,
    publish_due_at=None,
    started_at=None,
    completed_at=None,
    cancellation_requested_at=None,
    error_class=None,
    automation_id=7,
    queue="q",
    managed=False,
    worker_state=None,
    max_concurrency=None,
    consumers=1,
    seen_at=JUST_NOW,
    now=NOW,
    slots_held=None,
    ahead=0,
)


def told(suspension: Suspension | None = None, broker_there: bool = True, **facts: Any) -> Why:
    return why(replace(IN_QUEUE, **facts), suspension, broker_there=broker_there)


def state(reason: str, message: str = "Because.", ready: int = 0) -> dict[str, Any]:
    return {"reason": reason, "message": message, "replicas": 1, "readyReplicas": ready}


@pytest.mark.parametrize(
    ("facts", "code", "said"),
    [
        (
            {"status": Status.RUNNING, "attempt": 2, "started_at": LONG_AGO},
            Code.RUNNING,
            "It is running since 2026-11-25T07:55:00Z, in attempt 2.",
        ),
        (
            {
                "status": Status.RUNNING,
                "attempt": 1,
                "started_at": LONG_AGO,
                "cancellation_requested_at": JUST_NOW,
            },
            Code.RUNNING,
            "It is running since 2026-11-25T07:55:00Z, in attempt 1, and was asked to stop at "
            "2026-11-25T07:59:59Z.",
        ),
        (
            {"status": Status.COMPLETED, "completed_at": LONG_AGO},
            Code.ENDED,
            "It ended at 2026-11-25T07:55:00Z: completed.",
        ),
        (
            {"status": Status.FAILED, "completed_at": LONG_AGO, "error_class": "PORTAL_DOWN"},
            Code.ENDED,
            "It ended at 2026-11-25T07:55:00Z: failed with PORTAL_DOWN.",
        ),
        (
            {"suspension": Suspension("SpecSuspended", "Its spec suspends it. Mend it.")},
            Code.SUSPENDED,
            "Its automation publishes no jobs now. Its spec suspends it. Mend it.",
        ),
        (
            {"attempt": 1, "attempt_end": "failed", "publish_due_at": SOON},
            Code.BACKING_OFF,
            "Attempt 1 failed; the next one is published at 2026-11-25T08:00:09Z.",
        ),
        (
            {"attempt": 1, "attempt_end": "failed", "publish_due_at": SOON, "waits_for_slot": True},
            Code.BACKING_OFF,
            "Attempt 1 failed; the next one is published at 2026-11-25T08:00:09Z.",
        ),
        (
            {
                "attempt": 1,
                "attempt_end": "failed",
                "attempt_error_class": "PORTAL_DOWN",
                "publish_due_at": SOON,
            },
            Code.BACKING_OFF,
            "Attempt 1 failed with PORTAL_DOWN; the next one is published at 2026-11-25T08:00:09Z.",
        ),
        (
            {"attempt": 1, "publish_due_at": SOON},  # its time was over
            Code.BACKING_OFF,
            "Attempt 1 failed; the next one is published at 2026-11-25T08:00:09Z.",
        ),
        (
            {"waits_for_slot": True, "max_concurrency": 3, "slots_held": 3, "ahead": 1},
            Code.CONCURRENCY_LIMIT,
            "3 of the 3 jobs that its automation's maxConcurrency allows are handed out or running; 1 job "
            "waits before it.",
        ),
        (
            {"waits_for_slot": True, "max_concurrency": 3, "slots_held": 2, "ahead": 0},
            Code.CONCURRENCY_LIMIT,
            "2 of the 3 jobs that its automation's maxConcurrency allows are handed out or running; 0 jobs "
            "wait before it.",
        ),
        (
            {"waits_for_slot": True, "slots_held": 3},
            Code.CONCURRENCY_LIMIT,
            "Its automation's maxConcurrency is gone; it is published shortly.",
        ),
        (
            {"publish_due_at": LONG_AGO},
            Code.BROKER_AWAY,
            "It should have been published at 2026-11-25T07:55:00Z; RabbitMQ or the dispatcher is away.",
        ),
        (
            {"broker_there": False},
            Code.BROKER_AWAY,
            "RabbitMQ is away; the job goes on once it is back.",
        ),
        (
            {"managed": True, "worker_state": state("WorkerUnschedulable", "No node takes the pod: full")},
            Code.WORKER_UNSCHEDULABLE,
            "No worker of its automation is ready. No node takes the pod: full",
        ),
        (
            {"managed": True, "worker_state": state("PodsStarting", "0 of 1 pods are ready.")},
            Code.WORKERS_STARTING,
            "No worker of its automation is ready. 0 of 1 pods are ready.",
        ),
        (
            {"managed": True, "worker_state": state("SomethingNew")},
            Code.WORKERS_NOT_READY,
            "No worker of its automation is ready. Because.",
        ),
        ({"consumers": 0}, Code.NO_WORKER, "No worker consumes its queue q; start one to run it."),
        (
            {"consumers": 0, "managed": True, "worker_state": state("WorkersReady", ready=1)},
            Code.NO_WORKER,
            "No worker consumes its queue q; see the condition WorkersAvailable of its Automation.",
        ),
        (
            {"consumers": 0, "publish_due_at": SOON},  # no queue takes its message
            Code.NO_WORKER,
            "No worker consumes its queue q; start one to run it.",
        ),
        (
            {},
            Code.IN_LINE,
            "It is the oldest job in its queue q; the next worker that is free takes it.",
        ),
        ({"ahead": 1}, Code.IN_LINE, "1 job made before it waits in its queue q."),
        ({"ahead": 1_000}, Code.IN_LINE, "1000 jobs made before it wait in its queue q."),
        ({"ahead": 1_001}, Code.IN_LINE, "More than 1000 jobs made before it wait in its queue q."),
        ({"consumers": 0, "seen_at": LONG_AGO}, Code.IN_LINE, None),
        ({"consumers": None, "seen_at": None}, Code.IN_LINE, None),
        ({"managed": True, "worker_state": None}, Code.IN_LINE, None),
        (
            {"publish_due_at": SOON},
            Code.PUBLISHING,
            "Its message is on the way to its queue q.",
        ),
        ({"publish_due_at": JUST_NOW}, Code.PUBLISHING, None),
        # A rescued attempt, and one that was handed back: neither waits for anything.
        ({"attempt": 1, "attempt_open": True, "publish_due_at": SOON}, Code.PUBLISHING, None),
        ({"attempt": 1, "attempt_end": "released", "publish_due_at": SOON}, Code.PUBLISHING, None),
    ],
)
def test_the_first_reason_that_holds_is_told(facts: dict[str, Any], code: Code, said: str | None) -> None:
    found = told(**facts)
    assert found.code is code
    assert said is None or found.sentence == said


def test_each_reason_goes_before_those_after_it() -> None:
    worst: dict[str, Any] = {
        "suspension": Suspension("PausedByPerson", "It is paused."),
        "broker_there": False,
        "waits_for_slot": True,
        "max_concurrency": 1,
        "managed": True,
        "worker_state": state("CrashLooping"),
        "consumers": 0,
        "ahead": 5,
    }
    mended = [
        ({}, Code.SUSPENDED),
        ({"suspension": None}, Code.CONCURRENCY_LIMIT),
        ({"waits_for_slot": False}, Code.BROKER_AWAY),
        ({"broker_there": True}, Code.WORKER_CRASH_LOOPING),
        ({"worker_state": state("WorkersReady", ready=1)}, Code.NO_WORKER),
        ({"consumers": 2}, Code.IN_LINE),
        ({"publish_due_at": SOON}, Code.PUBLISHING),
    ]
    for change, code in mended:
        worst |= change
        assert told(**worst).code is code


def test_the_guide_lists_every_code() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "guide" / "rest.md").read_text()
    assert [code for code in Code if f"`{code}`" not in guide] == []
