"""The dispatcher's process."""

import asyncio
import logging
import signal
from functools import partial

from maestro import metrics
from maestro.db import note_pools, open_pool
from maestro.dispatcher.dispatcher import Dispatcher
from maestro.dispatcher.health import serve_health
from maestro.dispatcher.retention import Retention
from maestro.settings import Settings, settings

log = logging.getLogger(__name__)

_GRACE_SECONDS = 2.0


def main() -> None:
    """Serve until SIGTERM. PostgreSQL and RabbitMQ may come later, and go and come again."""
    chosen = settings()
    logging.basicConfig(level=chosen.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # The pool warns of every failed attempt; the loops say once that PostgreSQL is away.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    asyncio.run(_serve(chosen))


async def _serve(chosen: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run(chosen, stop)


async def run(chosen: Settings, stop: asyncio.Event) -> None:
    """Do every duty until `stop` is set, then end within seconds."""
    uri, size = chosen.database_uri.get_secret_value(), chosen.database_pool_size
    async with open_pool(uri, size=size, pooled=chosen.pooled) as pool:
        kept = Retention(chosen.jobs_retention_days, chosen.logs_retention_days)
        dispatcher = Dispatcher(pool, chosen.broker_uri.get_secret_value(), kept)
        registry = metrics.Registry(metrics.DISPATCHER, partial(note_pools, pool), dispatcher.publisher.note)
        with metrics.served(registry, chosen.metrics_port):
            await _dispatch(dispatcher, chosen.health_port, stop)


async def _dispatch(dispatcher: Dispatcher, health_port: int, stop: asyncio.Event) -> None:
    loops = dispatcher.loops()
    async with dispatcher, serve_health(health_port, loops):
        log.info("dispatching")
        tasks = [asyncio.create_task(loop.run(stop), name=loop.name) for loop in loops]
        await stop.wait()
        log.info("stopping")
        _, late = await asyncio.wait(tasks, timeout=_GRACE_SECONDS)
        # Rolled back, then: what a step had not committed, the next dispatcher does.
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
