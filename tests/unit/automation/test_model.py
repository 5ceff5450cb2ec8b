"""A custom resource, read."""

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

from maestro.automation.model import Automation, definition_of, effective_queue


def resource(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "bots", "name": "a", "uid": "u", "generation": 2}, "spec": spec}


def test_what_is_absent_has_its_documented_value() -> None:
    definition = definition_of(resource())
    assert (definition.display_name, definition.deletion_policy, definition.suspended) == (
        "a",
        "Retain",
        False,
    )
    assert definition.queue_arguments is None
    assert (definition.priority, definition.max_concurrency, definition.timeout_seconds) == (0, None, None)
    assert definition.start_deadline_seconds is None
    assert definition.heartbeat_timeout_seconds == 300
    assert definition.retry_policy == {
        "maxAttempts": 3,
        "backoffSeconds": 10,
        "backoffFactor": 2,
        "rules": [],
    }


def test_the_life_of_its_jobs_is_read() -> None:
    rules = [{"errorClasses": ["PORTAL_DOWN"], "action": "Retry"}]
    definition = definition_of(
        resource(
            priority=9,
            maxConcurrency=2,
            startDeadlineSeconds=60,
            timeoutSeconds=3600,
            heartbeatTimeoutSeconds=120,
            retryPolicy={"maxAttempts": 5, "rules": rules},
        )
    )
    assert (definition.priority, definition.max_concurrency) == (9, 2)
    assert (definition.start_deadline_seconds, definition.timeout_seconds) == (60, 3600)
    assert definition.heartbeat_timeout_seconds == 120
    assert definition.retry_policy == {
        "maxAttempts": 5,
        "backoffSeconds": 10,
        "backoffFactor": 2,
        "rules": rules,
    }


@pytest.mark.parametrize(
    ("spec", "queue"),
    [
        ({}, "automation_jobs"),
        ({"worker": {"script": "x"}}, "bots.a"),
        ({"worker": {}}, "bots.a"),
        ({"queueName": "own"}, "own"),
        ({"queueName": "own", "worker": {}}, "own"),
    ],
)
def test_the_effective_queue(spec: dict[str, Any], queue: str) -> None:
    assert effective_queue(definition_of(resource(**spec))) == queue


def automation(**fields: Any) -> Automation:
    now = datetime.now(UTC)
    values: dict[str, Any] = dict.fromkeys(field.name for field in dataclasses.fields(Automation))
    return Automation(
        **(values | {"id": 7, "suspended": False, "created_at": now, "updated_at": now} | fields)
    )


PAUSED = {"paused_at": datetime.now(UTC)}
RESUME = "POST /api/v1/automations/7/resume"


@pytest.mark.parametrize(
    ("fields", "reason", "words"),
    [
        ({"suspended": True}, "SpecSuspended", ["spec.suspend: false"]),
        ({**PAUSED, "paused_reason": "PausedByPerson"}, "PausedByPerson", [RESUME]),
        ({**PAUSED, "paused_reason": "PausedByPerson: a: b"}, "PausedByPerson", ["(a: b)", RESUME]),
        ({**PAUSED, "paused_reason": "RetryRule: job 1 failed"}, "RetryRule", ["rule", "(job 1 failed)"]),
        ({**PAUSED, "suspended": True}, "PausedByPerson", [RESUME, "spec.suspend: false"]),
        ({**PAUSED, "paused_reason": "the portal is down"}, "PausedByPerson", ["the portal is down"]),
    ],
)
def test_a_suspension_tells_how_it_ends(fields: dict[str, Any], reason: str, words: list[str]) -> None:
    suspension = automation(**fields).suspension
    assert suspension is not None
    assert suspension.reason == reason
    assert [each for each in words if each not in suspension.message] == []


def test_neither_suspended_nor_paused() -> None:
    assert automation().suspension is None
