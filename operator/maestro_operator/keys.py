"""What can be dirty: one object of one kind, by its name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from maestro.kube import Kind


@dataclass(frozen=True)
class Key:
    """One Automation, Schedule or BusinessCalendar."""

    kind: Kind
    namespace: str
    name: str

    @classmethod
    def of(cls, kind: Kind, resource: Mapping[str, Any]) -> Self:
        return cls(kind, resource["metadata"]["namespace"], resource["metadata"]["name"])

    def __str__(self) -> str:
        return f"{self.kind.kind} {self.namespace}/{self.name}"
