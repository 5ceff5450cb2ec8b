"""The JSON Schema accepts what `resolve` does, and nothing else."""

from datetime import date
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from maestro.automation.dates import is_date
from maestro.automation.parameters import resolve
from maestro.automation.schema import json_schema
from maestro.errors import ParametersRefused

NAMES = st.sampled_from(["a", "b", "c"])
DATES = st.one_of(
    st.dates(date(1, 1, 1)).map(lambda day: f"{day.day:02}/{day.month:02}/{day.year:04}"),
    st.dates(date(1, 1, 1)).map(date.isoformat),
    st.builds(
        lambda day, month, year: f"{day:02}/{month:02}/{year:04}",
        st.integers(0, 33),
        st.integers(0, 13),
        st.integers(0, 9999),
    ),
    st.sampled_from(["2026-12-31T08:00:00-03:00", "2026-12-31 08:00", "2026-12-31T24:00", "2026-12-31\n"]),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**44), 10**44),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", " ", "x", "y", "0", "true", "null", "\n"]),
    DATES,
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(NAMES, SCALARS, max_size=2))
ENTRIES = st.fixed_dictionaries(
    {
        "name": NAMES,
        "type": st.sampled_from(
            ["text", "date", "number", "select", "boolean", "list", "of a later version"]
        ),
    },
    optional={
        "required": st.one_of(st.booleans(), st.none()),
        "options": st.one_of(st.none(), st.lists(st.sampled_from(["", "x", "y", "0"]), max_size=3)),
        "itemType": st.sampled_from(["text", "number", "date", "boolean", "other", None]),
        "label": st.text(max_size=5),
        "placeholder": st.text(max_size=5),
    },
)
PARAMETERS = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), VALUES, max_size=4)


def resolves(entries: list[dict[str, Any]], defaults: dict[str, Any] | None, given: dict[str, Any]) -> bool:
    try:
        resolve(entries, defaults, given)
    except ParametersRefused:
        return False
    return True


# How fast a machine makes them says nothing of the schema.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@patient
@given(st.lists(ENTRIES, max_size=4), st.one_of(st.none(), PARAMETERS), PARAMETERS)
@example([{"name": "a", "type": "select", "options": ["x"]}], None, {"a": True})
@example([{"name": "a", "type": "date", "required": True}], {"a": "29/02/2026"}, {})
@example([{"name": "a", "type": "text", "required": True}], {"a": "x"}, {"a": None})
@example([{"name": "a", "type": "text"}, {"name": "a", "type": "number"}], None, {"a": 1})
def test_it_accepts_what_resolve_does(
    entries: list[dict[str, Any]], defaults: dict[str, Any] | None, given: dict[str, Any]
) -> None:
    schema = json_schema("t", entries, defaults)
    Draft202012Validator.check_schema(schema)
    assert Draft202012Validator(schema).is_valid(given) == resolves(entries, defaults, given)


@patient
@given(st.lists(ENTRIES, min_size=1, max_size=1), st.one_of(st.none(), VALUES), VALUES)
def test_one_parameter_at_a_time(entries: list[dict[str, Any]], default: Any, value: Any) -> None:
    name = entries[0]["name"]
    for defaults, sent in (({name: default}, {name: value}), ({name: default}, {}), (None, {name: value})):
        schema = json_schema("t", entries, defaults)
        assert Draft202012Validator(schema).is_valid(sent) == resolves(entries, defaults, sent)


def test_it_tells_a_form_what_to_show() -> None:
    entries = [
        {"name": "month", "label": "Month", "type": "text", "required": True, "placeholder": "2026-11"},
        {"name": "many", "type": "number", "required": True},
        {"name": "kind", "type": "select", "options": ["x", "y"], "required": True},
        {"name": "all", "type": "list", "itemType": "number", "required": True},
    ]
    schema = json_schema("Invoices", entries, {"kind": "y", "more": 1})
    assert schema == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Invoices",
        "type": "object",
        "properties": {
            "month": {"type": "string", "minLength": 1, "title": "Month", "examples": ["2026-11"]},
            "many": {"type": "number"},
            "kind": {"enum": ["x", "y"], "default": "y"},
            "all": {"type": "array", "items": {"type": "number"}, "minItems": 1},
            "more": {"default": 1},
        },
        "required": ["month", "many", "all"],
        "additionalProperties": True,
    }


@patient
@given(st.integers(0, 33), st.integers(0, 13), st.integers(0, 9999))
@example(29, 2, 1900)
@example(29, 2, 2000)
@example(29, 2, 0)
@example(31, 4, 2026)
def test_dates_follow_the_calendar(day: int, month: int, year: int) -> None:
    try:
        date(year, month, day)
        exists = True
    except ValueError:
        exists = False
    assert is_date(f"{day:02}/{month:02}/{year:04}") == exists
    assert is_date(f"{year:04}-{month:02}-{day:02}") == exists
    assert is_date(f"{year:04}-{month:02}-{day:02}T08:00:00.5-03:00") == exists


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("2026-12-31T08:00Z", True),
        ("2026-12-31 08:00:59,25", True),
        ("2026-12-31t23:59:59+0530", True),
        ("2026-12-31T24:00", False),
        ("2026-12-31T08", False),
        ("31/12/2026 08:00", False),
        ("1/1/2026", False),
        ("2026-12-31\n", False),
        ("٣١/12/2026", False),
    ],
)
def test_times_may_follow_a_date_that_begins_with_the_year(text: str, fits: bool) -> None:
    assert is_date(text) == fits
