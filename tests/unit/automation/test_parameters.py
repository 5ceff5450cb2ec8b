from typing import Any

import pytest

from maestro.automation.parameters import resolve
from maestro.errors import ParametersRefused

SCHEMA: list[dict[str, Any]] = [
    {"name": "text", "type": "text", "required": True},
    {"name": "date", "type": "date"},
    {"name": "number", "type": "number"},
    {"name": "select", "type": "select", "options": ["a", "b"]},
    {"name": "boolean", "type": "boolean"},
    {"name": "texts", "type": "list"},
    {"name": "numbers", "type": "list", "itemType": "number"},
]


def test_given_parameters_go_over_the_defaults_and_others_pass() -> None:
    assert resolve(None, {"a": 1, "b": {"x": 1}}, {"b": {"y": 2}, "c": 3}) == {"a": 1, "b": {"y": 2}, "c": 3}
    assert resolve(SCHEMA, {"text": "t"}, {"more": [1]}) == {"text": "t", "more": [1]}
    assert resolve([], None, {}) == {}


@pytest.mark.parametrize(
    "fitting",
    [
        {"date": "31/12/2026"},
        {"date": "2026-12-31"},
        {"date": "2026-12-31T08:00:00-03:00"},
        {"number": 0},
        {"number": -1.5},
        {"select": "b"},
        {"boolean": False},
        {"texts": ["x", ""]},
        {"numbers": [1, 2.5]},
        {"number": None, "date": "", "texts": []},
    ],
)
def test_values_that_fit(fitting: dict[str, Any]) -> None:
    assert resolve(SCHEMA, None, {"text": "t", **fitting}) == {"text": "t", **fitting}


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        ({"text": None}, "is required"),
        ({"text": ""}, "is required"),
        ({"text": 1}, "must be text"),
        ({"date": "31/02/2026"}, "must be a date"),
        ({"date": "tomorrow"}, "must be a date"),
        ({"date": 20261231}, "must be a date"),
        ({"number": "1"}, "must be a number"),
        ({"number": True}, "must be a number"),
        ({"select": "c"}, "must be one of: a, b"),
        ({"select": ["a"]}, "must be one of: a, b"),
        ({"boolean": "true"}, "must be true or false"),
        ({"boolean": 0}, "must be true or false"),
        ({"texts": "x"}, "must be a list"),
        ({"texts": ["x", 1]}, "item 2 must be text"),
        ({"numbers": [1, "2"]}, "item 2 must be a number"),
    ],
)
def test_values_that_do_not_fit_are_named(refused: dict[str, Any], said: str) -> None:
    with pytest.raises(ParametersRefused) as caught:
        resolve(SCHEMA, None, {"text": "t", **refused})
    [field] = caught.value.fields
    assert field.name in refused
    assert said in field.message


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(ParametersRefused) as caught:
        resolve(SCHEMA, {"number": "x"}, {"boolean": 1})
    assert [field.name for field in caught.value.fields] == ["text", "number", "boolean"]


def test_a_type_of_a_later_version_is_let_through() -> None:
    assert resolve([{"name": "f", "type": "file"}], None, {"f": object}) == {"f": object}
