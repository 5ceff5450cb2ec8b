"""Bodies as models."""

import pytest

from maestro.errors import BadInput
from maestro_api.automation import NewAutomation
from maestro_api.body import checked
from maestro_api.schedule import NewSchedule
from maestro_api.worker import HeartbeatIn, LineIn


@pytest.mark.parametrize("sent", [7, 7.0])
def test_whole_numbers(sent: object) -> None:
    new = checked(NewSchedule, {"automationId": sent, "cronExpression": "@daily"})
    assert (new.automation_id, type(new.automation_id)) == (7, int)


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (NewSchedule, {"automationId": "7", "cronExpression": "@daily"}),
        (NewSchedule, {"automationId": True, "cronExpression": "@daily"}),
        (NewSchedule, {"automationId": 7.5, "cronExpression": "@daily"}),
        (NewSchedule, {"automationId": 7, "cronExpression": "@daily", "isEnabled": "false"}),
        (NewSchedule, {"automationId": 7, "cronExpression": "@daily", "isEnabled": 0}),
        (NewAutomation, {"name": "a", "scriptPath": "x", "maxConcurrency": "2"}),
        (NewAutomation, {"name": "a", "scriptPath": "x", "retryPolicy": {"maxAttempts": True}}),
        (LineIn, {"level": "INFO", "message": "m", "seq": "1"}),
        (LineIn, {"level": "INFO", "message": "m", "actionable": "yes"}),
        (HeartbeatIn, {"progress": "0.5"}),
        (HeartbeatIn, {"progress": True}),
    ],
)
def test_other_types_are_not_taken_for_what_they_look_like(model: type, body: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        checked(model, body)


def test_null_is_as_good_as_nothing() -> None:
    line = checked(LineIn, {"level": "INFO", "message": "m", "actionable": None, "seq": None})
    assert (line.actionable, line.seq) == (None, None)
