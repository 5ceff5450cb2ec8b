"""Events on the resources people applied, for `kubectl describe` and `kubectl get events`."""

import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from maestro.errors import MaestroError
from maestro_operator.conditions import timestamp
from maestro_operator.services import Services
from maestro_operator.worker import MANAGER

log = logging.getLogger(__name__)

# The API server's own bound.
_MESSAGE_LIMIT = 1024


@dataclass(frozen=True)
class Said:
    """What an event says: its type, why in a word for programs, and the same for people."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


async def post(
    services: Services,
    resource: Mapping[str, Any],
    type_: Literal["Normal", "Warning"],
    reason: str,
    message: str,
) -> None:
    """Post one event. An event is a courtesy: one that can't be posted is only logged."""
    event = manifest(resource, Said(type_, reason, message), datetime.now(UTC), uuid.uuid4().hex[:16])
    try:
        await services.call(services.kube.create, event, manager=MANAGER)
    except MaestroError as error:
        log.info("the event %s (%s) could not be posted: %s", reason, message, error.message)


def manifest(resource: Mapping[str, Any], said: Said, at: datetime, id_: str) -> dict[str, Any]:
    """The event that says this of a resource; `id_` tells it from the resource's others."""
    metadata = resource["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "namespace": metadata["namespace"],
            "name": f"{metadata['name'][:200]}.{id_}",
        },
        "involvedObject": {
            "apiVersion": resource["apiVersion"],
            "kind": resource["kind"],
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
        "type": said.type,
        "reason": said.reason,
        "message": said.message[:_MESSAGE_LIMIT],
        "source": {"component": MANAGER},
        "firstTimestamp": timestamp(at),
        "lastTimestamp": timestamp(at),
        "count": 1,
    }
