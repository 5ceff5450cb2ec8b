"""The kinds of objects Maestro reads or writes, and their paths in the Kubernetes API."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from maestro.errors import BadInput

GROUP = "rps-maestro.io"
VERSION = "v1alpha1"


@dataclass(frozen=True)
class Kind:
    """A namespaced kind: what its objects say of themselves, and what its path says."""

    api_version: str
    kind: str
    plural: str

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """The path of one object, of a namespace's objects, or (no namespace) of the whole cluster's."""
        root = "/apis/" if "/" in self.api_version else "/api/"
        parts = [root + self.api_version]
        if namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part]
        return "/".join(parts)


AUTOMATION = Kind(f"{GROUP}/{VERSION}", "Automation", "automations")
SCHEDULE = Kind(f"{GROUP}/{VERSION}", "Schedule", "schedules")
CALENDAR = Kind(f"{GROUP}/{VERSION}", "BusinessCalendar", "businesscalendars")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
SECRET = Kind("v1", "Secret", "secrets")
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
EVENT = Kind("v1", "Event", "events")
POD = Kind("v1", "Pod", "pods")

_KNOWN = {
    (kind.api_version, kind.kind): kind
    for kind in (
        AUTOMATION,
        SCHEDULE,
        CALENDAR,
        DEPLOYMENT,
        SECRET,
        CONFIG_MAP,
        SERVICE_ACCOUNT,
        EVENT,
        POD,
    )
}


def kind_of(resource: Mapping[str, Any]) -> Kind:
    """The kind an object names in its apiVersion and kind. Raises BadInput for one Maestro has no use for."""
    try:
        return _KNOWN[resource["apiVersion"], resource["kind"]]
    except KeyError:
        known = ", ".join(kind.kind for kind in _KNOWN.values())
        raise BadInput(f"apiVersion and kind must name one of: {known}.") from None
