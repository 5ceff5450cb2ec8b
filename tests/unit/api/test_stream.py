"""The events of a live log, as bytes."""

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest

from maestro.job.model import Level, LogLine
from maestro_api import stream
from maestro_api.job import line_json
from maestro_api.reply import Json


@pytest.mark.parametrize(
    "message", ["plain", "a\nb\r\nc\rd", "\u2028\u2029", "data: x\n\nevent: end", "", "é😀"]
)
def test_a_line_is_one_event_whatever_is_in_it(message: str) -> None:
    line = LogLine(17, UUID(int=1), datetime(2026, 11, 23, tzinfo=UTC), Level.ERROR, message, True)
    name, number, data, *rest = stream.log_event(line).split(b"\n")
    assert (name, number, rest) == (b"event: log", b"id: 17", [b"", b""])
    assert b"\r" not in data
    assert data.removeprefix(b"data: ") == Json(line_json(line)).body
    assert json.loads(data.removeprefix(b"data: "))["message"] == message


def test_what_is_missing_of_an_event_is_found_at_any_border() -> None:
    events = b"event: a\ndata: 1\n\nevent: b\ndata: 2\n\n"
    ends = [events.index(b"\n\n") + 2, len(events)]
    for start in range(len(events) + 1):
        missing = stream._rest_of_event(events, start)
        whole = events[:start] + missing
        assert len(whole) in (0, *ends)
        assert len(missing) < ends[0]
