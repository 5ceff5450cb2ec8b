"""An API server in memory, for syncs that need a real database and broker but no cluster."""

from collections.abc import Mapping
from copy import deepcopy
from itertools import count
from typing import Any

from maestro.errors import Conflict, Forbidden, MaestroError, NotFound
from maestro.kube import Kind, kind_of
from maestro.kube.client import Resource

Place = tuple[Kind, str, str]


class MemoryKube:
    """The calls of `maestro.kube.Kube` that the operator makes; `writes` are those that changed something."""

    def __init__(self) -> None:
        self.objects: dict[Place, Resource] = {}
        self.writes: list[tuple[str, str, str]] = []
        self.events: list[Resource] = []
        self.closed: set[str] = set()
        """Namespaces that nothing may be listed in."""
        self.refusal: MaestroError | None = None
        """What becomes of each event instead."""
        self._versions = count(1)

    def store(self, resource: Mapping[str, Any]) -> Resource:
        body = deepcopy(dict(resource))
        metadata = body["metadata"]
        metadata.setdefault("uid", f"uid-{next(self._versions)}")
        metadata["resourceVersion"] = str(next(self._versions))
        self.objects[kind_of(body), metadata["namespace"], metadata["name"]] = body
        return body

    def collect(self, uid: str) -> None:
        """What the garbage collector does once an owner is gone."""
        for place, body in list(self.objects.items()):
            if uid in [owner["uid"] for owner in body["metadata"].get("ownerReferences", [])]:
                del self.objects[place]

    def get(self, kind: Kind, namespace: str, name: str) -> Resource | None:
        return deepcopy(self.objects.get((kind, namespace, name)))

    def list(self, kind: Kind, namespace: str | None = None, *, labels: str = "") -> list[Resource]:
        if namespace in self.closed:
            raise Forbidden(f"{kind.plural} is forbidden in {namespace}")
        found = [
            deepcopy(body)
            for (of_kind, of_namespace, _), body in self.objects.items()
            if of_kind == kind and namespace in (None, of_namespace)
        ]
        wanted = {tuple(each.split("=")) for each in labels.split(",") if each}
        return [body for body in found if wanted <= set(body["metadata"].get("labels", {}).items())]

    def apply(self, resource: Mapping[str, Any], *, manager: str, force: bool = False) -> Resource:
        metadata = resource["metadata"]
        live = self.get(kind_of(resource), metadata["namespace"], metadata["name"]) or {}
        self._hold(live, metadata.get("uid"))
        self.writes.append(("apply", resource["kind"], metadata["name"]))
        body = deepcopy(dict(resource))
        body["metadata"] = {**live.get("metadata", {}), **metadata}
        return deepcopy(self.store({**live, **body}))

    def create(self, resource: Mapping[str, Any], *, manager: str) -> Resource:
        if self.refusal:
            raise self.refusal
        name = resource["metadata"]["name"]
        if name in [event["metadata"]["name"] for event in self.events]:
            raise Conflict(f"{name} exists")
        self.events.append(dict(resource))
        return dict(resource)

    def patch_status(
        self, kind: Kind, namespace: str, name: str, status: Mapping[str, Any], *, manager: str
    ) -> Resource:
        live = self.get(kind, namespace, name)
        if live is None:
            raise NotFound
        self.writes.append(("status", kind.kind, name))
        live["status"] = _merged(live.get("status", {}), status)
        return deepcopy(self.store(live))

    def delete(self, kind: Kind, namespace: str, name: str, *, uid: str | None = None) -> bool:
        live = self.get(kind, namespace, name)
        if live is None:
            return False
        self._hold(live, uid)
        self.writes.append(("delete", kind.kind, name))
        del self.objects[kind, namespace, name]
        return True

    def _hold(self, live: Resource, uid: str | None) -> None:
        """Only that very object is meant."""
        if uid and live.get("metadata", {}).get("uid") != uid:
            raise Conflict("another object has this name")


def _merged(live: Any, patch: Any) -> Any:
    """By the rules of a JSON merge patch."""
    if not isinstance(patch, Mapping):
        return patch
    known = live if isinstance(live, Mapping) else {}
    both = {**known, **{name: _merged(known.get(name), value) for name, value in patch.items()}}
    return {name: value for name, value in both.items() if value is not None}
