"""Custom resources as REST writes them: server-side applies under one field manager, of only the fields it
owns or changes, so that people with kubectl and GitOps tools keep theirs.
"""

import asyncio
import re
import secrets
import unicodedata
from collections.abc import Mapping
from typing import Any, Protocol

from maestro.errors import Forbidden, NotFound, OwnedElsewhere, Unavailable
from maestro.kube.client import Kube, Resource
from maestro.kube.kinds import AUTOMATION, Kind

MANAGER = "maestro-api"

_SLUG_LENGTH = 40
_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # as Kubernetes' own: it can't spell words


class Connect(Protocol):
    """How to get a client; raises KubernetesAway."""

    def __call__(self) -> Kube: ...


class Definitions:
    """Automations and Schedules of one namespace, by REST's rules."""

    def __init__(self, connect: Connect, namespace: str) -> None:
        self.namespace = namespace
        self._connect = connect
        self._kube: Kube | None = None

    def refuse_elsewhere(self, namespace: str) -> None:
        """REST may write in its own namespace alone. Raises Forbidden saying where to write instead."""
        if namespace != self.namespace:
            raise Forbidden(
                f"REST writes definitions in the namespace {self.namespace} only; "
                f"this one belongs to {namespace}: write it there with kubectl."
            )

    async def create(self, kind: Kind, name: str, spec: Mapping[str, Any]) -> Resource:
        """A new resource. Raises Unavailable while the namespace or the kind is missing from the cluster."""
        try:
            return await asyncio.to_thread(self._apply, kind, {"name": name}, spec, force=False)
        except NotFound as error:
            raise Unavailable(
                f"The cluster takes no {kind.kind} in the namespace {self.namespace}: {error.message}"
            ) from error

    async def change(self, kind: Kind, name: str, changes: Mapping[str, Any], *, force: bool) -> Resource:
        """Set these fields of spec and keep the others that REST set before.

        Raises OwnedElsewhere when another manager owns one of them, NotFound when the resource is gone.
        """
        return await asyncio.to_thread(self._change, kind, name, changes, force=force)

    async def remove(self, kind: Kind, name: str, *, force: bool) -> str | None:
        """Delete a resource and return its uid; None when it is gone already. Raises OwnedElsewhere."""
        return await asyncio.to_thread(self._remove, kind, name, force=force)

    async def ping(self) -> None:
        """Raises KubernetesAway or Forbidden when nothing could be written now."""
        await asyncio.to_thread(self._ping)

    def _ping(self) -> None:
        self._client().get(AUTOMATION, self.namespace, "is-the-api-server-there")

    def _change(self, kind: Kind, name: str, changes: Mapping[str, Any], *, force: bool) -> Resource:
        found = self._client().get(kind, self.namespace, name)
        if found is None:
            raise NotFound(f"The {kind.kind} {name} is gone.")
        spec = found.get("spec", {})
        # An apply drops what its manager owns and leaves out, so the rest of ours goes along.
        ours = {field: spec[field] for field in spec_fields(found, MANAGER) if field in spec}
        same_object = {"name": name, "uid": found["metadata"]["uid"]}
        return self._apply(kind, same_object, ours | dict(changes), force=force)

    def _apply(
        self, kind: Kind, metadata: Mapping[str, Any], spec: Mapping[str, Any], *, force: bool
    ) -> Resource:
        resource = {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": {"namespace": self.namespace, **metadata},
            "spec": dict(spec),
        }
        return self._client().apply(resource, manager=MANAGER, force=force)

    def _remove(self, kind: Kind, name: str, *, force: bool) -> str | None:
        found = self._client().get(kind, self.namespace, name)
        if found is None:
            return None
        others = sorted(other_managers(found))
        if others and not force:
            raise OwnedElsewhere(
                f"The spec of this {kind.kind} is also managed by {', '.join(others)}; "
                "delete it there, or send ?force=true."
            )
        uid: str = found["metadata"]["uid"]
        self._client().delete(kind, self.namespace, name, uid=uid)
        return uid

    def _client(self) -> Kube:
        # Two threads may both connect the first time; either client serves.
        if self._kube is None:
            self._kube = self._connect()
        return self._kube


def spec_fields(resource: Resource, manager: str) -> set[str]:
    """The fields of spec that this manager's applies own."""
    return {
        field.removeprefix("f:")
        for entry in _spec_entries(resource)
        if entry["manager"] == manager and entry["operation"] == "Apply"
        for field in entry["fieldsV1"]["f:spec"]
        if field.startswith("f:")
    }


def other_managers(resource: Resource) -> set[str]:
    """Who besides REST owns any of spec."""
    return {entry["manager"] for entry in _spec_entries(resource)} - {MANAGER}


def _spec_entries(resource: Resource) -> list[dict[str, Any]]:
    return [
        entry
        for entry in resource["metadata"].get("managedFields", [])
        if "f:spec" in entry.get("fieldsV1", {})
    ]


def differing(wanted: Mapping[str, Any], in_force: Mapping[str, Any]) -> dict[str, Any]:
    """The wanted fields whose value is another than that in force."""
    return {field: value for field, value in wanted.items() if not _same(value, in_force[field])}


def _same(one: Any, other: Any) -> bool:
    try:
        return _alike(one, other)
    except RecursionError:
        return False  # written again, which changes nothing where nothing differs


def _alike(one: Any, other: Any) -> bool:
    """Equal as JSON has it: 1 is 1.0, but not true, which Python takes for the same."""
    match one, other:
        case dict(), dict():
            return one.keys() == other.keys() and all(_alike(one[name], other[name]) for name in one)
        case list(), list():
            return len(one) == len(other) and all(map(_alike, one, other))
        case _:
            return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


def name_for(title: str) -> str:
    """A resource name people recognise: the title's slug and five random characters."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_SLUG_LENGTH].rstrip("-")
    # A label-like name may not begin with a digit everywhere it is used (Services, environment names).
    stem = slug if slug[:1].isalpha() else f"a-{slug}".rstrip("-")
    return f"{stem}-{''.join(secrets.choice(_SUFFIX_ALPHABET) for _ in range(5))}"
