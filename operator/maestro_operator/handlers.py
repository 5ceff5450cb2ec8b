"""kopf's handlers: decorator, signature, one call.

Only `on.event`: nothing of kopf's is ever written to an object, neither finalizer nor annotation.
"""

from typing import Any

import kopf

from maestro.kube import AUTOMATION, CALENDAR, SCHEDULE
from maestro_operator import worker
from maestro_operator.lifecycle import Lifecycle

_GROUP, _, _VERSION = AUTOMATION.api_version.partition("/")


@kopf.on.startup()
async def start(settings: kopf.OperatorSettings, memo: Any, **_: Any) -> None:
    await lifecycle(memo).start(settings)


@kopf.on.cleanup()
async def stop(memo: Any, **_: Any) -> None:
    await lifecycle(memo).stop()


@kopf.on.event(_GROUP, _VERSION, AUTOMATION.plural)
async def automation_changed(event: kopf.RawEvent, memo: Any, **_: Any) -> None:
    lifecycle(memo).operator.saw(AUTOMATION, event["type"], event["object"])


@kopf.on.event(_GROUP, _VERSION, SCHEDULE.plural)
async def schedule_changed(event: kopf.RawEvent, memo: Any, **_: Any) -> None:
    lifecycle(memo).operator.saw(SCHEDULE, event["type"], event["object"])


@kopf.on.event(_GROUP, _VERSION, CALENDAR.plural)
async def calendar_changed(event: kopf.RawEvent, memo: Any, **_: Any) -> None:
    lifecycle(memo).operator.saw(CALENDAR, event["type"], event["object"])


@kopf.on.event("apps", "v1", "deployments", labels={worker.MANAGED_BY: worker.MANAGER})
async def deployment_changed(event: kopf.RawEvent, memo: Any, **_: Any) -> None:
    lifecycle(memo).operator.saw_deployment(event["type"], event["object"])


@kopf.on.probe(id="database")
async def database_probe(memo: Any, **_: Any) -> str:
    return await lifecycle(memo).operator.database_state()


@kopf.on.probe(id="broker")
async def broker_probe(memo: Any, **_: Any) -> str:
    return await lifecycle(memo).operator.broker_state()


@kopf.on.probe(id="secondsSinceSweep")
async def sweep_probe(memo: Any, **_: Any) -> int:
    return round(lifecycle(memo).operator.sweep.age)


def lifecycle(memo: Any) -> Lifecycle:
    """What `__main__` put into kopf's memo."""
    found = memo.lifecycle
    assert isinstance(found, Lifecycle)  # noqa: S101
    return found
