"""A custom resource, read."""

from typing import Any

import pytest

from maestro.automation.model import definition_of, effective_queue


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
