import json
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from maestro.job.message import message_of
from maestro.job.model import Job, Status

NOW = datetime(2026, 11, 23, tzinfo=UTC)
JOB = Job(
    id=UUID(int=1),
    automation_id=7,
    queue="q",
    script_path="bots/x.py",
    status=Status.PENDING,
    parameters='{"key": 12345678901234567890123456789012345678901234, "text": "é"}',
    result=None,
    user_id=None,
    schedule_id=None,
    scheduled_for=None,
    attempt=0,
    created_at=NOW,
    started_at=None,
    completed_at=None,
    cancellation_requested_at=None,
    last_heartbeat_at=None,
    publish_due_at=NOW,
    start_deadline=None,
    priority=0,
    released=0,
    error_class=None,
    progress=None,
    progress_message=None,
)


def test_the_message_is_the_contracts_with_parameters_as_stored() -> None:
    message = message_of(JOB)
    assert (message.job_id, message.queue, message.due_at) == (JOB.id, "q", NOW)
    assert json.loads(message.body) == {
        "job_id": "00000000-0000-0000-0000-000000000001",
        "automation_id": 7,
        "script_path": "bots/x.py",
        "parameters": {"key": 12345678901234567890123456789012345678901234, "text": "é"},
    }


def test_a_job_that_is_owed_nothing_has_no_message() -> None:
    with pytest.raises(ValueError, match="nothing is owed"):
        message_of(replace(JOB, publish_due_at=None))


@pytest.mark.parametrize(
    ("attempt", "released", "retries"), [(0, 0, 0), (1, 0, 0), (3, 0, 2), (3, 1, 1), (2, 2, 0), (1, 1, 0)]
)
def test_retries_are_attempts_after_the_first_that_counted(attempt: int, released: int, retries: int) -> None:
    assert replace(JOB, attempt=attempt, released=released).retry_count == retries
