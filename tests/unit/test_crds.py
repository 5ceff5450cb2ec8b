"""What the CRDs say, held against the code that reads and writes their objects."""

from collections.abc import Iterator
from dataclasses import fields as fields_of
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args
from uuid import uuid4

import pytest
import yaml

from maestro.automation.model import HEARTBEAT_TIMEOUT_SECONDS, RETRY_POLICY
from maestro.calendar.model import Holiday
from maestro.schedule.model import CatchUp, Concurrency, Definition, Schedule, definition_of
from maestro.schedule.occurrences import Outcome
from maestro.schedule.timing import OnHoliday
from maestro_api import schedule as rest
from maestro_api.automation import AutomationChange
from maestro_operator import calendar, schedule

FOLDER = Path(__file__).parents[2] / "crds"

Schema = dict[str, Any]


def schema_of(plural: str, part: str = "spec") -> Schema:
    crd = yaml.safe_load((FOLDER / f"{plural}.rps-maestro.io.yaml").read_text())
    return dict(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][part])


def fields(schema: Schema, path: str = "spec") -> Iterator[tuple[str, Schema]]:
    """Every field below, with what the schema says of it."""
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}", field
        yield from fields(field, f"{path}.{name}")
        yield from fields(field.get("items", {}), f"{path}.{name}[]")


BOUNDS = {"string": {"maxLength", "enum"}, "array": {"maxItems"}}


@pytest.mark.parametrize("plural", ["automations", "businesscalendars", "schedules"])
def test_every_field_is_described_and_bounded(plural: str) -> None:
    for path, field in fields(schema_of(plural)):
        assert field["description"], path
        for each in (field, field.get("items", {})):
            assert each.get("type") not in BOUNDS or BOUNDS[each["type"]] & set(each), path


@pytest.mark.parametrize("plural", ["automations", "businesscalendars", "schedules"])
def test_every_rule_says_what_to_do(plural: str) -> None:
    schema = schema_of(plural)
    rules = [each for field in (schema, *dict(fields(schema)).values()) for each in rules_of(field)]
    assert rules
    for rule in rules:
        assert rule["message"].endswith("."), rule


def rules_of(field: Schema) -> list[Schema]:
    """Its validation rules and those of its items."""
    return [
        rule for each in (field, field.get("items", {})) for rule in each.get("x-kubernetes-validations", [])
    ]


def test_what_the_schema_fills_in_is_what_the_code_takes_for_absent() -> None:
    spec = schema_of("automations")["properties"]
    assert spec["heartbeatTimeoutSeconds"]["default"] == HEARTBEAT_TIMEOUT_SECONDS
    policy = spec["retryPolicy"]
    assert policy["default"] == {}
    assert {name: field["default"] for name, field in policy["properties"].items()} == RETRY_POLICY


def numbers(properties: Schema) -> dict[str, tuple[Any, Any]]:
    """The range of each bounded number; REST's may be null too."""
    plain = {name: field.get("anyOf", [field])[0] for name, field in properties.items()}
    return {name: (field["minimum"], field["maximum"]) for name, field in plain.items() if "minimum" in field}


def test_rest_takes_what_the_schema_takes() -> None:
    shown = AutomationChange.model_json_schema(by_alias=True)
    rest = {name: each["properties"] for name, each in shown["$defs"].items()}
    spec = schema_of("automations")["properties"]
    policy = spec["retryPolicy"]["properties"]
    assert numbers(shown["properties"]) == numbers(spec)
    assert numbers(rest["RetryPolicy"]) == numbers(policy)
    rule, classes = policy["rules"]["items"]["properties"], rest["RetryRule"]["errorClasses"]
    assert rest["RetryPolicy"]["rules"]["maxItems"] == policy["rules"]["maxItems"]
    assert rest["RetryRule"]["action"]["enum"] == rule["action"]["enum"]
    assert [classes[bound] for bound in ("minItems", "maxItems")] == [
        rule["errorClasses"][bound] for bound in ("minItems", "maxItems")
    ]
    assert classes["items"]["pattern"] == rule["errorClasses"]["items"]["pattern"]


def read(**spec: Any) -> Definition:
    metadata = {"namespace": "n", "name": "s", "uid": "u"}
    resource = {"metadata": metadata, "spec": {"automation": "a", "cron": "@daily", **spec}}
    return definition_of(resource, default_time_zone="UTC")


def test_what_the_schema_fills_in_of_a_schedule_is_what_the_code_takes_for_absent() -> None:
    spec = schema_of("schedules")["properties"]
    filled = {name: field["default"] for name, field in spec.items() if "default" in field}
    catch_up = {name: field["default"] for name, field in spec["catchUp"]["properties"].items()}
    assert set(filled) == {"concurrencyPolicy", "catchUp", "onHoliday"}
    assert read(**filled | {"catchUp": catch_up}) == read() == read(catchUp={})


def test_what_a_schedule_may_be_is_the_same_everywhere() -> None:
    spec = schema_of("schedules")["properties"]
    catch_up = spec["catchUp"]["properties"]
    for known, applied, posted in (
        (Concurrency, spec["concurrencyPolicy"], rest.Policy),
        (OnHoliday, spec["onHoliday"], rest.OnHoliday),
        (CatchUp, catch_up["policy"], rest.CatchUp.model_fields["policy"].annotation),
    ):
        assert set(known) == set(applied["enum"]) == set(get_args(posted))
    assert set(Outcome) == set(get_args(rest.Outcome))
    shown = rest.ScheduleChange.model_json_schema(by_alias=True)
    assert numbers(shown["properties"]) == numbers(spec)
    assert numbers(shown["$defs"]["CatchUp"]["properties"]) == numbers(catch_up)


def test_the_schemas_keep_what_the_operator_writes() -> None:
    now = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
    row = dict.fromkeys((field.name for field in fields_of(Schedule)), "x")
    row |= dict.fromkeys(("next_run_at", "last_run_at", "last_occurrence_at"), now) | {"last_job_id": uuid4()}
    known = schema_of("schedules", "status")["properties"]
    written = schedule.run_fields(SimpleNamespace(**row))  # type: ignore[arg-type]
    assert set(written) <= set(known)
    for field in ("lastJob", "lastOccurrence"):
        assert set(written[field]) == set(known[field]["properties"])
    holidays = SimpleNamespace(next_holidays=lambda _: [Holiday(now.date(), "n")])
    [told] = calendar._next_holidays(holidays, now.date())  # type: ignore[arg-type]
    items = schema_of("businesscalendars", "status")["properties"]["nextHolidays"]["items"]
    assert set(told) == set(items["properties"])
