"""Events on the resources people applied, for `kubectl describe` and `kubectl get events`."""

import logging
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from maestro.errors import MaestroError
from maestro_operator.conditions import timestamp
from maestro_operator.services import Services
from maestro_operator.worker import MANAGER

log = logging.getLogger(__name__)

# The API server's own bound.
_MESSAGE_LIMIT = 1024


async def post(
    services: Services,
    resource: Mapping[str, Any],
    type_: Literal["Normal", "Warning"],
    reason: str,
    message: str,
) -> None:
    """Post one event. An event is a courtesy: one that can't be posted is only logged."""
    event = manifest(resource, type_, reason, message, datetime.now(UTC))
    try:
        await services.call(services.kube.create, event, manager=MANAGER)
    except MaestroError as error:
        log.info("the event %s (%s) could not be posted: %s", reason, message, error.message)


def manifest(
    resource: Mapping[str, Any],
    type_: str,
    reason: str,
    message: str,
    now: datetime,
    id_: str | None = None,
) -> dict[str, Any]:
    """`id_` tells the event from others of the resource; at random when it is left out."""
    metadata = resource["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "namespace": metadata["namespace"],
            "name": f"{metadata['name'][:200]}.{id_ or uuid.uuid4().hex[:16]}",
        },
        "involvedObject": {
            "apiVersion": resource["apiVersion"],
            "kind": resource["kind"],
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
        "type": type_,
        "reason": reason,
        "message": message[:_MESSAGE_LIMIT],
        "source": {"component": MANAGER},
        "firstTimestamp": timestamp(now),
        "lastTimestamp": timestamp(now),
        "count": 1,
    }
