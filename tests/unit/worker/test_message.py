"""The message that announces a job."""

import json

import pytest

from maestro.worker.message import JobMessage, UnreadableMessageError

JOB = "0192f0c1-2345-7890-abcd-0123456789ab"


def body(**fields: object) -> bytes:
    return json.dumps(
        {"job_id": JOB, "automation_id": 7, "script_path": "a.py", "parameters": {"x": 1}} | fields
    ).encode()


def test_the_contracts_message() -> None:
    message = JobMessage.parse(body())
    assert (message.job_id, message.automation_id, message.script_path) == (JOB, 7, "a.py")
    assert message.parameters == {"x": 1}


def test_absent_parameters_are_an_empty_object() -> None:
    assert JobMessage.parse(body(parameters=None)).parameters == {}


def test_what_only_informs_may_be_absent() -> None:
    assert JobMessage.parse(json.dumps({"job_id": JOB}).encode()).automation_id is None


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe\xfd", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (body(job_id="7"), "`job_id` is not a UUID"),
        (body(job_id=None), "`job_id` is not a UUID"),
        (body(parameters=[1]), "`parameters` is not an object"),
    ],
)
def test_what_names_no_job_is_refused(sent: bytes, says: str) -> None:
    with pytest.raises(UnreadableMessageError, match=says):
        JobMessage.parse(sent)
