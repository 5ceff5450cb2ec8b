"""The parameters a job runs with: those given, over the automation's defaults, checked against its schema."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from maestro.automation.dates import is_date
from maestro.errors import FieldError, ParametersRefused

Entry = Mapping[str, Any]


def resolve(
    schema: Sequence[Entry] | None, defaults: Mapping[str, Any] | None, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Merge, then check. Raises ParametersRefused with every field that is wrong.

    Parameters that the schema does not name pass as they are: a bot may know more than its form.
    """
    merged = {**(defaults or {}), **given}
    found = [(entry["name"], _fault(entry, merged.get(entry["name"]))) for entry in schema or ()]
    refused = [FieldError(name, fault) for name, fault in found if fault]
    if refused:
        raise ParametersRefused(refused)
    return merged


def missing_or_wrong(entry: Entry, defaults: Mapping[str, Any]) -> bool:
    """Whether the defaults alone would be refused for this parameter."""
    return _fault(entry, defaults.get(entry["name"])) is not None


def _fault(entry: Entry, value: object) -> str | None:
    """What is wrong with a value, None when nothing is. Absent, null and empty are the same here."""
    if value is None or value in ("", []):
        return "is required" if entry.get("required") else None
    match entry.get("type"):
        case "select":
            return _select_fault(entry.get("options") or (), value)
        case "list":
            return _list_fault(entry.get("itemType") or "text", value)
        case kind:
            check = _CHECKS.get(kind)
            return check(value) if check else None  # a type of a later version is not ours to judge


def _text_fault(value: object) -> str | None:
    return None if isinstance(value, str) else "must be text"


def _number_fault(value: object) -> str | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return None
    return "must be a number, without quotes"


def _boolean_fault(value: object) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


def _date_fault(value: object) -> str | None:
    return None if isinstance(value, str) and is_date(value) else "must be a date: dd/mm/yyyy or yyyy-mm-dd"


def _select_fault(options: Sequence[object], value: object) -> str | None:
    if value in options and not isinstance(value, bool):
        return None
    return f"must be one of: {', '.join(map(str, options))}"


def _list_fault(item_type: str, value: object) -> str | None:
    if not isinstance(value, list):
        return "must be a list"
    check = _CHECKS.get(item_type, _text_fault)
    for position, item in enumerate(value, start=1):
        if fault := check(item):
            return f"item {position} {fault}"
    return None


_CHECKS: Mapping[object, Callable[[object], str | None]] = {
    "text": _text_fault,
    "number": _number_fault,
    "boolean": _boolean_fault,
    "date": _date_fault,
}
