"""What schemathesis can't draw from a description; schemathesis.toml has it import this by itself."""

import json
from collections import defaultdict
from typing import Any
from zlib import crc32

import schemathesis
from schemathesis import Case, GenerationMode, HookContext, Response

_CONCEPTS = {
    "/api/v1/automations": "automation",
    "/api/v1/schedules": "schedule",
    "/api/v1/jobs": "job",
    "/api/v1/worker/jobs": "job",
}
_MAKERS = {
    "create_automation": "automation",
    "create_schedule": "schedule",
    "execute": "job",
    "retry_job": "job",
}
_OF_ATTEMPTS = {"log", "logs", "heartbeat", "cancellation", "finish", "release"}
_TOKEN = "X-Attempt-Token"
_tokens: dict[str, str | None] = {}
_made: dict[str, list[Any]] = defaultdict(list)
"""The ids of what has been made so far, by concept; also of what is gone since."""


@schemathesis.serializer("application/x-ndjson")
def ndjson(_context: schemathesis.SerializationContext, value: Any) -> Any:
    """Log lines, one a line."""
    return "\n".join(map(json.dumps, value if isinstance(value, list) else [value])).encode()


@schemathesis.hook
def after_call(_context: HookContext, case: Case, response: Response) -> None:
    """Remember what was made, and which token an attempt began with."""
    if response.status_code >= 300:
        return
    call = _name(case)
    if call in _MAKERS:
        _made[_MAKERS[call]].append(response.json()["id"])
    if call == "start":
        _tokens[case.path_parameters["id"]] = case.headers.get(_TOKEN)


@schemathesis.hook
def before_call(_context: HookContext, case: Case, _kwargs: dict[str, Any]) -> None:
    """Have most calls speak of something that there is, and with the token of its attempt."""
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    if "id" in case.path_parameters:
        concept = _CONCEPTS[case.path.partition("/{id}")[0]]
        case.path_parameters["id"] = _one_there_is(concept, case.path_parameters["id"])
    if _name(case) in ("create_schedule", "preview_schedule") and isinstance(case.body, dict):
        _make_readable(case.body)
    job = case.path_parameters.get("id")
    if _name(case) in _OF_ATTEMPTS and job in _tokens and _draw([job, case.headers], 4):
        case.headers.pop(_TOKEN, None)
        if (token := _tokens[job]) is not None:
            case.headers[_TOKEN] = token


def _make_readable(body: dict[str, Any]) -> None:
    """Have a schedule name what there is, in words that can be read."""
    if "automationId" in body:
        body["automationId"] = _one_there_is("automation", body["automationId"])
    body["cronExpression"] = "30 7 * * 1-5"
    if _draw(body, 4):
        for field in ("timeZone", "calendar", "onHoliday", "endTime"):
            body.pop(field, None)


def _name(case: Case) -> str:
    return str(case.operation.definition.raw["operationId"])


def _one_there_is(concept: str, drawn: Any) -> Any:
    made = _made[concept]
    if drawn in made or not made or _draw(drawn, 4) == 0:
        return drawn
    return made[-1 - _draw(drawn, min(len(made), 3))]


def _draw(drawn: Any, below: int) -> int:
    """As random as what was drawn, and nothing but that decides it."""
    return crc32(repr(drawn).encode()) % below
