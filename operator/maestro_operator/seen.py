"""The newest body known of each resource, from watch events, lists, and replies to our own writes."""

from collections.abc import Iterable, Mapping
from typing import Any

from maestro.kube import Kind
from maestro_operator.keys import Key

Resource = dict[str, Any]

# More than may end while one list is under way.
_ENDED_LIMIT = 10_000


class Seen:
    """Saves a read per sync; whoever misses a resource here asks the API server before acting on that."""

    def __init__(self) -> None:
        self._bodies: dict[Key, Resource] = {}
        # In the order of their end. A list that began before an object's end must not bring it back.
        self._ended: dict[str, None] = {}

    def get(self, key: Key) -> Resource | None:
        return self._bodies.get(key)

    def put(self, key: Key, body: Resource) -> None:
        """Keep it unless a newer one is known."""
        if body["metadata"]["uid"] in self._ended:
            return
        known = self._bodies.get(key)
        if known is None or _version(known) <= _version(body):
            self._bodies[key] = body

    def drop(self, key: Key) -> None:
        """Forget what is known of it."""
        self._bodies.pop(key, None)

    def end(self, key: Key, uid: str) -> None:
        """That very object is gone for good; a namesake made since stays."""
        self._ended[uid] = None
        if len(self._ended) > _ENDED_LIMIT:
            del self._ended[next(iter(self._ended))]
        if (known := self._bodies.get(key)) and known["metadata"]["uid"] == uid:
            del self._bodies[key]

    def of_kind(self, kind: Kind) -> Iterable[tuple[Key, Resource]]:
        return [(key, body) for key, body in self._bodies.items() if key.kind == kind]


def _version(body: Mapping[str, Any]) -> int:
    """API servers number their objects' versions upwards."""
    return int(body["metadata"].get("resourceVersion") or 0)
