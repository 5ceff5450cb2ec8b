"""What /openapi.json says."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from maestro.settings import Settings
from maestro_api.app import create_app
from maestro_api.gate import OPEN

_WITHOUT_BODY = ("/start", "/release", "/cancel", "/retry", "/resume")


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return create_app(Settings(database_uri="postgresql://x", broker_uri="amqp://x")).openapi()


def operations(described: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(path, each) for path, methods in described["paths"].items() for each in methods.values()]


def test_every_reference_leads_somewhere_and_nothing_is_left_over(described: dict[str, Any]) -> None:
    used = set(re.findall(r"#/components/schemas/([\w-]+)", json.dumps(described)))
    assert used == set(described["components"]["schemas"])


def test_every_operation_says_who_may_call_it_and_how_it_fails(described: dict[str, Any]) -> None:
    for path, operation in operations(described):
        if path in OPEN:
            assert "security" not in operation
            continue
        wanted = [{"workers" if "/worker/" in path else "people": []}]
        if path.endswith("/stream"):
            wanted.append({"peopleOnStreams": []})
        assert operation["security"] == wanted
        assert {"401", "500", "503"} <= set(operation["responses"])
        for code, reply in operation["responses"].items():
            if int(code) >= 400:
                schema = reply["content"]["application/json"]["schema"]["$ref"]
                assert schema.endswith("RefusedOut" if code == "422" else "ErrorOut")


def test_every_operation_has_a_short_id_of_its_own_and_a_described_reply(described: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, operation in operations(described)]
    assert len(ids) == len(set(ids))
    assert all(len(each) < 30 for each in ids)
    for path, operation in operations(described):
        for code, reply in operation["responses"].items():
            assert reply["description"] != "Successful Response"
            if code in ("200", "201", "202"):
                [content] = reply["content"].values()
                assert content["schema"], (path, code)


def test_bodies_are_described_though_we_read_them_ourselves(described: dict[str, Any]) -> None:
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            takes_a_body = method in ("post", "put") and not path.endswith(_WITHOUT_BODY)
            assert ("requestBody" in operation) == takes_a_body, (method, path)


Schema = dict[str, Any]


def named(described: dict[str, Any], schema: Schema) -> Schema:
    """A schema itself, or the one that it refers to."""
    name = schema.get("$ref", "").rpartition("/")[2]
    return dict(described["components"]["schemas"][name]) if name else schema


def test_every_field_says_what_it_means(described: dict[str, Any]) -> None:
    silent = [
        f"{name}.{field}"
        for name, schema in described["components"]["schemas"].items()
        for field, each in schema.get("properties", {}).items()
        if "description" not in each and "description" not in named(described, each)
    ]
    assert silent == []
    assert [
        name for name, each in described["components"]["schemas"].items() if "description" not in each
    ] == []


def test_every_operation_and_parameter_says_what_it_means(described: dict[str, Any]) -> None:
    for path, operation in operations(described):
        assert operation["summary"], path
        assert operation["description"], path
        for parameter in operation.get("parameters", ()):
            assert parameter["description"], (path, parameter["name"])


def contents(described: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every body there may be, either way, and where."""
    for _, operation in operations(described):
        bodies = {"body": operation.get("requestBody", {}), **operation["responses"]}
        for which, each in bodies.items():
            for media_type, content in each.get("content", {}).items():
                yield f"{operation['operationId']} {which} {media_type}", content


def example_of(described: dict[str, Any], schema: Schema) -> Any:
    """Its own or one made of its fields'; None where it has none."""
    found = named(described, schema)
    if "examples" in found:
        return found["examples"][0]
    if found.get("type") == "array":
        return [example_of(described, found["items"])]
    fields = found.get("properties", {})
    return {field: example_of(described, each) for field, each in fields.items()} if fields else None


def test_every_body_has_an_example_that_fits(described: dict[str, Any]) -> None:
    unfit = []
    for where, content in contents(described):
        whole = content["schema"] | {"components": described["components"]}
        example = content.get("example") or example_of(described, content["schema"])
        unfit += [(where, each.message) for each in Draft202012Validator(whole).iter_errors(example)]
    assert unfit == []
