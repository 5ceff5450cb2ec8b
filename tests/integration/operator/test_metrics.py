"""The operator's own port for metrics."""

import asyncio

import requests

from integration.operator.conftest import settings_for
from integration.operator.memory import MemoryKube
from integration.servers import Broker, free_port
from maestro.kube import AUTOMATION
from maestro_operator import core
from maestro_operator.keys import Key


async def test_the_line_the_sweep_and_the_pool(database_uri: str, broker: Broker) -> None:
    port = free_port()
    settings = settings_for(database_uri, broker).model_copy(update={"metrics_port": port})
    async with core.opened(settings, MemoryKube()) as operator:  # type: ignore[arg-type]
        operator.queue.mark(Key(AUTOMATION, "bots", "invoices"))
        reply = await asyncio.to_thread(requests.get, f"http://127.0.0.1:{port}/metrics", timeout=5)
        before = operator.sweep.age
    lines = (line.rsplit(" ", 1) for line in reply.text.splitlines() if not line.startswith("#"))
    found = {sample: float(value) for sample, value in lines}
    assert found["maestro_workqueue_depth"] == 1
    assert 0 < found["maestro_sweep_age_seconds"] <= before
    assert found["maestro_database_pool_limit"] == settings.database_pool_size
