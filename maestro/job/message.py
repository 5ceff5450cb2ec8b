"""A job as the contract's message on the queue."""

import orjson

from maestro.broker.message import Message
from maestro.job.model import Job


def message_of(job: Job) -> Message:
    """The message of a job to which a publication is owed.

    `due_at` is the debt's value now: a confirmation settles this debt and no later one.
    """
    if job.publish_due_at is None:
        raise ValueError(f"nothing is owed for job {job.id}")
    body = orjson.dumps(
        {
            "job_id": str(job.id),
            "automation_id": job.automation_id,
            "script_path": job.script_path,
            "parameters": orjson.Fragment(job.parameters),
        }
    )
    return Message(job_id=job.id, queue=job.queue, body=body, due_at=job.publish_due_at)
