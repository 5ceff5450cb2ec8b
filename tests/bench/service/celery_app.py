"""Celery as careful as Maestro: persistent messages, confirmed publishing, results in PostgreSQL, late acks.

Run as `celery -A bench.service.celery_app worker`, and as `uvicorn bench.service.celery_app:web`.
"""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import orjson
from celery import Celery
from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool

from bench.service import ages

app = Celery("bench", broker=os.environ["BENCH_AMQP_URL"], backend=os.environ["BENCH_RESULTS_URL"])
app.conf.update(
    broker_transport_options={"confirm_publish": True},
    broker_pool_limit=32,  # a connection for each of the clients
    task_acks_late=True,
    task_default_delivery_mode="persistent",
)


@app.task(name="no_op")
def no_op(parameters: dict[str, Any]) -> None:
    ages.note("started", parameters.get("sent", 0))


def opened() -> AbstractContextManager[object]:
    """What `enqueue` needs around it."""
    return nullcontext()


def enqueue(parameters: dict[str, Any]) -> str:
    """The job's id, once the broker has confirmed it."""
    return str(no_op.delay(parameters).id)


web = FastAPI()


@web.get("/livez")
async def livez() -> Response:
    return Response()


@web.post("/execute")
async def execute(request: Request) -> Response:
    """Enqueue in a thread, since Celery waits for the broker in the calling one."""
    job_id = await run_in_threadpool(enqueue, orjson.loads(await request.body()))
    return Response(orjson.dumps({"id": job_id}), 202, media_type="application/json")
