"""What is published: a pointer to a job, and the debt that publishing it pays."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Message:
    """One job's message on its way to a queue."""

    job_id: UUID
    queue: str
    body: bytes
    """The contract's JSON: job_id, automation_id, script_path, parameters."""
    due_at: datetime
    """`publish_due_at` as it was when this message was made: a debt that moved since is not paid by it."""
