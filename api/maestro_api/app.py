"""The application: what it needs while it runs, its routes, and what OpenAPI says of them."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import Any, NamedTuple

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.middleware import Middleware

from maestro import metrics
from maestro.broker.message import Message
from maestro.broker.publisher import Publisher
from maestro.db import Pool, autocommit, note_pools, open_pool
from maestro.job import store
from maestro.job.feed import Feed
from maestro.kube.client import Kube
from maestro.schedule.cron import zone_of
from maestro.settings import Settings
from maestro_api import (
    automation,
    clock,
    errors,
    gate,
    health,
    job,
    listing,
    openapi,
    prometheus,
    schedule,
    statistics,
    stream,
    why,
    worker,
)
from maestro_api.coalescer import AT_ONCE, Coalescer
from maestro_api.definitions import Connect, Definitions
from maestro_api.known import Known
from maestro_api.services import (
    Automations,
    Health,
    Jobs,
    Lists,
    Live,
    Schedules,
    Services,
    Statistics,
    Workers,
)
from maestro_api.shortcut import Shortcut

_BODIES = (
    automation.NewAutomation,
    automation.AutomationChange,
    automation.Pause,
    schedule.NewSchedule,
    schedule.ScheduleChange,
    schedule.Timing,
    worker.LineIn,
    worker.FinishIn,
    worker.HeartbeatIn,
)
_CONCEPTS = (prometheus, automation, listing, job, stream, why, schedule, statistics, worker)
HOT = (
    automation.execute,
    automation.execute_batch,
    worker.start,
    worker.log,
    worker.logs,
    worker.finish,
    worker.heartbeat,
    worker.cancellation,
)
HOT_CONNECTIONS = AT_ONCE + 1
"""Of their own, so that slow reads hold up no write: for flushes, and for noting confirms."""

_DESCRIPTION = """Maestro runs robotic process automations on Kubernetes.

People send `Authorization: Bearer <token>` (for event streams `?token=` will do), workers `X-Worker-API-Key`.
Times are RFC 3339. JSON comes in camelCase or snake_case, and goes out in camelCase (to workers in
snake_case). Every error is
`{"error": "<a sentence that says what to do>"}`."""


def create_app(settings: Settings, connect: Connect = Kube.connect) -> FastAPI:
    """The app; its dependencies are opened when it starts, and none of them has to be there by then."""
    app = FastAPI(
        title="Maestro",
        version=version("rps-maestro"),
        description=_DESCRIPTION,
        lifespan=_lifespan(settings, connect),
        middleware=[
            Middleware(gate.Gate, settings=settings),
            Middleware(Shortcut, routes=hot_routes()),
        ],
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,
        # Asked anew on each request otherwise.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.settings = settings
    errors.install(app)
    app.include_router(health.router)
    for concept in _CONCEPTS:
        app.include_router(concept.router, responses=errors.documented(*errors.COMMON))
    openapi.describe(app, _BODIES)
    return app


def hot_routes() -> list[APIRoute]:
    routes = [route for concept in _CONCEPTS for route in concept.router.routes]
    return [route for route in routes if isinstance(route, APIRoute) and route.endpoint in HOT]


def _lifespan(settings: Settings, connect: Connect) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database = settings.database_uri.get_secret_value()
        broker = settings.broker_uri.get_secret_value()
        reads = max(settings.database_pool_size - HOT_CONNECTIONS, 2)
        # Ended in turn from the last: what is still committed is published, what is still confirmed is noted.
        async with (
            open_pool(database, size=reads, pooled=settings.pooled) as pool,
            open_pool(
                database, size=HOT_CONNECTIONS, autocommit=True, by_key=True, pooled=settings.pooled
            ) as hot_pool,
            Live(pool, settings.direct_uri, stream.log_event, most=settings.log_streams) as live,
            Feed(pool) as feed,
            Publisher(broker, settled=_settler(hot_pool)) as publisher,
            Coalescer(hot_pool, feed.changed) as coalescer,
            clock.beating(pool),
            Statistics(pool, zone_of(settings.default_time_zone)) as statistics,
        ):
            opened = _Opened(pool, publisher, coalescer, live, statistics)
            app.state.services = _services(settings, connect, opened)
            registry = metrics.Registry(
                metrics.API, partial(note_pools, pool, hot_pool), publisher.note, live.note
            )
            app.state.registry = registry
            with metrics.served(registry, settings.metrics_port):
                yield

    return lifespan


def _settler(pool: Pool) -> Callable[[Sequence[Message]], Any]:
    async def settle(published: Sequence[Message]) -> None:
        async with autocommit(pool) as conn:
            await store.settle(conn, published)

    return settle


class _Opened(NamedTuple):
    """What is open while the app runs."""

    pool: Pool
    publisher: Publisher
    coalescer: Coalescer
    live: Live
    statistics: Statistics


def _services(settings: Settings, connect: Connect, opened: _Opened) -> Services:
    pool, publisher, coalescer, live, statistics = opened
    definitions = Definitions(connect, settings.definitions_namespace)
    known = Known(coalescer)
    return Services(
        automations=Automations(pool, definitions, settings, known),
        health=Health(pool, definitions, publisher),
        jobs=Jobs(pool, publisher, coalescer, known),
        live=live,
        lists=Lists(pool),
        schedules=Schedules(pool, definitions, settings),
        statistics=statistics,
        workers=Workers(pool, publisher, coalescer),
    )
