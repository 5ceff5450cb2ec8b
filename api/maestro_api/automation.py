"""Automations: definitions as custom resources, and their execution."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool, field_validator, model_validator
from pydantic.alias_generators import to_camel

from maestro import jsontext
from maestro.automation.model import Automation
from maestro.automation.schema import JsonSchema, json_schema
from maestro.broker.queues import name_flaw
from maestro.errors import BadInput
from maestro_api import body
from maestro_api.dependencies import Automations, Caller, Force, Id, Idempotency, Jobs
from maestro_api.errors import documented
from maestro_api.gate import API
from maestro_api.job import JobOut, job_json
from maestro_api.openapi import example
from maestro_api.reply import Json, passed_through, whole

router = APIRouter(prefix=f"{API}/automations", tags=["automations"])

MOST_JOBS = 1_000
"""To execute in one call."""

Object = dict[str, Any]


class ParameterEntry(body.Input):
    """One parameter of an automation's form."""

    name: str = Field(min_length=1, max_length=128, description="Its key in the parameters object.")
    label: str | None = Field(None, description="What the form calls it.")
    type: Literal["text", "date", "number", "select", "boolean", "list"] = Field(
        description="What its value has to be. A date is written dd/mm/yyyy or yyyy-mm-dd."
    )
    required: StrictBool | None = Field(None, description="Whether execute refuses to go without it.")
    options: list[str] | None = Field(None, description="What a select offers.")
    item_type: Literal["text", "number"] | None = Field(None, description="What a list holds; absent: text.")
    placeholder: str | None = Field(None, description="What the form shows while it is empty.")


ErrorClass = Annotated[str, Field(pattern="^[A-Z][A-Z0-9_]{0,63}$")]


class RetryRule(body.Input):
    """What becomes of a job that failed with one of these error classes."""

    error_classes: list[ErrorClass] = Field(
        min_length=1, max_length=32, description="The `error_class` of the job's result is one of these."
    )
    action: Literal["Retry", "Fail", "Suspend"] = Field(
        description="Try again, let it fail, or let it fail and pause the automation."
    )


class RetryPolicy(body.Input):
    """When a job is tried again; what is left out has its default."""

    max_attempts: Annotated[int, Field(ge=1, le=100), body.WHOLE] = Field(
        3, description="How often a job is started, the first time included."
    )
    backoff_seconds: Annotated[int, Field(ge=0, le=86_400), body.WHOLE] = Field(
        10, description="From a failure to the second attempt."
    )
    backoff_factor: float = Field(
        2, ge=1, le=10, strict=True, description="How much longer each further pause is."
    )
    rules: list[RetryRule] = Field(
        [],
        max_length=32,
        description="The first that names the class decides. Without one only WORKER_LOST is tried again.",
    )


_POLICY = {
    "maxAttempts": 3,
    "backoffSeconds": 10,
    "backoffFactor": 2,
    "rules": [{"errorClasses": ["PORTAL_DOWN"], "action": "Retry"}],
}
_FORM = [
    {"name": "month", "label": "Month", "type": "text", "required": True, "placeholder": "2026-11"},
    {"name": "kinds", "label": "Kinds", "type": "list", "itemType": "text"},
]


# Of the custom resource's fields those that would be dropped in silence, as names that nobody knows are.
_KUBECTLS = {
    "worker": "set spec.worker with kubectl",
    "suspend": "call POST /automations/:id/pause, or set spec.suspend with kubectl",
    "deletionPolicy": "set spec.deletionPolicy with kubectl",
    "queueArguments": "set spec.queueArguments with kubectl",
}


