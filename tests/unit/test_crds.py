"""What the CRDs say, held against the code that reads and writes their objects."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from maestro.automation.model import HEARTBEAT_TIMEOUT_SECONDS, RETRY_POLICY
from maestro_api.automation import AutomationChange

FOLDER = Path(__file__).parents[2] / "crds"

Schema = dict[str, Any]


def schema_of(plural: str) -> Schema:
    crd = yaml.safe_load((FOLDER / f"{plural}.rps-maestro.io.yaml").read_text())
    return dict(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"])


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
