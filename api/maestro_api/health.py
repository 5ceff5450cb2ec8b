"""Whether this process lives, whether it can serve, and the contract's health call."""

from dataclasses import asdict
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from maestro_api.dependencies import Health
from maestro_api.gate import API
from maestro_api.openapi import example
from maestro_api.reply import Json

router = APIRouter(tags=["health"])


class HealthOut(BaseModel):
    """The process answers."""

    model_config = example({"status": "ok"})

    status: Literal["ok"] = Field(default="ok", description="Always that.")


class ReadinessOut(BaseModel):
    """Each dependency: `ok`, or a sentence that says what is missing."""

    model_config = example(
        {
            "status": "ready",
            "database": "ok",
            "kubernetes": "ok",
            "broker": "RabbitMQ is away; jobs are accepted and published once it is back.",
        }
    )

    status: Literal["ready", "not ready"] = Field(description="Ready without the broker too.")
    database: str = Field(description="PostgreSQL, without which nothing can be read or accepted.")
    kubernetes: str = Field(description="Its API server, without which no definition can be written.")
    broker: str = Field(description="RabbitMQ, without which jobs are accepted but not published.")


@router.get(f"{API}/health", summary="Open to all")
async def health() -> HealthOut:
    """The contract's own: the process answers."""
    return HealthOut()


@router.get("/livez", summary="The process lives")
async def livez() -> HealthOut:
    """Whatever it depends on may be away."""
    return HealthOut()


@router.get(
    "/readyz",
    summary="The process can serve",
    response_model=ReadinessOut,
    responses={503: {"model": ReadinessOut, "description": "The database or Kubernetes is away."}},
)
async def readyz(health: Health) -> Json:
    """PostgreSQL and Kubernetes are there; and what each dependency says."""
    found = await health.readiness()
    status = "ready" if found.ready else "not ready"
    return Json({"status": status, **asdict(found)}, 200 if found.ready else 503)