class _AutomationFields(body.Input):
    priority: Annotated[int, Field(ge=0, le=9), body.WHOLE] | None = Field(
        None,
        description="Higher ones first among those that wait for maxConcurrency.",
    )
    max_concurrency: Annotated[int, Field(ge=1, le=10_000), body.WHOLE] | None = Field(
        None, description="How many of its jobs run at once."
    )
    start_deadline_seconds: Annotated[int, Field(ge=1, le=31_536_000), body.WHOLE] | None = Field(
        None, description="A job not started by then fails: JOB_TIMEOUT."
    )
    timeout_seconds: Annotated[int, Field(ge=1, le=2_592_000), body.WHOLE] | None = Field(
        None,
        description="A longer attempt is stopped: JOB_TIMEOUT.",
    )
    heartbeat_timeout_seconds: Annotated[int, Field(ge=10, le=86_400), body.WHOLE] | None = Field(
        None, description="A worker silent for so long is lost."
    )
    retry_policy: RetryPolicy | None = Field(None, description="Replaces the one there is.")

    @model_validator(mode="before")
    @classmethod
    def _none_of_kubectls(cls, value: Object) -> Object:
        for name, instead in _KUBECTLS.items():
            if name in value:
                raise ValueError(f"{name} can't be set over REST; {instead}")
        return value

    @field_validator("name", check_fields=False)
    @classmethod
    def _one_line(cls, name: str | None) -> str | None:
        if name and any(ord(character) < 32 or ord(character) == 127 for character in name):
            raise ValueError("must not hold line breaks or other control characters")
        return name

    @field_validator("queue_name", check_fields=False)
    @classmethod
    def _usable(cls, queue: str | None) -> str | None:
        if queue is None or queue == "":
            return None
        if flaw := name_flaw(queue):
            raise ValueError(f"can't be {queue:.64}: {flaw}")
        if not queue.isprintable() or queue != queue.strip():
            raise ValueError("must not hold control characters nor begin or end with a space")
        return queue

    def spec(self) -> Object:
        """The fields that were given, by their names in the custom resource. Null means not given."""
        given = self.model_dump(by_alias=True, exclude_none=True)
        if "name" in given:
            given["displayName"] = given.pop("name")
        return given


class NewAutomation(_AutomationFields):
    """An automation to create."""

    model_config = example(
        {
            "name": "Invoices of the month",
            "description": "Fetches the invoices of all companies.",
            "scriptPath": "bots/invoices.py",
            "queueName": "invoices",
            "parameterSchema": _FORM,
            "defaultParams": {"kinds": ["nfe"]},
        }
    )

    name: str = Field(min_length=1, max_length=255, description="Unique in its namespace.")
    script_path: str = Field(description="Passed to the worker as it is.")
    description: str | None = Field(None, description="For people.")
    queue_name: str | None = Field(None, description="Absent: automation_jobs. Never changes afterwards.")
    parameter_schema: list[ParameterEntry] | None = Field(
        None, max_length=64, description="Its form, which execute checks parameters against."
    )
    default_params: Object | None = Field(None, description="Merged under the parameters of each execute.")


class AutomationChange(_AutomationFields):
    """The fields to change; absent and null ones stay as they are."""

    model_config = example({"description": "Fetches the invoices of all companies.", "maxConcurrency": 2})

    name: str | None = Field(None, min_length=1, max_length=255, description="Unique in its namespace.")
    script_path: str | None = Field(None, description="Passed to the worker as it is.")
    description: str | None = Field(None, description="For people.")
    queue_name: str | None = Field(None, description="Only its present value: a queue never changes.")
    parameter_schema: list[ParameterEntry] | None = Field(
        None, max_length=64, description="Replaces the form there is."
    )
    default_params: Object | None = Field(None, description="Replaces the defaults there are.")


class Pause(body.Input):
    """Why an automation is paused."""

    model_config = example({"reason": "The portal is down until Monday."})

    reason: str | None = Field(None, max_length=500, description="For people; shown until it is resumed.")

    @field_validator("reason")
    @classmethod
    def _one_line(cls, reason: str | None) -> str | None:
        return " ".join(reason.split()) if reason else None


