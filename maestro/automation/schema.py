"""An automation's parameters as a JSON Schema, which accepts what `resolve` does and nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any

from maestro.automation.dates import DATE
from maestro.automation.parameters import Entry, missing_or_wrong

JsonSchema = dict[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NOTHING: list[Any] = [None, "", []]
"""Where a parameter is not required, these are the same as none."""

# `$` would let a line break follow.
_END = r"(?![\s\S])"
_KINDS: Mapping[object, JsonSchema] = {
    "text": {"type": "string"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "date": {"type": "string", "pattern": f"^{DATE}{_END}"},
}


def json_schema(
    title: str, entries: Sequence[Entry] | None, defaults: Mapping[str, Any] | None
) -> JsonSchema:
    """The schema of the parameters that are given to execute.

    A parameter is required here if it is required and has no default, or one that does not fit.
    """
    defaults = defaults or {}
    properties: dict[str, JsonSchema] = {}
    for entry in entries or ():
        name, schema = entry["name"], _property(entry)
        # The same name twice: both hold.
        properties[name] = {"allOf": [properties[name], schema]} if name in properties else schema
    for name, default in defaults.items():
        properties.setdefault(name, {})["default"] = default
    required = [entry["name"] for entry in entries or () if missing_or_wrong(entry, defaults)]
    return {
        "$schema": _DIALECT,
        "title": title,
        "type": "object",
        "properties": properties,
        "required": list(dict.fromkeys(required)),
        "additionalProperties": True,
    }


def _property(entry: Entry) -> JsonSchema:
    schema = _needed(entry) if entry.get("required") else _optional(entry)
    if label := entry.get("label"):
        schema["title"] = label
    if placeholder := entry.get("placeholder"):
        schema["examples"] = [placeholder]
    return schema


def _needed(entry: Entry) -> JsonSchema:
    """Neither null nor empty."""
    match entry.get("type"):
        case "text":
            return {"type": "string", "minLength": 1}
        case "select":
            return {"enum": _options(entry)}
        case "list":
            return {"type": "array", "items": _items(entry), "minItems": 1}
        case kind:
            # A type of a later version may be anything.
            return dict(_KINDS.get(kind, {"not": {"enum": _NOTHING}}))


def _optional(entry: Entry) -> JsonSchema:
    """Besides, null and what is empty; bounds say nothing of values of other types."""
    match entry.get("type"):
        case "text":
            return {"type": ["string", "null", "array"], "maxItems": 0}
        case "select":
            return {"enum": [*_options(entry), *_NOTHING]}
        case "list":
            return {"type": ["array", "null", "string"], "items": _items(entry), "maxLength": 0}
        case "date":
            pattern = f"^(?:|{DATE}){_END}"
            return {"type": ["string", "null", "array"], "pattern": pattern, "maxItems": 0}
        case "number" | "boolean" as kind:
            return {"type": [kind, "null", "string", "array"], "maxLength": 0, "maxItems": 0}
        case _:
            return {}


def _options(entry: Entry) -> list[Any]:
    return [option for option in dict.fromkeys(entry.get("options") or ()) if option != ""]


def _items(entry: Entry) -> JsonSchema:
    return _KINDS.get(entry.get("itemType"), _KINDS["text"])
