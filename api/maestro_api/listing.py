"""GET /jobs."""

import re
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from maestro import jsontext
from maestro.errors import BadInput
from maestro.job.model import Filter, Status
from maestro_api.cursor import Cursor
from maestro_api.dependencies import Lists
from maestro_api.errors import documented
from maestro_api.gate import API
from maestro_api.job import JobOut, job_json
from maestro_api.reply import Json, dump
from maestro_api.services.listing import Asked, Page

router = APIRouter(prefix=f"{API}/jobs", tags=["jobs"])

MOST_JOBS = 200


# What `page_json` writes.
class JobPageOut(BaseModel):
    """A page of jobs, the newest first."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")

    items: list[JobOut] = Field(description="The newest first.")
    total: int = Field(
        description="How many match in all: exact, counted within the last second. On pages behind a cursor: "
        "as it was when the walk began, without a cursor.",
        examples=[1234],
    )
    limit: int = Field(description="The most there can be in items.", examples=[50])
    offset: int = Field(description="How many were passed over.", examples=[0])
    next_cursor: str | None = Field(
        description="Send it as `after` for the next page; null on the last one.",
        examples=["AAZhFTayQkABocPwe4BwAIAAAAAAAAAqAAAAAAAAMDlyecNv"],
    )


_NUMBER = re.compile(r"[-+]?[\d.]+")


def _written(value: object) -> object:
    """A time as text. An unescaped + of its zone arrives as a space; pydantic would take seconds as well."""
    if not isinstance(value, str):
        return value
    if _NUMBER.fullmatch(value):
        raise ValueError("write a time such as 2026-11-23T08:00:00Z")
    return value.replace(" ", "+") if value[-6:-5] == " " else value


def _zoned(value: datetime | None) -> datetime | None:
    return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


Instant = Annotated[datetime | None, BeforeValidator(_written), AfterValidator(_zoned)]


class JobQuery(BaseModel):
    """Which jobs to list."""

    status: Status | None = Field(None, description="In that state now.")
    automation_id: Annotated[int | None, Field(ge=1, le=2**31 - 1, description="Of that automation.")] = None
    user_id: str | None = Field(None, description="Executed by that user.")
    since: Instant = Field(None, description="Created then or later. RFC 3339; without zone: UTC.")
    until: Instant = Field(None, description="Created before.")
    limit: Annotated[int, Field(ge=1, description=f"At most {MOST_JOBS}; more is taken as that.")] = 50
    offset: Annotated[
        int, Field(ge=0, le=2**31 - 1, description="How many to pass over; slow where it is large.")
    ] = 0
    after: str | None = Field(
        None,
        description="The nextCursor of a page, to list what is behind it. Quick however far down, and jobs "
        "made meanwhile shift nothing.",
    )

    def asked(self) -> Asked:
        """Raises BadInput when `after` is no cursor, or comes with an offset."""
        after = None if self.after is None else Cursor.read(self.after)
        if after and self.offset:
            raise BadInput(
                "after and offset: send one of them; a cursor says by itself where its page begins."
            )
        who = None if self.user_id is None else jsontext.storable(self.user_id)
        wanted = Filter(self.status, self.automation_id, who, self.since, self.until)
        return Asked(wanted, min(self.limit, MOST_JOBS), self.offset, after)


@router.get("", response_model=JobPageOut, responses=documented(400))
async def list_jobs(lists: Lists, query: Annotated[JobQuery, Query()]) -> Response:
    """The newest jobs that match all filters."""
    return Response(await lists.page(query.asked(), page_json), media_type=Json.media_type)


def page_json(asked: Asked, page: Page) -> bytes:
    """A page in the contract's words."""
    return dump(
        {
            "items": [job_json(job) for job in page.jobs],
            "total": page.total,
            "limit": asked.limit,
            "offset": asked.offset,
            "nextCursor": str(page.next) if page.next else None,
        }
    )
