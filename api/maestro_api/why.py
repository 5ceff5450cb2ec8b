"""GET /jobs/:id/why."""

from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, Field

from maestro.job.model import Status
from maestro.job.why import Code
from maestro_api.dependencies import Jobs
from maestro_api.errors import documented
from maestro_api.gate import API
from maestro_api.openapi import example

router = APIRouter(prefix=f"{API}/jobs", tags=["jobs"])


class WhyOut(BaseModel):
    """Why a job waits."""

    model_config = example(
        {
            "status": "pending",
            "code": "WORKER_UNSCHEDULABLE",
            "sentence": "No worker of its automation is ready. No node takes the pod: 0/3 nodes are "
            "available: 3 Insufficient memory.",
        }
    )

    status: Status = Field(description="Where the job stands.")
    code: Code = Field(
        description="RUNNING and ENDED jobs do not wait. Of the others' reasons the first one that holds: "
        "SUSPENDED, BACKING_OFF after a failed attempt, CONCURRENCY_LIMIT, BROKER_AWAY, one of WORKER… or "
        "WORKERS… where Maestro runs the worker and none of its pods is ready, NO_WORKER on its queue, "
        "IN_LINE behind others, PUBLISHING."
    )
    sentence: str = Field(description="For people.")


@router.get("/{id}/why", responses=documented(400, 404))
async def why(id: UUID, jobs: Jobs) -> WhyOut:  # noqa: A002
    """Why a pending job waits, in one code and a sentence, as of now."""
    status, found = await jobs.why(id)
    return WhyOut(status=status, code=found.code, sentence=found.sentence)
