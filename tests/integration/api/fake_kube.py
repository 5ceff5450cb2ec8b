"""Custom resources kept in memory, with the part of server-side apply that REST rests on: who owns a field.

The real API server's word is asked in tests/e2e.
"""

import copy
import uuid
from typing import Any

from maestro.errors import Conflict, KubernetesAway, MaestroError, NotFound, OwnedElsewhere
from maestro.kube.client import Kube, Resource
from maestro.kube.kinds import Kind


class FakeKube(Kube):
    def __init__(self) -> None:
        self.empty()

    def empty(self) -> None:
        self.objects: dict[tuple[str, str, str], Resource] = {}
        self.owners: dict[tuple[str, str, str], dict[str, set[str]]] = {}
        self.away = False
        self.refusal: MaestroError | None = None
        self.writes = 0

    def get(self, kind: Kind, namespace: str, name: str) -> Resource | None:
        self._reach()
        found = self.objects.get((kind.kind, namespace, name))
        return copy.deepcopy(found)

    def apply(self, resource: Any, *, manager: str, force: bool = False) -> Resource:
        self._reach()
        if self.refusal:
            raise self.refusal
        self.writes += 1
        metadata = resource["metadata"]
        key = (resource["kind"], metadata["namespace"], metadata["name"])
        if key not in self.objects:
            if "uid" in metadata:
                raise NotFound("gone")
            self.objects[key] = {
                **resource,
                "metadata": {**metadata, "uid": str(uuid.uuid4()), "generation": 0},
            }
            self.objects[key]["spec"] = {}
            self.owners[key] = {}
        self._hold(key, metadata.get("uid"))
        self._take(key, resource["spec"], manager, force)
        self.objects[key]["metadata"]["generation"] += 1
        self._note_managers(key)
        return copy.deepcopy(self.objects[key])

    def delete(self, kind: Kind, namespace: str, name: str, *, uid: str | None = None) -> bool:
        self._reach()
        key = (kind.kind, namespace, name)
        if key not in self.objects:
            return False
        self._hold(key, uid)
        del self.objects[key]
        return True

    def _hold(self, key: tuple[str, str, str], uid: str | None) -> None:
        """Only that very object is meant."""
        if uid and self.objects[key]["metadata"]["uid"] != uid:
            raise Conflict("another object has this name")

    def _reach(self) -> None:
        if self.away:
            raise KubernetesAway

    def _take(self, key: tuple[str, str, str], spec: dict[str, Any], manager: str, force: bool) -> None:
        stored, owners = self.objects[key]["spec"], self.owners[key]
        for field, value in spec.items():
            others = [name for name in owners if name != manager and field in owners[name]]
            if others and stored.get(field) != value:
                if not force:
                    raise OwnedElsewhere(f"{others[0]} owns spec.{field}; send ?force=true to take it over.")
                for name in others:
                    owners[name].discard(field)
        for dropped in owners.get(manager, set()) - set(spec):
            if not any(dropped in fields for name, fields in owners.items() if name != manager):
                stored.pop(dropped, None)
        owners[manager] = set(spec)
        stored.update(copy.deepcopy(spec))

    def _note_managers(self, key: tuple[str, str, str]) -> None:
        self.objects[key]["metadata"]["managedFields"] = [
            {
                "manager": manager,
                "operation": "Apply",
                "fieldsV1": {"f:spec": {f"f:{field}": {} for field in fields}},
            }
            for manager, fields in self.owners[key].items()
            if fields
        ]
