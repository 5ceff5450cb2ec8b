"""What OpenAPI says beyond what FastAPI derives: bodies we read ourselves, who may call what, examples, and
how one call leads to the next.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import models_json_schema

from maestro_api import gate

Operation = dict[str, Any]

_REF = "#/components/schemas/{model}"

_PEOPLE = {"type": "http", "scheme": "bearer", "description": "A person's token."}
_PEOPLE_ON_STREAMS = {
    "type": "apiKey",
    "in": "query",
    "name": "token",
    "description": "A person's token, for browsers' EventSource, which can't send headers.",
}
_WORKERS = {
    "type": "apiKey",
    "in": "header",
    "name": "X-Worker-API-Key",
    "description": "The key that all workers share.",
}

_AUTOMATION_CALLS = (
    "get_automation",
    "change_automation",
    "delete_automation",
    "pause_automation",
    "resume_automation",
    "last_parameters",
    "parameters_schema",
    "execute",
    "execute_batch",
)
_JOB_CALLS = (
    "get_job",
    "why",
    "get_job_logs",
    "stream_job_logs",
    "cancel_job",
    "retry_job",
    "start",
    "status",
)
_ATTEMPT_CALLS = ("log", "logs", "heartbeat", "cancellation", "finish", "release")
_SCHEDULE_CALLS = (
    "get_schedule",
    "change_schedule",
    "delete_schedule",
    "list_occurrences",
    "list_upcoming",
)

_SAME_ATTEMPT = {
    "path.id": "$request.path.id",
    "header.X-Attempt-Token": "$request.header.X-Attempt-Token",
}
_FOLLOWS: Mapping[str, Sequence[tuple[Sequence[str], Mapping[str, str]]]] = {
    "create_automation": [(_AUTOMATION_CALLS, {"path.id": "$response.body#/id"})],
    "execute": [(_JOB_CALLS, {"path.id": "$response.body#/id"})],
    "execute_batch": [(_JOB_CALLS, {"path.id": "$response.body#/0/id"})],
    "retry_job": [(_JOB_CALLS, {"path.id": "$response.body#/id"})],
    "start": [
        (_ATTEMPT_CALLS, _SAME_ATTEMPT),
        (("get_job_logs", "cancel_job"), {"path.id": "$request.path.id"}),
    ],
    "release": [(("start",), {"path.id": "$request.path.id"})],
    "create_schedule": [(_SCHEDULE_CALLS, {"path.id": "$response.body#/id"})],
}
"""Which calls follow one, and where in its request or reply their parameters are."""


# Stands for null in examples on their way through FastAPI, which leaves fields without a value out.
_NULL = "(null)"


def example(value: Mapping[str, Any]) -> ConfigDict:
    """A model's configuration with an example of it."""
    kept = {field: _NULL if each is None else each for field, each in value.items()}
    return ConfigDict(json_schema_extra={"examples": [kept]})


def reference(model: type[BaseModel]) -> dict[str, Any]:
    """A schema that refers to this model's."""
    return {"$ref": _REF.format(model=model.__name__)}


def describe(app: FastAPI, bodies: Iterable[type[BaseModel]]) -> None:
    """Have the app's description completed; it is made when it is first asked for."""
    derive = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(derive(), bodies)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def _completed(described: dict[str, Any], bodies: Iterable[type[BaseModel]]) -> dict[str, Any]:
    described = json.loads(json.dumps(described).replace(f'"{_NULL}"', "null"))
    components = described["components"]
    _, models = models_json_schema([(model, "validation") for model in bodies], ref_template=_REF)
    components["schemas"] |= models["$defs"]
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    components["securitySchemes"] = {
        "people": _PEOPLE,
        "peopleOnStreams": _PEOPLE_ON_STREAMS,
        "workers": _WORKERS,
    }
    for path, operations in described["paths"].items():
        for operation in operations.values():
            _complete(path, operation)
            _say_what_comes(operation, components["schemas"])
    return described


def _complete(path: str, operation: Operation) -> None:
    # FastAPI announces 422 wherever there is a parameter; ours are refused with 400.
    if "HTTPValidationError" in str(operation["responses"].get("422")):
        del operation["responses"]["422"]
    if path not in gate.OPEN:
        operation["security"] = [{who: []} for who in _callers(path)]
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            parameter["description"] = f"The {operation['tags'][0].removesuffix('s')}'s id."
    _link(operation)


def _say_what_comes(operation: Operation, schemas: Mapping[str, Any]) -> None:
    """In the words of the model that is replied, which say more than FastAPI's."""
    for reply in operation["responses"].values():
        if reply["description"] == "Successful Response" and "content" in reply:
            schema = reply["content"]["application/json"]["schema"]
            model = schemas[schema.get("items", schema)["$ref"].rpartition("/")[2]]
            each = "Each: " if "items" in schema else ""
            reply["description"] = each + model["description"]


def _callers(path: str) -> tuple[str, ...]:
    if path.startswith(f"{gate.API}/worker/"):
        return ("workers",)
    return ("people", "peopleOnStreams") if gate.is_stream(path) else ("people",)


def _link(operation: Operation) -> None:
    links = {
        call: {"operationId": call, "parameters": dict(parameters)}
        for calls, parameters in _FOLLOWS.get(operation["operationId"], ())
        for call in calls
    }
    if links:
        [success] = [reply for code, reply in operation["responses"].items() if code.startswith("2")]
        success["links"] = links
