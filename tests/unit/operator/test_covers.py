"""When a live object needs no write."""

from typing import Any

import pytest

from maestro_operator.covers import covers


@pytest.mark.parametrize(
    ("live", "desired"),
    [
        ({"a": 1, "defaulted": 2}, {"a": 1}),
        ({}, {"a": "", "b": [], "c": {}, "d": None}),
        ({"env": [{"name": "injected"}, {"name": "a"}]}, {"env": [{"name": "a", "value": ""}]}),
        ({"limits": {"cpu": "10m"}}, {"limits": {"cpu": "0.010"}}),
        ({"limits": {"memory": "1Gi"}}, {"limits": {"memory": "1024Mi"}}),
        ({"limits": {"cpu": "1"}}, {"limits": {"cpu": 1}}),
        ({"emptyDir": {"sizeLimit": "1Ki"}}, {"emptyDir": {"sizeLimit": "1024"}}),
        ({"command": ["a", "b"]}, {"command": ["a", "b"]}),
        ({"emptyDir": {}}, {"emptyDir": {}}),
    ],
)
def test_covered(live: Any, desired: Any) -> None:
    assert covers(live, desired)


@pytest.mark.parametrize(
    ("live", "desired"),
    [
        (None, {"a": 1}),
        ({"a": 1}, {"a": 2}),
        ({}, {"a": True}),
        ({"env": [{"name": "b"}]}, {"env": [{"name": "a"}]}),
        ({"env": [{"name": "a", "value": "1"}]}, {"env": [{"name": "a", "value": "2"}]}),
        ({"limits": {"cpu": "10m"}}, {"limits": {"cpu": "11m"}}),
        ({"limits": {"cpu": "10m"}}, {"limits": {"cpu": "odd"}}),
        ({"command": ["a", "b"]}, {"command": ["b", "a"]}),
        ({"command": ["a", "b"]}, {"command": ["a"]}),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}),
        ({"a": "text"}, {"a": {"b": 1}}),
    ],
)
def test_not_covered(live: Any, desired: Any) -> None:
    assert not covers(live, desired)