# What `automation_json` writes.
class AutomationOut(BaseModel):
    """An automation and the custom resource it is."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid") | example(
        {
            "id": 7,
            "name": "Invoices of the month",
            "description": "Fetches the invoices of all companies.",
            "scriptPath": "bots/invoices.py",
            "queueName": "invoices",
            "defaultParams": {"kinds": ["nfe"]},
            "parameterSchema": _FORM,
            "priority": 0,
            "maxConcurrency": 2,
            "startDeadlineSeconds": None,
            "timeoutSeconds": 3600,
            "heartbeatTimeoutSeconds": 300,
            "retryPolicy": _POLICY,
            "suspended": False,
            "suspendedReason": None,
            "suspendedMessage": None,
            "createdAt": "2026-11-23T08:00:00.123456+00:00",
            "updatedAt": "2026-11-23T08:00:00.123456+00:00",
            "namespace": "maestro-bots",
            "resourceName": "invoices-of-the-month-x7k2q",
        }
    )

    id: int = Field(description="Its number, the same whatever becomes of it.")
    name: str = Field(description="Unique in its namespace.")
    description: str = Field(description="For people; empty when there is none.")
    script_path: str = Field(description="Passed to the worker as it is.")
    queue_name: str = Field(description="The queue in force.")
    default_params: Object | None = Field(description="Merged under the parameters of each execute.")
    parameter_schema: list[ParameterEntry] | None = Field(
        description="Its form, which execute checks parameters against."
    )
    priority: int = Field(description="0 to 9; higher ones first among those that wait for maxConcurrency.")
    max_concurrency: int | None = Field(description="How many of its jobs run at once; null: any number.")
    start_deadline_seconds: int | None = Field(
        description="A job not started by then fails: JOB_TIMEOUT. Null: it waits for ever."
    )
    timeout_seconds: int | None = Field(
        description="A longer attempt is stopped: JOB_TIMEOUT. Null: it may take any time."
    )
    heartbeat_timeout_seconds: int = Field(description="A worker silent for so long is lost.")
    retry_policy: RetryPolicy = Field(description="When a job is tried again.")
    suspended: bool = Field(description="By its spec or paused: nothing is published for it.")
    suspended_reason: str | None = Field(description="SpecSuspended, PausedByPerson or RetryRule.")
    suspended_message: str | None = Field(description="Why, and how to resume it.")
    created_at: datetime = Field(description="When it was made.")
    updated_at: datetime = Field(description="When its definition last changed.")
    namespace: str = Field(description="metadata.namespace of the custom resource.")
    resource_name: str = Field(description="metadata.name of the custom resource.")


def automation_json(automation: Automation) -> dict[str, Any]:
    """An automation in the contract's words."""
    suspension = automation.suspension
    return {
        "id": automation.id,
        "name": automation.display_name,
        "description": automation.description,
        "scriptPath": automation.script_path,
        "queueName": automation.queue,
        "defaultParams": whole(automation.default_params),
        "parameterSchema": whole(automation.parameter_schema),
        "priority": automation.priority,
        "maxConcurrency": automation.max_concurrency,
        "startDeadlineSeconds": automation.start_deadline_seconds,
        "timeoutSeconds": automation.timeout_seconds,
        "heartbeatTimeoutSeconds": automation.heartbeat_timeout_seconds,
        "retryPolicy": whole(automation.retry_policy),
        "suspended": suspension is not None,
        "suspendedReason": suspension.reason if suspension else None,
        "suspendedMessage": suspension.message if suspension else None,
        "createdAt": automation.created_at,
        "updatedAt": automation.updated_at,
        "namespace": automation.namespace,
        "resourceName": automation.name,
    }


class SchemaJson(Json):
    """A JSON Schema."""

    media_type = "application/schema+json"

    def render(self, content: JsonSchema) -> bytes:
        return jsontext.dump(content).encode()


_SCHEMA_EXAMPLE = json_schema(
    "Invoices of the month",
    [
        {"name": "month", "label": "Month", "type": "text", "required": True, "placeholder": "2026-11"},
        {"name": "kind", "label": "Kind", "type": "select", "options": ["NF-e", "NFS-e"]},
    ],
    {"kind": "NF-e"},
)

NewAutomationBody = Annotated[NewAutomation, Depends(body.read_as(NewAutomation))]
AutomationChangeBody = Annotated[AutomationChange, Depends(body.read_as(AutomationChange))]
PauseBody = Annotated[Pause, Depends(body.read_as(Pause, required=False))]


@router.post(
    "",
    status_code=201,
    response_model=AutomationOut,
    responses=documented(400, 403, 409, 413),
    openapi_extra=body.described_by(NewAutomation),
)
async def create_automation(new: NewAutomationBody, automations: Automations) -> Json:
    """Creates the custom resource; the name's slug and a random suffix become its metadata.name."""
    return Json(automation_json(await automations.create(new.spec())), 201)


@router.get("", response_model=list[AutomationOut])
async def list_automations(automations: Automations) -> Json:
    """All, by id, whether REST or kubectl made them."""
    return Json([automation_json(automation) for automation in await automations.list()])


@router.get("/{id}", response_model=AutomationOut, responses=documented(400, 404))
async def get_automation(id: Id, automations: Automations) -> Json:  # noqa: A002
    """One automation."""
    return Json(automation_json(await automations.get(id)))


@router.put(
    "/{id}",
    response_model=AutomationOut,
    responses=documented(400, 403, 404, 409, 413),
    openapi_extra=body.described_by(AutomationChange),
)
async def change_automation(
    id: Id,  # noqa: A002
    change: AutomationChangeBody,
    automations: Automations,
    force: Force = False,
) -> Json:
    """Writes only the fields whose values change. One that another manager owns gives 409."""
    return Json(automation_json(await automations.change(id, change.spec(), force=force)))


@router.delete(
    "/{id}",
    status_code=204,
    response_description="It is gone.",
    responses=documented(400, 403, 404, 409),
)
async def delete_automation(id: Id, automations: Automations, force: Force = False) -> Response:  # noqa: A002
    """Deletes the custom resource. Pending jobs are canceled, running ones may finish, history stays."""
    await automations.delete(id, force=force)
    return Response(status_code=204)


