"""procrastinate, whose queue is PostgreSQL itself.

Run as `procrastinate --app=bench.service.procrastinate_app.app worker`, and as
`uvicorn bench.service.procrastinate_app:web`.
"""

import os
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from procrastinate import App, PsycopgConnector

from bench.service import ages

_POOL = 8  # as Maestro's api

app = App(connector=PsycopgConnector(conninfo=os.environ["BENCH_DATABASE_URI"], min_size=1, max_size=_POOL))


@app.task(name="no_op")
async def no_op(parameters: dict[str, Any]) -> None:
    ages.note("started", parameters.get("sent", 0))


def make_schema() -> None:
    """Its tables, in an empty database."""
    with app.open():
        app.schema_manager.apply_schema()


def opened() -> AbstractContextManager[object]:
    """What `enqueue` needs around it."""
    return app.open()


def enqueue(parameters: dict[str, Any]) -> int:
    """The job's id, once it is committed."""
    return no_op.defer(parameters=parameters)


@asynccontextmanager
async def _open(_: FastAPI) -> AsyncIterator[None]:
    async with app.open_async():
        yield


web = FastAPI(lifespan=_open)


@web.get("/livez")
async def livez() -> Response:
    return Response()


@web.post("/execute")
async def execute(request: Request) -> Response:
    """Enqueue one job."""
    job_id = await no_op.defer_async(parameters=orjson.loads(await request.body()))
    return Response(orjson.dumps({"id": job_id}), 202, media_type="application/json")


@web.post("/execute/batch")
async def execute_batch(request: Request) -> Response:
    """Enqueue an array of jobs in one statement."""
    wanted = orjson.loads(await request.body())
    job_ids = await no_op.batch_defer_async(*({"parameters": each} for each in wanted))
    return Response(orjson.dumps([{"id": job_id} for job_id in job_ids]), 202, media_type="application/json")
