"""The message that announces a job, as the contract has it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

T = TypeVar("T")


class UnreadableMessageError(Exception):
    """It names no job; the message says what is wrong with it."""


@dataclass(frozen=True)
class JobMessage:
    """{"job_id", "automation_id", "script_path", "parameters"}."""

    job_id: str
    automation_id: int | None
    script_path: str | None
    parameters: dict[str, Any]

    @classmethod
    def parse(cls, body: bytes) -> JobMessage:
        """Raises UnreadableMessageError."""
        try:
            fields = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise UnreadableMessageError(f"not JSON: {error}") from None
        if not isinstance(fields, dict):
            raise UnreadableMessageError("not a JSON object")
        parameters = fields.get("parameters")
        if parameters is not None and not isinstance(parameters, dict):
            raise UnreadableMessageError("`parameters` is not an object")
        return cls(
            job_id=_uuid(fields.get("job_id")),
            automation_id=_of_type(int, fields.get("automation_id")),
            script_path=_of_type(str, fields.get("script_path")),
            parameters=parameters or {},
        )

    def for_bot(self) -> dict[str, Any]:
        """The fields of `Context` that come from the message."""
        return {
            "job_id": self.job_id,
            "automation_id": self.automation_id,
            "script_path": self.script_path,
            "parameters": self.parameters,
        }


def _uuid(value: object) -> str:
    try:
        return str(UUID(value if isinstance(value, str) else ""))
    except ValueError:
        raise UnreadableMessageError(f"`job_id` is not a UUID: {value!r:.80}") from None


def _of_type(kind: type[T], value: object) -> T | None:
    return value if isinstance(value, kind) else None