@router.post(
    "/{id}/pause",
    response_model=AutomationOut,
    responses=documented(400, 404, 413),
    openapi_extra=body.described_by(Pause, required=False),
)
async def pause_automation(id: Id, pause: PauseBody, automations: Automations) -> Json:  # noqa: A002
    """Takes no jobs and publishes nothing until it is resumed. Running jobs go on; spec stays as it is."""
    return Json(automation_json(await automations.pause(id, pause.reason)))


@router.post("/{id}/resume", response_model=AutomationOut, responses=documented(400, 404))
async def resume_automation(id: Id, automations: Automations) -> Json:  # noqa: A002
    """Ends a pause, by whomever. One that its spec suspends stays so: `suspended` tells."""
    return Json(automation_json(await automations.resume(id)))


class LastParametersOut(BaseModel):
    """What a caller's latest job of an automation ran with."""

    parameters: Object | None = Field(
        description="Null before the first one.", examples=[{"month": "2026-11"}]
    )


@router.get("/{id}/last-params", response_model=LastParametersOut, responses=documented(400, 404))
async def last_parameters(id: Id, jobs: Jobs, caller: Caller) -> Json:  # noqa: A002
    """What this caller's latest job ran with, defaults included: to fill in the form again."""
    return Json({"parameters": passed_through(await jobs.last_parameters(id, caller))})


@router.get(
    "/{id}/parameters.schema.json",
    responses={
        200: {
            "description": "JSON Schema, draft 2020-12.",
            "content": {
                "application/schema+json": {"schema": {"type": "object"}, "example": _SCHEMA_EXAMPLE}
            },
        },
        **documented(400, 404),
    },
    response_class=Response,  # SchemaJson's media type would become that of the errors too
)
async def parameters_schema(id: Id, automations: Automations) -> SchemaJson:  # noqa: A002
    """The parameters that execute takes, as a JSON Schema: it accepts what execute does, and nothing else.

    Labels are titles, placeholders examples. A parameter that has a default need not be given. Others than
    those named pass.
    """
    automation = await automations.get(id)
    return SchemaJson(
        json_schema(automation.display_name, automation.parameter_schema, automation.default_params)
    )


@router.post(
    "/{id}/execute",
    status_code=202,
    response_model=JobOut,
    tags=["jobs"],
    responses=documented(400, 404, 409, 413, 422),
    openapi_extra={
        "requestBody": {
            "required": False,
            "description": "The parameters themselves; they go over the automation's defaults.",
            "content": {"application/json": {"schema": {"type": "object"}, "example": {"month": "2026-11"}}},
        }
    },
)
async def execute(
    id: Id,  # noqa: A002
    request: Request,
    jobs: Jobs,
    caller: Caller,
    key: Idempotency = None,
) -> Json:
    """Accepts a job. It is committed before this answers, and published right after."""
    sent = await body.raw(request)
    parameters = jsontext.parse(sent) if sent else {}
    if not isinstance(parameters, dict):
        raise BadInput("The body is the parameters themselves: send a JSON object, or nothing.")
    return Json(job_json(await jobs.execute(id, parameters, caller, key)), 202)


@router.post(
    "/{id}/execute/batch",
    status_code=202,
    response_model=list[JobOut],
    tags=["jobs"],
    responses=documented(400, 404, 409, 413, 422),
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "The parameters of each job.",
            "content": {
                "application/json": {
                    "schema": {"type": "array", "maxItems": MOST_JOBS, "items": {"type": "object"}},
                    "example": [{"month": "2026-10"}, {"month": "2026-11"}],
                }
            },
        }
    },
)
async def execute_batch(id: Id, request: Request, jobs: Jobs, caller: Caller) -> Json:  # noqa: A002
    """Accepts up to 1,000 jobs in one commit, all or none.

    A refused field's name begins with the place of its parameters in the array, from 0.
    """
    if "idempotency-key" in request.headers:
        raise BadInput("execute/batch knows no Idempotency-Key; leave it out, or send each job to execute.")
    given = _each_parameters(jsontext.parse(await body.raw(request)))
    return Json([job_json(job) for job in await jobs.execute_batch(id, given, caller)], 202)


def _each_parameters(given: Any) -> list[Object]:
    if not isinstance(given, list):
        raise BadInput("The body must be a JSON array of parameter objects.")
    if len(given) > MOST_JOBS:
        raise BadInput(f"{len(given)} jobs are too many for one call; send at most {MOST_JOBS}.")
    for place, parameters in enumerate(given):
        if not isinstance(parameters, dict):
            raise BadInput(f"{place}: parameters must be a JSON object.")
    return given
